//! A recorded day, played by other configs; and recordings that are no good.

use std::fmt::Write;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use wanfo::core::config::Config;
use wanfo::core::record::{Event, Record};
use wanfo::core::recording::Recording;
use wanfo::core::replay::{Played, fit, play};
use wanfo::core::report::replay::text;
use wanfo::core::script::Ending;
use wanfo::core::switch::Request;

use model_router::{Condition, Router};

#[allow(dead_code, reason = "nothing is forwarded in here")]
#[path = "fixtures/model_kernel.rs"]
mod model_kernel;
#[allow(dead_code, reason = "the model can do more")]
#[path = "fixtures/model_router.rs"]
mod model_router;

const PRIMARY: &str = "name: primary, interface: eth0, stable: 10s";
const SECONDARY: &str = "name: secondary, interface: eth1, delay: 10s, stable: 10s, targets: [198.51.100.21]";

/// Two links, the primary with these targets; `probe` has more keys.
fn config(targets: &str, probe: &str) -> Config {
    of_links(&[&format!("{PRIMARY}, targets: [{targets}]"), SECONDARY], probe)
}

fn of_links(links: &[&str], probe: &str) -> Config {
    let links: String = links.iter().map(|link| format!("  - {{{link}}}\n")).collect();
    parse(&format!("links:\n{links}probe: {{record: true, {probe}}}\n"))
}

fn parse(text: &str) -> Config {
    wanfo::core::config::read::parse(text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"))
}

/// Records five minutes, in which the lines are like this from so many seconds on.
fn recorded(config: Config, weather: &[(u64, &str, Condition)]) -> String {
    let mut router = Router::new(config);
    let line = |(at, name, condition): &(u64, &str, Condition)| {
        (Duration::from_secs(*at), (*name).to_owned(), condition.clone())
    };
    router.schedule = weather.iter().map(line).collect();
    live(&mut router, 300);
    router.recording
}

/// As the timer goes on, until so many seconds have passed since the beginning.
fn live(router: &mut Router, until: u64) {
    while router.elapsed < Duration::from_secs(until) {
        let began = router.elapsed;
        router.check();
        let took = router.elapsed - began;
        router.wait(Duration::from_secs(2).saturating_sub(took));
    }
}

fn read(text: &str) -> Recording {
    let mut recording = Recording::default();
    recording.add("it", text.as_bytes());
    assert_eq!(recording.left_out, [""; 0]);
    recording
}

fn played(text: &str, config: &Config) -> Played {
    let recording = read(text);
    let (config, left_out) = fit(config, &recording).unwrap();
    assert_eq!(left_out, [""; 0]);
    play(&recording, &config).unwrap()
}

/// Seconds since the beginning, and the link that is entered.
fn told(switches: &[Record]) -> Vec<String> {
    let line = |record: &Record| match &record.event {
        Event::Switched { to, .. } => format!("{:.1} {to}", (record.boot_ms.0 - 30_000) as f64 / 1000.0),
        other => panic!("no switch: {other}"),
    };
    switches.iter().map(line).collect()
}

const TARGET: &str = "198.51.100.11";

#[test]
fn a_longer_silence_rides_out_a_short_outage_and_a_shorter_one_does_not() {
    let day = recorded(
        config(TARGET, "silence: 6s"),
        &[(20, "eth0", Condition::Silent), (33, "eth0", Condition::Good), (100, "eth0", Condition::Silent)],
    );
    let with = |silence: &str| played(&day, &config(TARGET, &format!("silence: {silence}")));
    assert_eq!(told(&with("6s").came), ["24.0 secondary", "44.0 primary", "104.0 secondary"]);
    assert_eq!(told(&with("6s").would_come), told(&with("6s").came));
    // The last answer was that of the run before: at 18 s, and at 98 s.
    assert_eq!(told(&with("20s").would_come), ["118.0 secondary"]);
    assert_eq!(told(&with("3s").would_come)[0], "21.0 secondary");
    assert_eq!(told(&with("45s").would_come), ["143.0 secondary"]);
}

/// The runs of then stayed for six seconds; a config that decides sooner has runs in that time as well.
#[test]
fn the_timer_goes_on_where_a_run_of_then_stayed_for_longer() {
    let day = recorded(
        config(TARGET, "silence: 12s"),
        &[(20, "eth0", Condition::Silent), (26, "eth0", Condition::Good)],
    );
    let quick = played(&day, &config(TARGET, "silence: 2s"));
    assert!(quick.came.is_empty());
    let would_come = told(&quick.would_come);
    assert_eq!(would_come.len(), 2, "{would_come:?}");
    assert!(would_come[0].starts_with("20.") && would_come[0].ends_with(" secondary"), "{would_come:?}");
}

#[test]
fn latency_quorum_delay_and_order_can_be_tried() {
    let slow = [(20, "eth0", Condition::Late(Duration::from_millis(900)))];
    let day = recorded(config(TARGET, ""), &slow);
    assert!(played(&day, &config(TARGET, "")).would_come.is_empty());
    let strict = played(&day, &config(TARGET, "max_latency: 500ms"));
    assert_eq!((strict.came.len(), strict.would_come.len()), (0, 1), "{:?}", strict.would_come);

    let two = "198.51.100.11, 198.51.100.12";
    let silent = Condition::SilentTargets(vec!["198.51.100.12".parse().unwrap()]);
    let day = recorded(config(two, ""), &[(20, "eth0", silent)]);
    let primary = format!("{PRIMARY}, targets: [{two}], quorum: 2");
    assert!(played(&day, &config(two, "")).would_come.is_empty());
    assert_eq!(told(&played(&day, &of_links(&[&primary, SECONDARY], "")).would_come), ["24.0 secondary"]);

    let day = recorded(config(TARGET, ""), &[(20, "eth0", Condition::Silent), (26, "eth0", Condition::Good)]);
    let patient = SECONDARY.replace("delay: 10s", "delay: 2m");
    let primary = format!("{PRIMARY}, targets: [{TARGET}]");
    assert_eq!(
        told(&played(&day, &of_links(&[&primary, &patient], "")).would_come),
        ["24.0 secondary", "144.0 primary"]
    );
    let patient = primary.replace("stable: 10s", "stable: 50s");
    assert_eq!(
        told(&played(&day, &of_links(&[&patient, SECONDARY], "")).would_come),
        ["24.0 secondary", "76.0 primary"]
    );
    // A config that prefers the other one finds the traffic on its backup, and leaves it: then nobody hears of the outage.
    let other_way = played(&day, &of_links(&[SECONDARY, &primary], ""));
    assert_eq!(told(&other_way.would_come), ["0.0 primary", "0.0 secondary"]);
    assert!(other_way.guessed > 0, "the secondary was asked once a minute, and is asked all the time now");
}

#[test]
fn a_line_of_no_use_can_be_left_or_not() {
    let checks = "checks: [{tcp: 203.0.113.80, port: 443}]";
    let links = [PRIMARY, SECONDARY].map(|link| format!("{link}, {checks}"));
    let primary = format!("{}, targets: [{TARGET}]", links[0]);
    let strict = of_links(&[&primary, &links[1]], "");
    let portal = Condition::Fails(vec!["203.0.113.80".parse().unwrap()]);
    let day = recorded(strict.clone(), &[(20, "eth0", portal)]);
    let same = played(&day, &strict);
    assert_eq!((told(&same.came).len(), told(&same.would_come)), (1, told(&same.came)));
    assert!(played(&day, &config(TARGET, "")).would_come.is_empty());
    let other = of_links(&[&primary.replace("443", "80"), &links[1]], "");
    let left_out = fit(&other, &read(&day)).unwrap().1;
    assert_eq!(
        left_out,
        ["primary: the check TCP port 80 at 203.0.113.80 is left out: it was not asked then"]
    );
}

#[test]
fn what_somebody_did_and_what_the_exit_script_said_is_played_again() {
    let with_script = |probe: &str| {
        let links = format!("  - {{{PRIMARY}, targets: [{TARGET}]}}\n  - {{{SECONDARY}}}\n");
        parse(&format!("links:\n{links}probe: {{record: true, {probe}}}\nexit_script: /etc/wanfo/exit\n"))
    };
    let mut router = Router::new(with_script(""));
    live(&mut router, 20);
    router.exit_script = Ending::Exit(1);
    router.run(Request::Failover { to: Some(1), hold: wanfo::core::hold::Hold::No });
    live(&mut router, 60);
    router.exit_script = Ending::Exit(0);
    live(&mut router, 100);
    let same = played(&router.recording, &with_script(""));
    assert_eq!(told(&same.came).len(), 2, "{:?}", same.came);
    assert_eq!((told(&same.would_come), same.exit_script_unknown), (told(&same.came), false));
    // Asked sooner than then, it says what it said first.
    let hasty = SECONDARY.replace("delay: 10s", "delay: 4s");
    let links = format!("  - {{{PRIMARY}, targets: [{TARGET}]}}\n  - {{{hasty}}}\n");
    let hasty = parse(&format!("links:\n{links}exit_script: /etc/wanfo/exit\n"));
    let would_come = told(&played(&router.recording, &hasty).would_come);
    assert!(would_come.len() == 2 && would_come[1].starts_with("6"), "{would_come:?}");

    let without =
        recorded(config(TARGET, ""), &[(20, "eth0", Condition::Silent), (26, "eth0", Condition::Good)]);
    assert!(played(&without, &with_script("")).exit_script_unknown);
}

#[test]
fn what_the_recording_does_not_know_is_left_out_by_name() {
    let day = read(&recorded(config(TARGET, ""), &[]));
    let fits = |config: &Config| {
        let (config, left_out) = fit(config, &day)?;
        let links = config.links.iter().map(|link| format!("{}:{}", link.name, link.targets.len()));
        Ok::<_, String>((links.collect::<Vec<_>>(), left_out))
    };
    let primary = format!("{PRIMARY}, targets: [{TARGET}, 203.0.113.9, gateway]");
    let (links, left_out) =
        fits(&of_links(&[&primary, SECONDARY, "name: lte, interface: eth2"], "")).unwrap();
    assert_eq!(links, ["primary:1", "secondary:1"]);
    assert_eq!(
        left_out,
        [
            "primary: 203.0.113.9 is left out: it was not asked then",
            "primary: its gateway is left out: it was not asked then",
            "lte is left out: there was no such link then",
        ]
    );
    let refused = |links: &[&str]| fits(&of_links(links, "")).unwrap_err();
    let other = refused(&["name: primary, interface: eth7", SECONDARY]);
    assert!(other.contains("primary is left out: its interface is another one"), "{other}");
    let other = refused(&["name: primary, interface: eth0, targets: [203.0.113.9]", SECONDARY]);
    assert!(
        other.contains("too few of the config's links") && other.contains("too few of its targets"),
        "{other}"
    );
}

#[test]
fn the_page_shows_both_sides_in_local_time() {
    let day = recorded(
        config(TARGET, ""),
        &[(20, "eth0", Condition::Silent), (33, "eth0", Condition::Good), (100, "eth0", Condition::Silent)],
    );
    let zone = TimeZone::fixed(jiff::tz::offset(1));
    let page = text(&played(&day, &config(TARGET, "silence: 20s")), &zone);
    let expected = "\
148 runs, 2026-11-18 12:07:10 to 2026-11-18 12:12:08 (local time)

came                 would have come      switch
2026-11-18 12:07:34  -                    primary -> secondary
    primary is down: no reply from 198.51.100.11
2026-11-18 12:07:54  -                    secondary -> primary
    primary is up
2026-11-18 12:08:54  2026-11-18 12:09:08  primary -> secondary
    primary is down: no reply from 198.51.100.11

Switches that came: 3; that would have come by this config: 1.
";
    assert!(page.starts_with(expected), "{page}");
    assert!(page.contains("requests of this replay"), "{page}");
    let page = text(&played(&recorded(config(TARGET, ""), &[]), &config(TARGET, "")), &zone);
    assert!(page.ends_with("No switch came, and none would have come by this config.\n"), "{page}");
}

#[test]
fn a_torn_line_costs_one_run_and_is_named() {
    let day = recorded(config(TARGET, ""), &[(20, "eth0", Condition::Silent)]);
    let torn = &day[..day.len() - 20];
    let mut recording = Recording::default();
    recording.add("rounds", torn.as_bytes());
    let count = day.lines().count();
    assert_eq!(
        recording.left_out,
        [format!("line {count} of rounds is left out: it is torn, as a killed run leaves it")]
    );
    assert_eq!(told(&play(&recording, &config(TARGET, "")).unwrap().would_come), ["24.0 secondary"]);
    // The next run begins a line of its own.
    let mut lines: Vec<&str> = day.lines().collect();
    lines[20] = lines[20].split_at(15).0;
    let mut recording = Recording::default();
    recording.add("rounds", lines.join("\n").as_bytes());
    assert_eq!(recording.left_out, ["line 21 of rounds is left out: it cannot be read"]);
    assert_eq!(recording.rounds().count(), read(&day).rounds().count() - 1);
}

#[test]
fn a_file_of_another_kind_or_version_is_refused_with_a_reason() {
    for (text, why) in [
        ("", "it is no recording of wanfo's"),
        ("\0\0\0", "it is no recording of wanfo's"),
        ("{\"version\": 2}\n", "it is no recording of wanfo's"),
        ("{\"wanfo_recording\":2,\"epoch\":1}\n", "it has version 2, this wanfo reads 1"),
        ("{\"wanfo_recording\":1,\"boot_id\":7}\n", "its first line is damaged: "),
    ] {
        let mut recording = Recording::default();
        recording.add("f", text.as_bytes());
        assert!(
            recording.left_out[0].starts_with(&format!("f cannot be played: {why}")),
            "{:?}",
            recording.left_out
        );
        assert_eq!(fit(&config(TARGET, ""), &recording).unwrap_err(), "there is no run in it");
    }
}

/// What `probe.record` costs, in RAM; and how long a day of it is played.
#[test]
fn a_run_takes_few_bytes() {
    let mut router = Router::new(config(TARGET, ""));
    live(&mut router, 20);
    let before = router.recording.len();
    live(&mut router, 20 + 2000);
    let each = (router.recording.len() - before) as f64 / 1000.0;
    let mut report = format!("{each:.1} bytes a run, {:.1} MB a day at a beat of 2 s", each * 43_200.0 / 1e6);
    let start = Instant::now();
    let runs = played(&router.recording, &config(TARGET, "silence: 20s")).runs as f64;
    write!(report, "; played at {:.0} runs a second", runs / start.elapsed().as_secs_f64()).unwrap();
    println!("{report}");
    assert!(each < 80.0, "{report}: docs/config.md and system/recording.rs say less");
}
