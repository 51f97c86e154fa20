//! Round-trip times of real lines, as netem makes them: the kernel of a development machine may have no module for it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::forger::{Forger, over_ipv4};
use crate::lab::{SERVICE, router_address};
use crate::site::wait_until;
use crate::story::{Story, config, two_links};

/// As a geostationary satellite has it: a quarter of a second each way, and what one adds that is shared by many.
const SHORTEST_MS: u64 = 500;
/// Those that are late overtake each other.
const NETEM: &str = "root netem delay 600ms 100ms loss 3% duplicate 30%";

/// Runs at the beat of the timer, for so long.
fn runs(story: &Story, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        let next = Instant::now() + Duration::from_secs(2);
        story.check();
        sleep(next.saturating_duration_since(Instant::now()));
    }
}

pub fn lines_as_slow_and_as_untidy_as_a_satellite_s_are_good_and_no_reply_but_their_own_counts() {
    // Three requests or so are under way at a time.
    let stable = "stable: 10s";
    let story = Story::begin(2, &config(&two_links([stable, stable]), &["probe: {silence: 8s}"]));
    for line in [1, 2] {
        // Beyond the provider, who forges: of the 1,000 packets that netem(8) holds a flood would leave none for the replies.
        let mut tc = story.internet.command("tc");
        tc.args(["qdisc", "add", "dev", &format!("line{line}")]).args(NETEM.split(' '));
        let netem = tc.output().expect("tc");
        assert!(netem.status.success(), "{netem:?}");
    }
    runs(&story, Duration::from_secs(30));
    assert_eq!(story.active(), "primary");
    for name in ["primary", "secondary"] {
        let link = story.link(name);
        assert_eq!(link["up"], true, "{link:#}");
        let rtt = link["targets"][0]["rtt_ms"].as_f64();
        // A round whose reply was lost has none.
        assert!(rtt.is_none_or(|rtt| rtt >= SHORTEST_MS as f64), "{link:#}");
    }
    // What comes late or twice, or was never asked for, is no answer to the next request.
    let forger = Forger::start(&story, router_address(1).into(), over_ipv4);
    runs(&story, Duration::from_secs(10));
    assert_eq!(story.active(), "primary");
    story.cut_silently(1);
    let cut = Instant::now();
    story.check_until_active("secondary");
    let silent = cut.elapsed();
    wait_until("the service over line 2", || story.ask(SERVICE).is_ok_and(|line| line == 2));
    runs(&story, Duration::from_secs(6));
    assert_eq!(story.link("primary")["up"], false);
    let (sent, a_second) = forger.end();
    story.repair(1);
    wait_until("the primary, which is good again", || {
        story.check();
        story.active() == "primary"
    });
    let told = story.succeeds(&["history", "--format", "json"]).stdout;
    assert_eq!(told.matches("\"switched\"").count(), 2, "{told}");
    println!(
        "  {SHORTEST_MS} to {} ms each, 3 % lost, 30 % doubled, beside {sent} forged replies ({a_second} a second): left {:.0} s after it was cut",
        SHORTEST_MS + 200,
        silent.as_secs_f64()
    );
}
