//! What holds for any configuration, any weather on the lines and any kernel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnetwork::IpNetwork;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use wanfo::core::change::Change;
use wanfo::core::config::Config;
use wanfo::core::decide::Outcome;
use wanfo::core::facts::{
    Address, Facts, Interface, MAIN_TABLE, Only, Preference, Route, RouteTarget, Rule, Traits,
};
use wanfo::core::gateway;
use wanfo::core::health::{Probed, Verdict};
use wanfo::core::hold::Hold;
use wanfo::core::lease::{self, Client};
use wanfo::core::problem::Code;
use wanfo::core::record::{Event, Record, without_repeats};
use wanfo::core::recording::Recording;
use wanfo::core::replay;
use wanfo::core::report::{json, overall, text};
use wanfo::core::routing;
use wanfo::core::script::Ending;
use wanfo::core::spool::Message;
use wanfo::core::state::{Loaded, Pending, State};
use wanfo::core::switch::{Cause, Request};
use wanfo::core::time::{BootTime, Moment};
use wanfo::core::world::World;

use model_kernel::ModelKernel;
use model_router::{Condition, Router, Run};

#[path = "fixtures/model_kernel.rs"]
mod model_kernel;
#[path = "fixtures/model_router.rs"]
mod model_router;

/// As the clients of Debian 12 wrote them.
const LEASES: [(Client, &[u8]); 5] = [
    (Client::Networkd, include_bytes!("fixtures/leases/networkd")),
    (Client::NetworkManager, include_bytes!("fixtures/leases/NetworkManager")),
    (Client::Dhcpcd, include_bytes!("fixtures/leases/dhcpcd.lease")),
    (Client::Dhclient, include_bytes!("fixtures/leases/dhclient.leases")),
    (Client::Udhcpc, include_bytes!("fixtures/leases/udhcpc")),
];

// The weather.

/// Links on eth0, eth1, ... with 198.51.100.(10i+1), (10i+2) as targets.
fn router_config() -> impl Strategy<Value = String> {
    let delay = select(vec!["0s", "2s", "10s", "60s"]);
    let link = (0usize..=2, delay, select(vec!["0s", "5s", "60s"]), any::<bool>(), prop::bool::weighted(0.2));
    let links = prop::collection::vec(link, 2..=8);
    (links, select(vec!["1s", "3s", "6s"]), select(vec!["link", "target"]), select(vec!["halves", "default"])).prop_map(
        |(links, silence, pin, by)| {
            let links = links.into_iter().enumerate().map(|(i, (targets, delay, standby, all, only))| {
                let addresses: Vec<_> = (1..=targets).map(|t| format!("198.51.100.{}", 10 * i + t)).collect();
                let quorum = if all { targets.max(1) } else { 1 };
                let only = i > 0 && only;
                format!(
                    "  - {{name: l{i}, interface: eth{i}, targets: [{}], quorum: {quorum}, delay: {delay}, stable: 4s, \
                     standby_interval: {standby}, routes: [203.0.113.{i}], routes_only: {only}, checks: [{}]}}\n",
                    addresses.join(", "),
                    if all || targets == 2 { "{dns: 100.64.0.53, name: example.com}" } else { "" },
                )
            });
            let links: String = links.collect();
            format!(
                "links:\n{links}probe: {{silence: {silence}, pin: {pin}}}\nrouting: {{override: {by}}}\n"
            )
        },
    )
}

#[derive(Debug, Clone)]
enum Happening {
    /// What a line is like from now on.
    Weather(usize, Condition),
    Forced {
        to: Option<usize>,
        hold: Option<u64>,
    },
    Failback,
    Reboot,
    StateLost,
    Nothing,
}

/// What happens, and the time after which the next run follows.
fn happenings() -> impl Strategy<Value = Vec<(Happening, u64)>> {
    let condition = prop_oneof![
        4 => Just(Condition::Good),
        4 => Just(Condition::Silent),
        1 => (0u8..80).prop_map(|host| Condition::SilentTargets(vec![IpAddr::from([198, 51, 100, host])])),
        1 => Just(Condition::Unusable),
        1 => Just(Condition::Gone),
        1 => Just(Condition::NoGateway),
        1 => Just(Condition::Void),
        1 => (1u64..5_000).prop_map(|ms| Condition::Late(Duration::from_millis(ms))),
        1 => (1u32..80).prop_map(Condition::Loss),
        2 => Just(Condition::Fails(vec![IpAddr::from([100, 64, 0, 53])])),
    ];
    let happening = prop_oneof![
        10 => (0usize..8, condition).prop_map(|(line, condition)| Happening::Weather(line, condition)),
        10 => Just(Happening::Nothing),
        1 => (prop::option::of(0usize..8), prop::option::of(0u64..60_000))
            .prop_map(|(to, hold)| Happening::Forced { to, hold }),
        1 => Just(Happening::Failback),
        1 => Just(Happening::Reboot),
        1 => Just(Happening::StateLost),
    ];
    prop::collection::vec((happening, prop_oneof![Just(2_000u64), 1u64..20_000]), 1..50)
}

fn router(config: &str) -> Router {
    Router::new(
        wanfo::core::config::read::parse(config).unwrap_or_else(|problems| panic!("{problems:?}\n{config}")),
    )
}

fn live_through(router: &mut Router, happenings: &[(Happening, u64)]) -> Vec<Run> {
    let count = router.config.links.len();
    let runs = happenings.iter().flat_map(|(happening, beat)| {
        router.wait(Duration::from_millis(*beat));
        let mut request = Request::Nothing;
        match happening {
            Happening::Weather(line, condition) => {
                router.set(&format!("eth{}", line % count), condition.clone())
            }
            Happening::Forced { to, hold } => {
                // Never the preferred link: `force-failover` has no such thing.
                let to = to.map(|to| 1 + to % (count - 1));
                let until = |ms: u64| Hold::Until(router.now.plus(Duration::from_millis(ms)));
                request = Request::Failover { to, hold: hold.map_or(Hold::UntilFailback, until) };
            }
            Happening::Failback => request = Request::Failback { now: false },
            Happening::Reboot => router.reboot(),
            Happening::StateLost => router.disk.state = None,
            Happening::Nothing => {}
        }
        match request {
            Request::Nothing => router.check(),
            request => vec![router.run(request)],
        }
    });
    runs.collect()
}

fn active(run: &Run, state: &State) -> usize {
    run.after.links.iter().position(|link| link.name == state.active).unwrap()
}

/// What the config and the state said before the run: until when the active link was to be kept.
fn kept_until(config: &Config, run: &Run) -> Option<BootTime> {
    let before = run.before.as_ref()?;
    match before.hold {
        Hold::UntilFailback => Some(BootTime(u64::MAX)),
        Hold::Until(until) => Some(until),
        Hold::No => before.switched_at.map(|at| at.plus(config.links[active(run, before)].delay)),
    }
}

// The kernel.

/// Tables, targets and destinations from a small stock, so that things collide.
fn kernel_config() -> impl Strategy<Value = String> {
    let gateways = vec!["auto", "none", "192.0.2.{i}1", "203.0.113.9{i}"];
    let gateways6 = vec!["auto", "none", "fe80::1", "2001:db8:{i}::1"];
    let targets = subsequence(
        vec!["gateway", "198.51.100.{i}", "192.0.2.{i}3", "2001:db8:53::{i}", "2001:db8:{i}::5"],
        0..=3,
    );
    let routes = subsequence(vec!["10.{i}.0.0/16", "192.0.2.{i}2/32", "2001:db8:a{i}::/48"], 0..=2);
    let link = (select(gateways), select(gateways6), targets, routes);
    let routing = (select(vec!["link", "target"]), select(vec!["halves", "default"]), any::<bool>());
    (prop::collection::vec(link, 2..=4), routing).prop_map(|(links, (pin, by, refuse))| {
        let links = links.into_iter().enumerate().map(|(i, (gateway, gateway6, targets, routes))| {
            // With no gateway at all there is none to ping.
            let targets = targets.into_iter().filter(|t| *t != "gateway" || gateway != "none");
            let targets: Vec<_> = targets.map(|target| format!("'{target}'")).collect();
            let routes: Vec<_> = routes.into_iter().map(|route| format!("'{route}'")).collect();
            format!(
                "  - {{name: l{i}, interface: eth{i}, gateway: '{gateway}', gateway6: '{gateway6}', targets: [{}], \
                 routes: [{}]}}\n",
                targets.join(", "),
                routes.join(", ")
            )
            .replace("{i}", &(i + 1).to_string())
        });
        let links: String = links.collect();
        let without = if refuse { "unreachable" } else { "leave" };
        format!(
            "links:\n{links}probe: {{pin: {pin}}}\nrouting: {{override: {by}, ipv6_without_gateway: {without}}}\n"
        )
    })
}

fn network(address: IpAddr, prefix: u8) -> Address {
    let global = !matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    Address {
        network: IpNetwork::new(address, prefix).unwrap(),
        peer: None,
        global,
        tentative: false,
        deprecated: false,
    }
}

fn interfaces() -> impl Strategy<Value = Vec<Interface>> {
    let one = (prop::bool::weighted(0.9), any::<bool>(), prop::bool::weighted(0.2), any::<[bool; 3]>());
    prop::collection::vec(one, 4).prop_map(|all| {
        let interfaces = all.into_iter().zip(1u8..).map(|((up, carrier, point_to_point, has), i)| {
            let own = [
                network(Ipv4Addr::new(192, 0, 2, 10 * i + 4).into(), 29),
                network(Ipv4Addr::new(203, 0, 113, 8 * i).into(), 32),
                network(Ipv6Addr::new(0x2001, 0xdb8, i.into(), 0, 0, 0, 0, 2).into(), 64),
            ];
            let addresses =
                own.into_iter().zip(has).filter(|(_, has)| *has).map(|(address, _)| address).collect();
            let (name, index) = (format!("eth{}", i - 1), u32::from(i));
            Interface { name, altnames: Vec::new(), index, up, carrier, point_to_point, addresses }
        });
        interfaces.collect()
    })
}

/// Somebody else's default routes, destinations and odd things, over links and over a LAN.
fn foreign_route() -> impl Strategy<Value = Route> {
    let destinations = vec![
        "0.0.0.0/0",
        "0.0.0.0/0",
        "0.0.0.0/0",
        "::/0",
        "::/0",
        "0.0.0.0/1",
        "128.0.0.0/1",
        "2000::/3",
        "10.1.0.0/16",
        "192.0.2.8/29",
        "198.51.100.1/32",
        "2001:db8:1::/64",
    ];
    let out = (select(vec!["eth0", "eth1", "eth2", "lan"]), prop::option::of(1u8..4));
    let metric = select(vec![0u32, 1, 100, 200, 1024]);
    // What few routes say: a source address and an MTU; for some packets only; a preference.
    let more = (prop::option::weighted(0.2, 1u8..4), prop::bool::weighted(0.1), 0u8..3);
    (select(destinations), out, metric, select(vec![254u32, 254, 254, 5301, 7000]), 0u8..20, more).prop_map(
        |(destination, (interface, via), metric, table, kind, (source, narrowed, preference))| {
            let destination: IpNetwork = destination.parse().unwrap();
            let via = via.map(|host| match destination.is_ipv4() {
                true => IpAddr::from([192, 0, 2, 10 * host + 1]),
                false => IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, u16::from(host)]),
            });
            let traits = source.map_or(Traits::default(), |host| Traits {
                source: destination.is_ipv4().then(|| IpAddr::from([192, 0, 2, 10 * host + 4])),
                words: vec![format!("mtu {}", 1300 + u32::from(host))],
            });
            let target = match kind {
                0 => RouteTarget::Other,
                _ => RouteTarget::Out { interface: interface.to_owned(), via, onlink: kind == 1, traits },
            };
            let only = match destination {
                IpNetwork::V4(_) => Only::Tos(0x10),
                IpNetwork::V6(_) => Only::From("2001:db8:a::/48".parse().unwrap()),
            };
            let only = narrowed.then_some(only);
            let preference = [Preference::High, Preference::Medium, Preference::Low][usize::from(preference)];
            let metric = if destination.is_ipv6() { metric.max(1) } else { metric };
            Route { table, destination, only, target, metric, protocol: 16, preference }
        },
    )
}

/// No two routes in one place, as `ip route add` leaves them.
fn without_collisions(routes: Vec<Route>) -> Vec<Route> {
    let mut kernel = ModelKernel::default();
    for route in routes {
        let _ = kernel.make(&Change::AddRoute(route));
    }
    kernel.routes
}

fn view(interfaces: &[Interface], kernel: &ModelKernel) -> Facts {
    Facts {
        interfaces: interfaces.to_vec(),
        routes: kernel.routes.clone(),
        rules: kernel.rules.clone(),
        ..Facts::default()
    }
}

fn plan(config: &Config, facts: &Facts, active: usize) -> Vec<Change> {
    let wanted = routing::wanted(config, &gateway::survey(config, facts), active, facts);
    routing::plan(facts, &wanted, config.routing.protocol)
}

/// What somebody, or an older wanfo, has made of our routes and rules.
#[derive(Debug, Clone)]
enum Disorder {
    Lost(Index),
    WrongGateway(Index, u8),
    WrongTable(Index),
    /// A second one in the same place, behind or before the right one.
    Twice(Index, u8, bool),
    Stray(Route),
    LostRule(Index),
    StrayRule(Index, u32),
}

fn disorder() -> impl Strategy<Value = Disorder> {
    prop_oneof![
        any::<Index>().prop_map(Disorder::Lost),
        (any::<Index>(), 1u8..200).prop_map(|(at, host)| Disorder::WrongGateway(at, host)),
        any::<Index>().prop_map(Disorder::WrongTable),
        (any::<Index>(), 1u8..200, any::<bool>())
            .prop_map(|(at, host, before)| Disorder::Twice(at, host, before)),
        foreign_route().prop_map(|route| Disorder::Stray(Route {
            protocol: 119,
            preference: Preference::Medium,
            ..route
        })),
        any::<Index>().prop_map(Disorder::LostRule),
        (any::<Index>(), 5300u32..5306).prop_map(|(at, table)| Disorder::StrayRule(at, table)),
    ]
}

impl Disorder {
    fn befall(self, kernel: &mut ModelKernel) {
        let ours: Vec<usize> =
            (0..kernel.routes.len()).filter(|i| kernel.routes[*i].protocol == 119).collect();
        let one = |at: Index| (!ours.is_empty()).then(|| ours[at.index(ours.len())]);
        let by = |route: &Route, host: u8| {
            let via = match route.destination.is_ipv4() {
                true => IpAddr::from([192, 0, 2, host]),
                false => IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, u16::from(host)]),
            };
            let (interface, traits) = ("eth1".to_owned(), Traits::default());
            let target = RouteTarget::Out { interface, via: Some(via), onlink: false, traits };
            Route { target, ..route.clone() }
        };
        match self {
            Disorder::Lost(at) => {
                one(at).map(|at| kernel.routes.remove(at));
            }
            Disorder::WrongGateway(at, host) => {
                if let Some(at) = one(at) {
                    kernel.routes[at] = by(&kernel.routes[at], host);
                }
            }
            Disorder::WrongTable(at) => {
                let moved = one(at).map(|at| Route { table: 5303, ..kernel.routes[at].clone() });
                moved.map(|route| kernel.make(&Change::AddRoute(route)));
            }
            Disorder::Twice(at, host, before) => {
                let Some(at) = one(at) else { return };
                let second = by(&kernel.routes[at], host);
                if !kernel.routes.contains(&second) {
                    kernel.routes.insert(if before { at } else { at + 1 }, second);
                }
            }
            Disorder::Stray(route) => {
                let _ = kernel.make(&Change::AddRoute(route));
            }
            Disorder::LostRule(at) if !kernel.rules.is_empty() => {
                kernel.rules.remove(at.index(kernel.rules.len()));
            }
            Disorder::StrayRule(at, table) if !kernel.rules.is_empty() => {
                let rule = Rule { table, ..kernel.rules[at.index(kernel.rules.len())].clone() };
                let _ = kernel.make(&Change::AddRule(rule));
            }
            Disorder::LostRule(_) | Disorder::StrayRule(..) => {}
        }
    }
}

/// Two addresses somewhere in the world, one in each half.
const THE_WORLD: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(100, 64, 0, 1)), IpAddr::V4(Ipv4Addr::new(198, 51, 100, 250))];

fn ways(kernel: &ModelKernel) -> [Option<String>; 2] {
    THE_WORLD.map(|address| kernel.way_out(address).map(str::to_owned))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn a_switch_of_its_own_waits_for_the_delay_unless_the_active_link_is_down(
        config in router_config(), happenings in happenings(),
    ) {
        let mut router = router(&config);
        for run in live_through(&mut router, &happenings) {
            let Some(before) = &run.before else { continue };
            let was_down = run.results[active(&run, before)].health.verdict == Verdict::Down;
            if let (Request::Nothing, Outcome::Switch(_)) = (run.request, &run.outcome) {
                let kept = kept_until(&router.config, &run).is_some_and(|until| run.after.checked_at < until);
                prop_assert!(was_down || !kept, "{:?}\nafter {before:?}", run.outcome);
            }
        }
    }

    /// With the config that was in force, the recording of a day gives the switches of that day.
    #[test]
    fn a_recorded_day_is_played_as_it_was(config in router_config(), happenings in happenings()) {
        let mut router = router(&config);
        router.config.probe.record = true;
        live_through(&mut router, &happenings);
        let mut recording = Recording::default();
        recording.add("the day", router.recording.as_bytes());
        prop_assert_eq!(&recording.left_out, &[""; 0]);
        let played = replay::play(&recording, &router.config).unwrap();
        let [came, again] = [&played.came, &played.would_come].map(|switches| {
            let told = |record: &Record| format!("{} {}", record.boot_ms.0, record.event);
            switches.iter().map(told).collect::<Vec<_>>()
        });
        prop_assert_eq!(came, again);
        prop_assert_eq!(played.guessed, 0);
    }

    #[test]
    fn nobody_is_switched_to_a_link_that_was_not_good_just_now(
        config in router_config(), happenings in happenings(),
    ) {
        let mut router = router(&config);
        for run in live_through(&mut router, &happenings) {
            let Outcome::Switch(switch) = &run.outcome else { continue };
            let to = &run.results[switch.to];
            let has_targets = !router.config.links[switch.to].targets.is_empty();
            prop_assert_eq!(&to.probed, &Probed::Answered);
            prop_assert_eq!(to.health.verdict, Verdict::Up);
            prop_assert!(run.request != Request::Nothing || to.serves && !to.services.useless);
            prop_assert!(!router.config.links[switch.to].routes_only);
            let name = &router.config.links[switch.to].name;
            prop_assert!(!has_targets || run.pinged.contains(name), "{} was not asked", name);
        }
    }

    #[test]
    fn a_run_switches_once_at_most_and_says_so(config in router_config(), happenings in happenings()) {
        for run in live_through(&mut router(&config), &happenings) {
            // That the backup carried the traffic when wanfo first looked is told as well.
            let is_switch = |record: &&Record| {
                matches!(&record.event, Event::Switched { cause, .. } if *cause != Cause::Found)
            };
            let switches = run.records.iter().filter(is_switch).count();
            let said = run.said.iter().filter(|line| line.starts_with("switched from")).count();
            prop_assert_eq!(switches, usize::from(matches!(run.outcome, Outcome::Switch(_))));
            // By hand it is the answer to the command.
            prop_assert_eq!(said, if run.request == Request::Nothing { switches } else { 0 });
            let moved = run.before.as_ref().is_some_and(|before| before.active != run.after.active);
            prop_assert!(switches == 1 || !moved);
        }
    }

    /// The law of silence: a link that could be asked is down only when nothing was heard of it for so long, or twice none of
    /// its checks passed, and never up for longer; both as far as the runs are on time.
    #[test]
    fn a_link_is_down_by_its_silence_or_its_checks_and_by_nothing_else(config in router_config(), happenings in happenings()) {
        let mut router = router(&config);
        let silence = router.config.probe.silence;
        for run in live_through(&mut router, &happenings) {
            for (result, link) in run.results.iter().zip(&run.after.links) {
                let before = run.before.as_ref().and_then(|before| before.link(&link.name));
                let was = before.map_or(Verdict::Up, |before| before.health.verdict);
                let silent = link.health.silent_for(link.law, run.after.checked_at);
                match (was, link.health.verdict, &result.probed) {
                    (Verdict::Up, Verdict::Down, Probed::Unusable(_)) => {}
                    (Verdict::Up, Verdict::Down, _) if result.services.useless => {
                        prop_assert!(result.services.failed_rounds >= 2, "{:?}", result.services);
                    }
                    (Verdict::Up, Verdict::Down, _) => {
                        prop_assert!(silent >= silence && link.health.unanswered >= 3, "{:?}", link.health);
                    }
                    (_, Verdict::Up, Probed::Silent(_)) => {
                        prop_assert!(silent <= silence + Duration::from_millis(1600), "{silent:?}: {:?}", link.health);
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn a_fault_of_our_own_moves_nothing(config in router_config(), happenings in happenings()) {
        for run in live_through(&mut router(&config), &happenings) {
            for (result, link) in run.results.iter().zip(&run.after.links) {
                if result.probed == Probed::Void && let Some(before) = run.before.as_ref().and_then(|before| before.link(&link.name)) {
                    prop_assert_eq!((result.health, link.probed_at), (before.health, before.probed_at));
                }
            }
        }
    }

    #[test]
    fn when_the_weather_settles_the_best_link_carries_the_traffic(
        config in router_config(), happenings in happenings(), fine in any::<[bool; 8]>(), beat in 30u64..=60,
    ) {
        let mut router = router(&config);
        live_through(&mut router, &happenings);
        let count = router.config.links.len();
        for (line, fine) in fine.iter().enumerate().take(count) {
            // Nobody pings a link without targets: to be out of use, it has to lose its cable.
            let bad = match router.config.links[line].targets.is_empty() {
                true => Condition::Unusable,
                false => Condition::Silent,
            };
            router.set(&format!("eth{line}"), if *fine { Condition::Good } else { bad });
        }
        // A hold ends here, the one thing that would keep a worse link for ever.
        router.run(Request::Failback { now: false });
        // Long enough for each delay in turn, and for a link that has relapsed so often that it has to be stable for an hour.
        let mut run = None;
        for _ in 0..(80 * 60 / beat) {
            router.wait(Duration::from_secs(beat));
            run = router.check().pop();
        }
        let run = run.expect("there were runs");
        prop_assert!(!run.undecided, "all is settled");
        let may_carry = |link: &usize| !router.config.links[*link].routes_only;
        match (0..count).find(|link| fine[*link] && may_carry(link)) {
            Some(best) => prop_assert_eq!(active(&run, &run.after), best),
            None => {
                let is_down = |link: usize| run.after.links[link].health.verdict == Verdict::Down;
                prop_assert!((0..count).filter(may_carry).all(is_down));
            }
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1024) })]

    #[test]
    fn the_plan_brings_any_kernel_to_what_is_wanted_and_leaves_others_routes_alone(
        config in kernel_config(), interfaces in interfaces(),
        foreign in prop::collection::vec(foreign_route(), 0..10),
        disorders in prop::collection::vec(disorder(), 0..10), before in 0usize..4, active in 0usize..4,
    ) {
        let parsed = wanfo::core::config::read::parse(&config);
        prop_assume!(parsed.is_ok());
        let config = parsed.unwrap();
        let (before, active) = (before % config.links.len(), active % config.links.len());
        let mut kernel = ModelKernel { routes: without_collisions(foreign), rules: Vec::new() };
        let foreign = kernel.routes.clone();
        for change in plan(&config, &view(&interfaces, &kernel), before) {
            let _ = kernel.make(&change);
        }
        disorders.into_iter().for_each(|disorder| disorder.befall(&mut kernel));

        let facts = view(&interfaces, &kernel);
        let wanted = routing::wanted(&config, &gateway::survey(&config, &facts), active, &facts);
        let changes = routing::plan(&facts, &wanted, config.routing.protocol);
        let removes = |change: &&Change| matches!(change, Change::DeleteRoute(_) | Change::DeleteRule(_));
        let last_addition = changes.iter().rposition(|change| !removes(&change)).map_or(0, |last| last + 1);
        let first_removal = changes.iter().position(|change| removes(&change)).unwrap_or(changes.len());
        prop_assert!(last_addition <= first_removal, "a removal before an addition: {:?}", changes);
        for change in &changes {
            let protocol = match change {
                Change::AddRoute(r) | Change::ReplaceRoute(r) | Change::DeleteRoute(r) => r.protocol,
                Change::AddRule(rule) | Change::DeleteRule(rule) => rule.protocol,
                other => panic!("no address is configured: {other}"),
            };
            prop_assert_eq!(protocol, 119, "{}", change);
            let _ = kernel.make(change);
        }
        // Of several strays in one place the kernel has its own mind; the next runs see what it made of them.
        for _ in 0..2 {
            for change in plan(&config, &view(&interfaces, &kernel), active) {
                let _ = kernel.make(&change);
            }
        }
        let facts = view(&interfaces, &kernel);
        let wanted = routing::wanted(&config, &gateway::survey(&config, &facts), active, &facts);
        let left: Vec<Route> = kernel.routes.iter().filter(|route| route.protocol == 16).cloned().collect();
        prop_assert_eq!(&left, &foreign, "foreign routes");

        // Somebody else's route in the very place is the one thing that may keep ours out.
        let taken = |route: &Route| {
            let place = |route: &Route| (route.table, route.destination, route.metric);
            foreign.iter().find(|other| place(other) == place(route))
        };
        for route in &wanted.routes {
            prop_assert!(kernel.routes.contains(route) || taken(route).is_some(), "{} is missing", route);
        }
        for route in kernel.routes.iter().filter(|route| route.protocol == 119) {
            prop_assert!(wanted.routes.iter().any(|wanted| wanted == route), "{} is too much", route);
        }
        prop_assert!(wanted.rules.iter().all(|rule| kernel.rules.contains(rule)));
        prop_assert!(kernel.rules.iter().all(|rule| wanted.rules.contains(rule)));
        for change in plan(&config, &view(&interfaces, &kernel), active) {
            let in_vain = matches!(&change, Change::AddRoute(route) if taken(route).is_some());
            prop_assert!(in_vain, "the second plan: {}", change);
        }
    }

    /// From any run, also one that was killed in between, to any other.
    #[test]
    fn there_is_no_moment_without_a_way_nor_with_a_third_one(
        config in kernel_config(), interfaces in interfaces(),
        foreign in prop::collection::vec((foreign_route(), any::<bool>()), 0..8),
        runs in prop::collection::vec((0usize..4, any::<Index>(), any::<bool>(), any::<bool>()), 1..6),
    ) {
        let parsed = wanfo::core::config::read::parse(&config);
        prop_assume!(parsed.is_ok());
        let config = parsed.unwrap();
        let (lasting, passing): (Vec<_>, Vec<_>) = foreign.into_iter().partition(|(_, lasting)| *lasting);
        let routes = without_collisions(lasting.into_iter().map(|(route, _)| route).collect());
        let mut kernel = ModelKernel { routes, rules: Vec::new() };
        for (active, stop, killed, comes) in runs {
            // A DHCP client at work between two runs.
            for (route, _) in &passing {
                match comes {
                    true => drop(kernel.make(&Change::AddRoute(route.clone()))),
                    false => kernel.routes.retain(|other| other != route),
                }
            }
            let changes = plan(&config, &view(&interfaces, &kernel), active % config.links.len());
            let mut steps = vec![kernel.clone()];
            for change in &changes {
                let _ = kernel.make(change);
                steps.push(kernel.clone());
            }
            let [before, after] = [&steps[0], &kernel].map(ways);
            for (step, kernel) in steps.iter().enumerate() {
                for ((way, before), after) in ways(kernel).iter().zip(&before).zip(&after) {
                    let told = || format!("after {step} of {changes:?}");
                    prop_assert!(way == before || way == after, "{way:?} for {before:?}, {after:?} {}", told());
                }
            }
            if killed {
                kernel = steps.swap_remove(stop.index(steps.len()));
            }
        }
    }

    #[test]
    fn no_text_makes_load_panic(text in any::<String>(), json in "[\\[\\]{}:,\"a-z0-9. -]{0,60}") {
        let _ = State::load(&text, "boot");
        let _ = State::load(&json, "boot");
    }

    /// Cuts, other bytes and doubled pieces anywhere in good lease files: no panic, and no gateway that is none.
    #[test]
    fn no_edit_of_a_lease_file_makes_its_reader_panic(
        edits in prop::collection::vec(
            (any::<Index>(), any::<Index>(), prop::collection::vec(any::<u8>(), 0..6)), 0..6,
        ),
        noise in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        for (client, file) in LEASES {
            let mut bytes = file.to_vec();
            for (from, to, paste) in &edits {
                let [from, to] = [from, to].map(|at| at.index(bytes.len() + 1));
                bytes.splice(from.min(to)..from.max(to), paste.iter().copied());
            }
            for bytes in [&bytes, &noise] {
                if let Some(found) = lease::read(client, "eth1", bytes) {
                    prop_assert!(found.gateway != found.address && !found.gateway.is_unspecified());
                }
            }
        }
    }

    /// Whatever stands where a client writes classless routes: it names no gateway, or the one in it; never the router's.
    #[test]
    fn classless_routes_never_leave_the_gateway_to_the_router(
        text in "[0-9a-f.,:/ ]{0,60}",
        octets in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..=33], 0..60),
        cut in any::<Index>(),
    ) {
        let (start, end) = octets.split_at(cut.index(octets.len() + 1));
        let again = |value: &[u8]| [&[121, value.len() as u8], value].concat();
        let plain = |at: &str| format!("{at}{text}");
        for (client, file) in LEASES {
            let known = String::from_utf8_lossy(file);
            let with = match client {
                Client::Networkd => plain("ADDRESS=192.0.2.18\nROUTER=192.0.2.17\nCLASSLESS_ROUTES=") + "\n",
                Client::NetworkManager => plain(&format!("{known}dhcp4.rfc3442_classless_static_routes=")) + "\n",
                Client::Dhclient => known.replace("  renew", &(plain("  option unknown-121 ") + ";\n  renew")),
                Client::Dhcpcd | Client::Udhcpc => String::new(),
            };
            let packet = [&file[..240.min(file.len())], &[3, 4, 192, 0, 2, 17], &again(start), &again(end), &[255]].concat();
            let bytes = if client == Client::Dhcpcd { packet } else { with.into() };
            let found = lease::read(client, "eth1", &bytes);
            prop_assert!(found.is_none_or(|lease| lease.gateway != Ipv4Addr::new(192, 0, 2, 17)));
        }
    }

    /// Cuts and other numbers anywhere in a good file: it is read or refused, and what is read can be worked with.
    #[test]
    fn no_edit_of_a_state_file_makes_a_run_panic(
        edits in prop::collection::vec((any::<Index>(), 0usize..12, "[\\[\\]{}:,\"a-z0-9.é-]{0,6}"), 0..4),
        numbers in prop::collection::vec(
            (any::<Index>(), prop_oneof![any::<u64>(), Just(u64::MAX), Just(1 << 63), Just(u64::from(u32::MAX))]), 0..4,
        ),
    ) {
        const BOOT: &str = "5f0c3a52-8a0e-4d3b-9e0c-6a1f5b1d7c11";
        let mut text: Vec<char> = include_str!("fixtures/state-v2.json").chars().collect();
        for (at, number) in numbers {
            let digits: Vec<usize> = (1..text.len())
                .filter(|i| text[*i].is_ascii_digit() && text[i - 1] == ':')
                .collect();
            let start = digits[at.index(digits.len())];
            let end = (start..text.len()).find(|i| !text[*i].is_ascii_digit()).unwrap();
            text.splice(start..end, number.to_string().chars());
        }
        for (at, cut, paste) in edits {
            let start = at.index(text.len() + 1);
            let end = (start + cut).min(text.len());
            text.splice(start..end, paste.chars());
        }
        let text: String = text.into_iter().collect();
        let Loaded::Known(state) = State::load(&text, BOOT) else { return Ok(()) };
        let now = Moment { boot: BootTime(800_000), wall: jiff::Timestamp::UNIX_EPOCH };
        let _ = (text::render(Some(&state), &Default::default(), now, &jiff::tz::TimeZone::UTC, overall::Detail::Full), json::render(Some(&state), &Default::default(), now), overall::overall(Some(&state), now, true));
        let mut router = router(
            "links: [{name: primary, interface: eth0, targets: [198.51.100.53]}, {name: secondary, interface: eth1}]",
        );
        router.disk.state = Some(text.replace(BOOT, "boot1"));
        router.set("eth0", Condition::Silent);
        for _ in 0..3 {
            let run = router.run(Request::Nothing);
            prop_assert!(run.after.links.len() == 2);
        }
        prop_assert_eq!(router.kernel.routes.iter().filter(|route| route.table == MAIN_TABLE).count(), 8 + 2);
    }
}

// Case by case.

/// The quiet run is free.
/// A run every two seconds, and something happens every three minutes. `WANFO_HOURS=24 cargo test --test properties at_the_beat --
/// --nocapture` goes on for a day, and prints what it saw; here it is an hour.
#[test]
fn at_the_beat_nothing_grows_and_the_first_link_has_the_traffic_in_the_end() {
    const BEAT: u64 = 2_000;
    let hours = std::env::var("WANFO_HOURS").map_or(1, |hours| hours.parse().expect("a number"));
    let mut dice = TestRunner::deterministic();
    let mut router = router(
        "links:\n  - {name: l0, interface: eth0, targets: [198.51.100.1], delay: 60s}\n  \
         - {name: l1, interface: eth1, targets: [198.51.100.11], delay: 60s}\n  \
         - {name: l2, interface: eth2, targets: [198.51.100.21], standby_interval: 60s}\n\
         notify: {to: [noc@example.com], from: wanfo@example.com, sendmail: /usr/sbin/sendmail}\n",
    );
    // Not by the router's clock, which a reboot sets back.
    let beats = hours * 3_600_000 / BEAT;
    let (mut lived, mut runs, mut switches, mut longest_state, mut most_routes) = (0, 0, 0, 0, 0);
    while lived < beats {
        let happenings = happenings().new_tree(&mut dice).expect("no filter").current();
        for (happening, _) in happenings {
            let happens = [(happening, BEAT)].into_iter();
            let quiet: Vec<_> = happens.chain(vec![(Happening::Nothing, BEAT); 89]).collect();
            lived += quiet.len() as u64;
            for run in live_through(&mut router, &quiet) {
                runs += 1;
                switches += usize::from(matches!(run.outcome, Outcome::Switch(_)));
                longest_state = longest_state.max(serde_json::to_string(&run.after).unwrap().len());
                assert!(run.after.pending.mails.is_empty(), "{:?}", run.after.pending);
            }
            router.forget_what_was_told();
            most_routes = most_routes.max(router.kernel.routes.len());
        }
    }
    for line in 0..3 {
        router.set(&format!("eth{line}"), Condition::Good);
    }
    let quiet = vec![(Happening::Nothing, BEAT); 2 * 3600 / 2];
    live_through(&mut router, &[(Happening::Failback, BEAT)]);
    let last = live_through(&mut router, &quiet).pop().expect("a run");
    println!(
        "{hours} hours: {runs} runs and {switches} switches; a state of {longest_state} bytes and {most_routes} routes at most."
    );
    assert_eq!(last.after.active, "l0");
    // As much room as the file always has (`RESERVE` in src/system/store.rs).
    assert!(longest_state < 16 * 1024 && most_routes < 60, "{longest_state} bytes, {most_routes} routes");
    assert!(switches > 0);
}

#[test]
fn a_run_in_which_nothing_changes_writes_its_state_once_and_nothing_else() {
    for kind in ["all is well", "held", "held before a reboot", "a link is down", "the config is broken"] {
        let (mut router, _) = switch_due("held");
        match kind {
            "held" => drop(router.run(Request::Failover { to: None, hold: Hold::UntilFailback })),
            "held before a reboot" => {
                router.run(Request::Failover { to: None, hold: Hold::UntilFailback });
                router.set("eth1", Condition::NoGateway);
                router.reboot();
            }
            "a link is down" => router.set("eth1", Condition::Unusable),
            "the config is broken" => router.config_broken = Some("line 3: no such key".to_owned()),
            _ => {}
        }
        // Beyond the mail about a broken config.
        for _ in 0..20 {
            router.wait(Duration::from_secs(30));
            router.check();
        }
        let effects = router.effects;
        router.wait(Duration::from_secs(2));
        let run = router.run(Request::Nothing);
        assert_eq!((router.effects - effects, &run.said[..]), (1, &[][..]), "{kind}");
    }
}

/// An edit of `routing.protocol` and its undoing, each while `ip` is refused at first.
#[test]
fn an_edit_of_the_protocol_number_leaves_nothing_behind_under_the_old_one() {
    let (mut router, _) = switch_due("forced");
    router.run(Request::Failover { to: None, hold: Hold::UntilFailback });
    let of = |router: &Router, number: u8| {
        let routes = router.kernel.routes.iter().filter(|route| route.protocol == number).count();
        routes + router.kernel.rules.iter().filter(|rule| rule.protocol == number).count()
    };
    let stand = of(&router, 119);
    for (old, new) in [(119, 120), (120, 119)] {
        router.config.routing.protocol = new;
        router.wait(Duration::from_secs(2));
        router.ip_is_refused = true;
        let run = router.run(Request::Nothing);
        let told = run.after.problems.iter().any(|problem| problem.text.contains(" route del 0.0.0.0/1 "));
        assert!(told && run.failed, "{:?}", run.after.problems);
        router.wait(Duration::from_secs(2));
        router.ip_is_refused = false;
        let run = router.run(Request::Nothing);
        assert_eq!((of(&router, old), of(&router, new)), (0, stand), "after {old}: {:?}", run.said);
        assert_eq!(ways(&router.kernel), [Some("eth1".to_owned()), Some("eth1".to_owned())]);
    }
}

/// A script may take a minute, and the delay may be over by then.
#[test]
fn what_a_run_remembers_of_the_time_is_of_its_end() {
    let (mut router, request) = switch_due("failover");
    router.action_script = Ending::TimeLimit(Duration::from_secs(60));
    let run = router.run(request);
    assert_eq!(run.after.next_switch_after, None, "the delay is ten seconds");
    assert!(matches!(&run.records[..], [.., last] if last.boot_ms == router.now), "{:?}", run.records);

    let (mut router, request) = switch_due("failback");
    router.config.exit_script = Some("/etc/wanfo/exit".into());
    router.exit_script = Ending::TimeLimit(Duration::from_secs(60));
    assert_eq!(router.run(request).after.checked_at, router.now);
}

/// While nothing can be handed on the newest wait, and are all handed on in the end.
#[test]
fn of_what_waits_to_be_told_the_newest_are_kept() {
    let (mut router, request) = switch_due("failover");
    router.disk.read_only = true;
    let state = router.run(request).after;
    let mails = (0..300).map(|number| Message { id: format!("{number}"), ..state.pending.mails[0].clone() });
    let records = (0..300).map(|ms| Record { boot_ms: BootTime(ms), ..state.pending.records[0].clone() });
    let pending = Pending { mails: mails.collect(), records: records.collect() };
    let state = State { pending: pending.clone(), ..state };
    router.disk.state = Some(serde_json::to_string(&state).unwrap());
    let run = router.run(Request::Nothing);
    assert_eq!(run.after.pending.mails, pending.mails[100..]);
    assert_eq!(run.after.pending.records, pending.records[100..]);
    router.disk.read_only = false;
    let run = router.run(Request::Nothing);
    assert_eq!((run.mails.len(), run.records.len()), (200, 200));
    assert_eq!((run.after.pending, run.after.outlook.pending), (Pending::default(), router.disk.mails.len()));
}

/// What a run cannot keep for `replay` is told, and is no reason to fail.
#[test]
fn a_round_that_cannot_be_kept_for_replay_is_told_and_fails_nothing() {
    let mut router =
        router("links: [{name: a, interface: eth0}, {name: b, interface: eth1}]\nprobe: {record: true}");
    let told = |run: &Run| run.after.problems.iter().filter(|it| it.code == Code::RecordingNotKept).count();
    router.recording_is_refused = true;
    let run = router.run(Request::Nothing);
    assert_eq!((told(&run), run.failed), (1, false), "{:?}", run.after.problems);
    router.recording_is_refused = false;
    assert_eq!(told(&router.run(Request::Nothing)), 0);
}

/// Only mails and the history have times by it. It is set between runs, and while a script is at work.
#[test]
fn the_wall_clock_may_say_what_it_likes() {
    const YEAR: i64 = 365 * 86_400;
    let tell = |steps: &[i64]| {
        let mut router = router(&with_links(["primary", "secondary"]));
        router.action_script = Ending::TimeLimit(Duration::from_secs(5));
        let mut told = Vec::new();
        for round in 0..60 {
            router.wall_is_off = steps[round % steps.len()];
            match round {
                10 => router.set("eth0", Condition::Silent),
                30 => router.set("eth0", Condition::Good),
                _ => {}
            }
            for run in router.check() {
                let verdicts = run.after.links.iter().map(|link| (link.health, link.outage_ms));
                told.push((run.at, run.after.active.clone(), run.failed, verdicts.collect::<Vec<_>>()));
            }
            router.wait(Duration::from_secs(2));
        }
        (told, router.disk.mails.len(), router.disk.history.len())
    };
    let right = tell(&[0]);
    assert!(right.0.iter().any(|(_, active, ..)| active == "secondary"));
    // 1916, before there was a Unix clock, and the year 3026, among others.
    for steps in
        [&[0, 10 * YEAR][..], &[10 * YEAR, 0, -10 * YEAR], &[-110 * YEAR], &[0, -110 * YEAR, 1000 * YEAR]]
    {
        assert_eq!(tell(steps), right, "{steps:?}");
    }
}

// Killed anywhere.

/// An address of the config is on disk as wanfo's own before it is on the interface; the one that the interface had before is
/// somebody else's, also where the config comes to name it.
#[test]
fn the_addresses_of_a_config_go_with_it_whenever_the_run_is_killed_that_brings_them() {
    let with = |address: &str| {
        format!(
            "links: [{{name: a, interface: eth0}}, {{name: b, interface: eth1, gateway: 192.0.2.17, address: {address}}}]"
        )
    };
    let parse = |text: &str| wanfo::core::config::read::parse(text).unwrap();
    let assigned = |router: &Router| -> Vec<String> {
        router.assigned.iter().map(|it| format!("{} {}", it.interface, it.address)).collect()
    };
    let mut first = router("links: [{name: a, interface: eth0}, {name: b, interface: eth1}]");
    first.run(Request::Nothing);
    first.config = parse(&with("[203.0.113.2/28, 192.0.2.18/28]"));
    let mut whole = first.clone();
    whole.run(Request::Nothing);
    assert_eq!(assigned(&whole), ["eth1 203.0.113.2/28"]);
    let effects = whole.effects - first.effects;
    for dies_after in 1..=effects + 1 {
        let mut router = first.clone();
        router.dies_after = Some(dies_after);
        let _ = router.try_run(Request::Nothing);
        router.dies_after = None;
        // Edited before the next run.
        router.config = parse(&with("[203.0.113.3/28]"));
        let run = router.run(Request::Nothing);
        assert_eq!(
            assigned(&router),
            ["eth1 203.0.113.3/28"],
            "killed after effect {dies_after}: {:?}",
            run.said
        );
    }
}

/// Whatever keeps every run from handing on what is to be told, the status knows what is wrong.
#[test]
fn a_run_that_is_killed_at_the_history_has_its_problems_on_disk() {
    let (mut router, request) = switch_due("forced");
    router.run(request);
    router.set("eth0", Condition::Unusable);
    router.kernel.routes.retain(|route| route.protocol != 119);
    router.ip_is_refused = true;
    let mut whole = router.clone();
    let run = whole.run(Request::Nothing);
    let codes = |state: &State| state.problems.iter().map(|problem| problem.code).collect::<Vec<_>>();
    assert!(codes(&run.after).contains(&Code::RouteNotSet) && codes(&run.after).contains(&Code::NoCarrier));
    assert!(!run.records.is_empty());
    // The first effect is the state on disk, the second one would be the history.
    router.dies_after = Some(2);
    assert!(router.try_run(Request::Nothing).is_none());
    let Loaded::Known(left) = router.load().unwrap() else { panic!("it was saved") };
    assert_eq!(codes(&left), codes(&run.after));
}

/// One that gets the run killed each time, as by the unit's time limit, is not started for ever.
#[test]
fn an_action_script_that_no_run_survives_is_given_up_and_the_rest_is_done() {
    let (mut router, request) = switch_due("failover");
    router.dies_in_script = true;
    let [calls, mails] = [router.calls.len(), router.disk.mails.len()];
    for started in 1..=3 {
        assert!(router.try_run(request).is_none());
        assert_eq!(router.calls.len() - calls, started);
        router.wait(Duration::from_secs(2));
    }
    let run = router.run(Request::Nothing);
    let given_up = "/etc/wanfo/action is given up: the run was killed each time it was at work";
    assert_eq!(run.warned, [given_up]);
    assert!(
        run.records.iter().any(|record| record.event.to_string().ends_with(given_up)),
        "{:?}",
        run.records
    );
    assert_eq!((router.calls.len() - calls, router.disk.mails.len() - mails), (3, 1));
    assert_eq!(run.after.switching, None);
}

const WITH_EVERYTHING: &str = "
action_script: /etc/wanfo/action
flush_conntrack: true
notify: {to: [noc@example.com], from: wanfo@example.com, events: [switch], sendmail: /usr/sbin/sendmail}
";

fn with_links(names: [&str; 2]) -> String {
    let [first, second] = names;
    format!(
        "links:\n  - {{name: {first}, interface: eth0, targets: [198.51.100.11], delay: 0s, stable: 0s}}\n  \
         - {{name: {second}, interface: eth1, targets: [198.51.100.21], delay: 10s}}\n{WITH_EVERYTHING}"
    )
}

/// A switch that is due in the next run: the router just before it, and what is asked of that run.
fn switch_due(kind: &str) -> (Router, Request) {
    let mut router = router(&with_links(["primary", "secondary"]));
    let live = |router: &mut Router, runs: usize, request: Request| {
        for _ in 0..runs {
            router.wait(Duration::from_secs(2));
            router.run(request);
        }
    };
    live(&mut router, 2, Request::Nothing);
    let forced = |hold| Request::Failover { to: None, hold };
    match kind {
        "failover" => {
            router.set("eth0", Condition::Silent);
            (router, Request::Nothing)
        }
        "failback" => {
            router.set("eth0", Condition::Silent);
            live(&mut router, 8, Request::Nothing);
            router.set("eth0", Condition::Good);
            (router, Request::Nothing)
        }
        "forced" => (router, forced(Hold::No)),
        "held" => (router, forced(Hold::UntilFailback)),
        "config edit" => {
            live(&mut router, 1, forced(Hold::UntilFailback));
            let edited = with_links(["primary", "lte"]);
            router.config = wanfo::core::config::read::parse(&edited).unwrap();
            router.wait(Duration::from_secs(2));
            (router, Request::Nothing)
        }
        other => panic!("no switch is called {other}"),
    }
}

/// The run that switches is killed after each of its effects in turn, and the ones that go on from there are, too.
#[test]
fn a_run_that_is_killed_after_any_effect_is_completed_by_the_next() {
    for kind in ["failover", "failback", "forced", "held", "config edit"] {
        let (router, request) = switch_due(kind);
        let mut whole = router.clone();
        let expected = whole.run(request).after.active;
        let effects = whole.effects - router.effects;
        assert!(effects > 5, "{kind}: only {effects} effects");
        let mut repeats = 0;
        for (first, second) in
            (1..=effects).flat_map(|first| (0..=effects).map(move |second| (first, second)))
        {
            let told = || format!("{kind}, killed after effect {first}, and then after {second}");
            let mut router = router.clone();
            let [calls, mails, history] =
                [router.calls.len(), router.disk.mails.len(), router.disk.history.len()];
            let mut interrupted = 0;
            for dies_after in [first, second] {
                router.dies_after = (dies_after > 0).then_some(dies_after);
                let before = router.calls.len();
                // By hand it is asked for again where nothing had come of it.
                let saved = router.disk.state.as_ref().is_some_and(|text| text.contains("\"switching\":{"));
                let asked = router.calls.len() > calls || router.disk.history.len() > history || saved;
                let survived = router.try_run(if asked { Request::Nothing } else { request }).is_some();
                // How the script ended was not yet on disk.
                let unknown = router.disk.state.as_ref().is_some_and(|text| text.contains("\"script\":null"));
                interrupted += usize::from(!survived && unknown && router.calls.len() > before);
                assert!(ways(&router.kernel).iter().all(Option::is_some), "no way out: {}", told());
                router.wait(Duration::from_millis(100));
            }
            router.dies_after = None;
            let last = router.run(Request::Nothing);
            assert_eq!(last.after.active, expected, "{}", told());
            assert_eq!(last.after.switching, None, "{}", told());
            assert!(
                last.after.pending.mails.is_empty() && last.after.pending.records.is_empty(),
                "{}",
                told()
            );
            let calls = router.calls.len() - calls;
            assert_eq!(calls, 1 + interrupted, "{}", told());
            repeats += if second == 0 { calls - 1 } else { 0 };
            assert_eq!(router.disk.mails.len() - mails, 1, "{}", told());
            let records = without_repeats(router.disk.history[history..].to_vec());
            let switches =
                records.iter().filter(|record| matches!(record.event, Event::Switched { .. })).count();
            assert_eq!(switches, 1, "{}", told());
            let is_repair = |record: &&Record| matches!(record.event, Event::Repaired { .. });
            assert_eq!(records.iter().find(is_repair).map(|it| it.event.to_string()), None, "{}", told());
            assert_eq!(router.disk.hold.is_some(), kind == "held", "{}", told());
        }
        // Only by a kill between the script's end and the next write.
        assert_eq!(repeats, 1, "{kind}: so often the script was run twice");
    }
}
