//! The configuration file: what is accepted, and what is said about what is not.
//!
//! Each `tests/config/bad/NN-what.yaml` has its problems, one a line, in the `.problems` file beside it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::CommandFactory;
use proptest::prelude::*;
use serde_yaml::Value;
use wanfo::cli::Cli;
use wanfo::core::config::NotifyEvent::{Standby, Switch};
use wanfo::core::config::{
    Config, ConfigError, Gateway, LogLevel, Override, Pin, Relay, Target, Template, Tls,
};
use wanfo::core::service::{Check, Dns, Http, Tcp};

const FULL: &str = include_str!("../docs/full.yaml");

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(folder);
    let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    files.sort();
    assert!(!files.is_empty(), "no files in {}", folder.display());
    files
}

fn lines(problems: &[ConfigError]) -> Vec<String> {
    problems.iter().map(ConfigError::to_string).collect()
}

fn good(text: &str) -> Config {
    wanfo::core::config::read::parse(text)
        .unwrap_or_else(|problems| panic!("{}", lines(&problems).join("\n")))
}

#[test]
fn every_bad_file_is_answered_with_its_problems() {
    let mut failed = 0;
    for file in files("bad") {
        let found = match wanfo::core::config::read::parse(&fs::read_to_string(&file).unwrap()) {
            Ok(_) => Vec::new(),
            Err(problems) => lines(&problems),
        };
        let expected = fs::read_to_string(file.with_extension("problems")).unwrap_or_default();
        let expected: Vec<&str> = expected.lines().collect();
        if found == expected {
            continue;
        }
        failed += 1;
        println!("{}:", file.display());
        expected
            .iter()
            .filter(|line| !found.iter().any(|f| f == *line))
            .for_each(|line| println!("  - {line}"));
        found
            .iter()
            .filter(|line| !expected.contains(&line.as_str()))
            .for_each(|line| println!("  + {line}"));
        if expected.len() == found.len() && expected.iter().all(|line| found.iter().any(|f| f == line)) {
            println!("  the order differs");
        }
    }
    assert_eq!(failed, 0, "files whose problems (+ found, - expected) differ");
}

#[test]
fn every_good_file_reads_back_from_what_is_printed_of_it() {
    for file in files("good") {
        let config = good(&fs::read_to_string(&file).unwrap());
        let printed = config.to_yaml();
        assert_eq!(good(&printed), config, "{}: printed as\n{printed}", file.display());
        assert_eq!(good(&printed).to_yaml(), printed);
    }
}

#[test]
fn the_full_file_says_nothing_but_the_defaults() {
    let mut full = good(FULL);
    let minimal = good(include_str!("config/good/minimal.yaml"));
    assert_eq!(full.links[1].routes, ["192.168.5.1/32".parse().unwrap()]);
    full.links[1].routes.clear();
    full.links[0].targets.truncate(1);
    full.links[1].targets.clear();
    assert_eq!(full, minimal);
}

/// Every key that a printed config has, as `links[].name` or `probe`.
fn keys(config: &Config) -> BTreeSet<String> {
    let printed: Value = serde_yaml::from_str(&config.to_yaml()).unwrap();
    let mut keys = BTreeSet::new();
    for (key, value) in printed.as_mapping().unwrap() {
        let key = key.as_str().unwrap();
        let (prefix, below) = match value {
            Value::Sequence(items) => (format!("{key}[]."), items.first().and_then(Value::as_mapping)),
            _ => (format!("{key}."), value.as_mapping()),
        };
        match below {
            Some(below) => keys.extend(below.keys().map(|name| prefix.clone() + name.as_str().unwrap())),
            None => drop(keys.insert(key.to_owned())),
        }
    }
    keys
}

#[test]
fn the_full_file_has_every_key_and_what_it_leaves_out_is_good_too() {
    // Prose has a blank behind the mark.
    let all: Vec<&str> = FULL
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.starts_with(' ') || key.starts_with("  ") => key,
            _ => line,
        })
        .collect();
    let all = good(&all.join("\n"));
    let mut known = keys(&good(include_str!("config/good/everything-else.yaml")));
    known.extend(keys(&good(include_str!("config/good/sendmail.yaml"))));
    let told = keys(&all);
    let untold: Vec<_> = known.difference(&told).filter(|key| *key != "notify.sendmail").collect();
    assert!(untold.is_empty(), "docs/full.yaml does not have {untold:?}");
    let page = wanfo(&["man", "wanfo.yaml"]);
    let unexplained: Vec<_> = known
        .iter()
        .filter(|key| !key.starts_with("notify.") && !page.contains(&format!("\\fB{key}\\fR")))
        .collect();
    assert!(unexplained.is_empty(), "wanfo.yaml(5) does not have {unexplained:?}");
    let (described, _) = page.split_once(".SH EXAMPLE").expect("the whole file is the last section");
    for markdown in ["\n|", "\n#", "```", "]("] {
        assert!(!described.contains(markdown), "{markdown:?} of the page was not understood");
    }
    for line in FULL.lines() {
        assert!(page.contains(line), "wanfo.yaml(5) does not have the line {line}");
    }
}

fn wanfo(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_wanfo")).args(words).output().expect("wanfo starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaint.is_empty(), "wanfo {words:?}: {complaint}");
    // As roff writes them.
    String::from_utf8(output.stdout).expect("text").replace("\\-", "-").replace("\\*(Aq", "'")
}

#[test]
fn the_manual_and_the_completions_have_every_command_and_option() {
    let page = wanfo(&["man"]);
    let completions = ["bash", "zsh", "fish"].map(|shell| wanfo(&["completions", shell]));
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        assert!(page.contains(&format!("wanfo {name}")), "wanfo(1) does not have {name}");
        for script in &completions {
            assert!(script.contains(name), "no completion for {name}");
        }
        for option in command.get_arguments().filter_map(|option| option.get_long()) {
            let (bold, plain) = (format!("\\fB--{option}\\fR"), option);
            assert!(page.contains(&bold), "wanfo(1) does not have --{option} of {name}");
            assert!(completions.iter().all(|script| script.contains(plain)), "no completion for --{option}");
        }
    }
}

#[test]
fn the_effective_configuration_has_every_key_in_the_order_of_the_manual() {
    let printed = good(include_str!("config/good/minimal.yaml")).to_yaml();
    assert_eq!(printed, include_str!("config/minimal.effective"));
}

#[test]
fn a_backup_is_probed_seldom() {
    let config = good(include_str!("config/good/minimal.yaml"));
    let [primary, backup] = &config.links[..] else { panic!("two links are in the file") };
    assert_eq!([primary.standby_interval, backup.standby_interval], [0, 60].map(Duration::from_secs));
}

#[test]
fn every_key_is_read() {
    let config = good(include_str!("config/good/everything-else.yaml"));
    let link = &config.links[0];
    assert_eq!((link.name.as_str(), link.interface.as_deref()), ("1", Some("0e0")));
    assert_eq!(link.gateway, Gateway::Address("192.0.2.1".parse().unwrap()));
    assert_eq!(link.gateway6, Gateway::Address("fe80::1".parse().unwrap()));
    assert_eq!(link.address, ["192.0.2.2/24", "2001:db8::2/64"].map(|address| address.parse().unwrap()));
    let written = ["2001:db8::53", "198.51.100.53"].map(|address| Target::Address(address.parse().unwrap()));
    assert_eq!(link.targets, [Target::Gateway, written[0], written[1]]);
    assert_eq!(
        (link.quorum, link.delay, link.stable, link.standby_interval),
        (3, Duration::ZERO, Duration::from_secs(3600), Duration::from_secs(90))
    );
    let address = |text: &str| text.parse().unwrap();
    let dns = |server, name: &str, answer| {
        Check::Dns(Dns { server: address(server), name: name.to_owned(), answer })
    };
    let answer = Some(address("2001:db8::80"));
    assert_eq!(
        link.checks,
        [
            dns("2001:db8::53", "_sip._udp.xn--bcher-kva.example", answer),
            dns("198.51.100.53", "example.com", None),
            Check::Tcp(Tcp { server: address("203.0.113.1"), port: 65535 }),
            Check::Http(Http {
                server: address("203.0.113.80"),
                port: 80,
                host: "www.example.com".to_owned(),
                path: "/".to_owned(),
                status: 204,
                contains: None,
            }),
            Check::Http(Http {
                server: address("2001:db8::80"),
                port: 8080,
                host: "2001:db8::80".to_owned(),
                path: "/a?b=%20".to_owned(),
                status: 200,
                contains: Some("Grüß Gott".to_owned()),
            }),
        ]
    );
    assert_eq!(config.links[3].checks, [Check::Tcp(Tcp { server: address("203.0.113.99"), port: 5060 })]);
    assert_eq!(link.routes, ["2001:db8:5::/48", "203.0.113.0/24"].map(|route| route.parse().unwrap()));
    assert_eq!(config.links.iter().filter(|link| link.routes_only).count(), 1);
    assert!(config.links[3].routes_only);
    assert_eq!(config.links.iter().filter(|link| link.inbound).count(), 1);
    assert_eq!(config.links[2].interface, None);
    assert_eq!((config.links[2].gateway6, config.links[3].gateway), (Gateway::None, Gateway::None));
    assert_eq!(config.probe.silence, Duration::from_secs(45));
    assert_eq!(config.probe.max_latency, Some(Duration::from_millis(44_999)));
    assert!(config.probe.record);
    assert_eq!(good(include_str!("config/good/anchors-and-pin-target.yaml")).probe.pin, Pin::Target);
    assert_eq!(
        (config.routing.protocol, config.routing.table, config.routing.rule_priority),
        (255, 256, 32764)
    );
    assert_eq!((config.uid_of(0), config.uid_of(7)), (70_001, 70_008));
    assert_eq!(config.routing.override_by, Override::Default);
    assert_eq!(format!("{:?}", config.routing.ipv6_without_gateway), "Leave");
    assert_eq!(config.action_script.as_deref(), Some(Path::new("/etc/wanfo/action")));
    assert_eq!(config.exit_script.as_deref(), Some(Path::new("/srv/wan fo/exit")));
    assert_eq!(config.link_script.as_deref(), Some(Path::new("/etc/wanfo/link")));
    assert_eq!((config.script_timeout, config.flush_conntrack), (Duration::from_secs(90), true));
    let notify = config.notify.unwrap();
    let webhook = notify.webhook.unwrap();
    assert_eq!(
        (webhook.url_file.as_path(), webhook.template),
        (Path::new("/srv/web hook"), Template::HomeAssistant)
    );
    let mail = notify.mail.unwrap();
    assert_eq!(mail.to, ["noc@example.com", "o'brien+wan@xn--bcher-kva.example"]);
    assert_eq!((mail.from.as_str(), &notify.events[..]), ("wanfo@router.example.com", &[Standby][..]));
    let Relay::Smtp(smtp) = mail.relay else { panic!("the file has smtp") };
    assert_eq!((smtp.host.as_str(), smtp.port, smtp.tls), ("192.0.2.25", 2525, Tls::Tls));
    assert_eq!(smtp.username.as_deref(), Some("router é"));
    assert_eq!(smtp.password_file.as_deref(), Some(Path::new("/etc/wanfo/smtp-password")));
    assert_eq!(smtp.ca_file.as_deref(), Some(Path::new("/etc/wanfo/ca.pem")));
    assert_eq!(config.paths.run, Path::new("/tmp/wanfo run"));
    assert_eq!(config.paths.state, Path::new("/srv/wanfo"));
    assert_eq!(config.log_level, LogLevel::Debug);
}

#[test]
fn a_relay_has_the_port_of_its_kind_and_is_told_everything() {
    let of = |tls: &str| {
        let text = "links: [{name: a, interface: eth0}, {name: b, interface: eth1}]\nnotify: {to: [noc@example.com], \
                    from: wanfo@router.example.com, smtp: {host: mail.example.com";
        let notify = good(&format!("{text}{tls}}}}}")).notify.unwrap();
        assert_eq!(notify.events, [Switch, Standby]);
        let Relay::Smtp(smtp) = notify.mail.unwrap().relay else { panic!("the text has smtp") };
        (smtp.tls, smtp.port)
    };
    assert_eq!(of(""), (Tls::Starttls, 587));
    assert_eq!(of(", tls: starttls"), (Tls::Starttls, 587));
    assert_eq!(of(", tls: tls"), (Tls::Tls, 465));
    assert_eq!(of(", tls: none"), (Tls::None, 25));
    assert_eq!(of(", tls: none, port: 2525"), (Tls::None, 2525));
}

#[test]
fn a_mark_that_says_utf8_is_no_part_of_the_file() {
    let text = include_str!("config/good/minimal.yaml");
    assert_eq!(good(&format!("\u{feff}{text}")), good(text));
    let problems = wanfo::core::config::read::parse(&format!("\u{feff}{text}probe: no\n")).unwrap_err();
    assert_eq!(problems[0].line, Some(text.lines().count() + 1));
}

#[test]
fn what_is_nested_without_end_is_refused_in_no_time() {
    for part in ["{a: ", "[", "{? ", "{a: #}\n"] {
        let text = part.repeat(150_000 / part.len());
        let start = Instant::now();
        let problems = wanfo::core::config::read::parse(&text).unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(1), "{part}: {:?}", start.elapsed());
        assert!(problems[0].to_string().contains("nested too deep"), "{}", problems[0]);
    }
}

#[test]
fn where_the_state_lies_is_known_of_a_bad_file_too() {
    let run = |text: &str| wanfo::core::config::read::paths_of(text).run.display().to_string();
    assert_eq!(run("linkz: 1\npaths: {run: /tmp/r}\n"), "/tmp/r");
    assert_eq!(run("links: [a: b: c\npaths: {run: /tmp/r,\n  state: /tmp/s}\n- :\n"), "/tmp/r");
    assert_eq!(run("paths:\n  # here\n\n  run: /tmp/r\nlinks: ]\n"), "/tmp/r");
    assert_eq!(run("paths: {run: here, state: /tmp/s}\n"), "/run/wanfo");
    assert_eq!(run("links: ]\npaths: [\n"), "/run/wanfo");
    assert_eq!(run("paths: {run: /tmp/r}\n  bad: [x\n"), "/tmp/r");
    assert_eq!(run("paths:\n  run: /tmp/r\n}\n"), "/tmp/r");
    assert_eq!(run(&format!("links: ]\npaths: {{run: /tmp/r}}\n{}", "\n".repeat(100_000))), "/tmp/r");
    assert_eq!(run(""), "/run/wanfo");
    let protocol = wanfo::core::config::read::protocol_of;
    assert_eq!(protocol("links: ]\nrouting:\n  override: x\n  protocol: 120\n"), 120);
    assert_eq!((protocol("links: ]\nrouting: {protocol: 4}\n"), protocol("")), (119, 119));
}

#[test]
fn what_stands_in_place_of_a_list_is_repeated_only_where_that_does_no_harm() {
    let said = |text: &str| {
        let file =
            format!("links: [{{name: a, interface: eth0, targets: {text}}}, {{name: b, interface: eth1}}]");
        wanfo::core::config::read::parse(&file).unwrap_err()[0].to_string()
    };
    assert!(said("198.51.100.53").ends_with("write a list: [198.51.100.53]"), "{}", said("198.51.100.53"));
    for text in ["https://hooks.example/sesame", "\"a\\nb\"", "\"\\x1b[2J\"", &"a".repeat(5000)] {
        let said = said(text);
        assert!(said.ends_with("; write a list, each item on a line that begins with \"- \""), "{said}");
        assert!(!said.contains(char::is_control) && !said.contains("sesame") && said.len() < 300, "{said}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn names_and_durations_survive_printing(
        name in "[a-zA-Z0-9_-]{1,32}", interface in "[!-.0-9;-~]{3,15}", millis in 0u64..604_800_000,
    ) {
        let mut config = good(include_str!("config/good/minimal.yaml"));
        prop_assume!(name != config.links[1].name && interface != "eth1");
        config.links[0].name = name;
        config.links[0].interface = Some(interface);
        config.links[0].delay = Duration::from_millis(millis);
        prop_assert_eq!(good(&config.to_yaml()), config);
    }
}
