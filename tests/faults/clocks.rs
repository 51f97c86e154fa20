//! The clock that wanfo goes by, CLOCK_BOOTTIME: it goes on while the machine sleeps, and back where a snapshot is restored.

use std::time::Duration;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

pub fn a_router_that_slept_blames_no_line_for_it() {
    let lab = at_work();
    let before = kernel(&lab);
    lab.let_pass(8 * HOUR);
    assert_ends(&lab.wanfo(&["check"]), 0, &[]);
    assert_eq!(active(&lab), "fibre");
    assert_eq!(kernel(&lab), before);
    // The silence of a line that died in its sleep is counted from when it was asked again.
    lab.cut_silently(1);
    lab.let_pass(8 * HOUR);
    let run = lab.wanfo(&["check"]);
    assert_ends(&run, 0, &["switched from fibre to lte"]);
    assert!(silent_for(&lab)[0] < 60_000, "{}", status(&lab));
}

pub fn a_clock_that_goes_back_stops_nothing() {
    let lab = two_links();
    lab.configure(&TWO_LINKS.replace("delay: 0s", "delay: 1h"));
    assert_ends(&lab.wanfo(&["check"]), 0, &[]);
    let whole = kernel(&lab);
    lab.let_pass(2 * HOUR);
    assert_ends(&lab.wanfo(&["force-failover"]), 0, &[]);
    lab.turn_back();
    // That it was forced lies ahead, and is not believed: the first link is good, and gets the traffic.
    assert_ends(&lab.wanfo(&["check"]), 0, &["switched from lte to fibre"]);
    assert_eq!(kernel(&lab), whole);
    assert_ends(&lab.wanfo(&["check"]), 0, &[]);
    // Which begins a delay in this time.
    assert_ends(&lab.wanfo(&["force-failover"]), 0, &[]);
    assert_eq!((lab.wanfo(&["check"]).code, active(&lab).as_str()), (0, "lte"));
    // A line that dies is left as at any other time.
    lab.cut_silently(2);
    assert_ends(&lab.wanfo(&["check"]), 0, &["switched from lte to fibre"]);
}
