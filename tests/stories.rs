//! Everything that needs the lab: routers with real lines, the real program on them, and what becomes of the packets.
//!
//! One program, so that no part waits for another's last story. A story is found by its path:
//! `cargo test --test stories router::pins::`.

/// A trial for each story.
macro_rules! trials {
    ($($module:ident :: { $($story:ident),* $(,)? }),* $(,)?) => {
        vec![$($(crate::trial($module::$story)),*),*]
    };
}

mod checks;
mod dhcp;
mod doctor;
mod examples;
mod faults;
mod follow_up;
mod lab;
#[path = "lab/itself.rs"]
mod lab_itself;
mod load;
mod mail;
mod router;
mod scripts;

#[path = "router/census.rs"]
mod census;
#[path = "fixtures/forger.rs"]
mod forger;
#[path = "examples/site.rs"]
mod site;
#[path = "router/story.rs"]
mod story;
#[path = "fixtures/tls.rs"]
mod tls;
#[path = "router/wiretap.rs"]
mod wiretap;

use std::any::type_name;
use std::panic::{catch_unwind, resume_unwind, set_hook};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use lab::Skipped;
use libtest_mimic::{Arguments, Completion, Trial};

/// They begin first, so that nobody waits for one of them alone in the end.
const LONGEST: [&str; 10] = [
    "follow_up::every_call::killed_or_failing_at_any_call_of_a_switch_by_itself",
    "follow_up::every_call::any_call_of_a_switch_by_hand_fails_in_any_way",
    "router::elsewhere::no_line_is_found_alive_by_way_of_another",
    "dhcp::leases::dhcpcd_s_leases_are_followed",
    "examples::cron::cron_itself_starts_it",
    "examples::two_routers::the_lan_leaves_by_the_router_that_is_better_off",
    "dhcp::leases::dhclient_s_classless_routes_win",
    "dhcp::leases::dhclient_s_leases_are_followed",
    "dhcp::leases::networkmanager_s_leases_are_followed",
    "mail::a_relay_that_hangs_holds_up_no_check",
];

/// Stories mostly wait, so more of them than processors may run at a time. Not many more: every change to routes, rules and
/// namespaces waits for one lock of the kernel's (rtnl_mutex), and an `ip` that waits for too long is killed.
const AT_A_TIME: usize = 10;

/// How long each story took.
static TIMES: Mutex<Vec<(Duration, &str)>> = Mutex::new(Vec::new());
/// How many of them are told at the end.
const TOLD: usize = 12;

fn main() {
    let mut arguments = Arguments::from_args();
    if arguments.filter.is_none() {
        // Without a backtrace: the first leaves 150 MB of symbols in this process, and makes every fork after it dear.
        set_hook(Box::new(|panic| eprintln!("{panic}")));
    }
    scripts::prepare();
    let mut trials = Vec::new();
    if lab::entered() {
        // The lab's own, which goes with this process.
        tempfile::env::override_temp_dir(Path::new("/run")).expect("nobody has done so before");
        faults::prepare();
        trials.extend(checks::trials());
        trials.extend(dhcp::trials());
        trials.extend(doctor::trials());
        trials.extend(follow_up::trials());
        trials.extend(examples::trials());
        trials.extend(faults::trials());
        trials.extend(mail::trials());
        trials.extend(router::trials());
        trials.extend(scripts::trials());
        trials.extend(lab_itself::trials());
        trials.extend(load::trials());
    }
    trials.extend(scripts::trials_anywhere());
    let rank = |trial: &Trial| LONGEST.iter().position(|name| trial.name() == *name);
    trials.sort_by_key(|trial| rank(trial).unwrap_or(LONGEST.len()));
    arguments.test_threads.get_or_insert(AT_A_TIME);
    let conclusion = libtest_mimic::run(&arguments, trials);
    let mut times = TIMES.lock().unwrap();
    times.sort();
    for (time, name) in times.iter().rev().take(TOLD) {
        println!("{:5.1} s {name}", time.as_secs_f64());
    }
    conclusion.exit();
}

/// Its name is its path in here.
fn trial<S: Fn() + Send + 'static>(story: S) -> Trial {
    let (_, name) = type_name::<S>().split_once("::").expect("a path");
    Trial::ignorable_test(name, move || {
        let start = Instant::now();
        let ending = catch_unwind(std::panic::AssertUnwindSafe(story));
        TIMES.lock().unwrap().push((start.elapsed(), name));
        match ending.map_err(|payload| payload.downcast::<Skipped>()) {
            Ok(()) => Ok(Completion::Completed),
            Err(Ok(skipped)) => Ok(Completion::ignored_with(skipped.0)),
            Err(Err(panic)) => resume_unwind(panic),
        }
    })
}
