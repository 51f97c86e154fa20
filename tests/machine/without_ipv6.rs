//! A kernel that has no IPv6 at all.

use std::path::Path;

use crate::lab::{Lab, SERVICE, target, target6};
use crate::story::{PROBE, Story, WANFO, config, two_links};

/// With nothing said of IPv6 in the config, and pins of either kind.
pub fn a_kernel_without_ipv6_fails_over_and_back_and_nothing_is_complained_of() {
    assert!(!Path::new("/proc/sys/net/ipv6").exists(), "this kernel has IPv6");
    for pin in ["link", "target"] {
        let config = format!(
            "links:\n  - {{name: primary, interface: wan1, targets: [{}], delay: 0s}}\n  \
             - {{name: secondary, interface: wan2, targets: [{}]}}\n\
             probe: {{silence: 2s, pin: {pin}}}\n",
            target(1, 1),
            target(2, 1)
        );
        let story = Story::in_a(Lab::new(2, WANFO), &config);
        let quietly = |run: crate::lab::Run| assert_eq!(run.stderr, "", "{run:?}");
        story.check();
        let calm = story.router.ip("-4 -N route show table all");
        assert_eq!(story.problems(), "");
        quietly(story.check());
        story.assert_served_over(1, SERVICE);
        story.cut_silently(1);
        story.fail_over("primary", "secondary");
        assert_eq!(story.problems(), "");
        quietly(story.check());
        story.assert_served_over(2, SERVICE);
        story.repair(1);
        story.succeeds(&["check"]);
        story.succeeds(&["check"]);
        story.succeeds(&["check"]);
        story.succeeds(&["failback"]);
        assert_eq!(story.active(), "primary");
        assert_eq!(story.problems(), "");
        story.assert_served_over(1, SERVICE);
        assert_eq!(calm, story.router.ip("-4 -N route show table all"));
        story.succeeds(&["down"]);
        assert_eq!(story.router.ip("-4 -N rule show").matches("proto 119").count(), 0);
    }
}

/// A config that was written for another machine.
pub fn what_needs_ipv6_is_a_problem_on_a_kernel_without_it_and_the_rest_goes_on() {
    let story = Story::begin(
        2,
        &config(
            &two_links([
                "gateway6: fe80::1, routes: [\"2001:db8:5::/48\"]",
                &format!(
                    "address: [\"2001:db8:2::2/64\"], targets: [{}, \"{}\"]",
                    target(2, 1),
                    target6(2, 1)
                ),
            ]),
            &[PROBE],
        ),
    );
    story.check();
    let problems = story.problems();
    assert!(problems.contains("primary: this kernel has no IPv6 for fe80::1"), "{problems}");
    assert!(
        problems.contains(&format!("secondary: this kernel has no IPv6 for {}", target6(2, 1))),
        "{problems}"
    );
    let again = story.check();
    assert_eq!(again.stderr, "", "said once");
    story.fails_over_and_back();
}
