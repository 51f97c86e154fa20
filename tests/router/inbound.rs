//! What comes in: who asks the router on the address of a line is answered over that line.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::lab::{self, Line, Namespace, router_address, router_address6};
use crate::story::{PROBE, Story, config, link};

const LINES: usize = 3;
const PORT: u16 = 8443;

/// A service of the router's own, on all its addresses.
fn serve(router: &Namespace) {
    let listener = router.run(|| TcpListener::bind(("::", PORT))).expect("a port of its own");
    thread::spawn(move || listener.incoming().for_each(drop));
}

/// Providers let nothing pass that is not from their own customer's address (BCP 38).
fn filter_by_source(story: &Story) {
    for line in 1..=LINES {
        let (own, own6) = (router_address(line), router_address6(line));
        let rules = format!(
            "table inet bcp38 {{ chain forward {{ type filter hook forward priority 0; \
             iifname customer ip saddr != {own} drop; iifname customer ip6 saddr != {own6} drop; }}; }}"
        );
        let output = story.provider(line).command("nft").arg(rules).output().expect("nft starts");
        assert!(output.status.success(), "{output:?}");
    }
}

fn connects(from: &Namespace, to: IpAddr) -> bool {
    let address = SocketAddr::new(to, PORT);
    from.run(|| TcpStream::connect_timeout(&address, Duration::from_millis(700))).is_ok()
}

fn addresses(line: Line) -> [IpAddr; 2] {
    [router_address(line).into(), router_address6(line).into()]
}

fn three_links(more: &str) -> Vec<String> {
    ["first", "second", "third"].iter().zip(1..).map(|(name, line)| link(line, name, more)).collect()
}

/// Under strict and loose reverse-path filtering, with either override, whichever link is active.
pub fn every_line_answers_on_its_own_address() {
    lab::need(&["nft"]);
    for (way_out, rp_filter) in [("halves", "1"), ("default", "2"), ("halves", "0")] {
        let sections = [PROBE, &format!("routing: {{override: {way_out}}}")];
        let story = Story::begin(LINES, &config(&three_links("inbound: true"), &sections));
        filter_by_source(&story);
        serve(&story.router);
        story.check();
        for setting in ["all", "default", "wan1", "wan2", "wan3"] {
            story.router.sysctl(&format!("net.ipv4.conf.{setting}.rp_filter"), rp_filter);
        }
        for active in ["first", "second", "third"] {
            if active != "first" {
                story.succeeds(&["force-failover", "--to", active, "--hold"]);
            }
            for address in (1..=LINES).flat_map(addresses) {
                assert!(connects(&story.internet, address), "{active}, {way_out}, {rp_filter}: {address}");
                // A client in the LAN as well, over the LAN.
                assert!(
                    connects(&story.client, address),
                    "{active}, {way_out}, {rp_filter}: {address} from the LAN"
                );
            }
        }
        // A line that is down holds nobody to it.
        story.succeeds(&["failback"]);
        assert!(story.ours().iter().any(|line| line.contains("lookup 5303") && line.contains("531:")));
        story.cut_silently(3);
        story.check_until("a third link that is down", |status| status["links"][2]["up"] == false);
        story.check();
        assert!(!story.ours().iter().any(|line| line.contains("lookup 5303") && line.contains("531:")));
        story.succeeds(&["down"]);
        assert_eq!(story.ours(), [""; 0]);
    }
}

/// As without `inbound`: the answer leaves by the active line, whose provider drops it.
pub fn without_inbound_only_the_active_line_answers() {
    lab::need(&["nft"]);
    let story = Story::begin(LINES, &config(&three_links(""), &[PROBE]));
    filter_by_source(&story);
    serve(&story.router);
    story.check();
    let answers = |line| addresses(line).map(|address| connects(&story.internet, address));
    assert_eq!([1, 2, 3].map(answers), [[true, true], [false, false], [false, false]]);
}
