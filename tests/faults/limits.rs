use std::time::Instant;

use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Uid, setuid};

use super::*;
use crate::story::beyond_the_silence;

/// Any user that has no process on this machine.
const SOMEBODY: Uid = Uid::from_raw(54321);

// linux/capability.h
const CAP_SETGID: libc::c_ulong = 6;
const CAP_SETUID: libc::c_ulong = 7;
const CAP_NET_ADMIN: libc::c_ulong = 12;

fn before_exec(
    command: &mut Command,
    act: impl FnMut() -> nix::Result<()> + Send + Sync + 'static,
) -> &mut Command {
    lab::before_exec(command, act);
    command
}

pub fn a_user_is_told_to_run_it_as_root() {
    lab::need_users();
    let as_somebody = |lab: &Lab, command: &str| {
        ended(before_exec(&mut lab.wanfo_command(&[command]), || setuid(SOMEBODY)))
    };
    let lab = two_links();
    let before = kernel(&lab);
    assert_ends(&as_somebody(&lab, "check"), 1, &["Permission denied", "run wanfo as root"]);
    assert_eq!(kernel(&lab), before);

    let lab = at_work();
    let before = (kernel(&lab), state(&lab));
    for command in ["check", "force-failover", "failback", "down"] {
        assert_ends(&as_somebody(&lab, command), 1, &["Permission denied", "run wanfo as root"]);
    }
    assert_eq!((kernel(&lab), state(&lab)), before);
    let run = as_somebody(&lab, "status");
    assert_ends(&run, 0, &[]);
    assert!(run.stdout.contains("On fibre"), "{}", run.stdout);
}

pub fn root_without_the_capability_is_told_once() {
    let lab = two_links();
    let before = kernel(&lab);
    let run = check_without(&lab, CAP_NET_ADMIN);
    assert_ends(&run, 1, &["Operation not permitted", "needs root (CAP_NET_ADMIN)", "were not tried"]);
    assert_eq!(run.stderr.matches("Operation not permitted").count(), 1, "{}", run.stderr);
    assert_eq!(kernel(&lab), before);
    // Nothing was learnt of the lines: no target is asked without its pin.
    assert_eq!(silent_for(&lab), [0, 0]);
    let problems = status(&lab)["problems"].to_string();
    assert!(problems.contains("CAP_NET_ADMIN"), "{problems}");
    assert_ends(&lab.wanfo(&["check"]), 0, &["brought the kernel's routes in line"]);
}

/// A check by root that has all capabilities but one.
fn check_without(lab: &Lab, capability: libc::c_ulong) -> Run {
    ended(before_exec(&mut lab.wanfo_command(&["check"]), move || drop_capability(capability)))
}

/// Out of the bounding set, so exec does not give it back (capabilities(7)).
fn drop_capability(capability: libc::c_ulong) -> nix::Result<()> {
    // SAFETY: prctl with integers only.
    #[expect(unsafe_code, reason = "nix does not have it")]
    let dropped = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    nix::errno::Errno::result(dropped).map(drop)
}

/// A command by root that has these capabilities alone.
fn with_only(lab: &Lab, command: &[&str], capabilities: &'static [libc::c_ulong]) -> Run {
    ended(before_exec(&mut lab.wanfo_command(command), || {
        // As many as this kernel has.
        let all = (0..64).filter(|capability| !capabilities.contains(capability));
        all.map(drop_capability).filter(|dropped| *dropped != Err(nix::errno::Errno::EINVAL)).collect()
    }))
}

/// As the table in SECURITY.md has it. Each of them is missed where it is missing.
pub fn each_command_does_its_work_with_the_rights_that_it_needs() {
    lab::need_users();
    let lab = two_links();
    let commands: [(&[&str], &'static [libc::c_ulong]); 11] = [
        (&["config"], &[]),
        (&["check"], &[CAP_NET_ADMIN, CAP_SETUID]),
        (&["force-failover"], &[CAP_NET_ADMIN, CAP_SETUID]),
        (&["failback"], &[CAP_NET_ADMIN, CAP_SETUID]),
        (&["status"], &[]),
        (&["history"], &[]),
        (&["deliver"], &[]),
        (&["drill"], &[CAP_SETUID]),
        (&["exec", "lte", "--", "/bin/true"], &[CAP_SETUID, CAP_SETGID]),
        (&["doctor"], &[CAP_NET_ADMIN, CAP_SETUID]),
        (&["down"], &[CAP_NET_ADMIN, CAP_SETUID]),
    ];
    for (command, capabilities) in commands {
        let run = with_only(&lab, command, capabilities);
        // No timer, no NAT: the doctor has something to say.
        assert!(run.code == 0 || command == ["doctor"], "{command:?}: {run:?}");
        assert!(
            !run.stderr.contains("not permitted") && !run.stdout.contains("not permitted"),
            "{command:?}: {run:?}"
        );
        if command == ["check"] {
            assert!(problems(&lab).is_empty(), "{:?}", problems(&lab));
        }
    }
    assert_ends(&lab.wanfo(&["check"]), 0, &[]);
    let without: [(&[&str], &'static [libc::c_ulong]); 3] = [
        (&["force-failover"], &[CAP_SETUID]),
        (&["exec", "lte", "--", "/bin/true"], &[CAP_SETGID]),
        (&["exec", "lte", "--", "/bin/true"], &[CAP_SETUID]),
    ];
    for (command, capabilities) in without {
        let run = with_only(&lab, command, capabilities);
        assert_ne!(run.code, 0, "{command:?} with {capabilities:?} alone");
    }
}

/// As in a container. Both ways of tying targets do their work, and one follows the other.
pub fn without_the_right_to_take_uids_targets_are_tied_one_by_one_and_that_is_said() {
    let lab = at_work();
    let pinned_by_target = || status(&lab)["problems"].to_string().contains("pinned-by-target");
    for _ in 0..2 {
        assert_ends(&check_without(&lab, CAP_SETUID), 0, &[]);
        assert!(pinned_by_target());
        assert!(!lab.router.ip("rule show").contains("uidrange"));
    }
    assert_eq!(silent_for(&lab), [0, 0]);
    lab.cut_silently(1);
    beyond_the_silence(|| assert_ends(&check_without(&lab, CAP_SETUID), 0, &[]));
    assert_carried_by(&lab, 2);
    assert_ends(&lab.wanfo(&["check"]), 0, &[]);
    assert_eq!(pinned_by_target(), !lab::has_other_users());
    assert_carried_by(&lab, 2);
}

pub fn no_ping_group_no_verdict() {
    // In a user namespace only mapped groups may be written, and so not the empty range.
    lab::need_users();
    let lab = at_work();
    lab.cut_silently(1);
    lab.router.sysctl("net.ipv4.ping_group_range", "1 0");
    let before = kernel(&lab);
    beyond_the_silence(|| {
        assert_ends(&lab.wanfo(&["check"]), 1, &["no permission to open an ICMP socket", "sysctl -w"]);
    });
    assert_eq!(silent_for(&lab), [0, 0]);
    assert_eq!(kernel(&lab), before);
    assert_eq!(active(&lab), "fibre");
}

/// A link with ten targets each.
fn twenty_targets() -> Lab {
    let lab = two_links();
    let targets = |line: u8| (1..=10).map(|n| format!("198.51.100.{}", 100 * line + n)).collect::<Vec<_>>();
    for address in [targets(1), targets(2)].concat() {
        lab.internet.ip(&format!("address add {address}/32 dev lo"));
    }
    lab.configure(
        &TWO_LINKS
            .replace("[198.51.100.11]", &format!("[{}]", targets(1).join(", ")))
            .replace("[198.51.100.21]", &format!("[{}]", targets(2).join(", "))),
    );
    assert_ends(&lab.wanfo(&["check"]), 0, &[]);
    assert_eq!(silent_for(&lab), [0, 0]);
    lab
}

pub fn too_few_file_descriptors_are_no_verdict() {
    let lab = twenty_targets();
    lab.cut_silently(1);
    beyond_the_silence(|| {
        let run = ended(before_exec(&mut lab.wanfo_command(&["check"]), || {
            setrlimit(Resource::RLIMIT_NOFILE, 10, 10)
        }));
        assert_ends(&run, 1, &["no ICMP socket could be opened", "LimitNOFILE="]);
    });
    assert_eq!(silent_for(&lab), [0, 0]);
    assert_carried_by(&lab, 1);
    lab.wanfo(&["check"]);
    assert_carried_by(&lab, 2);
}

pub fn too_few_threads_are_no_verdict() {
    lab::need_users();
    let lab = twenty_targets();
    lab.cut_silently(1);
    // With the pins in place a run starts no `ip`, so that a user can do it to whom the directory belongs.
    for name in ["run", "run/lock", "run/state.json"] {
        nix::unistd::chown(&lab.path(name), Some(SOMEBODY), None).expect("root may give files away");
    }
    beyond_the_silence(|| {
        let run = ended(before_exec(&mut lab.wanfo_command(&["check"]), || {
            setrlimit(Resource::RLIMIT_NPROC, 1, 1)?;
            // The group stays, and with it the permission to ping.
            setuid(SOMEBODY)
        }));
        assert_ends(&run, 1, &["no thread could be started for a ping", "TasksMax="]);
    });
    assert_eq!(silent_for(&lab), [0, 0]);
    assert_carried_by(&lab, 1);
}

pub fn sixty_four_silent_targets_cost_one_silence() {
    let lab = Lab::new(8, WANFO);
    let links = (1..=8).map(|line| {
        // Addresses that nobody has: silence.
        let targets =
            (1..=8).map(|n| format!("203.0.113.{}", 100 + 8 * line + n)).collect::<Vec<_>>().join(", ");
        format!(
            "  - {{name: line{line}, interface: wan{line}, targets: [{targets}], standby_interval: 0s}}\n"
        )
    });
    let links: String = links.collect();
    lab.configure(&format!("links:\n{links}probe: {{silence: 3s}}\n"));
    // Then they are down, and waited for one second. Half of what eight links would take one after the other.
    for (at_least, at_most) in [(3, 12), (1, 4)] {
        let start = Instant::now();
        assert_ends(&lab.wanfo(&["check"]), 0, &[]);
        let time = start.elapsed();
        assert!((at_least..at_most).contains(&time.as_secs()), "{time:?}");
        assert_eq!(lab.wanfo(&["status", "--exit-code"]).code, 2);
        assert!(silent_for(&lab).iter().all(|silent| *silent >= 3000), "{:?}", silent_for(&lab));
    }
}
