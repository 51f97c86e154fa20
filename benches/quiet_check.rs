//! `cargo bench --bench quiet_check`: what a run costs in which nothing changes, beside the tools that one would use
//! instead. Prints tables and asserts nothing: the figures depend on the machine.
//!
//! Runs in the lab of network namespaces (see tests/lab/mod.rs), so the machine's own network is not touched.

#[path = "../tests/lab/mod.rs"]
mod lab;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lab::Lab;
use nix::sys::ptrace::{self, Options};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::Value;

/// The program as it is installed: written in one go, so that the kernel has its pages in large pieces. As the linker writes it,
/// they are single ones, which takes a fifth of a run.
const WANFO: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/installed-wanfo");
/// How often each program of a table runs; they take turns.
const ROUNDS: usize = 300;
/// The same where a round costs the wait for dead links, or a dump of many routes.
const SLOW_ROUNDS: usize = 30;
/// A tenth of a full BGP table of today.
const MANY_ROUTES: u32 = 100_000;

const TWO_LINKS: &str = "
links:
  - {name: fibre, interface: wan1, targets: [198.51.100.11]}
  - {name: lte, interface: wan2, targets: [198.51.100.21], standby_interval: 0s}
";

fn main() {
    if !lab::entered() {
        return;
    }
    install();
    quiet_line();
    silent_targets();
    many_routes();
}

fn install() {
    let program = fs::read(env!("CARGO_BIN_EXE_wanfo")).expect("cargo has built it");
    fs::write(WANFO, program).expect("cargo's folder takes a file");
    fs::set_permissions(WANFO, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

fn quiet_line() {
    let lab = Lab::new(2, WANFO);
    settle(&lab, TWO_LINKS);
    let mut answers = Vec::new();
    let contenders =
        [wanfo_check(&lab), words("fping -r0 -t1000 198.51.100.11 198.51.100.21"), words("ip -j route")];
    let costs = measure(&lab, &contenders, ROUNDS, || answers.extend(slowest_answer(&lab)));
    heading(&format!("A quiet line with two targets, {ROUNDS} rounds"));
    for (name, cost) in ["wanfo check", "fping -r0 -t1000", "ip -j route"].into_iter().zip(&costs) {
        row(name, cost);
    }
    answers.sort();
    let (Some(wanfo), Some(answer)) = (&costs[0], answers.get(answers.len() / 2)) else { return };
    println!(
        "The slowest answer took {:.2} ms; wanfo check took {:.2} ms more.",
        ms(*answer),
        ms(wanfo.wall - *answer)
    );
    let [peak, own] = peak_and_own_megabytes(&lab);
    println!(
        "Its peak memory is {peak:.1} MB: {own:.1} MB of its own, the rest pages of its file, as the kernel maps 16 around each that is touched."
    );
    match &costs[1] {
        Some(fping) => println!("Its CPU time is {:.2} times that of fping.", ms(wanfo.cpu) / ms(fping.cpu)),
        None => println!("There is no fping on this machine to compare its CPU time with."),
    }
}

fn silent_targets() {
    heading(&format!("Dead links, waited for one second, {SLOW_ROUNDS} rounds"));
    for (name, targets_of_others, targets_of_first) in
        [("1 silent target", 0, 1), ("64 silent targets", 8, 8)]
    {
        let lab = Lab::new(8, WANFO);
        let links = (1..=8).map(|line| {
            let count = if line == 1 { targets_of_first } else { targets_of_others };
            // Addresses that nobody has.
            let targets = (1..=count).map(|number| format!("203.0.113.{}", 100 + 8 * line + number));
            let targets = targets.collect::<Vec<_>>().join(", ");
            format!(
                "  - {{name: line{line}, interface: wan{line}, targets: [{targets}], standby_interval: 0s}}\n"
            )
        });
        let links: String = links.collect();
        settle(&lab, &format!("links:\n{links}probe: {{silence: 1s}}\n"));
        row(name, &measure(&lab, &[wanfo_check(&lab)], SLOW_ROUNDS, || {})[0]);
    }
}

fn many_routes() {
    heading(&format!("{MANY_ROUTES} routes in the main table, {SLOW_ROUNDS} rounds"));
    for (gateway, name) in
        [("192.0.2.242".to_owned(), "over the LAN"), (lab::gateway(1).to_string(), "over the first line")]
    {
        let lab = Lab::new(2, WANFO);
        let routes = (0..MANY_ROUTES).map(|number| {
            // 198.18.0.0/15 is for benchmarks (RFC 2544).
            let [_, second, third, fourth] = ((18 << 16) + number).to_be_bytes();
            format!("route add 198.{second}.{third}.{fourth}/32 via {gateway}\n")
        });
        let path = lab.path("routes");
        fs::write(&path, routes.collect::<String>()).expect("the lab's directory takes a file");
        lab.router.ip(&format!("-batch {}", path.display()));
        settle(&lab, TWO_LINKS);
        // The kernel walks the table and prints what it filters out nowhere: the least that one look can cost.
        let names = ["wanfo check", "ip -j route", "ip route show proto 119", "ip route show table 5301"];
        let contenders =
            names.map(|name| if name.starts_with("wanfo") { wanfo_check(&lab) } else { words(name) });
        let costs = measure(&lab, &contenders, SLOW_ROUNDS, || {});
        for (program, cost) in names.into_iter().zip(&costs) {
            row(&format!("{name}: {program}"), cost);
        }
    }
}

/// Runs wanfo until it has nothing to change.
fn settle(lab: &Lab, config: &str) {
    lab.configure(config);
    let first = lab.wanfo(&["check"]);
    assert_eq!(first.code, 0, "the first run: {}", first.stderr);
    let second = lab.wanfo(&["check"]);
    assert_eq!((second.code, second.stderr.as_str()), (0, ""), "the second run has nothing to change");
}

type Words = Vec<String>;

fn words(line: &str) -> Words {
    line.split(' ').map(str::to_owned).collect()
}

fn wanfo_check(lab: &Lab) -> Words {
    [WANFO, "--config", &lab.path("wanfo.yaml").display().to_string(), "check"].map(str::to_owned).into()
}

/// The round-trip time of the slowest answer in the last run, as `status` tells.
fn slowest_answer(lab: &Lab) -> Option<Duration> {
    let status: Value = serde_json::from_str(&lab.wanfo(&["status", "--format", "json"]).stdout).ok()?;
    let links = status["links"].as_array()?.iter();
    let rtts =
        links.filter_map(|link| link["targets"].as_array()).flatten().filter_map(|t| t["rtt_ms"].as_f64());
    rtts.reduce(f64::max).map(|ms| Duration::from_secs_f64(ms / 1000.0))
}

/// What one program took, the median of all rounds.
struct Cost {
    wall: Duration,
    wall_worst: Duration,
    /// User and system time, that of its children included.
    cpu: Duration,
}

/// Runs the programs in turn on the router; `None` for one that is not on this machine.
fn measure(
    lab: &Lab,
    programs: &[Words],
    rounds: usize,
    mut after_round: impl FnMut() + Send,
) -> Vec<Option<Cost>> {
    let mut samples: Vec<Vec<(Duration, Duration)>> = programs.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        // From a thread that is on the router already: what is measured is the program, and not the way there.
        lab.router.run(|| {
            for (program, samples) in programs.iter().zip(&mut samples) {
                samples.extend(run(program));
            }
        });
        after_round();
    }
    let cost = |samples: Vec<(Duration, Duration)>| {
        let (mut walls, mut cpus): (Vec<_>, Vec<_>) = samples.into_iter().unzip();
        walls.sort();
        cpus.sort();
        let middle = walls.len() / 2;
        Some(Cost { wall: *walls.get(middle)?, wall_worst: *walls.last()?, cpu: *cpus.get(middle)? })
    };
    samples.into_iter().map(cost).collect()
}

/// Wall time and CPU time of one run.
fn run(words: &Words) -> Option<(Duration, Duration)> {
    let (program, arguments) = words.split_first()?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Of all children waited for so far; nobody else waits for one meanwhile.
    let cpu = || {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("getrusage");
        Duration::from_micros((usage.user_time() + usage.system_time()).num_microseconds() as u64)
    };
    let (start, cpu_before) = (Instant::now(), cpu());
    let status = command.spawn().ok()?.wait().expect("it is waited for");
    let wall = start.elapsed();
    assert!(status.code().is_some(), "{program}: {status}");
    Some((wall, cpu() - cpu_before))
}

/// The most memory that one run held, as the kernel counts it, and what of it was no file's at its end: read there, where it is
/// stopped, since what wait4(2) tells begins with that of the program that started it.
fn peak_and_own_megabytes(lab: &Lab) -> [f64; 2] {
    let arguments = wanfo_check(lab);
    let (program, arguments) = arguments.split_first().expect("words");
    lab.router.run(|| {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        lab::before_exec(&mut command, ptrace::traceme);
        let run = Pid::from_raw(command.spawn().expect("it starts").id() as i32);
        let next = || waitpid(run, None).expect("it is our child");
        next();
        ptrace::setoptions(run, Options::PTRACE_O_TRACEEXIT).expect("it can be traced");
        let mut megabytes = [0.0; 2];
        loop {
            ptrace::cont(run, None).expect("it goes on");
            match next() {
                WaitStatus::PtraceEvent(..) => {
                    let status = fs::read_to_string(format!("/proc/{run}/status")).expect("proc(5)");
                    megabytes = ["VmHWM:", "RssAnon:"].map(|key| {
                        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("proc(5)");
                        let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
                        kilobytes / 1024.0
                    });
                }
                WaitStatus::Exited(..) => return megabytes,
                _ => {}
            }
        }
    })
}

fn heading(text: &str) {
    println!("\n{text:<46}{:>11}{:>11}{:>11}", "wall", "worst", "CPU");
}

fn row(name: &str, cost: &Option<Cost>) {
    match cost {
        Some(cost) => {
            let [wall, worst, cpu] = [cost.wall, cost.wall_worst, cost.cpu].map(ms);
            println!("  {name:<44}{wall:>8.2} ms{worst:>8.2} ms{cpu:>8.2} ms");
        }
        None => println!("  {name:<44} not on this machine"),
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
