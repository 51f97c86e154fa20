//! What needs a whole machine: systemd with its daemons, or a kernel of its own with everything in it.
//!
//! Outside, this program starts the machine that `.ci/machine` made: under qemu where it takes a kernel of its own, else in
//! a container, and each once for all its stories. Inside, where the sources and what was built of them are seen at the same paths, it is started again and
//! tells the stories one by one. The machine has no network but what the stories make.

#[allow(dead_code, reason = "not all of it is used in here")]
#[path = "fixtures/forger.rs"]
mod forger;
mod lab;
#[allow(dead_code, reason = "not all of it is used in here")]
#[path = "examples/site.rs"]
mod site;
#[path = "router/story.rs"]
mod story;
#[path = "fixtures/tls.rs"]
mod tls;

mod machine {
    pub mod beats;
    pub mod by_hand;
    pub mod container;
    pub mod emulator;
    pub mod hooks;
    pub mod inside;
    pub mod journal;
    pub mod leaving;
    pub mod long_way;
    pub mod outside;
    pub mod package;
    pub mod pppoe;
    pub mod reboot;
    pub mod router;
    pub mod sandbox;
    pub mod shown;
    pub mod soak;
    pub mod vlans;
    pub mod without_ipv6;
}

use std::path::PathBuf;
use std::process::exit;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Trial};
use machine::outside::{Kind, Machine};
use machine::{
    beats, by_hand, hooks, inside, journal, leaving, long_way, package, pppoe, reboot, sandbox, soak, vlans,
    without_ipv6,
};

/// Where `.ci/machine` put the machine that it made.
const MACHINE: &str = "WANFO_TEST_MACHINE";

struct Story {
    name: &'static str,
    kind: Kind,
    place: Place,
    /// What is told; between two of them the machine is rebooted.
    parts: &'static [fn()],
}

/// Where in the machine a story happens.
enum Place {
    /// In namespaces of its own.
    Lab,
    /// On the machine itself, with its systemd.
    Machine,
    /// The same, with our package to install.
    Package,
}

macro_rules! stories {
    ($($kind:ident, $place:ident: $module:ident :: { $($story:ident $(then $part:ident)*),* $(,)? }),* $(,)?) => {
        vec![$($(Story {
            name: stringify!($story),
            kind: Kind::$kind,
            place: Place::$place,
            parts: &[$module::$story, $($module::$part),*],
        },)*)*]
    };
}

fn stories() -> Vec<Story> {
    stories![
        Emulated, Lab: pppoe::{
            a_pppoe_line_that_hangs_up_is_left_at_once_and_taken_again_under_another_index,
            a_pppoe_line_that_falls_silent_is_left_and_the_default_route_of_the_next_dial_undoes_nothing,
        },
        Emulated, Lab: vlans::{
            a_vlan_with_a_name_of_15_characters_is_a_link,
            a_vlan_on_a_bridge_is_a_link,
        },
        Emulated, Lab: long_way::{
            lines_as_slow_and_as_untidy_as_a_satellite_s_are_good_and_no_reply_but_their_own_counts,
        },
        // It waits for udev, which no container has.
        Emulated, Machine: hooks::{
            network_manager_starts_a_check_when_a_cable_is_pulled_or_plugged_in,
        },
        Emulated, Machine: reboot::{
            a_reboot_while_failed_over_finds_the_lines_as_they_are_however_late_they_come
                then the_primary_is_dead_still then the_primary_is_alive,
        },
        Container, Machine: hooks::{
            networkd_dispatcher_starts_a_check_when_a_cable_is_pulled_or_a_lease_changes,
        },
        Container, Package: package::{
            a_package_keeps_a_failover_over_its_upgrade_and_leaves_nothing_when_purged,
        },
        Container, Machine: beats::{
            starts_a_second_apart_lose_no_beat,
        },
        Container, Machine: journal::{
            a_quiet_line_leaves_nothing_in_the_journal_and_a_failover_a_line_for_each_event,
            a_line_is_left_in_time_while_the_journal_is_stopped_or_hangs,
        },
        Container, Machine: leaving::{
            stopped_in_the_middle_and_taken_down_it_leaves_nothing_and_begins_anew_when_enabled,
            what_the_state_or_the_kernel_forgets_is_known_from_the_other,
        },
        Container, Machine: sandbox::{
            every_feature_works_in_the_sandbox_or_with_the_drop_in_that_lets_it_out,
        },
        Container, Machine: soak::{
            a_fault_every_few_seconds_leaves_nothing_that_grows,
        },
        Container, Machine: by_hand::{
            what_the_pages_say_of_installing_watching_and_uninstalling_can_be_typed_as_it_stands,
        },
        WithoutIpv6, Lab: without_ipv6::{
            a_kernel_without_ipv6_fails_over_and_back_and_nothing_is_complained_of,
            what_needs_ipv6_is_a_problem_on_a_kernel_without_it_and_the_rest_goes_on,
        },
    ]
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--inside"] => return inside::serve(),
        ["--story", name, part] => return tell(name, part),
        _ => {}
    }
    let image = image_or_skip();
    let machines = [Kind::Emulated, Kind::WithoutIpv6, Kind::Container];
    let machines = machines.map(|kind| (kind, Arc::new(Mutex::new(Machine::off(&image, kind)))));
    // Two cores emulate one machine at a time.
    let emulator = Arc::new(Mutex::new(()));
    let without_packages = std::env::var_os(package::PACKAGES).is_none() && !lab::is_required();
    if without_packages {
        eprintln!("!!! SKIPPED, what is told of the package: {} !!!", package::CURE);
    }
    let trials = stories().into_iter().map(|Story { name, kind, place, parts }| {
        let (_, machine) = machines.iter().find(|(of, _)| *of == kind).expect("one of each kind");
        let (machine, emulator) = (Arc::clone(machine), Arc::clone(&emulator));
        let tell = move || {
            let _turn = (kind != Kind::Container).then(|| emulator.lock().unwrap());
            Ok(machine.lock().unwrap().tell(name, parts.len())?)
        };
        let trial = Trial::test(name, tell);
        trial.with_ignored_flag(matches!(place, Place::Package) && without_packages)
    });
    let trials: Vec<_> = trials.collect();
    let mut arguments = Arguments::from_args();
    // A machine tells one story at a time, and who waits for one keeps no other waiting.
    arguments.test_threads.get_or_insert(trials.len());
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Before the exit, which drops nothing.
    drop(machines);
    conclusion.exit();
}

/// Ends the program with one loud line where there is no machine to start.
fn image_or_skip() -> PathBuf {
    let cure = format!("`{MACHINE}=$(.ci/machine)` makes it, and takes about two minutes once");
    match std::env::var_os(MACHINE).map(PathBuf::from) {
        Some(image) if image.join("disk").is_file() => return image,
        Some(image) => {
            eprintln!("FAILED: {MACHINE} is {}, where there is no machine; {cure}", image.display());
            exit(1);
        }
        None => {}
    }
    if lab::is_required() {
        eprintln!("FAILED: WANFO_REQUIRE_LAB=1 asks for the machine tests, but {MACHINE} names none; {cure}");
        exit(1);
    }
    eprintln!("!!! SKIPPED, ALL TESTS OF THIS FILE: {MACHINE} names no machine to start; {cure} !!!");
    exit(0);
}

/// Inside: a part of a story, to its end or its panic.
fn tell(name: &str, part: &str) {
    let story = stories().into_iter().find(|story| story.name == name).expect("a story of this name");
    match story.place {
        Place::Lab => lab::enter().expect("the machine allows everything"),
        Place::Machine | Place::Package => {}
    }
    let part: usize = part.parse().expect("a number");
    story.parts[part]();
}
