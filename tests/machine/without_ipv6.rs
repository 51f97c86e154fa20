//! A kernel that has no IPv6 at all.

use std::path::Path;

use crate::lab::{Lab, SERVICE, target};
use crate::story::{Story, WANFO};

/// With nothing said of IPv6 in the config, and pins of either kind.
pub fn a_kernel_without_ipv6_fails_over_and_back_and_nothing_is_complained_of() {
    assert!(!Path::new("/proc/sys/net/ipv6").exists(), "this kernel has IPv6");
    for pin in ["rule", "route"] {
        let config = format!(
            "links:\n  - {{name: primary, interface: wan1, targets: [{}], delay: 0s}}\n  \
             - {{name: secondary, interface: wan2, targets: [{}]}}\n\
             probe: {{timeout: 500ms, pin: {pin}}}\n",
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
