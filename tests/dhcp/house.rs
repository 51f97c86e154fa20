//! The house of examples/two-dhcp: a router whose two lines have nothing but DHCP.

use std::fs;
use std::ops::Deref;

use crate::lab::{self, Line, SERVICE, target};
use crate::site::{Running, Site, strip, wait_until};
use crate::wiretap::Wiretap;

pub struct House {
    site: Site,
    /// Of line 1 and line 2.
    servers: [Option<Running>; 2],
}

impl Deref for House {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

/// What the server on a line does for its one customer.
#[derive(Clone, Copy)]
pub enum Service {
    /// It gives out the router's address of the lab's plan, and the gateway of this number.
    Leases(u8),
    /// The same with classless routes (option 121), which the routers (option 3) contradict: they name nobody.
    Classless(&'static str),
    /// It takes back what it has given out, and gives out nothing.
    Refuses,
}

impl House {
    /// Both lines with a server each, and no client yet.
    pub fn new() -> House {
        lab::need_users();
        let site = Site::of("two-dhcp", &["eth0", "eth1"]);
        site.load_nft(&site.router, "/etc/nftables.conf");
        for interface in ["eth0", "eth1"] {
            strip(&site.router, interface);
        }
        let mut house = House { site, servers: [None, None] };
        house.serve(1, Service::Leases(1));
        house.serve(2, Service::Leases(1));
        house
    }

    /// Another server takes the old one's place. On the backup the client is told to renew its lease every few seconds, and
    /// from the eighth on from any server (options 58 and 59, RFC 2132). Not on the primary: dhcpcd 9.4 drops the route to
    /// the subnet of a line that is being renewed when the other one gets its renewal.
    pub fn serve(&mut self, line: Line, service: Service) {
        self.servers[line - 1] = None;
        let base = 16 * (line - 1);
        let own = base + 2;
        let range = match service {
            Service::Leases(_) | Service::Classless(_) => format!("192.0.2.{own},192.0.2.{own},1h"),
            Service::Refuses => format!("192.0.2.{base},static"),
        };
        let router = match service {
            Service::Leases(host) => host,
            Service::Classless(_) => 13,
            Service::Refuses => 1,
        };
        // What one that refuses would not give out it does not know of either.
        let notes = self.site.path(&format!("leases-{line}-{}", matches!(service, Service::Refuses)));
        let mut dnsmasq = self.site.dnsmasq(line);
        dnsmasq
            .arg(format!("--dhcp-range={range}"))
            .arg(format!("--dhcp-option=3,192.0.2.{}", base + usize::from(router)))
            // A name server and a time server behind the provider, for which some clients set host routes.
            .arg(format!("--dhcp-option=6,{}", target(line, 2)))
            .arg(format!("--dhcp-option=42,{}", target(line, 3)))
            .arg(format!("--dhcp-leasefile={}", notes.display()));
        if let Service::Classless(routes) = service {
            dnsmasq.arg(format!("--dhcp-option=121,{routes}"));
        }
        if line == 2 {
            dnsmasq.args(["--dhcp-option=option:T1,4", "--dhcp-option=option:T2,8"]);
        }
        self.servers[line - 1] = Some(Running::start(&mut dnsmasq));
    }

    /// The provider's router takes another address, and hands it out as the gateway from now on.
    pub fn move_gateway(&mut self, line: Line, host: u8) {
        self.servers[line - 1] = None;
        self.site.move_gateway(line, host);
        // What is sent to the old one, by way of what the router remembers of it, does not arrive.
        let hardware = format!("02:00:00:00:{line:02x}:{host:02x}");
        self.site.provider(line).ip(&format!("link set customer address {hardware}"));
        self.serve(line, Service::Leases(host));
    }

    /// Both lines have their addresses, and the primary its default route.
    pub fn wait_for_leases(&self) {
        let has = |words: &str, what: &str| self.site.router.ip(words).contains(what);
        wait_until("leases on both lines", || {
            has("-4 address show dev eth0", "192.0.2.2/28")
                && has("-4 address show dev eth1", "192.0.2.18/28")
                && has("route show default dev eth0", "192.0.2.1")
        });
    }

    /// A file that the example's page shows, where it belongs.
    pub fn install(&self, path: &str) {
        self.site.router.write(path, &self.site.file_on_page(path));
    }

    /// The same behind what is there already.
    pub fn append(&self, path: &str) {
        let router = &self.site.router;
        let before = router.run(|| fs::read_to_string(path)).expect("the distribution's own");
        router.write(path, &(before + &self.site.file_on_page(path)));
    }

    /// The kernel has no default route over the backup but ours.
    #[track_caller]
    pub fn assert_no_default_route_on_the_backup(&self) {
        assert_eq!(self.router.ip("route show default dev eth1"), "");
    }

    /// Its target does, over its own line and no other.
    pub fn assert_the_backup_answers(&self) {
        let wiretap = Wiretap::on(&self.router);
        assert!(self.link_pings(2, target(1, 1)), "{:#?}", self.kernel());
        assert_eq!(wiretap.echo_requests(), [("eth1".to_owned(), target(1, 1).into())]);
    }

    /// LAN users are served over this line.
    #[track_caller]
    pub fn assert_served_over(&self, line: Line) {
        self.site.assert_served_over(line, SERVICE);
    }
}
