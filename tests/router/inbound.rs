//! What comes in: who asks the router on the address of a line is answered over that line.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::{self, Line, Meter, Namespace, SERVICE, router_address, router_address6, target};
use crate::site::{Running, wait_until};
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

/// A DHCP client's route to a name server, say, which is a target of the other link as well.
pub fn beside_a_foreign_route_to_its_target_a_link_is_probed_by_its_own_line() {
    let links = [link(1, "first", "inbound: true"), link(2, "second", "inbound: true")];
    let story = Story::begin(2, &config(&links, &[PROBE]));
    for setting in ["all", "default", "wan1", "wan2"] {
        story.router.sysctl(&format!("net.ipv4.conf.{setting}.rp_filter"), "1");
    }
    story.router.ip(&format!("route add {} via {} dev wan1", target(2, 1), lab::gateway(1)));
    story.check();
    for _ in 0..4 {
        story.let_pass(Duration::from_secs(2));
        story.check();
        assert_eq!(story.link("second")["up"], true, "{:#}", story.status());
    }
    story.cut_silently(1);
    story.check_until_active("second");
    for _ in 0..4 {
        story.let_pass(Duration::from_secs(2));
        story.check();
        assert_eq!(story.link("second")["up"], true, "{:#}", story.status());
    }
}

/// To the kernel an `unreachable` route is an answer, which no `suppress_prefixlength` holds back.
pub fn a_line_of_a_family_that_is_refused_answers_all_the_same() {
    lab::need(&["nft"]);
    let mut links = three_links("inbound: true");
    links[0] = link(1, "first", &format!("targets: [\"{}\"]", lab::target6(1, 1)));
    let story = Story::begin(LINES, &config(&links, &[PROBE]));
    filter_by_source(&story);
    serve(&story.router);
    story.check();
    story.router.ip("-4 address flush dev wan1");
    story.check();
    assert!(story.problems().contains("IPv4 is refused"), "{}", story.problems());
    assert_eq!(story.active(), "first");
    for address in [2, 3].into_iter().flat_map(addresses) {
        assert!(connects(&story.internet, address), "{address}");
    }
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

/// The two ends of a tunnel; 192.0.2.224/30 is nobody else's in the lab.
const TUNNEL: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 225), Ipv4Addr::new(192, 0, 2, 226)];

/// A WireGuard device with a key of its own; by wireguard-go, since not every kernel has it.
struct WireGuard<'a> {
    host: &'a Namespace,
    device: &'static str,
    public_key: String,
    _daemon: Running,
}

impl<'a> WireGuard<'a> {
    fn start(story: &Story, host: &'a Namespace, device: &'static str, address: Ipv4Addr) -> WireGuard<'a> {
        let mut daemon = host.command("wireguard-go");
        daemon.args(["--foreground", device]).stdout(Stdio::null()).stderr(Stdio::null());
        let daemon = Running::start(&mut daemon);
        let shows_itself =
            || host.command("wg").args(["show", device]).output().is_ok_and(|shown| shown.status.success());
        wait_until("wireguard-go", shows_itself);
        let key = story.path(device);
        fs::write(&key, wg(host, &["genkey"])).expect("the lab's directory takes a file");
        wg(host, &["set", device, "private-key", key.to_str().expect("text")]);
        host.ip(&format!("address add {address}/30 dev {device}"));
        host.ip(&format!("link set {device} up"));
        WireGuard { host, device, public_key: wg(host, &["show", device, "public-key"]), _daemon: daemon }
    }

    fn set(&self, words: &str) {
        wg(self.host, &[&["set", self.device], &words.split(' ').collect::<Vec<_>>()[..]].concat());
    }

    /// Where it sends what is for its only peer.
    fn endpoint(&self) -> String {
        let shown = wg(self.host, &["show", self.device, "endpoints"]);
        shown.split_whitespace().nth(1).expect("a peer").rsplit_once(':').expect("a port").0.to_owned()
    }
}

fn wg(host: &Namespace, arguments: &[&str]) -> String {
    let output = host.command("wg").args(arguments).output().expect("wg starts");
    assert!(output.status.success(), "wg {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Sends back what it is sent, from the address that it is bound to, as a SIP server does that is bound.
fn echo(host: &Namespace, address: Ipv4Addr) {
    let socket = host.run(|| UdpSocket::bind((address, 7))).expect("an own address");
    thread::spawn(move || {
        let mut datagram = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            let _ = socket.send_to(&datagram[..length], from);
        }
    });
}

/// Somebody outside talks to the first line's address: with a server that is bound to it, and through a WireGuard tunnel.
pub fn what_talks_to_a_line_stays_on_it_at_a_switch_and_is_back_when_the_line_is_up_again() {
    lab::need(&["nft", "wg", "wireguard-go", "/dev/net/tun"]);
    // With `inbound` it goes on while the backup has the traffic; without, it is silent for so long.
    thread::scope(|scope| {
        scope.spawn(|| talk_to_the_first_line("inbound: true", ["wg0", "wg1"], true));
        talk_to_the_first_line("inbound: false", ["wg2", "wg3"], false);
    });
}

fn talk_to_the_first_line(inbound: &str, devices: [&'static str; 2], goes_on: bool) {
    let links = three_links(&format!("{inbound}, stable: 30s"));
    let story = Story::begin(LINES, &config(&links, &[PROBE]));
    filter_by_source(&story);
    for line in 1..=LINES {
        story.router.sysctl(&format!("net.ipv4.conf.wan{line}.rp_filter"), "1");
    }
    story.check();
    let first = router_address(1);
    let router = WireGuard::start(&story, &story.router, devices[0], TUNNEL[0]);
    let outside = WireGuard::start(&story, &story.internet, devices[1], TUNNEL[1]);
    router.set(&format!("listen-port 51820 peer {} allowed-ips {}/32", outside.public_key, TUNNEL[1]));
    outside.set(&format!(
        "peer {} allowed-ips {}/32 endpoint {first}:51820 persistent-keepalive 1",
        router.public_key, TUNNEL[0]
    ));
    for address in [first, TUNNEL[0]] {
        echo(&story.router, address);
    }
    let meters = [first, TUNNEL[0]].map(|address| Meter::start(&story.internet, address.into()));
    wait_until("both answers", || meters.iter().all(|meter| meter.last_answer().is_some()));

    // The longest silences from an act to two seconds after it; where they are as long as that, nothing is heard any more.
    let goes_on_after = |what: &str, goes_on: bool, act: &mut dyn FnMut()| {
        let start = Instant::now();
        act();
        let done = Instant::now();
        thread::sleep(Duration::from_secs(2));
        let silences = meters.each_ref().map(|meter| meter.longest_silence(start, Instant::now()));
        let heard = meters.each_ref().map(|meter| meter.last_answer().is_some_and(|answer| answer.at > done));
        println!(
            "{inbound}, {what}: the bound server is {}, after {:.2?}; WireGuard is {}, after {:.2?}",
            if heard[0] { "heard" } else { "silent" },
            silences[0],
            if heard[1] { "heard" } else { "silent" },
            silences[1],
        );
        assert_eq!(heard, [goes_on; 2], "{inbound}, {what}: {:#?}", story.ours());
        // It does not roam.
        assert_eq!(outside.endpoint(), first.to_string(), "{inbound}, {what}");
        silences.map(|silence| silence < Duration::from_secs(1))
    };
    let unbroken = goes_on_after("a failover by hand", goes_on, &mut || {
        story.succeeds(&["force-failover", "--hold"]);
    });
    assert_eq!(unbroken, [goes_on; 2]);
    let unbroken = goes_on_after("the failback", true, &mut || {
        story.succeeds(&["failback"]);
    });
    assert!(!goes_on || unbroken == [true; 2]);

    story.cut_silently(1);
    goes_on_after("the line is dead", false, &mut || story.fail_over("first", "second"));
    goes_on_after("it answers, and is not up yet", false, &mut || {
        story.repair(1);
        story.await_answer(1);
        story.check();
        assert_eq!(story.link("first")["up"], false);
    });
    goes_on_after("it is up again", true, &mut || {
        for _ in 0..2 {
            story.let_pass(Duration::from_secs(16));
            story.check();
        }
        assert_eq!(story.active(), "first");
    });
}
