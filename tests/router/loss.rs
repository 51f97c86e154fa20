//! Lines that lose or delay packets, and are alive.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crate::lab::{self, SERVICE};
use crate::story::{Story, config, two_links};

const SILENCE: &str = "probe: {silence: 3s}";
const BEAT: Duration = Duration::from_secs(1);

/// A run at every beat until it is `done`.
fn runs(story: &Story, done: impl Fn() -> bool) {
    while !done() {
        let next = Instant::now() + BEAT;
        story.check();
        sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Nobody was switched, and no link went down.
#[track_caller]
fn assert_calm(story: &Story) {
    let told = story.succeeds(&["history", "--format", "json"]).stdout;
    assert!(told.contains("started") && !told.contains("switched") && !told.contains("link_down"), "{told}");
    assert_eq!(story.active(), "primary");
}

pub fn a_gap_shorter_than_the_silence_less_a_beat_moves_nobody() {
    let story = Story::begin(2, &config(&two_links(["", ""]), &[SILENCE]));
    let over = AtomicBool::new(false);
    scope(|scope| {
        scope.spawn(|| {
            // At another time of the beat each.
            for calm in [1500, 1800, 2150] {
                sleep(Duration::from_millis(calm));
                story.cut_silently(1);
                sleep(Duration::from_millis(1500));
                story.repair(1);
            }
            sleep(BEAT);
            over.store(true, Relaxed);
        });
        runs(&story, || over.load(Relaxed));
    });
    assert_calm(&story);
    assert_eq!(story.link("primary")["up"], true);
}

pub fn a_third_of_all_answers_lost_moves_nobody() {
    lab::need(&["nft"]);
    let story = Story::begin(2, &config(&two_links(["", ""]), &[SILENCE]));
    let loss = "table ip loss { chain forward { type filter hook forward priority 0; \
                icmp type echo-reply numgen random mod 100 < 30 drop; }; }";
    let output = story.provider(1).command("nft").arg(loss).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let end = Instant::now() + Duration::from_secs(12);
    runs(&story, || Instant::now() >= end);
    let dropped = story.provider(1).command("nft").args(["-j", "list", "ruleset"]).output().unwrap();
    assert!(String::from_utf8_lossy(&dropped.stdout).contains("numgen"), "the rule is in force");
    assert_calm(&story);
}

/// A queue of three seconds, as modems have, full of somebody's upload: each answer is late, and the line alive.
pub fn a_line_that_an_upload_fills_is_alive_and_left_when_it_is_cut() {
    lab::need(&["tc"]);
    let story = Story::begin(2, &config(&two_links(["", ""]), &["probe: {silence: 6s}"]));
    story.check();
    let queue = "qdisc add dev wan1 root tbf rate 1mbit burst 4k latency 3s";
    let output = story.router.command("tc").args(queue.split(' ')).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let over = AtomicBool::new(false);
    scope(|scope| {
        scope.spawn(|| {
            let socket = story.client.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
            let mut next = Instant::now();
            while !over.load(Relaxed) {
                // 1.6 Mbit/s, also where this thread comes late. After the cut the router may say that nobody is there.
                let _ = socket.send_to(&[0; 1000], (SERVICE, 9));
                next += Duration::from_millis(5);
                sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        let end = Instant::now() + Duration::from_secs(12);
        runs(&story, || Instant::now() >= end);
        let targets = story.link("primary")["targets"].clone();
        let late = targets[0]["rtt_ms"].as_f64().is_some_and(|rtt_ms| rtt_ms > 1000.0);
        let calm = story.active();
        let cut = Instant::now();
        story.cut_silently(1);
        let wanted = || story.active() == "secondary" || cut.elapsed() > Duration::from_secs(30);
        runs(&story, wanted);
        let silence = cut.elapsed();
        over.store(true, Relaxed);
        assert!(late, "the queue was full: {targets}");
        assert_eq!(calm, "primary");
        assert!(silence < Duration::from_secs(12), "{silence:?}");
    });
    assert_eq!(story.active(), "secondary");
}
