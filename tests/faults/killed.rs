use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::iproute::with_ip;
use super::*;
use crate::site::wait_until;

/// What the kernel looks like on either link when nothing disturbs.
fn undisturbed(lab: &Lab) -> [Vec<String>; 2] {
    assert_ends(&lab.wanfo(&["force-failover"]), 0, &[]);
    let away = kernel(lab);
    assert_ends(&lab.wanfo(&["failback"]), 0, &[]);
    [kernel(lab), away]
}

/// The next run has made good what a killed one left.
#[track_caller]
fn assert_whole(lab: &Lab, [home, away]: &[Vec<String>; 2]) {
    let state = state(lab);
    assert!(state["switching"].is_null(), "{state}");
    assert_eq!(&kernel(lab), if state["active"] == "fibre" { home } else { away });
    assert_eq!(check(lab).stderr, "", "there is nothing left to do");
    assert!(!lab.path("run/state.json.new").exists());
}

/// A long delay, so that nothing but the test switches.
fn steady() -> Lab {
    let lab = two_links();
    lab.configure(&TWO_LINKS.replace("delay: 0s", "delay: 1h"));
    assert_ends(&check(&lab), 0, &[]);
    lab
}

pub fn killed_before_any_of_its_commands() {
    let lab = steady();
    let whole = undisturbed(&lab);
    let mut moments = 0;
    for (command, to) in [("force-failover", "lte"), ("failback", "fibre")] {
        for commands_before in 0.. {
            write(&lab.path("left"), format!("{commands_before}\n"));
            let run = ended(&mut with_ip(&lab, "kills-wanfo", &[command]));
            if run.code == 0 {
                break;
            }
            assert_eq!((run.code, run.stderr.as_str()), (-1, ""));
            moments += 1;
            assert_eq!(state(&lab)["switching"]["to"], to);
            let words =
                format!("completed the switch from {} to {to}", if to == "lte" { "fibre" } else { "lte" });
            assert_ends(&check(&lab), 0, &[&words]);
            assert_eq!(active(&lab), to);
            assert_whole(&lab, &whole);
            // And back to where it began.
            let back = if to == "lte" { "failback" } else { "force-failover" };
            assert_ends(&lab.wanfo(&[back]), 0, &[]);
        }
    }
    assert!(moments >= 4, "each switch runs several commands, so there are more moments than {moments}");

    // The very first run has everything to build.
    assert_ends(&lab.wanfo(&["down"]), 0, &[]);
    for commands_before in 0.. {
        write(&lab.path("left"), format!("{commands_before}\n"));
        if ended(&mut with_ip(&lab, "kills-wanfo", &["check"])).code == 0 {
            break;
        }
        assert_ends(&check(&lab), 0, &["brought the kernel's routes in line"]);
        assert_whole(&lab, &whole);
        assert_ends(&lab.wanfo(&["down"]), 0, &[]);
    }
}

pub fn killed_at_any_moment() {
    let lab = steady();
    let whole = undisturbed(&lab);
    let mut outcomes = [0, 0];
    // 3 commands of 50 ms: the moments reach from the start of the process past its end.
    for moment in 0..24 {
        let mut command = with_ip(&lab, "is-slow", &["force-failover"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("wanfo starts");
        sleep(Duration::from_millis(moment * 11));
        child.kill().expect("it is our child");
        child.wait().expect("it is our child");
        // A child of it may be just about to make its change.
        sleep(Duration::from_millis(80));
        assert_ends(&check(&lab), 0, &[]);
        assert_whole(&lab, &whole);
        outcomes[usize::from(active(&lab) == "lte")] += 1;
        assert_ends(&lab.wanfo(&["failback"]), 0, &[]);
    }
    assert!(outcomes.iter().all(|&times| times > 0), "the moments do not reach far enough: {outcomes:?}");
}

/// The next check. A child of the killed one's may hold the lock for a moment, until it has become `ip`.
fn check(lab: &Lab) -> Run {
    let start = Instant::now();
    loop {
        let run = lab.wanfo(&["check"]);
        if run.code != 75 || start.elapsed() > Duration::from_secs(5) {
            return run;
        }
    }
}

/// Starts a check that stays for two seconds, and gives its process once it waits.
fn waiting_check(lab: &Lab) -> std::process::Child {
    lab.configure(&TWO_LINKS.replace("silence: 1s", "silence: 2s"));
    lab.cut_silently(1);
    let mut command = lab.wanfo_command(&["check"]);
    let before = echo_requests(lab);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("wanfo starts");
    // One for each target, and the cut line is asked again.
    wait_until("a run that waits", || echo_requests(lab) >= before + 4);
    child
}

/// How many the router has sent (ICMP's OutEchos, RFC 4293).
fn echo_requests(lab: &Lab) -> u64 {
    let text = lab.router.run(|| fs::read_to_string("/proc/thread-self/net/snmp")).expect("counters");
    let mut rows = text.lines().filter_map(|line| line.strip_prefix("Icmp: ")).map(str::split_whitespace);
    let (names, counts) = (rows.next().expect("names"), rows.next().expect("numbers"));
    let (_, count) = names.zip(counts).find(|(name, _)| *name == "OutEchos").expect("a counter of them");
    count.parse().expect("a number")
}

pub fn terminated_while_it_waits_for_answers() {
    let lab = at_work();
    let before = (kernel(&lab), state(&lab));
    let child = waiting_check(&lab);
    let start = Instant::now();
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).expect("it is our child");
    let run = Run::from(child.wait_with_output().expect("it is our child"));
    assert_eq!((run.code, run.stderr.as_str()), (-1, ""));
    assert!(start.elapsed() < Duration::from_millis(700), "it ends at once");
    assert_eq!((kernel(&lab), state(&lab)), before);
    // The lock went with it, and the cut line is found out as ever.
    assert_ends(&check(&lab), 0, &[]);
    assert_carried_by(&lab, 2);
}

/// A laptop lid, a debugger, a frozen cgroup: waiting system calls end with EINTR (signal(7)).
pub fn stopped_while_it_waits_and_continued_after_the_silence() {
    // The last request lies back for less, or for more, than the silence.
    for (is_repaired, stopped) in [(true, 1800), (true, 2500), (false, 2500)] {
        let lab = at_work();
        let child = waiting_check(&lab);
        let pid = Pid::from_raw(child.id() as i32);
        kill(pid, Signal::SIGSTOP).expect("it is our child");
        if is_repaired {
            lab.repair(1);
        }
        sleep(Duration::from_millis(stopped));
        kill(pid, Signal::SIGCONT).expect("it is our child");
        let run = Run::from(child.wait_with_output().expect("it is our child"));
        assert_ends(&run, 0, &[]);
        // It asks again before it says anything of the line.
        assert_eq!(active(&lab), if is_repaired { "fibre" } else { "lte" });
        assert_eq!(silent_for(&lab)[0] == 0, is_repaired);
        assert_carried_by(&lab, if is_repaired { 1 } else { 2 });
    }
}

pub fn an_interface_that_vanishes_between_runs() {
    let lab = at_work();
    lab.router.ip("link delete wan1");
    assert_ends(&check(&lab), 0, &["interface wan1 does not exist", "switched from fibre to lte"]);
    assert_carried_by(&lab, 2);
    assert_eq!(check(&lab).stderr, "");
    // And the last one: nowhere to go, nothing to break.
    lab.router.ip("link delete wan2");
    let run = check(&lab);
    assert_ends(&run, 0, &["interface wan2 does not exist", "no link is up; staying on lte"]);
    assert_eq!(check(&lab).stderr, "");
    assert_eq!(lab.wanfo(&["status", "--exit-code"]).code, 2);
}

pub fn an_interface_that_vanishes_during_a_run() {
    // While it waits for answers.
    let lab = at_work();
    let child = waiting_check(&lab);
    lab.router.ip("link delete wan1");
    let run = Run::from(child.wait_with_output().expect("it is our child"));
    assert_ends(&run, 0, &["interface wan1 does not exist", "switched from fibre to lte"]);
    assert_carried_by(&lab, 2);

    // Under the hands of `ip`, on the first run and on the way to it.
    let lab = two_links();
    let run = ended(&mut with_ip(&lab, "loses-wan2", &["check"]));
    assert!(!run.stderr.contains("panicked") && [0, 1].contains(&run.code), "{}", run.stderr);
    assert_ends(&check(&lab), 0, &[]);
    assert_carried_by(&lab, 1);

    let lab = at_work();
    let run = ended(&mut with_ip(&lab, "loses-wan2", &["force-failover"]));
    assert!(!run.stderr.contains("panicked") && [0, 1].contains(&run.code), "{}", run.stderr);
    // It is seen to be gone, and left for the one that works.
    assert_ends(&check(&lab), 0, &["interface wan2 does not exist"]);
    assert_carried_by(&lab, 1);
    assert_eq!(active(&lab), "fibre");
    assert!(state(&lab)["switching"].is_null());
}
