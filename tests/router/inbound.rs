//! What comes in: who asks the router on the address of a line is answered over that line.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use crate::lab::{self, Line, Namespace, SERVICE, router_address, router_address6};
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

/// A port of the second line that leads to a server in the LAN, by what the page says.
pub fn a_forwarded_port_is_answered_over_the_line_it_came_by() {
    lab::need(&["nft"]);
    let page = include_str!("../../docs/inbound.md").replace("eth1", "wan2");
    let marks =
        page.split_once("```nft\n").and_then(|(_, rest)| rest.split_once("```")).expect("rules for nft").0;
    let rules = page
        .lines()
        .filter_map(|line| line.trim().strip_prefix("ip "))
        .filter(|line| line.starts_with("rule"));
    let server = IpAddr::from([192, 0, 2, 242]);
    let story = Story::begin(LINES, &config(&three_links(""), &[PROBE]));
    filter_by_source(&story);
    serve(&story.client);
    let nft = |rules: &str| {
        let output = story.router.command("nft").arg(rules).output().expect("nft starts");
        assert!(output.status.success(), "{output:?}");
    };
    nft(&format!(
        "table ip ports {{ chain prerouting {{ type nat hook prerouting priority dstnat; \
         iifname wan2 tcp dport {PORT} dnat to {server}; }}; }}"
    ));
    story.router.sysctl("net.ipv4.conf.wan2.rp_filter", "1");
    story.check();
    let asked = router_address(2).into();
    assert!(!connects(&story.internet, asked), "the answer leaves by the active line");
    nft(marks);
    for rule in rules {
        story.router.ip(rule);
    }
    story.router.sysctl("net.ipv4.conf.wan2.src_valid_mark", "1");
    for active in ["first", "second", "third"] {
        if active != "first" {
            story.succeeds(&["force-failover", "--to", active, "--hold"]);
        }
        assert!(connects(&story.internet, asked), "{active}: {:#?}", story.kernel());
    }
    assert_eq!(story.problems(), "");
}

/// The table of the page: a socket that is bound to the address of a line.
pub fn what_is_bound_to_an_address_stays_on_its_line_while_that_is_up() {
    lab::need(&["nft"]);
    let answered_over = |story: &Story, line: Line| {
        let socket = story.router.run(|| UdpSocket::bind((router_address(line), 0))).expect("an own address");
        socket.set_read_timeout(Some(Duration::from_millis(500))).expect("not zero");
        let mut answer = *b"abcd\0";
        let asked = socket.send_to(&answer, (SERVICE, 7)).and_then(|_| socket.recv(&mut answer));
        asked.ok().map(|_| usize::from(answer[4]))
    };
    for (inbound, while_waiting) in [("inbound: true", [Some(1), Some(2)]), ("", [None, None])] {
        let story = Story::begin(LINES, &config(&three_links(inbound), &[PROBE]));
        filter_by_source(&story);
        story.check();
        assert_eq!((answered_over(&story, 1), answered_over(&story, 2)), (Some(1), while_waiting[1]));
        story.succeeds(&["force-failover", "--hold"]);
        assert_eq!((answered_over(&story, 1), answered_over(&story, 2)), (while_waiting[0], Some(2)));
        story.succeeds(&["failback"]);
        assert_eq!((answered_over(&story, 1), answered_over(&story, 2)), (Some(1), while_waiting[1]));
        story.cut_silently(1);
        story.fail_over("first", "second");
        story.check();
        assert_eq!((answered_over(&story, 1), answered_over(&story, 2)), (None, Some(2)));
    }
}
