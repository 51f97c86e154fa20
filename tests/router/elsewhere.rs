//! Rules and routes of others that come before wanfo's: what they lead astray is not asked, and not believed.

use std::net::IpAddr;

use crate::lab::{self, LAN, SERVICE, gateway, gateway6, router_address, target, target6};
use crate::site::wait_until;
use crate::story::{PIN_BY_TARGET, PROBE, Story, assert_same, beyond_the_silence, config, two_links};
use crate::wiretap::Wiretap;

/// Somebody's table 100 leads everything out of this line.
fn lead_by(story: &Story, line: usize) {
    let (gateway, gateway6) = (gateway(line), gateway6(line));
    story.router.ip(&format!("-4 route replace default via {gateway} dev wan{line} table 100"));
    story.router.ip(&format!("-6 route replace default via {gateway6} dev wan{line} table 100"));
}

/// The problems of a code, each as its link and text.
fn told(story: &Story, code: &str) -> Vec<(String, String)> {
    let status = story.status();
    let problems = status["problems"].as_array().expect("problems").iter();
    let word = |value: &serde_json::Value| value.as_str().expect("a string").to_owned();
    let of_code = problems.filter(|problem| problem["code"] == code);
    of_code.map(|problem| (word(&problem["link"]), word(&problem["text"]))).collect()
}

pub fn no_line_is_found_alive_by_way_of_another() {
    let links = ["primary", "secondary"];
    for (rule, v6, probe) in [
        ("-4 rule add priority 100 lookup 100", false, PROBE),
        ("-4 rule add priority 100 iif lo uidrange 0-0 lookup 100", false, PIN_BY_TARGET),
        ("-4 rule add priority 529 ipproto 1 lookup 100", false, PROBE),
        ("-4 rule add priority 100 lookup 100", false, PIN_BY_TARGET),
        ("-6 rule add priority 100 lookup 100", true, PROBE),
        ("-6 rule add priority 100 uidrange 0-0 lookup 100", true, PIN_BY_TARGET),
        ("-6 rule add priority 529 ipproto 58 lookup 100", true, PIN_BY_TARGET),
    ] {
        let target = |line| -> IpAddr { if v6 { target6(line, 1).into() } else { target(line, 1).into() } };
        let targets = [1, 2].map(|line| format!("targets: [\"{}\"]", target(line)));
        for line in [1, 2] {
            let config = config(&two_links(targets.each_ref().map(String::as_str)), &[probe]);
            let story = Story::begin(2, &config);
            // On a busy machine a request may be open at the end of a run.
            let is_heard = |name| story.link(name)["silent_for_ms"] == 0;
            wait_until("both lines are heard", || {
                story.check();
                links.into_iter().all(is_heard)
            });
            lead_by(&story, 3 - line);
            story.router.ip(rule);
            story.cut_silently(line);
            let wiretap = Wiretap::on(&story.router);
            beyond_the_silence(|| assert_eq!(story.wanfo(&["check"]).code, 1, "{rule}"));
            let asked = wiretap.echo_requests();
            assert!(asked.iter().all(|(_, asked)| *asked == target(3 - line)), "{rule}: {asked:?}");
            // It is not known to be dead, and not believed to live.
            let link = links[line - 1];
            assert_eq!((&story.link(link)["silent_for_ms"], story.active().as_str()), (&0.into(), "primary"));
            let told = told(&story, "probe-diverted");
            let [(about, text)] = &told[..] else { panic!("{rule}: {told:?}") };
            let other = format!("out of wan{} via ", 3 - line);
            assert!(about == link && text.contains(&other), "{rule}: {told:?}");
            assert!(text.contains(&target(line).to_string()), "{rule}: {told:?}");

            // Out of the way, the line is known for what it is.
            story.router.ip(&rule.replace("add", "del"));
            (0..3).for_each(|_| drop(story.check()));
            assert_eq!(story.link(link)["up"], false, "{rule}");
            assert_eq!(story.active(), if line == 1 { "secondary" } else { "primary" }, "{rule}");
        }
    }
}

/// Marked packets, another protocol, what comes in by an interface, other destinations, another source.
pub fn rules_that_are_not_about_our_echo_requests_do_no_harm() {
    let story = Story::of_two_links();
    lead_by(&story, 1);
    for rule in
        ["fwmark 1", "ipproto 17 to 198.51.100.0/24", "iif ppp9", "to 203.0.113.0/28", "from 192.0.2.99"]
    {
        story.router.ip(&format!("rule add priority 100 {rule} lookup 100"));
    }
    story.check();
    story.check();
    assert_eq!(story.problems(), "");
    story.fails_over_and_back();
}

/// What the first line of the status, its exit code and the problems say.
#[track_caller]
fn assert_elsewhere(story: &Story, active: &str, parts: &str) {
    let told = told(story, "default-elsewhere");
    let [(link, text)] = &told[..] else { panic!("{parts}: {told:?}") };
    assert!(link == active && text.contains(&format!("the kernel sends {parts}")), "{parts}: {told:?}");
    let status = story.wanfo(&["status", "--exit-code"]);
    assert_eq!(status.code, 1, "{status:?}");
    let headline = status.stdout.lines().next().expect("a line");
    assert!(headline.contains(text.as_str()), "{status:?}");
    assert_eq!(status.stdout.matches(text.as_str()).count(), 1, "once is enough: {status:?}");
}

pub fn the_headline_tells_where_the_default_traffic_goes() {
    let story = Story::of_two_links();
    story.check();
    let strays = |line: usize| {
        let (interface, via, via6) = (format!("wan{line}"), gateway(line), gateway6(line));
        let by_rule = |family: &str, parts: &str, via: IpAddr| {
            let rule = format!("{family} rule add priority 1000 lookup 100");
            (rule, format!("{parts} out of {interface} via {via}"))
        };
        let by_route = |network: &str, via: IpAddr| {
            let route = format!("route add {network} via {via} dev {interface} metric 7");
            (route, format!("{network} out of {interface} via {via}"))
        };
        [
            by_rule("-4", "0.0.0.0/1, 128.0.0.0/1", via.into()),
            by_rule("-6", "2000::/3", via6.into()),
            by_route("64.0.0.0/3", via.into()),
            by_route("192.0.0.0/3", via.into()),
            by_route("2000::/4", via6.into()),
        ]
    };
    for (active, other) in [("primary", 2), ("secondary", 1)] {
        lead_by(&story, other);
        for (stray, parts) in strays(other) {
            story.router.ip(&stray);
            let run = story.check();
            assert!(run.stderr.contains(&parts), "{run:?}");
            assert_elsewhere(&story, active, &parts);
            assert_eq!(story.check().stderr, "", "once is enough");
            story.router.ip(&stray.replace("add", "del"));
            assert!(story.check().stderr.contains("no longer a problem"), "{stray}");
            assert_eq!(story.problems(), "");
        }
        let calm = story.wanfo(&["status", "--exit-code"]);
        assert!(calm.stdout.starts_with(&format!("On {active}")), "{calm:?}");
        assert_eq!(calm.code, other as i32 % 2, "{calm:?}");
        // A rule for one user or one protocol is somebody's own affair, and so is a private network.
        story.router.ip("rule add priority 1000 uidrange 0-0 lookup 100");
        story.router.ip("rule add priority 1000 ipproto 1 lookup 100");
        story.router.ip(&format!("route add 10.0.0.0/8 via {} dev wan{other}", gateway(other)));
        story.check();
        assert_eq!(told(&story, "default-elsewhere"), []);
        story.router.ip("rule del priority 1000");
        story.router.ip("rule del priority 1000");
        story.router.ip("route del 10.0.0.0/8");
        story.succeeds(&["force-failover", "--hold"]);
    }
}

/// IPv6 is refused while the backup has none, unless somebody leads it into the dead line.
pub fn ipv6_that_is_to_be_refused_and_is_not_is_told() {
    let story = Story::of_two_links();
    story.router.ip("-6 address flush dev wan2 scope global");
    story.router.ip("-6 route flush default dev wan2");
    story.check();
    story.succeeds(&["force-failover", "--hold"]);
    let problems = story.problems();
    assert!(
        problems.starts_with("secondary: IPv6 is refused") && problems.lines().count() == 1,
        "{problems}"
    );
    story.router.ip(&format!("-6 route add 2000::/4 via {} dev wan1", gateway6(1)));
    story.check();
    assert_elsewhere(&story, "secondary", &format!("2000::/4 out of wan1 via {}", gateway6(1)));
}

/// As OpenVPN's `redirect-gateway def1` does.
pub fn a_tunnel_that_takes_everything_is_told() {
    lab::need(&["/dev/net/tun"]);
    let story = Story::of_two_links();
    story.router.ip("tuntap add tun7 mode tun");
    story.router.ip("link set tun7 up");
    story.check();
    for half in ["0.0.0.0/1", "128.0.0.0/1"] {
        story.router.ip(&format!("route add {half} dev tun7"));
    }
    story.check();
    assert_elsewhere(&story, "primary", "0.0.0.0/1, 128.0.0.0/1 out of tun7");
}

/// As NetBird has it on every host: what the main table has for narrow networks comes before its own.
pub fn a_rule_that_takes_narrow_routes_first_unties_no_probe() {
    let story = Story::of_two_links();
    for family in ["-4", "-6"] {
        story.router.ip(&format!("{family} rule add priority 105 lookup main suppress_prefixlength 0"));
    }
    story.check();
    let calm = story.kernel();
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    assert_eq!(story.problems(), "");
    story.assert_lan_is_served_over(2);
    // Were the dead line asked by way of the other, it would answer.
    beyond_the_silence(|| drop(story.check()));
    assert_eq!(story.link("primary")["up"], false);
    story.repair(1);
    story.check_until_active("primary");
    story.assert_lan_is_served_over(1);
    assert_same(&calm, &story.kernel());
}

/// The router's own traffic is not tied, and so no question of ours to the kernel would find it out.
pub fn a_rule_that_ties_the_lan_to_a_dead_line_is_told() {
    let story = Story::of_two_links();
    lead_by(&story, 1);
    story.router.ip(&format!("-4 rule add priority 600 from {LAN} lookup 100"));
    // By its own address a line is used on purpose, and cannot be otherwise; behind the main table nothing is tied.
    story.router.ip(&format!("-4 rule add priority 601 from {} lookup 100", router_address(1)));
    story.router.ip("-4 rule add priority 40000 lookup 100");
    story.check();
    assert_eq!(story.problems(), "", "while it works nobody is harmed");
    story.cut_silently(1);
    story.fail_over("primary", "secondary");
    assert!(story.ask(IpAddr::from(SERVICE)).is_err(), "the rule ties it");
    story.check();
    let [(link, text)] = &told(&story, "route-stays")[..] else { panic!("{}", story.problems()) };
    assert_eq!(link, "primary");
    let rule = format!("it is down, and foreign rules (priority 600 from {LAN} lookup 100 protocol 0) lead");
    assert!(text.starts_with(&rule), "{text}");
    // As it says.
    story.router.ip(&format!("-4 rule add priority 32767 from {LAN} lookup 100"));
    story.router.ip("-4 rule del priority 600");
    story.check();
    assert_eq!(told(&story, "route-stays"), []);
    story.assert_lan_is_served_over(2);
}
