//! Where an example runs: its config in its place on a router that has a real one's paths and interface names.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Deref;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{self, End, Lab, Line, Namespace, SERVICE6};
use crate::story::{Story, WANFO};

pub const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

pub struct Site {
    story: Story,
    example: &'static str,
}

impl Deref for Site {
    type Target = Story;

    fn deref(&self) -> &Story {
        &self.story
    }
}

/// A host with files of its own, beside the router.
pub fn host(name: &str) -> Namespace {
    lab::host(Namespace::with_files(name))
}

pub fn end(host: &Namespace, interface: &str) -> End {
    End { host: host.clone(), interface: interface.to_owned() }
}

impl Site {
    /// The example on a router with these lines.
    pub fn of(example: &'static str, interfaces: &[&str]) -> Site {
        Site::with_more_ends(example, interfaces, &[])
    }

    /// The same where further lines of the Internet end at other hosts.
    pub fn with_more_ends(example: &'static str, interfaces: &[&str], others: &[End]) -> Site {
        let router = host("router");
        // The strictest that a distribution may come with.
        router.sysctl("net.ipv4.conf.all.rp_filter", "1");
        router.write("/etc/wanfo/wanfo.yaml", &shipped(&format!("{example}.yaml")));
        let ends = interfaces.iter().map(|interface| end(&router, interface)).chain(others.iter().cloned());
        let lab = Lab::with_ends(ends.collect(), router, WANFO);
        lab.open_to_pings();
        Site { story: Story::configured(lab), example }
    }

    /// The text of a file that the example's page shows; the block's first line names it.
    pub fn file_on_page(&self, path: &str) -> String {
        let page = shipped(&format!("{}.md", self.example));
        let blocks = page.split("```").skip(1).step_by(2);
        let first_line = format!("# {path}");
        let mut bodies = blocks.filter_map(|block| block.split_once('\n')).map(|(_, body)| body);
        let file = bodies.find(|body| body.lines().next() == Some(&first_line));
        file.unwrap_or_else(|| panic!("the page of {} shows no {path}", self.example)).to_owned()
    }

    /// Sets on a host what the page's file for /etc/sysctl.d says.
    pub fn apply_sysctls(&self, host: &Namespace, path: &str) {
        let file = self.file_on_page(path);
        for line in file.lines().filter(|line| !line.starts_with('#')) {
            let (key, value) = line.split_once(" = ").unwrap_or_else(|| panic!("no `key = value`: {line}"));
            host.sysctl(key, value);
        }
    }

    /// Loads on a host the rules of nftables that the page shows.
    pub fn load_nft(&self, host: &Namespace, path: &str) {
        load_nft(host, &self.file_on_page(path));
    }

    /// The DHCP server of a line's provider, which still has to be told what to hand out.
    pub fn dnsmasq(&self, line: Line) -> Command {
        dnsmasq(self.provider(line))
    }

    /// IPv6 of a LAN user is refused, without waiting.
    #[track_caller]
    pub fn assert_ipv6_is_refused_at_once(&self) {
        let start = Instant::now();
        let error = self.ask(SERVICE6).expect_err("no IPv6");
        assert!(
            matches!(error.kind(), ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable),
            "{error}"
        );
        assert!(start.elapsed() < Duration::from_millis(500), "not at once: {:?}", start.elapsed());
    }

    /// The primary works again, and gets the traffic when it has for long enough, not before.
    #[track_caller]
    pub fn comes_back(&self, primary: &str) {
        let backup = self.active();
        self.comes_up(primary, || assert_eq!(self.active(), backup));
        assert_eq!(self.active(), primary);
    }

    /// A link that was down works again, and is up when it has for long enough; `meanwhile` is a look before that.
    #[track_caller]
    pub fn comes_up(&self, name: &str, meanwhile: impl Fn()) {
        self.check_until("a link that answers", |status| {
            let mut links = status["links"].as_array().expect("links").iter();
            links.any(|link| link["name"] == name && link["stable_in_ms"].is_u64())
        });
        let left = self.link(name)["stable_in_ms"].as_u64().expect("it is not up yet");
        // The kernel puts its clock forward by whole seconds here.
        let half = Duration::from_secs(left.div_ceil(2000));
        for is_up in [false, true] {
            meanwhile();
            self.let_pass(half);
            self.check();
            assert_eq!(self.link(name)["up"], is_up, "{:#}", self.status());
        }
    }
}

/// A file under examples/.
pub fn shipped(name: &str) -> String {
    let path = Path::new(EXAMPLES).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Has wanfo where who installs it by hand puts it.
pub fn install_wanfo(host: &Namespace) {
    host.empty("/usr/local/bin");
    host.run(|| {
        let wanfo = "/usr/local/bin/wanfo";
        // Not a copy: one that was just written may still be open for writing in a fork of another story.
        fs::write(wanfo, "").expect("it is empty");
        let nothing = None::<&str>;
        mount(Some(WANFO), wanfo, nothing, MsFlags::MS_BIND, nothing).expect("it takes the program");
    });
}

/// A switch of its own for the LAN: interfaces of these hosts, by port, without addresses.
pub fn switch(ports: &[(&Namespace, &str)]) -> Namespace {
    let switch = Namespace::new("switch");
    switch.ip("link add switch type bridge");
    switch.ip("link set switch up");
    for (port, (host, interface)) in ports.iter().enumerate() {
        host.ip(&format!("link add {interface} type veth peer name port{port} netns {}", switch.path()));
        switch.ip(&format!("link set port{port} master switch up"));
        host.ip(&format!("link set {interface} up"));
    }
    switch
}

pub fn load_nft(host: &Namespace, rules: &str) {
    lab::need(&["nft"]);
    let mut nft = host.command("nft").args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let nft = nft.as_mut().unwrap_or_else(|error| panic!("`nft` (package nftables) did not start: {error}"));
    nft.stdin.take().expect("a pipe").write_all(rules.as_bytes()).expect("nft reads");
    let mut complaint = String::new();
    nft.stderr.take().expect("a pipe").read_to_string(&mut complaint).expect("text");
    assert!(nft.wait().expect("nft ends").success(), "{complaint}");
}

/// The DHCP server of a provider, which still has to be told what to hand out.
pub fn dnsmasq(provider: &Namespace) -> Command {
    lab::need(&["dnsmasq"]);
    let mut dnsmasq = provider.command("dnsmasq");
    dnsmasq
        .args(["-d", "--conf-file=/dev/null", "--port=0", "--interface=customer", "--bind-interfaces"])
        .args(["--no-ping", "--dhcp-authoritative", "--user=root", "--group=root"])
        .stderr(Stdio::null());
    dnsmasq
}

/// Has a host forward, with NAT out of this interface.
pub fn masquerade(host: &Namespace, interface: &str) {
    host.sysctl("net.ipv4.ip_forward", "1");
    load_nft(
        host,
        &format!(
            "table ip nat {{ chain out {{ type nat hook postrouting priority srcnat; oifname {interface} masquerade; }}; }}"
        ),
    );
}

/// Takes from an interface every address and route that the lab has given it.
pub fn strip(host: &Namespace, interface: &str) {
    host.ip(&format!("link set {interface} down"));
    host.ip(&format!("address flush dev {interface}"));
    host.ip(&format!("link set {interface} up"));
}

/// A program in the background; it ends with this value.
pub struct Running(Child);

impl Running {
    pub fn start(command: &mut Command) -> Running {
        let child = command.spawn();
        Running(child.unwrap_or_else(|error| panic!("{command:?} did not start: {error}")))
    }

    /// Asks it to end, as systemd would, and waits until it has taken its children along.
    pub fn stop(mut self) {
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for what others do in their own time.
#[track_caller]
pub fn wait_until(awaited: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {awaited}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A question and its answer over TCP, from one host to a server on the other. The server's end, which knows who it saw.
pub fn talk(from: &Namespace, to: SocketAddr, server: &Namespace, at: SocketAddr) -> io::Result<TcpStream> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let listener = server.run(|| TcpListener::bind(at))?;
    let mut client = from.run(|| TcpStream::connect_timeout(&to, PATIENCE))?;
    client.write_all(b"?")?;
    listener.set_nonblocking(true)?;
    let start = Instant::now();
    let mut server = loop {
        match listener.accept() {
            // The last packet of the handshake is on its way, or lost.
            Err(error) if error.kind() == ErrorKind::WouldBlock && start.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(1));
            }
            accepted => break accepted?.0,
        }
    };
    server.set_nonblocking(false)?;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE))?;
    }
    server.read_exact(&mut [0])?;
    server.write_all(b"!")?;
    client.read_exact(&mut [0])?;
    Ok(server)
}
