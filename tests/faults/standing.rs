//! What breaks on the night of the switch, and is told today.

use super::*;

const LINKS: &str = "
links:
  - {name: fibre, interface: wan1, targets: [198.51.100.11], delay: 0s, stable: 1s}
  - {name: lte, interface: wan2, targets: [198.51.100.21], standby_interval: 1h, delay: 0s, stable: 1s}
probe: {silence: 1s}
";

/// The config is printed with this problem and this exit code, and the status has it until it is solved.
#[track_caller]
fn assert_told(lab: &Lab, code: &str, words: &str, exit: i32) {
    assert_ends(&lab.wanfo(&["config"]), exit, &[words]);
    lab.wanfo(&["check"]);
    assert!(texts(lab, code).iter().any(|text| text.contains(words)), "{words}: {}", status(lab)["problems"]);
}

fn texts(lab: &Lab, code: &str) -> Vec<String> {
    let status = status(lab);
    let problems = status["problems"].as_array().expect("a list").iter();
    let texts = problems.filter(|problem| problem["code"] == code).map(|problem| problem["text"].to_string());
    texts.collect()
}

pub fn files_that_are_of_no_use_are_told_before_they_are_needed() {
    let lab = two_links();
    lab.configure(LINKS);
    assert_ends(&lab.wanfo(&["config"]), 0, &[]);
    let file = lab.path("named");
    let mode = |mode: u32| fs::set_permissions(&file, PermissionsExt::from_mode(mode)).expect("it is ours");
    let script = |text: &str, bits: u32| {
        write(&file, text);
        mode(bits);
    };
    let ways: [(&dyn Fn(), &str); 7] = [
        (&|| (), "No such file"),
        (&|| script("#!/bin/sh\n", 0o644), "it is not executable; run `chmod 755"),
        (&|| script("echo hello\n", 0o755), "names no interpreter"),
        (&|| script("#!/opt/none\n", 0o755), "names /opt/none, which is not on this machine"),
        (&|| script("#!/bin/sh\r\n", 0o755), "CR LF"),
        (&|| script("#!/bin/sh\n", 0o777), "run `chmod go-w"),
        (&|| script("", 0o755), "names no interpreter"),
    ];
    for key in ["action_script", "exit_script"] {
        let _ = fs::remove_file(&file);
        lab.configure(&format!("{LINKS}{key}: {}\n", file.display()));
        for (spoil, words) in ways {
            spoil();
            assert_told(&lab, "script-unusable", words, 1);
        }
        script("#!/bin/sh\n", 0o755);
        assert_ends(&lab.wanfo(&["config"]), 0, &[]);
        lab.wanfo(&["check"]);
        assert!(texts(&lab, "script-unusable").is_empty());
    }
    // Two at a time are two problems.
    let two = format!("action_script: {0}\nexit_script: {0}2\n", lab.path("none").display());
    lab.configure(&format!("{LINKS}{two}"));
    lab.wanfo(&["check"]);
    assert_eq!(texts(&lab, "script-unusable").len(), 2);

    let smtp = |more: &str| {
        let relay = format!("smtp: {{host: 203.0.113.25{more}}}");
        lab.configure(&format!("{LINKS}notify: {{to: [a@example.com], from: b@example.com, {relay}}}\n"));
    };
    smtp(&format!(", username: u, password_file: {}", file.display()));
    write(&file, "secret\n");
    mode(0o644);
    assert_told(&lab, "mail-file-unusable", "is open to everybody on this machine", 1);
    fs::remove_file(&file).expect("it is there");
    assert_told(&lab, "mail-file-unusable", "No such file", 1);
    write(&file, "");
    mode(0o600);
    assert_told(&lab, "mail-file-unusable", "must hold the password", 1);
    write(&file, "secret\n");
    assert_ends(&lab.wanfo(&["config"]), 0, &[]);
    smtp(&format!(", ca_file: {}", lab.path("none").display()));
    assert_told(&lab, "mail-file-unusable", "ca_file", 1);
    let sendmail =
        format!("notify: {{to: [a@example.com], from: b@example.com, sendmail: {}}}", file.display());
    lab.configure(&format!("{LINKS}{sendmail}\n"));
    assert_told(&lab, "mail-file-unusable", "it is not executable", 1);
}

pub fn addresses_of_this_router_are_no_targets_and_no_gateways() {
    let lab = two_links();
    lab.router.ip("link add lan9 type veth peer name lan9peer");
    lab.router.ip("addr add 10.9.9.1/24 dev lan9");
    // Its own on the same line, on another, on the LAN, and one of IPv6.
    let (own, other, own6) = (lab::router_address(2), lab::router_address(1), lab::router_address6(2));
    for target in [own.to_string(), other.to_string(), "10.9.9.1".to_owned(), own6.to_string()] {
        lab.configure(&LINKS.replace("198.51.100.21", &format!("198.51.100.21, '{target}'")));
        assert_told(&lab, "target-is-own-address", &target, 1);
    }
    lab.configure(&LINKS.replace("wan2,", &format!("wan2, gateway: {own},")));
    assert_told(&lab, "gateway-is-own-address", &own.to_string(), 1);
    lab.configure(LINKS);
    lab.wanfo(&["check"]);
    assert!(
        texts(&lab, "target-is-own-address").is_empty() && texts(&lab, "gateway-is-own-address").is_empty()
    );
}

pub fn what_is_doubtful_is_told_and_works() {
    let lab = two_links();
    lab.configure(&LINKS.replace("targets: [198.51.100.21]", "targets: []"));
    assert_told(&lab, "not-probed", "it is not probed", 0);
    let text = lab.wanfo(&["status"]).stdout;
    let line = text.lines().find(|line| line.starts_with("  lte ")).expect("a line of the link");
    assert!(line.contains("not probed") && !line.contains(" up "), "{line}");
    assert_eq!(status(&lab)["links"][1]["probed"], false);
    lab.pull_cable(2);
    lab.wanfo(&["check"]);
    let text = lab.wanfo(&["status"]).stdout;
    assert!(text.lines().any(|line| line.contains("lte ") && line.contains("DOWN")), "{text}");
    lab.plug_in(2);

    lab.configure(LINKS);
    let twin = format!("default via {} dev wan2 metric 100", lab::gateway(2));
    lab.router.ip(&format!("route append {twin}"));
    assert_told(&lab, "equal-defaults", "the same metric as that of fibre", 0);
    lab.router.ip(&format!("route del {twin}"));
    lab.wanfo(&["check"]);
    assert!(texts(&lab, "equal-defaults").is_empty());
}

pub fn a_target_that_is_changed_is_asked_at_once_and_a_typo_is_told() {
    let lab = two_links();
    lab.configure(LINKS);
    lab.wanfo(&["check"]);
    let targets = || {
        let status = status(&lab);
        let targets = status["links"][1]["targets"].as_array().expect("a list").clone();
        targets.iter().map(|target| (target["address"].to_string(), target["ok"] == true)).collect::<Vec<_>>()
    };
    let at = |address: &str, ok| (format!("\"{address}\""), ok);
    assert_eq!(targets(), [at("198.51.100.21", true)]);
    // It would not be its turn for an hour.
    lab.configure(&LINKS.replace("198.51.100.21", "198.51.100.21, 198.51.100.22"));
    lab.wanfo(&["check"]);
    assert_eq!(targets(), [at("198.51.100.21", true), at("198.51.100.22", true)]);
    lab.configure(LINKS);
    lab.wanfo(&["check"]);
    assert_eq!(targets(), [at("198.51.100.21", true)], "what is no target any more is not in the status");

    lab.configure(&LINKS.replace("198.51.100.21", "198.51.100.99"));
    for _ in 0..6 {
        lab.wanfo(&["check"]);
    }
    let told = texts(&lab, "target-never-answered");
    assert!(told.iter().any(|text| text.contains("198.51.100.99 has never answered")), "{told:?}");
    // One that answered and does not any more is no typo.
    lab.cut_silently(1);
    for _ in 0..6 {
        lab.wanfo(&["check"]);
    }
    assert_eq!(texts(&lab, "target-never-answered").len(), 1);
    lab.configure(LINKS);
    lab.wanfo(&["check"]);
    assert!(texts(&lab, "target-never-answered").is_empty());
}
