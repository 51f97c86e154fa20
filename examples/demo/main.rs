//! `cargo run --example demo`: a router with two providers has a bad day, told in less than 45 s.
//!
//! The real `wanfo` runs in a lab of network namespaces (see tests/lab/mod.rs), so the machine's own network
//! is never touched, and no root is needed where users may make user namespaces.

// What happens to the router, and what is seen of it.
mod day;
// What systemd does for wanfo's mails.
mod deliver;
#[path = "../../tests/lab/mod.rs"]
mod lab;
// Where the mails arrive.
mod relay;
// How it is told.
mod story;

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, exit};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use day::{BEAT, Day, Event};
use deliver::Deliverer;
use lab::{Lab, Line, SERVICE, SERVICE6};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::sethostname;
use relay::Relay;
use story::Story;

/// As people have them from AstLinux; wanfo writes what it prints into its log.
const ACTION_SCRIPT: &str = r#"#!/bin/sh
state="$1" primary_if="$2" primary_gw="$3" secondary_if="$4" secondary_gw="$5" secondary_gwipv6="$6"
case $state in
  SECONDARY) echo "$state: the telephones go over $secondary_if, by $secondary_gw and $secondary_gwipv6" ;;
  PRIMARY)   echo "$state: the telephones go over $primary_if again, by $primary_gw" ;;
esac
"#;

fn main() -> ExitCode {
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nwanfo demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<()> {
    let binary = built_wanfo()?;
    lab::enter()?;
    // wanfo's mails say on which host; this is not about the name of the machine.
    unshare(CloneFlags::CLONE_NEWUTS)
        .and_then(|()| sethostname("router"))
        .context("the lab's router cannot be given a name")?;
    // The lab, made for tests, panics where it breaks; whichever thread that is, the demo is over.
    std::panic::set_hook(Box::new(|panic| {
        let words = panic.payload().downcast_ref::<String>().map_or("no reason given", String::as_str);
        eprintln!("\nwanfo demo: the lab broke: {words}");
        exit(1);
    }));

    println!("\nwanfo demo: a router with two providers, a LAN and an Internet, all inside this process.\n");
    let story = Story::begin();
    let lab = Lab::new(2, binary);
    write_action_script(&lab)?;
    lab.configure(&config(&lab));
    let relay = Relay::start(&lab)?;
    story.say("The lab is built. The router has two lines: fibre on wan1, lte on wan2. A LAN user asks");
    story.more("the Internet something every 50 ms, over IPv4 and IPv6. wanfo check runs twice a second.");
    story.more("After a switch it runs the admin's action script, and mails him by a relay on the Internet.");

    let [meter, meter6] = [lab.meter(SERVICE), lab.meter(SERVICE6)];
    let log = Mutex::default();
    day::check(&lab, &log)?;
    let deliverer = Deliverer::new(&lab)?;
    let day = Day { lab: &lab, story: &story, meter, meter6, relay, deliverer: &deliverer, log: &log };
    let stop = AtomicBool::new(false);
    let complaint = Mutex::new(None);
    let events = thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                let next = Instant::now() + BEAT;
                *complaint.lock().unwrap() = day::check(&lab, &log).err();
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        scope.spawn(|| deliverer.work(&lab, &stop));
        let events = day.pass();
        stop.store(true, Relaxed);
        events
    });
    // What went wrong with the check itself is the better reason for what was not seen.
    let events = match complaint.into_inner().unwrap() {
        Some(complaint) => events.context(complaint),
        None => events,
    }?;

    story.heading("What the LAN user noticed");
    println!("{:<47}{:>17}{:>17}{:>17}", "", "switched after", "silent on IPv4", "silent on IPv6");
    for Event { what, at, after, silent, silent6 } in events {
        let [at, after, silent, silent6] =
            [at, after, silent, silent6].map(|time| format!("{:.1} s", time.as_secs_f64()));
        println!("{at:>8}  {what:<37}{after:>17}{silent:>17}{silent6:>17}");
    }
    story.heading("What wanfo remembers: wanfo history");
    for line in day.wanfo_says(&["history"])?.lines() {
        println!("{}", format!("  {line}").trim_end());
    }
    drop(day);
    drop(lab);
    story.heading("What is left behind: nothing");
    println!(
        "  Every interface, route and file of the lab belonged to namespaces that only this process held."
    );
    println!("  They had no name on this machine and end with it; your own network was never touched.\n");
    Ok(())
}

/// The program next to this one (target/debug/wanfo for target/debug/examples/demo), built under cargo.
fn built_wanfo() -> Result<PathBuf> {
    let demo = env::current_exe().context("cannot tell where the demo's own program lies")?;
    let profile = demo.ancestors().nth(2).context("the demo does not lie in cargo's target directory")?;
    let binary = profile.join("wanfo");
    if let (Some(cargo), Some(target)) = (env::var_os("CARGO"), profile.parent()) {
        // The one profile whose directory has another name (The Cargo Book, Profiles).
        let name = profile.file_name().filter(|name| *name != "debug").unwrap_or("dev".as_ref());
        println!("Building wanfo, which takes a minute the first time.");
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--bin", "wanfo", "--manifest-path"]);
        build.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        build.arg("--profile").arg(name).arg("--target-dir").arg(target);
        lab::die_with_parent(&mut build);
        let built = build.status().context("cannot start cargo to build wanfo")?;
        ensure!(built.success(), "cargo could not build wanfo; its own words stand above");
    }
    ensure!(
        binary.exists(),
        "there is no {}: start the demo with `cargo run --example demo`",
        binary.display()
    );
    Ok(binary)
}

fn write_action_script(lab: &Lab) -> Result<()> {
    let path = lab.path("action");
    fs::write(&path, ACTION_SCRIPT)
        .and_then(|()| fs::set_permissions(&path, PermissionsExt::from_mode(0o755)))
        .with_context(|| format!("cannot write the action script {}", path.display()))
}

/// Short delays, so that the day takes less than a minute.
fn config(lab: &Lab) -> String {
    let link = |line: Line, name: &str| {
        format!(
            "  - name: {name}\n    interface: wan{line}\n    gateway: {}\n    gateway6: \"{}\"\n    \
             targets: [\"{}\", \"{}\"]\n    quorum: 1\n    delay: 3s\n    stable: 2s\n    standby_interval: 0s\n",
            lab::gateway(line),
            lab::gateway6(line),
            lab::target(line, 1),
            lab::target6(line, 1),
        )
    };
    let links = link(1, "fibre") + &link(2, "lte");
    format!(
        "links:\n{links}probe: {{silence: 2s}}\naction_script: {}\nnotify:\n  \
         to: [noc@example.com]\n  from: wanfo@router.example.com\n  smtp: {{host: {SERVICE}, tls: none}}\n",
        lab.path("action").display()
    )
}
