//! A config that somebody broke, while the router is at work.

use std::time::Duration;

use super::*;

const GOOD: &str = "
links:
  - {name: fibre, interface: wan1, targets: [198.51.100.11], delay: 0s, stable: 1s}
  - {name: lte, interface: wan2, targets: [198.51.100.21], standby_interval: 0s, delay: 0s, stable: 1s}
probe: {silence: 1s}
";

fn lab_with(yaml: &str) -> Lab {
    let lab = two_links();
    lab.configure(yaml);
    assert_ends(&lab.wanfo(&["check"]), 0, &[]);
    lab
}

fn problem(lab: &Lab) -> Option<String> {
    let status = status(lab);
    let problems = status["problems"].as_array().expect("a list");
    let problem = problems.iter().find(|problem| problem["code"] == "config-broken")?;
    problem["text"].as_str().map(str::to_owned)
}

/// What stands in the config, and what must be said of it.
fn ways_to_break_it(lab: &Lab) -> Vec<(Vec<u8>, &'static str)> {
    let paths =
        format!("paths: {{run: {}, state: {}}}\n", lab.path("run").display(), lab.path("state").display());
    let with_paths = |text: &str| format!("{text}\n{paths}").into_bytes();
    vec![
        (
            with_paths(&GOOD.replace("links:", "linkz:")),
            "linkz (line 2): this key is not known here; did you mean links?",
        ),
        (with_paths(&GOOD.replace("fibre,", "fibre, [")), "not valid YAML"),
        // Links edited at the same time: none of that counts yet.
        (with_paths(&GOOD.replace("fibre", "glass").replace("0s", "soon")), "links[0].delay"),
        ([&b"# M\xfcller\n"[..], &with_paths(GOOD)].concat(), "not UTF-8"),
        // Behind what is looked for.
        ([&with_paths(GOOD)[..], b"  state: [\n"].concat(), "not valid YAML"),
        ([&with_paths(GOOD)[..], &[b'\n'; 1 << 20]].concat(), "has more than 1048576 bytes"),
    ]
}

pub fn a_broken_config_breaks_no_run() {
    let lab = lab_with(GOOD);
    let good = fs::read(lab.path("wanfo.yaml")).expect("it was just written");
    for (text, why) in ways_to_break_it(&lab) {
        write(&lab.path("wanfo.yaml"), text);
        // Known to the status at once, to the log once, to the exit code never: the router does its work.
        assert!(lab.wanfo(&["status"]).stdout.starts_with("CONFIG BROKEN since the last run"));
        // By another name, it is none that a run goes by.
        fs::copy(lab.path("wanfo.yaml"), lab.path("wanfo.yml")).expect("the lab's directory takes a file");
        let other = lab.wanfo(&["status", "-c", &lab.path("wanfo.yml").display().to_string()]);
        assert_ends(&other, 0, &[why, "no run goes by that file"]);
        assert!(other.stdout.starts_with("On fibre"), "{}", other.stdout);
        let run = lab.wanfo(&["check"]);
        assert_ends(&run, 0, &[why, "the last good one counts"]);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        assert_eq!(lab.wanfo(&["check"]).stderr, "");
        for command in ["status", "history"] {
            let run = lab.wanfo(&[command]);
            assert_ends(&run, 0, &[]);
            assert!(run.stdout.starts_with("CONFIG BROKEN since "), "{}", run.stdout);
        }
        assert!(problem(&lab).expect("a problem").contains(why));
        // Where runs follow so fast upon each other, the last is soon too old.
        assert_eq!(lab.wanfo(&["check"]).stderr, "");
        assert_eq!(lab.wanfo(&["status", "--exit-code"]).code, 0, "it is on the primary");

        lab.cut_silently(1);
        let run = lab.wanfo(&["check"]);
        assert_ends(&run, 0, &["switched from fibre to lte"]);
        assert_eq!(lab.wanfo(&["status", "--exit-code"]).code, 1);
        assert_carried_by(&lab, 2);
        lab.repair(1);
        let mut run = lab.wanfo(&["failback"]);
        // A link that was set up just now drops what is sent until the kernel has seen its carrier (net/core/link_watch.c, once a
        // second).
        if run.code == 1 {
            run = lab.wanfo(&["failback"]);
        }
        assert_ends(&run, 0, &[why]);
        assert_carried_by(&lab, 1);
        assert_ends(&lab.wanfo(&["force-failover"]), 0, &[why]);
        assert_ends(&lab.wanfo(&["failback"]), 0, &[why]);

        for asked in [&["config"][..], &["check", "--dry-run"]] {
            assert_ends(&lab.wanfo(asked), 2, &[why]);
        }
        write(&lab.path("wanfo.yaml"), &good);
        assert_ends(&lab.wanfo(&["check"]), 0, &["no longer a problem: config broken"]);
        assert_eq!(problem(&lab), None);
        assert!(!lab.wanfo(&["status"]).stdout.contains("BROKEN"));
    }
}

pub fn a_config_broken_in_another_way_is_told_anew() {
    let lab = lab_with(&format!(
        "{GOOD}notify: {{to: [noc@example.com], from: w@example.com, sendmail: /bin/true}}\n"
    ));
    let mut ways = ways_to_break_it(&lab).into_iter();
    for (text, why) in ways.by_ref().take(3) {
        write(&lab.path("wanfo.yaml"), text);
        let run = lab.wanfo(&["check"]);
        assert_ends(&run, 0, &[why]);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
    let since = state(&lab)["config_broken"]["since"].clone();
    // Whoever edits it mends it in five minutes; else it is broken for somebody who does not know.
    let spooled = || {
        fs::read_dir(lab.path("state/spool")).map_or(0, |mails| {
            mails
                .filter(|mail| {
                    let path = mail.as_ref().expect("a mail").path();
                    fs::read_to_string(path).is_ok_and(|text| text.contains("config is broken"))
                })
                .count()
        })
    };
    lab.let_pass(Duration::from_secs(240));
    lab.wanfo(&["check"]);
    assert_eq!(spooled(), 0);
    lab.let_pass(Duration::from_secs(61));
    for _ in 0..2 {
        lab.wanfo(&["check"]);
        assert_eq!((spooled(), &state(&lab)["config_broken"]["since"]), (1, &since));
    }
    // The mail is sent by the last good one as well.
    assert_ends(&lab.wanfo(&["deliver"]), 0, &[]);
    assert_eq!(spooled(), 0);
}

/// Without a file nobody knows `paths.run` but by its default.
pub fn a_config_that_is_gone_or_not_to_be_trusted_breaks_no_run() {
    let lab = two_links();
    let path = lab.path("wanfo.yaml");
    let text = format!("{GOOD}paths: {{state: {}}}\n", lab.path("state").display());
    write(&path, &text);
    assert_ends(&lab.wanfo(&["check"]), 0, &[]);
    let mode = |mode: u32| fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("it is ours");
    let gone = || fs::remove_file(&path).expect("it is there");
    let ways: [(&dyn Fn(), &str); 4] = [
        (&|| mode(0o666), "can write"),
        (&|| write(&path, ""), "the file is empty"),
        (&gone, "No such file"),
        (&|| fs::create_dir(&path).expect("it is gone"), "no regular file"),
    ];
    for (spoil, why) in ways {
        spoil();
        let run = lab.wanfo(&["check"]);
        assert_ends(&run, 0, &[why]);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        if path.is_file() {
            mode(0o644);
        }
    }
    assert!(lab.wanfo(&["status"]).stdout.starts_with("CONFIG BROKEN since "));
    // The kept one decides over routes and scripts as the file did, and is asked for its mode again; nor does it stand in
    // for another file.
    fs::remove_dir(&path).expect("it is there");
    write(&lab.path("other.yaml"), "links: no\n");
    assert_ends(&lab.wanfo(&["check", "-c", &lab.path("other.yaml").display().to_string()]), 2, &["links"]);
    fs::set_permissions("/run/wanfo/config.yaml", PermissionsExt::from_mode(0o666)).expect("it is ours");
    assert_ends(&lab.wanfo(&["check"]), 2, &["No such file", "can write /run/wanfo/config.yaml"]);
    write(&path, &text);
    fs::set_permissions("/run/wanfo/config.yaml", PermissionsExt::from_mode(0o644)).expect("it is ours");
    assert_ends(&lab.wanfo(&["down"]), 0, &[]);
    assert!(!Path::new("/run/wanfo/config.yaml").exists());
}

/// With `paths` of its own it is believed only in where its last good one is, which has to say the same.
pub fn a_config_not_to_be_trusted_leads_to_what_is_kept_of_it_and_nowhere_else() {
    let lab = lab_with(GOOD);
    let path = lab.path("wanfo.yaml");
    let text = fs::read_to_string(&path).expect("it was just written");
    let anybody = || fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).expect("it is ours");
    anybody();
    assert_ends(&lab.wanfo(&["check"]), 0, &["can write", "the last good one counts"]);
    lab.cut_silently(1);
    assert_ends(&lab.wanfo(&["check"]), 0, &["switched from fibre to lte"]);
    let elsewhere = lab.path("elsewhere");
    fs::create_dir(&elsewhere).expect("a folder");
    fs::copy(lab.path("run/config.yaml"), elsewhere.join("config.yaml")).expect("a kept one");
    write(&path, text.replace(&lab.path("run").display().to_string(), &elsewhere.display().to_string()));
    anybody();
    assert_ends(&lab.wanfo(&["check"]), 2, &["can write"]);
    assert_eq!(fs::read_dir(&elsewhere).expect("a folder").count(), 1);
}

pub fn down_needs_no_config() {
    for (text, protocol) in [(GOOD.to_owned(), 119), (format!("{GOOD}routing: {{protocol: 77}}\n"), 77)] {
        let lab = two_links();
        let before = kernel(&lab);
        lab.configure(&text);
        assert_ends(&lab.wanfo(&["check"]), 0, &[]);
        assert_ends(&lab.wanfo(&["force-failover"]), 0, &[]);
        assert_ne!(kernel(&lab), before);
        // All that is known of the config is where the state is; and its last good one is gone.
        lab.configure("links: no");
        fs::remove_file(lab.path("run/config.yaml")).expect("it was kept");
        if protocol == 77 {
            // And so is the state, after which nothing but the file tells the number.
            fs::rename(lab.path("run/state.json"), lab.path("state.json")).expect("it is there");
            assert_ends(&lab.wanfo(&["down"]), 0, &["nothing in the kernel bears the protocol number 119"]);
            lab.configure("links: no\nrouting: {protocol: 77}");
        }
        let run = lab.wanfo(&["down"]);
        assert_ends(&run, 0, &["going by what the last run knew"]);
        assert!(run.stdout.contains("would put them back"), "{}", run.stdout);
        assert_eq!(kernel(&lab), before, "protocol {protocol}");
    }
}
