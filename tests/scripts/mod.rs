//! The admin's scripts run for real, who may write them, and flows that move with a switch.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use fs2::FileExt;
use libtest_mimic::Trial;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigHandler, SigSet, Signal, kill, signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Pid;
use tempfile::TempDir;
use wanfo::core::script::Ending;
use wanfo::system::conntrack;
use wanfo::system::script;
use wanfo::system::trust::Refusal;
use wanfo::system::{counters, timer, trust};

use crate::lab::{self, Lab, Line, Meter, SERVICE, SERVICE6};

/// Enough for a script that does nothing, on a machine that is busy.
const AMPLE: Duration = Duration::from_secs(20);
/// Too little for one that sleeps.
const SCANT: Duration = Duration::from_millis(500);

/// What a careless parent hands on; and somebody who hears what is logged.
pub fn prepare() {
    // SAFETY: dispositions only, no handler.
    #[expect(unsafe_code, reason = "a handler could do harm, but there is none")]
    let ignored = unsafe {
        signal(Signal::SIGHUP, SigHandler::SigIgn).and(signal(Signal::SIGUSR1, SigHandler::SigIgn))
    };
    ignored.expect("signals can be ignored");
    log::set_boxed_logger(Box::new(Listener)).expect("there is no other logger");
    log::set_max_level(log::LevelFilter::Info);
}

/// Those that need no lab.
pub fn trials_anywhere() -> Vec<Trial> {
    trials![self::{
        arguments_and_environment_are_exact,
        what_wanfo_inherited_is_not_handed_on,
        how_it_ended_is_told,
        one_that_sleeps_for_ever_is_killed_with_all_that_it_forked,
        it_may_say_a_last_word_when_its_time_is_up,
        one_that_ignores_term_is_killed_two_seconds_later,
        so_is_a_child_that_ignores_term,
        a_background_process_holds_up_nothing_and_lives_on,
        a_chatty_background_process_holds_up_nothing,
        a_background_process_keeps_no_lock,
        ten_megabytes_of_lines_become_two_hundred,
        ten_megabytes_without_a_line_break_become_one_line,
        output_comes_while_it_runs,
        what_cannot_be_run_is_a_sentence,
        one_that_is_still_being_written_is_waited_for,
        what_others_can_write_is_refused,
        a_script_that_others_can_write_is_not_run,
        a_config_that_others_can_write_is_refused,
        a_look_that_fails_is_no_refusal,
        a_timer_is_enabled_by_a_link,
        another_file_in_its_place_lends_no_trust,
        an_interface_has_a_count_of_bytes,
        what_belongs_to_others_is_refused,
    }]
}

pub fn trials() -> Vec<Trial> {
    trials![self::{
        a_sip_like_flow_moves_with_the_switch,
        only_flows_of_the_given_address_are_deleted,
        nothing_but_a_links_own_address_is_flushed,
    }]
}

/// Keeps what is logged. Tests run side by side and tell their lines by the script's name.
struct Listener;

static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl log::Log for Listener {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        HEARD.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

/// A script in a folder of its own.
struct Script {
    name: &'static str,
    folder: TempDir,
}

impl Script {
    /// `name` is unique in this file: the log lines go by it.
    fn new(name: &'static str, text: &str) -> Script {
        let script = Script { name, folder: tempfile::tempdir().unwrap() };
        fs::write(script.path(), text).unwrap();
        chmod(&script.path(), 0o755);
        script
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(self.name)
    }

    fn run(&self, limit: Duration) -> Ending {
        let place = ("WANFO_TEST_FOLDER".to_owned(), self.folder.path().display().to_string());
        script::run(&self.path(), &[], &[place], limit)
    }

    /// What it said in the log, without its name.
    fn said(&self) -> Vec<String> {
        let heard = HEARD.lock().unwrap();
        let lines = heard.iter().filter_map(|line| line.strip_prefix(self.name)?.strip_prefix(": "));
        lines.map(str::to_owned).collect()
    }

    /// A number that the script wrote into a file of its folder.
    fn pid(&self, file: &str) -> Pid {
        let text = fs::read_to_string(self.folder.path().join(file)).unwrap();
        Pid::from_raw(text.trim().parse().unwrap())
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Whether the process runs; one that waits to be reaped by init does not.
fn lives(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// A process that is not our child is gone a moment after SIGKILL.
fn assert_dies(pid: Pid) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while lives(pid) {
        assert!(Instant::now() < deadline, "process {pid} lives on");
        sleep(Duration::from_millis(10));
    }
}

fn arguments_and_environment_are_exact() {
    let script =
        Script::new("exact", "#!/bin/sh\nprintf '[%s]\\n' \"$@\"\ntr '\\0' '\\n' < /proc/$$/environ\npwd\n");
    let arguments = ["SECONDARY", "", "198.51.100.1", "a b  c", "$(id)", "*", "é\\n'\""].map(str::to_owned);
    let environment = [("WANFO_STATE", "SECONDARY"), ("WANFO_REASON", "a = b; \"c\"")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let ending = script::run(&script.path(), &arguments, &environment, AMPLE);
    assert_eq!(ending, Ending::Exit(0));
    let expected = [
        "[SECONDARY]",
        "[]",
        "[198.51.100.1]",
        "[a b  c]",
        "[$(id)]",
        "[*]",
        "[é\\n'\"]",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG=C.UTF-8",
        "HOME=/root",
        "WANFO_STATE=SECONDARY",
        "WANFO_REASON=a = b; \"c\"",
        "/",
    ];
    assert_eq!(script.said(), expected);
}

fn what_wanfo_inherited_is_not_handed_on() {
    // By the shell alone: while it starts another program it has signals blocked.
    let script = Script::new(
        "washed",
        "#!/bin/sh\nwhile read name value; do\n\
         case $name in SigBlk:|SigIgn:) echo $name$value;; esac\ndone < /proc/$$/status\n\
         umask\nread pid name state parent group session rest < /proc/$$/stat\n\
         [ $group = $$ ] && [ $session = $$ ] && echo own session\nread line || echo nothing to read\n",
    );
    let ending = thread::scope(|scope| {
        let careless = scope.spawn(|| {
            // Of this thread alone.
            unshare(CloneFlags::CLONE_FS).unwrap();
            umask(Mode::from_bits_truncate(0o077));
            SigSet::from_iter([Signal::SIGTERM]).thread_block().unwrap();
            script.run(AMPLE)
        });
        careless.join().unwrap()
    });
    assert_eq!(ending, Ending::Exit(0));
    let said = script.said();
    for (line, name) in said.iter().zip(["SigBlk:", "SigIgn:"]) {
        let signals = line.strip_prefix(name).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        // Signals 32 and 33 are the C library's own and cannot be set.
        assert_eq!(signals.map(|signals| signals & !(0b11 << 31)), Some(0), "{line}");
    }
    assert_eq!(said[2..], ["0022", "own session", "nothing to read"]);
}

fn how_it_ended_is_told() {
    for (name, text, expected, clause) in [
        ("fine", "exit 0", Ending::Exit(0), "exit code 0"),
        ("fails", "exit 3", Ending::Exit(3), "exit code 3"),
        ("kills-itself", "kill -9 $$", Ending::Signal(9), "killed by signal 9"),
        ("sleeps", "sleep 1000", Ending::TimeLimit(SCANT), "killed after 500ms"),
    ] {
        let ending = Script::new(name, &format!("#!/bin/sh\n{text}\n")).run(match expected {
            Ending::TimeLimit(limit) => limit,
            _ => AMPLE,
        });
        assert_eq!(ending, expected);
        assert_eq!(expected.to_string(), clause);
        assert_eq!(expected.success(), name == "fine");
    }
    assert_eq!(Ending::TimeLimit(Duration::from_secs(60)).to_string(), "killed after 1m");
}

fn one_that_sleeps_for_ever_is_killed_with_all_that_it_forked() {
    let script = Script::new(
        "sleeper",
        "#!/bin/sh\nsleep 1000 &\necho $! > $WANFO_TEST_FOLDER/child\n\
         (sleep 1000 & echo $! > $WANFO_TEST_FOLDER/grandchild; wait) &\nwait\n",
    );
    let begun = Instant::now();
    // Long enough to write both files.
    let limit = Duration::from_secs(2);
    assert_eq!(script.run(limit), Ending::TimeLimit(limit));
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert_dies(script.pid("child"));
    assert_dies(script.pid("grandchild"));
}

fn it_may_say_a_last_word_when_its_time_is_up() {
    let script = Script::new("polite", "#!/bin/sh\ntrap 'echo bye; exit 0' TERM\nsleep 1000 &\nwait\n");
    assert_eq!(script.run(SCANT), Ending::TimeLimit(SCANT));
    assert_eq!(script.said(), ["bye"]);
}

fn one_that_ignores_term_is_killed_two_seconds_later() {
    let script =
        Script::new("stubborn", "#!/bin/sh\ntrap '' TERM\necho $$ > $WANFO_TEST_FOLDER/self\nsleep 1000\n");
    let begun = Instant::now();
    assert_eq!(script.run(SCANT), Ending::TimeLimit(SCANT));
    let time = begun.elapsed();
    assert!(time >= SCANT + Duration::from_secs(2) && time < Duration::from_secs(5), "{time:?}");
    assert!(!lives(script.pid("self")));
}

fn so_is_a_child_that_ignores_term() {
    let script = Script::new(
        "stubborn-child",
        "#!/bin/sh\n(trap '' TERM; sleep 1000; sleep 1000) &\necho $! > $WANFO_TEST_FOLDER/child\nsleep 1000\n",
    );
    assert_eq!(script.run(SCANT), Ending::TimeLimit(SCANT));
    assert_dies(script.pid("child"));
}

fn a_background_process_holds_up_nothing_and_lives_on() {
    let script = Script::new(
        "parent",
        "#!/bin/sh\necho before\nsleep 1000 &\necho $! > $WANFO_TEST_FOLDER/child\nprintf after\n",
    );
    let begun = Instant::now();
    assert_eq!(script.run(AMPLE), Ending::Exit(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(script.said(), ["before", "after"]);
    let child = script.pid("child");
    assert!(lives(child));
    kill(child, Signal::SIGKILL).unwrap();
}

fn a_chatty_background_process_holds_up_nothing() {
    let script = Script::new("chatty", "#!/bin/sh\nyes &\necho $! > $WANFO_TEST_FOLDER/child\n");
    let begun = Instant::now();
    assert_eq!(script.run(AMPLE), Ending::Exit(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // As nobody reads any more, SIGPIPE ends it, or has ended it.
    assert_dies(script.pid("child"));
}

fn a_background_process_keeps_no_lock() {
    let script = Script::new("heir", "#!/bin/sh\nsleep 1000 &\necho $! > $WANFO_TEST_FOLDER/child\n");
    let path = script.folder.path().join("lock");
    let ours = File::create(&path).unwrap();
    ours.try_lock_exclusive().unwrap();
    // As if whoever started us had left it open: not even so.
    let handed_on = File::create(script.folder.path().join("handed-on")).unwrap();
    handed_on.try_lock_exclusive().unwrap();
    fcntl(&handed_on, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    assert_eq!(script.run(AMPLE), Ending::Exit(0));
    let child = script.pid("child");
    // Until then it is a copy of the shell, which has the script open.
    while fs::read_to_string(format!("/proc/{child}/comm")).unwrap() != "sleep\n" {
        sleep(Duration::from_millis(5));
    }
    // Where ld.so opens a library just now, that is closed in a moment; what it inherited, it would keep.
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let open = fs::read_dir(format!("/proc/{child}/fd")).unwrap().map(|fd| fd.unwrap().file_name());
        let mut open: Vec<_> = open.collect();
        open.sort();
        if open == ["0", "1", "2"] {
            break;
        }
        assert!(Instant::now() < deadline, "{open:?}");
        sleep(Duration::from_millis(5));
    }
    drop(ours);
    let again = File::create(&path).unwrap();
    // A fork of another test has a copy of it until its exec; the child would have it for good.
    let deadline = Instant::now() + Duration::from_secs(5);
    while let Err(error) = again.try_lock_exclusive() {
        assert!(Instant::now() < deadline, "the lock went with us, not with the script's child: {error}");
        sleep(Duration::from_millis(5));
    }
    kill(child, Signal::SIGKILL).unwrap();
}

fn ten_megabytes_of_lines_become_two_hundred() {
    let script = Script::new("loud", "#!/bin/sh\nyes wolf | head -c 10000000\nyes wolf | head -c 10 >&2\n");
    assert_eq!(script.run(AMPLE), Ending::Exit(0));
    let said = script.said();
    assert_eq!(said.len(), 201);
    assert!(said[..200].iter().all(|line| line == "wolf"));
    assert_eq!(said[200], "1999802 more lines are not shown");
}

fn ten_megabytes_without_a_line_break_become_one_line() {
    let script = Script::new("breathless", "#!/bin/sh\nhead -c 10000000 /dev/zero | tr '\\0' x\n");
    assert_eq!(script.run(AMPLE), Ending::Exit(0));
    assert_eq!(script.said(), [format!("{} [cut]", "x".repeat(1000))]);
}

fn output_comes_while_it_runs() {
    let script = Script::new("slow", "#!/bin/sh\nprintf 'one\\033[2J\\r\\n\\ntwo\\n'\nsleep 1000\n");
    thread::scope(|scope| {
        let run = scope.spawn(|| script.run(Duration::from_secs(3)));
        while script.said().is_empty() {
            assert!(!run.is_finished());
            sleep(Duration::from_millis(10));
        }
        assert!(matches!(run.join().unwrap(), Ending::TimeLimit(_)));
    });
    assert_eq!(script.said(), ["one[2J", "two"]);
}

fn what_cannot_be_run_is_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        fs::write(folder.path().join(name), text).unwrap();
        chmod(&folder.path().join(name), mode);
    };
    write("not-executable", "#!/bin/sh\n", 0o644);
    write("no-first-line", "echo a shell ran this\n", 0o755);
    write("empty", "", 0o755);
    write("from-windows", "#!/bin/sh\r\nexit 0\r\n", 0o755);
    write("no-interpreter", "#! /opt/nothing/here -x\n", 0o755);
    write("interpreter-is-a-folder", "#!/etc\n", 0o755);
    fs::create_dir(folder.path().join("directory")).unwrap();
    symlink("nowhere", folder.path().join("dangling")).unwrap();
    write("open", "#!/bin/sh\n", 0o755);
    let _open = OpenOptions::new().append(true).open(folder.path().join("open")).unwrap();
    for (name, why) in [
        ("not-executable", "it is not executable; run `chmod 755 FILE`"),
        ("no-first-line", "its first line names no interpreter; make it #!/bin/sh"),
        ("empty", "its first line names no interpreter"),
        ("from-windows", "its lines end with CR LF, as on Windows; run `sed -i 's/\\r$//' FILE`"),
        ("no-interpreter", "its first line names /opt/nothing/here, which is not on this machine"),
        ("interpreter-is-a-folder", "its interpreter may not be executed"),
        ("directory", "it is a directory"),
        ("dangling", "No such file or directory"),
        ("vanished", "No such file or directory"),
        ("open", "somebody has it open for writing"),
    ] {
        let path = folder.path().join(name);
        let ending = script::run(&path, &[], &[], AMPLE);
        // What is not a fault of the file may pass, and is tried again.
        assert_eq!(matches!(ending, Ending::NotStarted(_)), name == "open", "{ending:?}");
        let sentence = ending.to_string();
        assert!(sentence.starts_with(&format!("the script {} ", path.display())), "{sentence}");
        assert!(sentence.contains(&why.replace("FILE", &path.display().to_string())), "{sentence}");
    }
    assert!(!HEARD.lock().unwrap().iter().any(|line| line.starts_with("no-first-line")));
}

fn one_that_is_still_being_written_is_waited_for() {
    let script = Script::new("unfinished", "#!/bin/sh\nexit 7\n");
    let mut writer = OpenOptions::new().append(true).open(script.path()).unwrap();
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || {
            sleep(Duration::from_millis(200));
            writer.write_all(b"# the end\n").unwrap();
        });
        let mut ending = script.run(AMPLE);
        // A child that another story has just forked holds it open as well, until it has become its program.
        while matches!(ending, Ending::NotStarted(_)) && start.elapsed() < Duration::from_secs(10) {
            ending = script.run(AMPLE);
        }
        assert_eq!(ending, Ending::Exit(7));
    });
}

/// Makes `root/a/b/file`, all of it well kept.
fn well_kept() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("a/b")).unwrap();
    for (path, mode) in [("a", 0o755), ("a/b", 0o755)] {
        chmod(&root.path().join(path), mode);
    }
    fs::write(root.path().join("a/b/file"), "").unwrap();
    chmod(&root.path().join("a/b/file"), 0o644);
    root
}

type Spoil = fn(&Path);

fn what_others_can_write_is_refused() {
    let fine: [(&str, &str, Spoil); 9] = [
        ("as it is", "a/b/file", |_| ()),
        ("private", "a/b/file", |root| chmod(&root.join("a/b/file"), 0o400)),
        ("a script", "a/b/file", |root| chmod(&root.join("a/b/file"), 0o755)),
        ("dots", "a/../a/./b/file", |_| ()),
        ("a relative link", "a/link", |root| symlink("b/file", root.join("a/link")).unwrap()),
        ("a link that climbs", "a/b/link", |root| symlink("../b/file", root.join("a/b/link")).unwrap()),
        ("an absolute link", "a/link", |root| symlink(root.join("a/b/file"), root.join("a/link")).unwrap()),
        ("a linked folder", "c/file", |root| symlink("a/b", root.join("c")).unwrap()),
        ("a sticky folder above", "a/b/file", |root| chmod(&root.join("a"), 0o1777)),
    ];
    for (what, path, prepare) in fine {
        let root = well_kept();
        prepare(root.path());
        let judged = trust::refuse_if_others_can_write(&root.path().join(path), "script");
        assert_eq!(judged, Ok(()), "{what}");
    }
    let bad: [(&str, &str, Spoil, &str); 13] = [
        ("group", "a/b/file", |r| chmod(&r.join("a/b/file"), 0o664), "run `chmod g-w ROOT/a/b/file`"),
        ("all", "a/b/file", |r| chmod(&r.join("a/b/file"), 0o666), "run `chmod go-w ROOT/a/b/file`"),
        ("others", "a/b/file", |r| chmod(&r.join("a/b/file"), 0o606), "run `chmod o-w ROOT/a/b/file`"),
        ("folder", "a/b/file", |r| chmod(&r.join("a/b"), 0o775), "run `chmod g-w ROOT/a/b`"),
        ("folder above", "a/b/file", |r| chmod(&r.join("a"), 0o777), "run `chmod go-w ROOT/a`"),
        (
            "sticky bit on the file",
            "a/b/file",
            |r| chmod(&r.join("a/b/file"), 0o1666),
            "run `chmod go-w ROOT/a/b/file`",
        ),
        (
            "target of a link",
            "a/link",
            |r| {
                symlink("b/file", r.join("a/link")).unwrap();
                chmod(&r.join("a/b/file"), 0o666);
            },
            "run `chmod go-w ROOT/a/b/file`",
        ),
        (
            "folder of a link",
            "open/link",
            |r| {
                fs::create_dir(r.join("open")).unwrap();
                symlink("../a/b/file", r.join("open/link")).unwrap();
                chmod(&r.join("open"), 0o777);
            },
            "run `chmod go-w ROOT/open`",
        ),
        (
            "folder on the way of a link",
            "link",
            |r| {
                fs::create_dir(r.join("open")).unwrap();
                symlink(r.join("a/b/file"), r.join("open/link")).unwrap();
                symlink("open/link", r.join("link")).unwrap();
                chmod(&r.join("open"), 0o777);
            },
            "run `chmod go-w ROOT/open`",
        ),
        (
            "folder that is left again",
            "open/../a/b/file",
            |r| {
                fs::create_dir(r.join("open")).unwrap();
                chmod(&r.join("open"), 0o777);
            },
            "run `chmod go-w ROOT/open`",
        ),
        ("missing", "a/b/nothing", |_| (), "ROOT/a/b/nothing: No such file or directory"),
        ("a file as folder", "a/b/file/x", |_| (), "Not a directory"),
        ("a circle", "link", |r| symlink("link", r.join("link")).unwrap(), "leads round in circles"),
    ];
    for (what, path, prepare, why) in bad {
        let root = well_kept();
        prepare(root.path());
        let path = root.path().join(path);
        let sentence = trust::refuse_if_others_can_write(&path, "script").expect_err(what).to_string();
        assert!(
            sentence.starts_with(&format!("the script {} is not used: ", path.display())),
            "{what}: {sentence}"
        );
        let why = why.replace("ROOT", &root.path().display().to_string());
        assert!(sentence.contains(&why), "{what}: {sentence}");
    }
}

fn what_belongs_to_others_is_refused() {
    lab::need_users();
    let cases: [(&str, &str, Spoil, &str); 4] = [
        (
            "file",
            "a/b/file",
            |r| chown(r.join("a/b/file"), Some(1), None).unwrap(),
            "chown root ROOT/a/b/file",
        ),
        ("folder", "a/b/file", |r| chown(r.join("a"), Some(1), None).unwrap(), "chown root ROOT/a"),
        (
            "nobody: here everybody is mapped",
            "a/b/file",
            |r| chown(r.join("a/b/file"), Some(65534), None).unwrap(),
            "chown root ROOT/a/b/file",
        ),
        (
            "link in a sticky folder",
            "a/link",
            |r| {
                chmod(&r.join("a"), 0o1777);
                symlink("b/file", r.join("a/link")).unwrap();
                std::os::unix::fs::lchown(r.join("a/link"), Some(1), None).unwrap();
            },
            "chown -h root ROOT/a/link",
        ),
    ];
    for (what, path, prepare, why) in cases {
        let root = well_kept();
        prepare(root.path());
        let sentence =
            trust::refuse_if_others_can_write(&root.path().join(path), "script").expect_err(what).to_string();
        let why = format!("`{}`", why.replace("ROOT", &root.path().display().to_string()));
        assert!(sentence.contains(&why), "{what}: {sentence}");
    }
    let root = well_kept();
    chown(root.path().join("a/b/file"), None, Some(1)).unwrap();
    assert_eq!(trust::refuse_if_others_can_write(&root.path().join("a/b/file"), "script"), Ok(()));
}

fn a_script_that_others_can_write_is_not_run() {
    let script = Script::new("open-to-all", "#!/bin/sh\necho it ran\n");
    chmod(&script.path(), 0o777);
    let sentence = script.run(AMPLE).to_string();
    assert!(sentence.contains(&format!("run `chmod go-w {}`", script.path().display())), "{sentence}");
    assert!(script.said().is_empty());
}

fn a_config_that_others_can_write_is_refused() {
    let root = well_kept();
    let config = root.path().join("a/b/file");
    fs::write(&config, include_str!("../config/good/minimal.yaml")).unwrap();
    let wanfo = |command: &str, config: &Path| {
        let mut wanfo = Command::new(env!("CARGO_BIN_EXE_wanfo"));
        let output = wanfo.args([command, "-c"]).arg(config).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, stderr) = wanfo("config", &config);
    assert!(code == Some(0) && stderr.contains("has no targets"), "{stderr}");
    chmod(&root.path().join("a"), 0o777);
    for command in ["check", "force-failover", "failback", "config"] {
        let (code, stderr) = wanfo(command, &config);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(
            stderr.contains(&format!("run `chmod go-w {}`", root.path().join("a").display())),
            "{stderr}"
        );
    }
    // Handed over by whoever starts us.
    let piped = format!("cat {} | {} config -c /dev/stdin", config.display(), env!("CARGO_BIN_EXE_wanfo"));
    let output = Command::new("sh").args(["-c", &piped]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What is read is judged, not what stands at its path by then.
fn another_file_in_its_place_lends_no_trust() {
    lab::need_users();
    let root = well_kept();
    let path = root.path().join("a/b/file");
    chown(&path, Some(1), None).unwrap();
    let open = File::open(&path).unwrap();
    fs::rename(&path, root.path().join("aside")).unwrap();
    fs::write(&path, "").unwrap();
    assert_eq!(trust::refuse_if_others_can_write(&path, "script"), Ok(()));
    let refusal = trust::refuse_if_others_can_write_open(&open, &path, "script").unwrap_err();
    assert!(refusal.to_string().contains("belongs to user 1"), "{refusal}");
    assert_eq!(trust::refuse_if_others_can_write_open(&File::open(&path).unwrap(), &path, "script"), Ok(()));
}

/// A script that is gone is given up; one of which nothing could be learnt just now is tried again.
fn a_look_that_fails_is_no_refusal() {
    for (error, is_standing) in [
        (Errno::ENOENT, true),
        (Errno::EACCES, true),
        (Errno::EIO, false),
        (Errno::ENOMEM, false),
        (Errno::EMFILE, false),
        (Errno::ESTALE, false),
    ] {
        let refusal = Refusal::of(&error.into(), "why".to_owned());
        assert_eq!(matches!(refusal, Refusal::Standing(_)), is_standing, "{error}");
    }
}

fn a_timer_is_enabled_by_a_link() {
    let root = tempfile::tempdir().unwrap();
    let folders = [root.path().join("nothing"), root.path().to_owned()];
    let enabled = || timer::enabled_in(folders.iter().map(PathBuf::as_path));
    fs::write(root.path().join("wanfo.timer"), "").unwrap();
    fs::create_dir(root.path().join("timers.target.wants")).unwrap();
    assert_eq!(enabled(), None);
    let link = root.path().join("timers.target.wants/wanfo.timer");
    // What it leads to may be in a package that is gone.
    symlink("/nowhere/wanfo.timer", &link).unwrap();
    assert_eq!(enabled(), Some(link));
}

fn an_interface_has_a_count_of_bytes() {
    assert!(counters::bytes("lo").is_some());
    assert_eq!(counters::bytes("nothing0"), None);
}

/// A lab whose router has static `snat` on both lines, and whose second provider, as any, drops what has a
/// source address of the first.
fn lab_with_snat() -> Lab {
    lab::need(&["nft", "conntrack"]);
    let lab = Lab::new(2, "/nonexistent");
    let mut nat = "table inet lab { chain out { type nat hook postrouting priority srcnat;\n".to_owned();
    for line in [1, 2] {
        let (v4, v6) = (lab::router_address(line), lab::router_address6(line));
        nat += &format!("oifname wan{line} meta nfproto ipv4 snat ip to {v4}\n");
        nat += &format!("oifname wan{line} meta nfproto ipv6 snat ip6 to {v6}\n");
    }
    nft(&lab.router, &(nat + "}; }"));
    let (v4, v6) = (lab::router_address(1), lab::router_address6(1));
    let spoofed = format!(
        "table inet lab {{ chain in {{ type filter hook forward priority filter; \
         ip saddr {v4} drop; ip6 saddr {v6} drop; }}; }}"
    );
    nft(lab.provider(2), &spoofed);
    lab
}

fn nft(namespace: &lab::Namespace, rules: &str) {
    let output = namespace.command("nft").arg(rules).output().unwrap();
    assert!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr));
}

/// The flows of the router that show this address anywhere.
fn flows_with(lab: &Lab, address: IpAddr) -> usize {
    let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
    let output = lab.router.command("conntrack").args(["-L", "-f", family]).output().unwrap();
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    let shown = format!("={address} ");
    table.lines().filter(|line| line.contains(&shown)).count()
}

fn flush(lab: &Lab, addresses: &[IpAddr]) -> Result<u32, String> {
    lab.router.run(|| conntrack::flush(addresses))
}

fn a_sip_like_flow_moves_with_the_switch() {
    let lab = lab_with_snat();
    let (meter, meter6) = (lab.meter(SERVICE), lab.meter(SERVICE6));
    assert_answers_over(1, &meter);
    assert_answers_over(1, &meter6);

    lab.cut_silently(1);
    lab.router.ip(&format!("route add default via {} dev wan2", lab::gateway(2)));
    lab.router.ip(&format!("route add default via {} dev wan2 metric 1", lab::gateway6(2)));
    // The flow goes over line 2 now, and still under the address of line 1.
    for meter in [&meter, &meter6] {
        let from = Instant::now();
        sleep(Duration::from_secs(1));
        assert!(meter.longest_silence(from, Instant::now()) > Duration::from_millis(800));
    }

    let old = [lab::router_address(1).into(), lab::router_address6(1).into()];
    let deleted = flush(&lab, &old).unwrap();
    assert!(deleted >= 2, "{deleted}");
    assert_answers_over(2, &meter);
    assert_answers_over(2, &meter6);
    // Nothing is left: nothing to do, and no failure.
    assert_eq!(flush(&lab, &old), Ok(0));
}

fn only_flows_of_the_given_address_are_deleted() {
    let lab = lab_with_snat();
    let (old, other) = (lab::router_address(1), lab::router_address(2));
    let ours: [IpAddr; 2] = [old.into(), other.into()];
    let gateways = [1, 2].map(lab::gateway);
    let lan: IpAddr = "192.0.2.241".parse().unwrap();
    let send = |namespace: &lab::Namespace, from: IpAddr, to: IpAddr| {
        let sent =
            namespace.run(|| UdpSocket::bind((from, 0))?.send_to(b"REGISTER", SocketAddr::new(to, 5060)));
        sent.unwrap_or_else(|error| panic!("{from} to {to}: {error}"));
    };
    // On each line: the router's own flow out of its address, and one from the provider to it.
    for (line, (ours, gateway)) in (1..).zip(ours.into_iter().zip(gateways)) {
        send(&lab.router, ours, gateway.into());
        send(lab.provider(line), gateway.into(), ours);
    }
    // One of the LAN with the router, and one of the LAN with the Internet behind the address of line 1.
    send(&lab.client, "192.0.2.242".parse().unwrap(), lan);
    let meter = lab.meter(SERVICE);
    assert_answers_over(1, &meter);
    drop(meter);
    let before = [old.into(), other.into(), lan].map(|address| flows_with(&lab, address));
    assert!(before[0] >= 3 && before[1] >= 1 && before[2] >= 1, "{before:?}");

    assert_eq!(flush(&lab, &[old.into()]), Ok(before[0] as u32));
    let after = [old.into(), other.into(), lan].map(|address| flows_with(&lab, address));
    assert_eq!(after, [0, before[1], before[2]]);
}

fn nothing_but_a_links_own_address_is_flushed() {
    let lab = lab_with_snat();
    let meter = lab.meter(SERVICE);
    assert_answers_over(1, &meter);
    drop(meter);
    let flows = flows_with(&lab, lab::router_address(1).into());
    assert!(flows > 0);
    for address in ["0.0.0.0", "::", "127.0.0.1", "::1", "224.0.0.1", "ff02::1"] {
        let good = lab::router_address(1).into();
        let Err(sentence) = flush(&lab, &[good, address.parse().unwrap()]) else {
            panic!("{address} was taken");
        };
        assert!(sentence.starts_with(&format!("{address} is no link's address")), "{sentence}");
    }
    assert!(flush(&lab, &[]).is_err());
    assert_eq!(flows_with(&lab, lab::router_address(1).into()), flows);
}

fn assert_answers_over(line: Line, meter: &Meter) {
    let deadline = Instant::now() + Duration::from_secs(5);
    let fresh = Duration::from_millis(150);
    while meter.last_answer().is_none_or(|answer| answer.line != line || answer.at.elapsed() > fresh) {
        assert!(Instant::now() < deadline, "no reply over line {line}, last was {:?}", meter.last_answer());
        sleep(Duration::from_millis(20));
    }
}
