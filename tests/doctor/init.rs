//! `wanfo init` on routers that have no config yet.

use std::fs::File;
use std::io::{Read, Write};
use std::time::Duration;

use nix::pty::openpty;

use super::*;
use crate::lab::SERVICE;

/// A router without a config, whose backup has no default route, but a lease that names its gateway.
fn router_without_a_config() -> Bench {
    let bench = Bench::new();
    bench.remove(CONFIG_PATH);
    bench.ip("route del default dev wan2");
    let index = bench.router.ip("-o link show wan2").split(':').next().expect("a number").to_owned();
    bench.write(&format!("/run/systemd/netif/leases/{index}"), "ADDRESS=192.0.2.18\nROUTER=192.0.2.17\n");
    bench
}

pub fn what_it_proposes_works_as_it_stands_and_fails_over_with_targets() {
    // The doctor tells what is missing for `pin: link`.
    lab::need_users();
    let bench = router_without_a_config();
    let before = bench.kernel();
    let run = bench.succeeds(&["init"]);
    assert_eq!((bench.kernel(), run.stderr.as_str()), (before, ""));
    for words in [
        "192.0.2.18/28 by gateway 192.0.2.17, from the DHCP lease of systemd-networkd",
        "# - lan: no IPv4 gateway is known",
        "# - whether a backup is metered",
        "# - who is to be told",
    ] {
        assert!(run.stdout.contains(words), "{words}:\n{}", run.stdout);
    }
    bench.write(CONFIG_PATH, &run.stdout);
    assert_eq!(bench.succeeds(&["config"]).stderr, "");
    bench.check();
    assert_eq!((bench.active().as_str(), bench.problems().as_str()), ("primary", ""));
    // A gateway that is pulled is seen by these targets too; what dies beyond it is not, as the doctor says.
    bench.pull_cable(1);
    bench.fail_over("primary", "secondary");
    bench.assert_served_over(2, SERVICE);
    bench.plug_in(1);
    bench.check_until("a primary that answers", |status| status["links"][0]["stable_in_ms"].is_u64());
    bench.let_pass(Duration::from_secs(61));
    bench.check_until_active("primary");
    assert!(bench.doctor().stdout.contains("add hosts beyond the provider"));

    let mut config = run.stdout;
    for hosts in ["[198.51.100.11, 203.0.113.80]", "[198.51.100.21, 203.0.113.81]"] {
        config = config.replacen("[gateway]", hosts, 1);
    }
    bench.write(CONFIG_PATH, &config);
    bench.check();
    bench.let_pass(Duration::from_secs(61));
    bench.check();
    bench.assert_healthy();
    bench.cut_silently(1);
    bench.fail_over("primary", "secondary");
    bench.assert_served_over(2, SERVICE);
}

pub fn on_a_terminal_it_asks_what_only_people_know() {
    let bench = router_without_a_config();
    let ask = |answers: &str| -> (String, String) {
        let terminal = openpty(None, None).expect("a terminal");
        let mut command = bench.wanfo_command(&["init"]);
        command.stdin(terminal.slave.try_clone().expect("a descriptor"));
        command.stderr(terminal.slave).stdout(std::process::Stdio::piped());
        let child = command.spawn().expect("it starts");
        // It holds the terminal's other end.
        drop(command);
        let mut master = File::from(terminal.master);
        master.write_all(answers.as_bytes()).expect("a terminal takes it");
        let output = child.wait_with_output().expect("it ends");
        // In pieces as it likes, until nobody has the other end any more, which is an error (EIO).
        let mut said = Vec::new();
        let _ = master.read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success(), "{said}");
        (String::from_utf8(output.stdout).expect("text"), said)
    };
    let (config, said) = ask("wan9\nwan2\nn\nnobody at all\nnoc@example.com\n");
    assert_eq!(said.matches("That is no answer to it.").count(), 2, "{said}");
    let links: Vec<&str> = config.lines().filter(|line| line.contains("interface:")).collect();
    assert_eq!(links, ["    interface: wan2", "    interface: wan1"]);
    assert!(config.contains("standby_interval: 10s") && config.contains("to: [noc@example.com]"), "{config}");
    let (config, _) = ask("\n\n\n");
    assert!(config.contains("standby_interval: 60s") && !config.contains("notify:"), "{config}");
    assert!(config.find("wan1") < config.find("wan2"), "{config}");
}

pub fn where_there_are_no_two_lines_it_says_what_is_missing() {
    let bench = router_without_a_config();
    bench.pull_cable(2);
    let run = bench.wanfo(&["init"]);
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    for words in [
        "only one line",
        "192.0.2.2/28 by gateway 192.0.2.1",
        "not taken: wan2: interface wan2 has no carrier",
    ] {
        assert!(run.stderr.contains(words), "{words}:\n{}", run.stderr);
    }
    bench.plug_in(2);
    bench.ip("route del default dev wan1");
    bench.ip("-6 route del default dev wan1");
    bench.ip("link set wan2 down");
    let run = bench.wanfo(&["init"]);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("no line to the Internet is found"), "{}", run.stderr);
}

pub fn lines_of_other_kinds_are_proposed_as_they_are() {
    // Two modems with the same address, one of them with a name that YAML has another meaning for.
    let bench = router_without_a_config();
    bench.ip("address flush dev wan2");
    bench.ip("address add 192.0.2.3/28 dev wan2");
    bench.ip("route add default via 192.0.2.1 dev wan2 metric 300");
    bench.ip("link set lan down");
    bench.ip("link set lan name null");
    bench.ip("link set null up");
    bench.ip("address replace 203.0.113.1/28 dev null");
    bench.ip("route add default via 203.0.113.2 dev null metric 50");
    let config = bench.succeeds(&["init"]).stdout;
    let at = |words: &str| config.find(words).unwrap_or_else(|| panic!("{words}:\n{config}"));
    assert!(at("interface: 'null'") < at("interface: wan1"), "{config}");
    assert!(at("interface: wan1") < at("interface: wan2"), "{config}");
    // Each is asked over its own line.
    assert_eq!(config.matches("targets: [gateway]").count(), 3, "{config}");
}
