//! `wanfo exec`: a command whose traffic leaves by one link.

use crate::lab::{self, Run, SERVICE, SERVICE6, target6};
use crate::story::{PIN_BY_TARGET, PROBE, Story, config, two_links};

fn exec(story: &Story, link: &str, command: &[&str]) -> Run {
    story.wanfo(&[&["exec", link, "--"], command].concat())
}

/// Asks the service by way of the shell; it adds the line over which it was asked.
const ASK: &str = "exec 3<>/dev/udp/$0/7 && printf 'abcd0' >&3 && timeout 2 head -c5 <&3 | od -An -tu1 -j4";

fn line_of(run: &Run) -> Option<usize> {
    run.stdout.trim().parse().ok()
}

pub fn a_command_leaves_by_its_link_whatever_is_active() {
    lab::need_users();
    lab::need(&["bash"]);
    let story = Story::of_two_links();
    let too_soon = exec(&story, "secondary", &["id"]);
    assert_eq!(too_soon.code, 1);
    assert!(
        too_soon.stderr.contains("no rule of IPv4 ties uid 60902 to it; `wanfo check` makes it"),
        "{too_soon:?}"
    );
    story.check();
    for active in ["primary", "secondary"] {
        if active == "secondary" {
            story.succeeds(&["force-failover", "--hold"]);
        }
        for service in [SERVICE.to_string(), SERVICE6.to_string()] {
            for (link, line) in [("primary", 1), ("secondary", 2)] {
                let run = exec(&story, link, &["bash", "-c", ASK, &service]);
                assert_eq!(line_of(&run), Some(line), "{active} is active, {link} to {service}: {run:?}");
                assert_eq!(run.stderr, "");
            }
        }
    }
    // The uids move on by one, the second link's to the first, in the midst of the failover.
    for uid in [60_901, 60_900] {
        story.configure(&config(&two_links(["", ""]), &[PROBE, &format!("routing: {{uid: {uid}}}")]));
        story.check();
        assert_eq!((story.active(), story.problems()), ("secondary".to_owned(), String::new()));
        for (link, line) in [("primary", 1), ("secondary", 2)] {
            let run = exec(&story, link, &["bash", "-c", ASK, &SERVICE.to_string()]);
            assert_eq!(line_of(&run), Some(line), "uid {uid}, {link}: {run:?}");
        }
    }
    // A line that is dead is dead for the command too.
    story.cut_silently(1);
    let run = exec(&story, "primary", &["bash", "-c", ASK, &SERVICE.to_string()]);
    assert_eq!(line_of(&run), None, "{run:?}");
    // Somebody's rule before ours.
    story.router.ip("rule add priority 100 lookup 5302");
    let run = exec(&story, "primary", &["id"]);
    assert!(run.code == 1 && run.stderr.contains("of uid 60901 out of wan2 via"), "{run:?}");
    story.router.ip("rule del priority 100");
    // With strict reverse-path filtering the answers of an inactive link are dropped, and that is said.
    story.router.sysctl("net.ipv4.conf.wan1.rp_filter", "1");
    let run = exec(&story, "primary", &["id"]);
    assert!(run.code == 0 && run.stderr.contains("`inbound: true`"), "{run:?}");
    // A line without a cable.
    story.pull_cable(1);
    let run = exec(&story, "primary", &["id"]);
    assert!(run.code == 1 && run.stderr.contains("primary: interface wan1 has no carrier"), "{run:?}");
}

pub fn a_command_is_the_link_s_user_and_its_exit_code_is_handed_on() {
    lab::need_users();
    let story = Story::of_two_links();
    story.check();
    let says = |command: &[&str]| exec(&story, "secondary", command).stdout.trim().to_owned();
    assert_eq!((says(&["id", "-u"]), says(&["id", "-G"])), ("60902".to_owned(), "60902".to_owned()));
    assert_eq!(says(&["sh", "-c", "grep -c 'CapEff:.0000000000000000' /proc/self/status"]), "1");
    assert_eq!(says(&["sh", "-c", "echo \"$0 $1\"", "with space", "--format"]), "with space --format");
    for (link, command, code, words) in [
        ("secondary", &["sh", "-c", "exit 7"][..], 7, ""),
        ("secondary", &["/nowhere/to/be/found"], 127, "No such file or directory"),
        ("secondary", &["/"], 126, "Permission denied"),
        ("tertiary", &["id"], 2, "there is no link \"tertiary\" in the config; it has primary, secondary"),
        ("secondary", &[], 2, "<COMMAND>"),
    ] {
        let run = exec(&story, link, command);
        assert!(run.code == code && run.stderr.contains(words), "{link} {command:?}: {run:?}");
    }
    // A user of the machine would lend it his rights.
    story.configure(&config(&two_links(["", ""]), &[PROBE, "routing: {uid: 1}"]));
    story.check();
    let run = exec(&story, "secondary", &["id"]);
    assert!(run.code == 1 && run.stderr.contains("sys has the uid 3") && run.stdout.is_empty(), "{run:?}");
    story.configure(&config(&two_links(["", ""]), &[PIN_BY_TARGET]));
    let run = exec(&story, "secondary", &["id"]);
    assert!(run.code == 1 && run.stderr.contains("write `pin: link`"), "{run:?}");
    story.configure(&config(&two_links(["", ""]), &[PROBE]));
    story.succeeds(&["down"]);
    assert_eq!(exec(&story, "secondary", &["id"]).code, 1);
}

pub fn a_link_with_ipv6_alone_takes_a_command_and_a_drill() {
    lab::need_users();
    lab::need(&["bash"]);
    let backup = format!("targets: [\"{}\"]", target6(2, 1));
    let story = Story::begin(2, &config(&two_links(["", &backup]), &[PROBE]));
    story.router.ip("-4 address flush dev wan2");
    story.check();
    for active in ["primary", "secondary"] {
        if active == "secondary" {
            story.succeeds(&["force-failover", "--hold"]);
        }
        let run = exec(&story, "secondary", &["bash", "-c", ASK, &SERVICE6.to_string()]);
        assert_eq!((line_of(&run), &*run.stderr), (Some(2), ""), "{active} is active: {run:?}");
        // Refused at once, and not sent by the other line.
        let run = exec(&story, "secondary", &["bash", "-c", ASK, &SERVICE.to_string()]);
        assert!(run.code == 1 && run.stderr.contains("No route to host"), "{active} is active: {run:?}");
        let run = story.succeeds(&["drill", "secondary"]);
        assert!(run.stdout.ends_with("secondary is proven\n"), "{active} is active: {run:?}");
    }
    let problems = story.problems();
    assert!(
        problems.starts_with("secondary: IPv4 is refused") && problems.lines().count() == 1,
        "{problems}"
    );
}
