use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use fs2::FileExt;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{alarm, mkfifo};
use serde_json::json;

use super::*;

pub fn a_lock_that_another_run_holds() {
    let lab = at_work();
    let before = (kernel(&lab), state(&lab));
    let lock = File::open(lab.path("run/lock")).expect("the lock file stays");
    lock.lock_exclusive().expect("nobody else has it");

    let run = lab.wanfo(&["check"]);
    assert_ends(&run, 75, &[]);
    assert_eq!((run.stdout, run.stderr), Default::default());
    assert_ends(&lab.wanfo(&["status"]), 0, &[]);
    assert_ends(&lab.wanfo(&["check", "--dry-run"]), 0, &[]);
    assert_eq!((kernel(&lab), state(&lab)), before);

    let patience = Duration::from_millis(700);
    let start = Instant::now();
    let release = spawn(move || {
        sleep(patience);
        drop(lock);
    });
    let sudo = ended(lab.wanfo_command(&["force-failover", "--for", "30m"]).env("SUDO_USER", "alice"));
    assert_ends(&sudo, 0, &[]);
    let reason = status(&lab)["reason"].as_str().expect("a sentence").to_owned();
    // Where the kernel knows of a login, it is that.
    assert!(reason.starts_with("forced by hand (") && reason.ends_with(", --for 30m)"), "{reason}");
    assert!(start.elapsed() >= patience);
    release.join().expect("the lock is given back");
    assert_eq!(active(&lab), "lte");
}

/// Beside the timer, at a terminal, nobody wants to hear that a run is under way.
pub fn a_check_by_hand_waits_for_the_lock() {
    let lab = at_work();
    let lock = File::open(lab.path("run/lock")).expect("the lock file stays");
    lock.lock_exclusive().expect("nobody else has it");
    let mut check = lab.wanfo_command(&["check", "-v"]).stderr(Stdio::null()).spawn().expect("it starts");
    sleep(Duration::from_millis(500));
    assert!(check.try_wait().expect("a child").is_none(), "it waits");
    drop(lock);
    assert!(check.wait().expect("a child").success());
}

/// The run waits for its script, and the command would wait for the run.
pub fn a_script_that_calls_wanfo_stalls_no_run() {
    let lab = at_work();
    for command in ["check", "force-failover", "failback", "down"] {
        let start = Instant::now();
        let run = ended(lab.wanfo_command(&[command]).env("WANFO_STATE", "SECONDARY"));
        assert_ends(&run, 75, &["a script of wanfo's cannot run this command", "systemd-run --no-block"]);
        assert!(start.elapsed() < Duration::from_secs(5), "{command}");
    }
    for command in ["status", "history", "config"] {
        assert_ends(&ended(lab.wanfo_command(&[command]).env("WANFO_STATE", "SECONDARY")), 0, &[]);
    }
}

/// Switched to lte for want of a cable, so that a fresh start has something to find out from the kernel.
fn on_the_backup() -> Lab {
    let lab = at_work();
    lab.pull_cable(1);
    assert_ends(&lab.wanfo(&["check"]), 0, &["switched from fibre to lte"]);
    lab
}

pub fn nobody_but_root_can_take_the_lock() {
    let lab = at_work();
    let mode = fs::metadata(lab.path("run/lock")).expect("a lock").permissions().mode();
    assert_eq!(mode & 0o077, 0, "whoever can open the lock can hold it: {mode:o}");
}

pub fn a_damaged_state_is_set_aside() {
    let lab = on_the_backup();
    let path = lab.path("run/state.json");
    // Less the blanks that keep room behind it.
    let good = fs::read_to_string(&path).expect("a state file").trim_end().as_bytes().to_vec();
    let with = |key: &str, value: Value| {
        let mut state: Value = serde_json::from_slice(&good).expect("JSON");
        state[key] = value;
        state.to_string().into_bytes()
    };
    let damaged: [Vec<u8>; 9] = [
        vec![],
        b"\n".to_vec(),
        good[..good.len() / 2].to_vec(),
        (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect(),
        vec![0; 4096],
        b"{\"version\": 1, \"interfaces\": [\"eth0\"]}".to_vec(),
        [&b"["[..]; 100_000].concat(),
        with("version", json!(99)),
        with("links", json!([{"name": "fibre", "unanswered": -1}])),
    ];
    let before = kernel(&lab);
    for bytes in damaged {
        write(&path, &bytes);
        // Nobody but a run may touch it.
        assert_ends(
            &lab.wanfo(&["status"]),
            0,
            &["the state cannot be used", "the next `wanfo check` starts afresh"],
        );
        assert_eq!(fs::read(&path).expect("it is still there"), bytes);

        assert_ends(&lab.wanfo(&["check"]), 0, &["cannot be used", "starting afresh", "state.json.bad"]);
        assert_eq!(fs::read(lab.path("run/state.json.bad")).expect("it was set aside"), bytes);
        assert_eq!(active(&lab), "lte", "the kernel's routes tell");
        assert_eq!(kernel(&lab), before);
    }

    fs::remove_file(&path).expect("a state file");
    fs::create_dir(&path).expect("the state file is gone");
    write(&path.join("somebody's"), "work");
    fs::remove_file(lab.path("run/state.json.bad")).expect("the last one");
    assert_ends(&lab.wanfo(&["status"]), 0, &["the state cannot be used"]);
    assert_ends(&lab.wanfo(&["check"]), 0, &["cannot be used", "starting afresh", "state.json.bad"]);
    assert!(lab.path("run/state.json.bad/somebody's").exists());
    assert_eq!(lab.wanfo(&["check"]).code, 0);

    // A directory in that place lets no file be set aside; that keeps no line down.
    write(&path, "no state");
    assert_ends(&lab.wanfo(&["check"]), 0, &["cannot be used", "could not be kept"]);
    assert_carried_by(&lab, 2);

    fs::remove_file(&path).expect("a state file");
    symlink("/nonexistent/state.json", &path).expect("the state file is gone");
    assert_ends(&lab.wanfo(&["check"]), 0, &[]);
    assert_eq!(state(&lab)["version"], 2);
    assert_carried_by(&lab, 2);
}

pub fn a_state_of_another_boot_is_quietly_forgotten() {
    let lab = on_the_backup();
    let mut old = state(&lab);
    old["boot_id"] = json!("00000000-0000-4000-8000-000000000000");
    write(&lab.path("run/state.json"), old.to_string());
    let run = lab.wanfo(&["check"]);
    assert_ends(&run, 0, &[]);
    assert!(!run.stderr.contains("cannot be used"), "{}", run.stderr);
    assert!(!lab.path("run/state.json.bad").exists());
    assert_eq!(active(&lab), "lte");
    assert!(state(&lab)["switched_at"].is_null());
    assert_carried_by(&lab, 2);
}

pub fn absurd_values_in_a_state_do_no_harm() {
    let lab = at_work();
    let good = state(&lab);
    let home = kernel(&lab);
    let absurd: [&dyn Fn(&mut Value); 12] = [
        &|state| state["switched_at"] = json!(u64::MAX),
        &|state| state["switched_at"] = json!(1u64 << 63),
        &|state| state["checked_at"] = json!(u64::MAX),
        &|state| state["checked_at"] = json!(1u64 << 63),
        &|state| state["next_switch_after"] = json!(u64::MAX),
        &|state| state["links"][0]["probed_at"] = json!(1u64 << 63),
        &|state| state["links"][0]["heard_at"] = json!(u64::MAX),
        &|state| state["links"][0]["unanswered_since"] = json!(0),
        &|state| state["links"][0]["unanswered"] = json!(u32::MAX),
        &|state| state["links"] = json!([]),
        &|state| state["links"][0]["name"] = json!("nobody"),
        &|state| state["switching"] = json!({"from": "nobody", "to": "nowhere"}),
    ];
    for make_absurd in absurd {
        let mut state = good.clone();
        make_absurd(&mut state);
        write(&lab.path("run/state.json"), state.to_string());
        for format in ["text", "json"] {
            assert_ends(&lab.wanfo(&["status", "--format", format]), 0, &[]);
        }
        assert_ends(&lab.wanfo(&["check"]), 0, &[]);
        assert_eq!(kernel(&lab), home);
        assert_eq!(silent_for(&lab), [0, 0]);
    }

    // A link of another name, as after a change of the config: the kernel tells what is active.
    let mut state = good.clone();
    state["active"] = json!("dsl");
    write(&lab.path("run/state.json"), state.to_string());
    assert_ends(&lab.wanfo(&["check"]), 0, &[]);
    assert_eq!(active(&lab), "fibre");

    // However often it has relapsed, an hour is enough.
    for link_is_cut in [false, true] {
        let mut state = good.clone();
        state["links"][0]["relapses"] = json!(u32::MAX);
        state["links"][0]["stable_since"] = json!(u64::MAX);
        state["links"][0]["verdict"] = json!("down");
        state["active"] = json!("lte");
        write(&lab.path("run/state.json"), state.to_string());
        if link_is_cut {
            lab.cut_silently(1);
        }
        assert_ends(&lab.wanfo(&["check"]), 0, &[]);
        let stable_in = status(&lab)["links"][0]["stable_in_ms"].as_u64();
        assert!(stable_in.is_none() == link_is_cut && stable_in <= Some(3_600_000), "{stable_in:?}");
        assert_carried_by(&lab, 2);
    }
}

/// A tmpfs of the size that a test wants on `paths.run`, until dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(lab: &Lab, options: &str) -> Disk {
        let path = lab.path("run");
        fs::create_dir_all(&path).expect("the lab's directory takes one more");
        mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some(options))
            .expect("a tmpfs of the lab's own");
        Disk(path)
    }

    fn fill(&self) {
        let filler = fs::write(self.0.join("filler"), vec![1; 1 << 20]);
        assert!(filler.is_err(), "a tmpfs of this size is full by now");
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).expect("the filler is there");
    }

    fn set_read_only(&self, read_only: bool) {
        let flags = if read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() } | MsFlags::MS_REMOUNT;
        mount(None::<&str>, &self.0, None::<&str>, flags, None::<&str>).expect("a tmpfs of the lab's own");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

pub fn a_disk_that_is_full_from_the_start() {
    let lab = two_links();
    let disk = Disk::mount(&lab, "size=64k");
    disk.fill();
    assert_ends(&lab.wanfo(&["check"]), 1, &["writing the state to", "No space left", "make room"]);
    assert!(!lab.path("run/state.json.new").exists());
    assert_carried_by(&lab, 1);
    assert_ends(&lab.wanfo(&["status"]), 0, &[]);
    disk.make_room();
    assert_ends(&lab.wanfo(&["check"]), 0, &[]);
    assert_eq!(silent_for(&lab), [0, 0]);
}

pub fn a_disk_that_fills_up_before_a_switch() {
    let lab = two_links();
    let disk = Disk::mount(&lab, "size=64k");
    assert_ends(&lab.wanfo(&["check"]), 0, &[]);
    disk.fill();
    lab.pull_cable(1);
    // The old state's own room takes the new one: a dead line is left all the same.
    assert_ends(&lab.wanfo(&["check"]), 0, &["switched from fibre to lte"]);
    assert_carried_by(&lab, 2);
    assert_eq!(state(&lab)["active"], "lte");
    assert!(!lab.path("run/state.json.new").exists());
    disk.make_room();
    assert_ends(&lab.wanfo(&["check"]), 0, &[]);
    assert_carried_by(&lab, 2);
}

pub fn a_directory_that_cannot_be_written() {
    let lab = at_work();
    let before = kernel(&lab);
    fs::remove_dir_all(lab.path("run")).expect("the run directory");
    write(&lab.path("run"), "a file");
    assert_ends(&lab.wanfo(&["check"]), 1, &["creating the directory", "/run"]);
    assert_ends(&lab.wanfo(&["status"]), 1, &["reading the state"]);
    fs::remove_file(lab.path("run")).expect("a file");

    let disk = Disk::mount(&lab, "size=64k");
    disk.set_read_only(true);
    assert_ends(&lab.wanfo(&["check"]), 1, &["opening the lock", "Read-only file system"]);
    disk.set_read_only(false);
    assert_ends(&lab.wanfo(&["check"]), 0, &[]);
    disk.set_read_only(true);
    for command in ["check", "force-failover", "failback", "down"] {
        assert_ends(&lab.wanfo(&[command]), 1, &["opening the lock", "Read-only file system"]);
    }
    assert_ends(&lab.wanfo(&["status"]), 0, &[]);
    assert_eq!(kernel(&lab), before);
}

/// A command with ten seconds and 256 MiB, which is killed where it takes more.
fn bounded(lab: &Lab, arguments: &[&str]) -> Run {
    let mut command = lab.wanfo_command(arguments);
    lab::before_exec(&mut command, || {
        // It outlives exec.
        alarm::set(10);
        setrlimit(Resource::RLIMIT_AS, 256 << 20, 256 << 20)
    });
    ended(&mut command)
}

pub fn what_is_no_file_holds_nothing_up() {
    let lab = at_work();
    let victim = lab.path("victim");
    write(&victim, "precious");
    let put: [&dyn Fn(&str); 2] =
        [&|name| mkfifo(&lab.path(name), Mode::S_IRUSR | Mode::S_IWUSR).expect("a FIFO"), &|name| {
            symlink(&victim, lab.path(name)).expect("a link")
        }];
    for put in put {
        let replace = |name: &str| {
            let _ = fs::remove_file(lab.path(name));
            put(name);
        };
        replace("run/lock");
        for command in ["check", "force-failover", "failback", "down"] {
            assert_ends(&bounded(&lab, &[command]), 1, &["opening the lock", "no regular file", "move away"]);
        }
        assert_ends(&bounded(&lab, &["status"]), 0, &[]);
        fs::remove_file(lab.path("run/lock")).expect("it is there");

        replace("run/state.json");
        assert_ends(&bounded(&lab, &["status"]), 0, &["cannot be used", "no regular file"]);
        assert_ends(&bounded(&lab, &["check", "--dry-run"]), 0, &[]);
        assert_ends(&bounded(&lab, &["check"]), 0, &["cannot be used", "state.json.bad"]);
        replace("run/state.json.new");
        assert_ends(&bounded(&lab, &["check"]), 0, &[]);
        assert_ends(&bounded(&lab, &["status"]), 0, &[]);

        replace("state/history.jsonl");
        assert_ends(&bounded(&lab, &["history"]), 1, &["opening the history", "no regular file"]);
        lab.pull_cable(1);
        let run = bounded(&lab, &["check"]);
        assert_ends(&run, 1, &["switched from fibre to lte", "writing the history to", "no regular file"]);
        assert_carried_by(&lab, 2);
        fs::remove_file(lab.path("state/history.jsonl")).expect("it is there");
        lab.plug_in(1);
        assert_ends(&bounded(&lab, &["check"]), 0, &[]);
        assert_ends(&bounded(&lab, &["failback", "--now"]), 0, &[]);

        fs::create_dir_all(lab.path("state/spool/failed")).expect("a spool");
        fs::set_permissions(lab.path("state/spool"), PermissionsExt::from_mode(0o700)).expect("it is ours");
        lab.configure(&format!(
            "{TWO_LINKS}notify: {{to: [a@example.com], from: b@example.com, sendmail: /bin/true}}\n"
        ));
        write(&lab.path("state/spool/torn.json"), "torn");
        replace("state/spool/lock");
        assert_ends(&bounded(&lab, &["deliver"]), 1, &["opening the lock", "no regular file"]);
        replace("run/deliver");
        assert_ends(&bounded(&lab, &["check"]), 1, &["run/deliver", "no regular file"]);
        for name in ["state/spool/lock", "run/deliver"] {
            fs::remove_file(lab.path(name)).expect("it is there");
        }
        assert_ends(&bounded(&lab, &["check"]), 0, &[]);
        replace("state/spool/failed/torn.new");
        assert_ends(&bounded(&lab, &["deliver"]), 0, &["set aside"]);
        fs::remove_dir_all(lab.path("state/spool")).expect("a spool");
        lab.configure(TWO_LINKS);
    }
    assert_eq!(fs::read_to_string(victim).expect("it is there"), "precious");
}

/// Of each file of ours something else stands in the place, of each kind. A line that dies is left all the same, as long as the
/// lock can be taken.
pub fn whatever_stands_in_the_place_of_our_files_a_dead_line_is_left() {
    let lab = at_work();
    lab.configure(&format!(
        "{}notify: {{to: [a@example.com], from: b@example.com, sendmail: /bin/true}}\n",
        TWO_LINKS.replace("probe: {", "probe: {record: true, ")
    ));
    assert_ends(&lab.wanfo(&["check"]), 0, &[]);
    let victim = lab.path("victim");
    type Put<'a> = (&'a str, &'a dyn Fn(&Path));
    let kinds: [Put; 7] = [
        ("a directory", &|path| fs::create_dir(path).expect("a directory")),
        ("a FIFO", &|path| mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).expect("a FIFO")),
        ("a link", &|path| symlink(&victim, path).expect("a link")),
        ("a link to nothing", &|path| symlink("/nonexistent/nothing", path).expect("a link")),
        ("an endless device", &|path| symlink("/dev/zero", path).expect("a link")),
        ("a file that all may write", &|path| {
            write(path, "");
            fs::set_permissions(path, PermissionsExt::from_mode(0o666)).expect("it is ours");
        }),
        ("a socket", &|path| drop(UnixListener::bind(path).expect("a socket"))),
    ];
    let files = [
        "run/state.json",
        "run/state.json.new",
        "run/state.json.bad",
        "run/config.yaml",
        "run/config.yaml.new",
        "run/deliver",
        "run/rounds.jsonl",
        "state/history.jsonl",
        "state/hold",
        "state/proofs.json",
        "state/spool",
        "state/spool/lock",
    ];
    for file in files {
        for (kind, put) in kinds {
            write(&victim, "precious");
            let path = lab.path(file);
            remove(&path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            put(&path);
            lab.pull_cable(1);
            let run = bounded(&lab, &["check"]);
            let what = format!("{kind} in the place of {file}: {run:?}");
            assert!([0, 1].contains(&run.code) && !run.stderr.contains("panicked"), "{what}");
            assert_eq!(lab.ask(lab::SERVICE).ok(), Some(2), "{what}");
            for command in ["status", "history", "deliver"] {
                let run = bounded(&lab, &[command]);
                assert!(
                    [0, 1].contains(&run.code) && !run.stderr.contains("panicked"),
                    "{what}\n{command}: {run:?}"
                );
            }
            assert_eq!(fs::read_to_string(&victim).expect("it is there"), "precious", "{what}");
            remove(&path);
            lab.plug_in(1);
            // After so many outages nothing goes back by itself for half an hour.
            let start = Instant::now();
            while bounded(&lab, &["failback", "--now"]).code != 0 && start.elapsed() < Duration::from_secs(20)
            {
            }
            assert_eq!(active(&lab), "fibre", "{what}");
        }
    }
}

/// Whatever it is.
fn remove(path: &Path) {
    let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
}

pub fn a_file_that_fills_the_memory() {
    let lab = at_work();
    let fill = |name: &str| {
        let file = File::options().create(true).append(true).open(lab.path(name)).expect("a file");
        // A hole: it takes no room on the disk.
        file.set_len(1 << 40).expect("a tmpfs takes it");
    };
    fill("run/state.json");
    assert_ends(&bounded(&lab, &["status"]), 0, &["cannot be used", "it has more than"]);
    assert_ends(&bounded(&lab, &["check"]), 0, &["cannot be used"]);
    fill("state/history.jsonl");
    assert_ends(&bounded(&lab, &["history"]), 0, &["history.jsonl is larger than a history gets"]);
    fs::create_dir_all(lab.path("state/spool")).expect("a spool");
    fill("state/spool/huge.json");
    let notify = "notify: {to: [a@example.com], from: b@example.com, sendmail: /bin/true}\n";
    lab.configure(&format!("{TWO_LINKS}{notify}"));
    assert_ends(&bounded(&lab, &["check"]), 0, &[]);
    assert_ends(&bounded(&lab, &["deliver"]), 0, &["huge.json is no message", "it has more than"]);
}

pub fn no_file_writes_to_the_terminal() {
    let lab = at_work();
    let mut state = state(&lab);
    state["reason"] = json!("\u{1b}[2Jgone\u{9b}31m");
    write(&lab.path("run/state.json"), state.to_string());
    let history = fs::read_to_string(lab.path("state/history.jsonl")).expect("a history");
    let mut record: Value = serde_json::from_str(history.lines().next().expect("a line")).expect("JSON");
    record["event"] = json!("link_down");
    record["link"] = json!("lte");
    record["reason"] = json!("\u{1b}[2Jgone");
    write(&lab.path("state/history.jsonl"), format!("{history}{record}\n\u{1b}]0;title\u{7}\n"));
    for arguments in [&["status"][..], &["history"], &["check"], &["force-failover"]] {
        let run = lab.wanfo(arguments);
        assert_ends(&run, 0, &[]);
        let output = run.stdout + &run.stderr;
        assert!(!output.contains(|c: char| c.is_control() && c != '\n'), "{arguments:?}: {output:?}");
        assert!(output.contains("gone") || !matches!(arguments[0], "status" | "history"), "{output:?}");
    }
    state["links"][0]["verdict"] = json!("\u{1b}[2Jgone");
    write(&lab.path("run/state.json"), state.to_string());
    let run = lab.wanfo(&["status"]);
    assert_ends(&run, 0, &["cannot be used", "[2Jgone"]);
    assert!(!run.stderr.contains('\u{1b}'), "{:?}", run.stderr);
}

/// Everything below `run` and `state` with its mode, after a switch with a hold, a mail, a delivery.
fn modes_under(lab: &Lab, mask: u32) -> Vec<String> {
    let sendmail = lab.path("sendmail");
    write(&sendmail, "#!/bin/sh\ncat >/dev/null\n");
    fs::set_permissions(&sendmail, PermissionsExt::from_mode(0o755)).expect("the file is ours");
    lab.configure(&format!(
        "{TWO_LINKS}notify: {{to: [noc@example.com], from: wanfo@example.com, sendmail: {}}}\n",
        sendmail.display()
    ));
    let wanfo = |arguments: &[&str]| {
        let mut command = lab.wanfo_command(arguments);
        lab::before_exec(&mut command, move || {
            umask(Mode::from_bits_truncate(mask));
            nix::Result::Ok(())
        });
        assert_ends(&ended(&mut command), 0, &[]);
    };
    wanfo(&["check"]);
    wanfo(&["force-failover", "--hold"]);
    wanfo(&["deliver"]);
    wanfo(&["failback", "--now"]);
    wanfo(&["force-failover", "--hold"]);
    let (mut paths, mut found) = (vec![lab.path("run"), lab.path("state")], Vec::new());
    while let Some(path) = paths.pop() {
        let mode = fs::metadata(&path).expect("it is there").permissions().mode() & 0o7777;
        let name = path.strip_prefix(lab.path("")).expect("it is below").display();
        found.push(format!("{name}{} {mode:o}", if path.is_dir() { "/" } else { "" }));
        if path.is_dir() {
            paths.extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        }
    }
    found.sort();
    found
}

pub fn whatever_the_umask_the_modes_are_the_same() {
    for mask in [0, 0o022, 0o077] {
        let lab = two_links();
        let found = modes_under(&lab, mask);
        let is = |place: &str, mode: &str| {
            let entry = found.iter().find(|entry| entry.starts_with(place));
            let entry = entry.unwrap_or_else(|| panic!("no {place} in {found:#?}"));
            assert!(entry.ends_with(&format!(" {mode}")), "with umask {mask:o}: {entry}, not {mode}");
        };
        is("run/ ", "755");
        is("run/state.json ", "644");
        is("run/lock ", "600");
        is("run/deliver ", "644");
        is("state/ ", "755");
        is("state/history.jsonl ", "644");
        is("state/hold ", "644");
        is("state/spool/ ", "700");
        is("state/spool/lock ", "600");
        is("state/spool/sent/ ", "700");
        for entry in found.iter().filter(|entry| entry.starts_with("state/spool/") && !entry.contains("/ ")) {
            assert!(entry.ends_with(" 600"), "with umask {mask:o}: {entry}");
        }
    }
}

pub fn folders_that_are_there_keep_their_modes() {
    let lab = two_links();
    for (folder, mode) in [("run", 0o700), ("state", 0o750), ("state/spool", 0o755)] {
        fs::create_dir(lab.path(folder)).expect("a folder");
        fs::set_permissions(lab.path(folder), PermissionsExt::from_mode(mode)).expect("it is ours");
    }
    let found = modes_under(&lab, 0);
    for entry in ["run/ 700", "state/ 750", "state/spool/ 755", "state/spool/sent/ 700"] {
        assert!(found.iter().any(|found| found == entry), "{entry} is not in {found:#?}");
    }
}
