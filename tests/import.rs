//! `wanfo import`: settings of AstLinux and of mwan3, and the configuration that is made of them.
//!
//! Each folder in `tests/import` has a router's files, and in `wanfo.yaml` what they become.

use std::fs::{self, read_to_string};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use proptest::prelude::*;
use wanfo::core::config::read::parse;
use wanfo::core::config::{Gateway, Relay, Tls};
use wanfo::core::import::draft::File;
use wanfo::core::import::{Imported, import};

const ROUTERS: [(&str, &[&str]); 5] = [
    ("astlinux", &["rc.conf", "user.conf"]),
    ("defaults", &["gui.failover.conf", "user.conf"]),
    ("second-router", &["rc.conf"]),
    ("mwan3", &["mwan3", "network"]),
    ("balanced", &["network", "mwan3"]),
];

fn folder(router: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import").join(router)
}

fn texts(router: &str, names: &[&'static str]) -> Vec<(&'static str, String)> {
    names.iter().map(|name| (*name, read_to_string(folder(router).join(name)).unwrap())).collect()
}

/// The configuration, or the faults.
fn imported(files: &[(&str, &str)]) -> Result<Imported, Vec<String>> {
    let files: Vec<File> = files.iter().map(|(name, text)| File { name, text }).collect();
    let imported =
        import(&files, None).map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    parse(&imported.yaml).unwrap_or_else(|problems| panic!("{}\n{}", problems[0], imported.yaml));
    Ok(imported)
}

fn refs<'a>(texts: &'a [(&'a str, String)]) -> Vec<(&'a str, &'a str)> {
    texts.iter().map(|(name, text)| (*name, text.as_str())).collect()
}

/// `WANFO_BLESS=1` writes what is printed now; look at the difference.
#[test]
fn every_router_becomes_its_config() {
    for (router, names) in ROUTERS {
        let texts = texts(router, names);
        let imported = imported(&refs(&texts)).unwrap_or_else(|faults| panic!("{router}: {faults:?}"));
        let expected = folder(router).join("wanfo.yaml");
        if std::env::var_os("WANFO_BLESS").is_some() {
            fs::write(&expected, &imported.yaml).unwrap();
        }
        assert_eq!(imported.yaml, read_to_string(&expected).unwrap_or_default(), "{router}");
        for note in &imported.notes {
            assert!(imported.yaml.contains(&format!("# - {note}\n")), "{note}");
        }
    }
}

#[test]
fn each_line_says_where_it_came_from() {
    for (router, names) in ROUTERS {
        let texts = texts(router, names);
        let yaml = imported(&refs(&texts)).unwrap().yaml;
        for line in yaml.lines().filter(|line| !line.is_empty() && !line.ends_with(':')) {
            let (_, origin) = line.split_once("# ").unwrap_or_else(|| panic!("{router}: {line}"));
            let Some((name, rest)) = origin.split_once(':').filter(|(name, _)| names.contains(name)) else {
                continue;
            };
            // `FILE:LINE VARIABLE`: that variable stands on that line.
            let (line, what) = rest.split_once([' ', ':']).unwrap();
            let text = &texts.iter().find(|(file, _)| *file == name).unwrap().1;
            let source = text.lines().nth(line.parse::<usize>().unwrap() - 1).unwrap();
            let what = what.split([',', ' ', ':']).next().unwrap();
            assert!(what.chars().any(char::is_lowercase) || source.contains(what), "{origin}: {source}");
        }
    }
}

#[test]
fn astlinux_defaults_stand_for_what_is_not_set() {
    let yaml = imported(&[("rc.conf", "EXTIF=eth0\nEXT2IF=eth1")]).unwrap().yaml;
    let config = parse(&yaml).unwrap();
    let targets: Vec<String> = config.links[0].targets.iter().map(|target| format!("{target:?}")).collect();
    assert_eq!(targets, ["Address(8.8.4.4)", "Address(4.2.2.3)"]);
    assert_eq!(config.links.iter().map(|link| link.delay.as_secs()).collect::<Vec<_>>(), [60, 600]);
    assert_eq!((config.probe.silence.as_secs(), config.probe.max_latency.unwrap().as_secs()), (7, 1));
    assert_eq!((&config.notify, &config.action_script), (&None, &None));
    assert_eq!(config.links[1].gateway, Gateway::Auto);
}

/// What the shell makes of a value (POSIX, Shell Command Language), and what only it could.
#[test]
fn values_are_read_as_the_shell_reads_them() {
    let interface = |settings: &str| {
        let text = format!("{settings}\nEXT2IF=eth1\n");
        let imported = imported(&[("rc.conf", &text)]).map_err(|faults| faults.join("\n"))?;
        Ok::<_, String>(parse(&imported.yaml).unwrap().links[0].interface.clone().unwrap())
    };
    for (settings, expected) in [
        ("EXTIF=eth0", "eth0"),
        ("EXTIF=eth0#1 # a comment", "eth0#1"),
        ("  EXTIF=\"eth0\" ; X=1", "eth0"),
        ("EXTIF='eth0'", "eth0"),
        ("EXTIF=e\"t\"'h'\\0", "eth0"),
        ("EXTIF=\"et\\\nh0\"", "eth0"),
        ("EXTIF=et\\\nh0", "eth0"),
        ("EXTIF=\"eth\\$0\"", "eth$0"),
        ("EXTIF='eth$0'", "eth$0"),
        ("export A=1 EXTIF=eth0", "eth0"),
        ("readonly EXTIF=eth0", "eth0"),
        ("EXTIF=eth9\nEXTIF=eth0", "eth0"),
        ("EXTIF=\"$X\"\nEXTIF=eth0", "eth0"),
        ("EXTIF=eth0\nEXTIF=eth9 ifconfig", "eth0"),
        ("EXTIF=eth0\necho EXTIF=eth9", "eth0"),
        ("EXTIF=eth0\n# EXTIF=eth9", "eth0"),
        ("X='a\nEXTIF=eth9\n'\nEXTIF=eth0", "eth0"),
        ("EXTIF=eth0\nX=$(EXTIF=eth9; echo \")\")", "eth0"),
        ("EXTIF=eth0\n(EXTIF=eth9)", "eth0"),
        ("X=`EXTIF=eth9`\nEXTIF=eth0", "eth0"),
        ("if true; then\n  X=1\nfi\nEXTIF=eth0", "eth0"),
        ("f() {\n  X=1\n}\nEXTIF=eth0", "eth0"),
        ("sleep 1 &\nEXTIF=eth0", "eth0"),
        ("EXTIF=eth0 && true", "eth0"),
        ("\u{feff}EXTIF=eth0", "eth0"),
    ] {
        assert_eq!(interface(settings).as_deref(), Ok(expected), "{settings}");
    }
    for (settings, expected) in [
        ("EXTIF=$X", "refers to another variable"),
        ("EXTIF=\"eth${X}\"", "refers to another variable"),
        ("EXTIF=$(touch /tmp/x)", "runs a command"),
        ("EXTIF=\"`id`\"", "runs a command"),
        ("EXTIF=(eth0)", "is a list"),
        ("EXTIF=~", "names a home folder"),
        ("EXTIF+=eth0", "adds to what it was"),
        ("EXTIF=eth0 >x", "is set in none"),
        ("true && EXTIF=eth0", "depends on a command"),
        ("true ||\nEXTIF=eth0", "depends on a command"),
        ("EXTIF=eth9\nif true; then EXTIF=eth0; fi", "depends on a command"),
        ("while true; do\n  EXTIF=eth0\ndone", "depends on a command"),
        ("case x in\n  x) EXTIF=eth0 ;;\nesac", "depends on a command"),
        ("f() {\nEXTIF=eth0\n}", "depends on a command"),
        ("EXTIF=\"\"", "names no interface"),
        ("EXTIF=none", "names no interface"),
    ] {
        let fault = interface(settings).unwrap_err();
        assert!(fault.contains(expected), "{settings}: {fault}");
        assert!(fault.starts_with("rc.conf:") || expected == "is set in none", "{settings}: {fault}");
    }
}

const WAN: &str = "config interface wan\n\toption enabled 1\nconfig interface wanb\n\toption enabled 1\n\
                   config member a\n\toption interface wan\nconfig member b\n\toption interface wanb\n\toption metric 2\n\
                   config policy p\n\tlist use_member a\n\tlist use_member b\nconfig rule r\n\toption use_policy p\n";
const NETWORK: &str = "config interface wan\n\toption proto dhcp\n\toption device eth0\n\
                       config interface wanb\n\toption proto dhcp\n\toption device eth1\n";

#[test]
fn what_cannot_be_made_into_a_config_is_named_with_file_and_line() {
    let two = "EXTIF=eth0\nEXT2IF=eth1\n";
    let uci = |more: &str| vec![("mwan3", format!("{WAN}{more}")), ("network", NETWORK.to_owned())];
    let net = |network: &str| vec![("mwan3", WAN.to_owned()), ("network", network.to_owned())];
    let ast = |more: &str| vec![("rc.conf", format!("{two}{more}"))];
    let only = |name: &'static str, text: &str| vec![(name, text.to_owned())];
    for (files, expected) in [
        (only("a.conf", ""), "no settings of AstLinux's WAN Failover and none of mwan3"),
        (
            only("a.conf", "# nothing\nHOSTNAME=pbx"),
            "no settings of AstLinux's WAN Failover and none of mwan3",
        ),
        (only("a.conf", "\0\u{1}ELF"), "no settings of AstLinux's WAN Failover and none of mwan3"),
        (only("a.conf", "WAN_FAILOVER_ENABLE=yes"), "EXTIF is set in none of these files"),
        ([ast(""), uci("")].concat(), "mwan3 is an OpenWrt file and rc.conf is not"),
        (only("mwan3", WAN), "/etc/config/network; give that file as well"),
        (only("network", NETWORK), "no settings of mwan3; give its file as well"),
        (ast("X=\"never closed\n"), "rc.conf:3: something begins here that no \" ends"),
        (ast("X=$(never closed\n"), "rc.conf:3: something begins here that no ) ends"),
        (
            ast(&format!("X={}", "\"$(".repeat(100_000))),
            "rc.conf:3: quotes and brackets stand in each other more than 50 deep",
        ),
        (ast("cat <<END\nEXTIF=eth9\nEND\n"), "rc.conf:3: a here-document"),
        (ast("WAN_FAILOVER_THRESHOLD=three\n"), "rc.conf:3: WAN_FAILOVER_THRESHOLD is \"three\""),
        (
            ast("WAN_FAILOVER_PRIMARY_DELAY=9999999\n"),
            "rc.conf:3 WAN_FAILOVER_PRIMARY_DELAY: 9999999s is out of range",
        ),
        (
            ast("WAN_FAILOVER_TARGETS='198.51.100.53 1.2.3'\n"),
            "rc.conf:3 WAN_FAILOVER_TARGETS: \"1.2.3\" is not an address",
        ),
        (ast("EXT2GW=gateway\n"), "rc.conf:3 EXT2GW: \"gateway\" is not an address"),
        (ast("EXT2IP=192.0.2.2\n"), "rc.conf:3: EXT2IP is set and EXT2NM is not"),
        (ast("EXT2IP=192.0.2.2\nEXT2NM=255.0.255.0\n"), "rc.conf:4: EXT2NM is \"255.0.255.0\""),
        (
            ast("EXT2IP=192.0.2.256\nEXT2NM=24\n"),
            "rc.conf:3 EXT2IP, EXT2NM: \"192.0.2.256/24\" is not an address",
        ),
        (ast("EXT2IF=eth0\n"), "rc.conf:3 EXT2IF: eth0 is also the interface of links[0]"),
        (ast("EXT2ROUTES='0.0.0.0/0'\n"), "rc.conf:3 EXT2ROUTES: 0.0.0.0/0 is the default route"),
        (ast("EXT2ROUTES=office\n"), "rc.conf:3 EXT2ROUTES: \"office\" is not an address or CIDR"),
        (
            ast("WAN_FAILOVER_NOTIFY='<noc@example.com>'\n"),
            "rc.conf:3 WAN_FAILOVER_NOTIFY: \"<noc@example.com>\" is not",
        ),
        (ast("WAN_FAILOVER_NOTIFY=noc@example.com\nDOMAIN='a b'\n"), "rc.conf:4 no WAN_FAILOVER_NOTIFY_FROM"),
        (uci("option\n"), "mwan3:15: this line is not UCI"),
        (uci("config\n"), "mwan3:15: this line is not UCI"),
        (uci("hello world\n"), "mwan3:15: this line is not UCI"),
        (uci("\toption a 'never closed\n"), "mwan3:15: something begins here that no ' ends"),
        (only("mwan3", "package mwan3\noption a 1\n"), "mwan3:2: an option stands before the first `config`"),
        (
            uci("config rule s\n\toption dest_ip 192.0.2.0/24\n\toption use_policy q\n"),
            "mwan3:17: there is no policy q",
        ),
        (uci("config policy p\n\tlist use_member c\n"), "mwan3:16: there is no member c"),
        (uci("config member a\n\toption metric low\n"), "mwan3:16: metric is \"low\""),
        (uci("config interface wan\n\toption up many\n"), "mwan3:16: up is \"many\""),
        (
            uci("config interface wan\n\toption down many\n\tlist track_ip 198.51.100.53\n"),
            "mwan3:16: down is \"many\"",
        ),
        (
            uci("config interface wanb\n\toption enabled 0\n"),
            "mwan3:14: the policy p of the rule r leads over one line",
        ),
        (
            uci("config rule r\n\toption src_ip 192.0.2.1\n"),
            "mwan3:13: no rule of mwan3 sends all traffic by a policy",
        ),
        (
            net("config interface wan\n\toption proto dhcp\n\toption device eth0\n"),
            "mwan3:3: the network file has no interface \"wanb\"",
        ),
        (net(&NETWORK.replace("\toption device eth1\n", "")), "network:4: the interface wanb has no device"),
        (net(&NETWORK.replace("eth1", "@nowhere")), "network:6: @nowhere is no interface of this file"),
        (
            net(&NETWORK.replace("eth1", "'a b'")),
            "network:6 device: \"a b\" cannot be the name of an interface",
        ),
        (
            net(&NETWORK.replace(
                "proto dhcp\n\toption device eth1",
                "proto static\n\toption device eth1\n\toption ipaddr 192.0.2.2\n\toption netmask x",
            )),
            "network:8: netmask is \"x\"",
        ),
        (
            net(&NETWORK.replace(
                "proto dhcp\n\toption device eth1",
                "proto static\n\toption device eth1\n\toption gateway x",
            )),
            "network:7 gateway: \"x\" is not an address",
        ),
    ] {
        let faults = imported(&refs(&files)).map(|imported| imported.yaml).expect_err(expected);
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{expected}:\n{}", faults.join("\n"));
    }
}

#[test]
fn more_lines_than_wanfo_takes_are_named() {
    let (mut mwan3, mut network) = (String::from("config policy p\n"), String::new());
    for i in 0..9 {
        mwan3 += &format!("\tlist use_member m{i}\n");
        network += &format!("config interface w{i}\n\toption proto dhcp\n\toption device eth{i}\n");
    }
    for i in 0..9 {
        mwan3 += &format!(
            "config interface w{i}\n\toption enabled 1\nconfig member m{i}\n\toption interface w{i}\n\toption metric {i}\n"
        );
    }
    mwan3 += "config rule r\n\toption use_policy p\n";
    let faults =
        imported(&[("mwan3", &mwan3), ("network", &network)]).map(|imported| imported.yaml).unwrap_err();
    assert!(faults[0].starts_with("mwan3:11 ") && faults[0].contains("2 to 8"), "{faults:?}");
}

/// The file's name stands in comments.
#[test]
fn no_name_of_a_file_breaks_the_config() {
    for name in [
        "rc\nlinks: []",
        "rc\u{85}links: []",
        "rc\u{2028}links: []",
        "rc\u{feff}\0\r",
        "\u{1b}[2J # rc: [\"'",
    ] {
        let imported = imported(&[(name, "EXTIF=eth0\nEXT2IF=eth1\nEXTIP=192.0.2.2\n")]).unwrap();
        assert_eq!(parse(&imported.yaml).unwrap().links.len(), 2);
        assert!(
            imported.yaml.chars().all(|c| c == '\n' || c.is_ascii_graphic() || c == ' '),
            "{}",
            imported.yaml
        );
    }
}

/// A password gets nowhere, whatever stands around it.
#[test]
fn no_secret_is_printed() {
    let base = "EXTIF=eth0\nEXT2IF=eth1\nWAN_FAILOVER_NOTIFY=noc@example.com\nSMTP_SERVER=mail.example.com\nSMTP_USER=u\nSMTP_AUTH=on\n";
    for password in [
        "S3cret",
        "'S3cret'",
        "\"S3cret $X\"",
        "S3cret; S3cret",
        "\"S3cret",
        "`S3cret`",
        "(S3cret",
        "S3cret <<S3cret",
        "\0S3cret",
    ] {
        let said = match imported(&[("rc.conf", &format!("{base}SMTP_PASS={password}\n"))]) {
            Ok(imported) => {
                let Relay::Smtp(smtp) = parse(&imported.yaml).unwrap().notify.unwrap().mail.unwrap().relay
                else {
                    panic!("no relay")
                };
                // AstLinux would have sent it in the clear.
                assert_eq!((smtp.tls, smtp.username.as_deref()), (Tls::Starttls, Some("u")));
                assert_eq!(smtp.password_file.as_deref(), Some(Path::new("/etc/wanfo/smtp-password")));
                imported.yaml
            }
            Err(faults) => faults.join("\n"),
        };
        assert!(!said.contains("S3cret"), "{password}: {said}");
    }
    let network = format!("{NETWORK}\toption password 'S3cret'\n");
    for network in [
        network.clone(),
        network.replace("\toption password", "S3cret"),
        network.replace("S3cret'", "S3cret"),
    ] {
        let said = match imported(&[("mwan3", WAN), ("network", &network)]) {
            Ok(imported) => imported.yaml,
            Err(faults) => faults.join("\n"),
        };
        assert!(!said.contains("S3cret"), "{network}: {said}");
    }
}

fn wanfo(arguments: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wanfo")).arg("import").args(arguments).output().unwrap()
}

#[test]
fn the_command_prints_a_config_that_wanfo_takes() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("rc.conf.d");
    fs::create_dir(&settings).unwrap();
    let text = "EXTIF=eth0\nEXT2IF=eth1\nWAN_FAILOVER_TEST_INTERVAL=20\n# caf\u{e9}\n";
    let latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
    fs::write(settings.join("user.conf"), latin).unwrap();
    // AstLinux runs it, so wanfo shall.
    fs::write(folder.path().join("wan-failover.script"), "#!/bin/sh\n").unwrap();
    let printed = wanfo(&[&settings.join("user.conf")]);
    assert_eq!(printed.status.code(), Some(0), "{printed:?}");
    let errors = String::from_utf8(printed.stderr).unwrap();
    assert!(errors.contains("user.conf:3: WAN_FAILOVER_TEST_INTERVAL has no equal"), "{errors}");
    let yaml = String::from_utf8(printed.stdout).unwrap();
    let script = folder.path().join("wan-failover.script");
    assert_eq!(parse(&yaml).unwrap().action_script, Some(script));

    let mut taken = Command::new(env!("CARGO_BIN_EXE_wanfo"));
    taken.args(["config", "--effective", "-c", "/dev/stdin"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut taken = taken.spawn().unwrap();
    std::io::Write::write_all(&mut taken.stdin.take().unwrap(), yaml.as_bytes()).unwrap();
    assert_eq!(taken.wait().unwrap().code(), Some(0));
}

#[test]
fn files_that_cannot_be_read_are_all_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("rc.conf"), "EXTIF=eth0\nEXT2IF=eth1\n").unwrap();
    fs::write(path("huge"), vec![b'#'; (1 << 20) + 1]).unwrap();
    symlink("rc.conf", path("link")).unwrap();
    nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let output = wanfo(&[&path("rc.conf"), &path("missing"), folder.path(), &path("huge"), &path("fifo")]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{errors}");
    for (name, why) in [
        ("missing", "No such file"),
        ("", "no regular file"),
        ("huge", "more than"),
        ("fifo", "no regular file"),
    ] {
        let said = |line: &str| {
            line.contains(path(name).display().to_string().trim_end_matches('/')) && line.contains(why)
        };
        assert!(errors.lines().any(said), "{name}: {errors}");
    }
    assert_eq!(wanfo(&[&path("link")]).status.code(), Some(0));
    assert_eq!(wanfo(&[]).status.code(), Some(2));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever stands in a value, it comes out of the YAML as it went in, or is refused.
    #[test]
    fn values_survive_yaml(name in "[!-~é\u{85}\u{a0}\u{2028}\u{feff}\u{1}]{1,15}") {
        let text = format!("EXTIF='{}'\nEXT2IF=other", name.replace('\'', "'\\''"));
        if let Ok(imported) = imported(&[("rc.conf", &text)]) {
            let config = parse(&imported.yaml).unwrap();
            prop_assert_eq!(config.links[0].interface.as_deref(), Some(name.trim()));
        }
    }
}
