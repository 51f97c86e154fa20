//! A mail relay that is no help.

use std::net::TcpListener;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread::spawn;
use std::time::{Duration, Instant};

use super::*;
use crate::story::{PROBE, Story, config, two_links};

pub fn a_relay_that_hangs_costs_no_beat_and_no_switch() {
    let relay = format!("smtp: {{host: {}, port: 2525, tls: none}}", lab::SERVICE);
    let notify = format!("notify: {{to: [noc@example.com], from: wanfo@example.com, {relay}}}");
    let story = Story::begin(2, &config(&two_links(["", ""]), &[PROBE, &notify]));
    // Over either line, and never a word.
    let listener = story.internet.run(|| TcpListener::bind((lab::SERVICE, 2525))).expect("a port");
    let (tell, connected) = mpsc::channel();
    spawn(move || {
        let connection = listener.accept();
        let _ = tell.send(());
        // Open until the program ends.
        std::mem::forget(connection);
    });

    story.check();
    story.pull_cable(2);
    story.check();
    assert_eq!(subjects(&story).len(), 1, "something to send");
    story.plug_in(2);
    story.check_until("a backup that is up", |status| status["links"][1]["up"] == true);
    let mut command = story.wanfo_command(&["deliver"]);
    let mut delivery = command.stderr(Stdio::null()).spawn().expect("wanfo starts");
    connected.recv_timeout(Duration::from_secs(5)).expect("it speaks to the relay");

    story.cut_silently(1);
    for _ in 0..3 {
        let start = Instant::now();
        assert_eq!(story.wanfo(&["check"]).code, 0);
        // The silence, and then one second for a link that is down.
        assert!(start.elapsed() < Duration::from_millis(1900), "{:?}", start.elapsed());
        assert_eq!(story.active(), "secondary");
    }
    assert_carried_by(&story, 2);
    assert_eq!(switches(&story).len(), 1);
    assert!(delivery.try_wait().expect("our child").is_none(), "it hangs still");
    assert_eq!(subjects(&story).len(), 2, "down and up as one, and the switch");
    delivery.kill().expect("our child");
    delivery.wait().expect("our child");
}
