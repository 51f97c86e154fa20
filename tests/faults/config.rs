use std::fs;

use super::*;

pub fn every_problem_of_a_config_is_told_at_once() {
    let lab = at_work();
    let before = (kernel(&lab), state(&lab));
    let bad: [(&str, &[&str]); 3] = [
        ("links: [a: b: c", &["1 problem", "line 1"]),
        (
            "links:\n  - {name: a, interface: wan1, targets: [198.51.100.11], delay: soon}\n  \
             - {name: b, interface: 7, targets: 198.51.100.21, colour: red}\nprobe: {silence: lots}\n",
            &[
                "links[0].delay (line 2)",
                "links[1].interface (line 3)",
                "links[1].colour (line 3)",
                "probe.silence (line 4)",
            ],
        ),
        (
            "links:\n  - {name: a, interface: wan1, targets: [198.51.100.11]}\n  \
             - name: b\n    interface: wan2\n    targets: [198.51.100.11]\nprobe: {pin: target}\n",
            &["links[1].targets[0] (line 5)", "198.51.100.11"],
        ),
    ];
    for (yaml, words) in bad {
        lab.configure(yaml);
        // Without a last good one there is nothing to go by.
        let _ = fs::remove_file(lab.path("run/config.yaml"));
        for arguments in
            [&["check"][..], &["check", "--dry-run"], &["force-failover"], &["failback"], &["config"]]
        {
            let run = lab.wanfo(arguments);
            assert_ends(&run, 2, words);
            assert_eq!(run.stdout, "");
        }
    }
    lab.configure(TWO_LINKS);
    assert_eq!((kernel(&lab), state(&lab)), before);
}

pub fn a_config_that_cannot_be_read() {
    let lab = at_work();
    let before = kernel(&lab);
    let path = lab.path("wanfo.yaml");
    let fails = |words: &[&str]| {
        let name = path.display().to_string();
        assert_ends(&lab.wanfo(&["check"]), 2, &[words, &[&name]].concat());
    };
    fs::remove_file(&path).expect("the config is there");
    fails(&["cannot read the configuration", "No such file", "--config"]);
    fs::create_dir(&path).expect("the config is gone");
    fails(&["cannot read the configuration", "no regular file"]);
    fs::remove_dir(&path).expect("the directory is empty");
    write(&path, b"links: [\xff\xfe]");
    fails(&["is not UTF-8 text"]);
    // Far more than anybody writes by hand, and a device that never ends.
    write(&path, "# wide\n".repeat(10_000_000));
    fails(&["more than 1048576 bytes"]);
    fs::remove_file(&path).expect("the config is there");
    std::os::unix::fs::symlink("/dev/zero", &path).expect("the config is gone");
    fails(&["no regular file"]);
    // Nobody writes to it, ever.
    fs::remove_file(&path).expect("the link is there");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("the config is gone");
    fails(&["no regular file"]);
    assert_eq!(kernel(&lab), before);
}

pub fn an_unknown_interface_leaves_the_other_link_serving() {
    let lab = two_links();
    lab.configure(&TWO_LINKS.replace("interface: wan1", "interface: wan9"));
    let run = lab.wanfo(&["check"]);
    assert_ends(
        &run,
        0,
        &["fibre is down: interface wan9 does not exist", "see `ip link` for the names there are"],
    );
    assert_carried_by(&lab, 2);
    assert_eq!(active(&lab), "lte");
    let problems = status(&lab)["problems"].to_string();
    assert!(problems.contains("interface wan9 does not exist; see `ip link`"), "{problems}");
    // Said once; from then on it is in the status.
    assert_eq!(lab.wanfo(&["check"]).stderr, "");
}

pub fn a_gateway_outside_every_subnet() {
    let lab = two_links();
    let named = "interface: wan1, gateway: 203.0.113.1";
    lab.configure(&TWO_LINKS.replace("interface: wan1", named));
    let run = lab.wanfo(&["check"]);
    assert_ends(&run, 0, &["gateway 203.0.113.1 lies outside the subnets of wan1", "correct `gateway`"]);
    // The real router does not answer to that address, so the link is silent and the other takes over.
    assert_ends(&run, 0, &["switched from fibre to lte"]);
    assert_carried_by(&lab, 2);

    let lab = two_links();
    lab.configure(&TWO_LINKS.replace("interface: wan1", "gateway: 203.0.113.1"));
    lab.wanfo(&["check"]);
    assert_carried_by(&lab, 2);
    let problems = status(&lab)["problems"].to_string();
    assert!(
        problems.contains("no interface has an address in the subnet of gateway 203.0.113.1"),
        "{problems}"
    );
    assert!(problems.contains("name the link's `interface`"), "{problems}");
}
