//! What on a machine keeps wanfo from working, and the cure: every check a line. What a run finds itself is taken from a
//! dry run; only what no run can tell, or none has the time to ask, is judged here.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::config::{Config, Ipv6WithoutGateway, Link, Override, Target};
use super::facts::{Facts, Family, MAIN_PRIORITY, MAIN_TABLE, Rule};
use super::firewall::Firewall;
use super::gateway::{NextHop, ResolvedLink, View};
use super::health::{LinkResult, ProbeError, Probed, TargetResult};
use super::problem::{Code, Problem, list};
use super::routing;
use super::units::span;

/// How much of an address is one operator's: hardly any has less than a /16 of IPv4 or a /32 of IPv6 (the least that
/// registries give to a provider) for name servers and the like side by side. A hint, no more.
const OPERATOR: [usize; 2] = [2, 4];

/// What was seen of the machine, beside what a run looks at.
pub struct Seen {
    /// CAP_NET_ADMIN.
    pub may_change_routes: bool,
    pub without_ip: Option<String>,
    pub cannot_ping: Option<String>,
    /// Why nothing can be written under `paths.run` or `paths.state`.
    pub no_room: Vec<String>,
    /// Every policy rule there is.
    pub rules: Vec<Rule>,
    pub forwards: bool,
    /// The links' interfaces that filter by the reverse path strictly (rp_filter, ip-sysctl in the kernel's documentation).
    pub strict: Vec<String>,
    /// The rules of nftables in JSON, or why there are none to look at.
    pub ruleset: Result<String, String>,
    /// The name servers that this machine asks.
    pub resolvers: Vec<IpAddr>,
    /// The settings of systemd-networkd, and of NetworkManager, where it has a link's interface.
    pub networkd: Option<String>,
    pub network_manager: Option<String>,
    /// Why no mail would get to its relay just now.
    pub relay: Option<String>,
    /// Of wanfo.timer and wanfo-deliver.path; `None`: no systemd runs here.
    pub units: Option<[Unit; 2]>,
    /// How long ago the last run was, and whether others should have come since; `None`: there was none since boot.
    pub last_run: Option<(Duration, bool)>,
}

#[derive(Clone, Copy)]
pub struct Unit {
    pub enabled: bool,
    pub active: bool,
}

/// A dry run, and what it found.
pub struct Tried {
    pub config: Config,
    /// As it was before.
    pub before: Facts,
    pub view: View,
    pub results: Vec<LinkResult>,
    pub problems: Vec<Problem>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Ok,
    /// It may work all the same.
    Warning,
    Failure,
}

/// One line of what is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub mark: Mark,
    /// What was looked at.
    about: String,
    text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mark = match self.mark {
            Mark::Ok => "ok",
            Mark::Warning => "warning",
            Mark::Failure => "failure",
        };
        write!(f, "{mark:7}  {}: {}", self.about, self.text)
    }
}

/// What every check says. `broken`: what is wrong with the config, and what was gone by meanwhile; `tried`: a dry run, where
/// there was a config to go by, or why it could not be made.
pub fn examine(seen: &Seen, broken: Option<String>, tried: Option<&Result<Tried, String>>) -> Vec<Line> {
    let going = tried.and_then(|tried| tried.as_ref().ok());
    let untold = going.map_or(&[][..], |tried| &tried.problems).iter().collect();
    let mut chart = Chart { untold, lines: Vec::new() };
    let broken = broken.map(|why| (Mark::Failure, why));
    chart.check("config", &[], broken, "it is well written");
    of_machine(&mut chart, seen);
    match tried {
        Some(Ok(tried)) => {
            of_routing(&mut chart, seen, tried);
            for (index, link) in tried.config.links.iter().enumerate() {
                of_link(&mut chart, seen, tried, index, link);
            }
            of_company(&mut chart, seen, &tried.config);
        }
        Some(Err(why)) => chart.lines.push(Line {
            mark: Mark::Failure,
            about: "a run".to_owned(),
            text: format!("it cannot be tried: {why}"),
        }),
        None => {}
    }
    of_runs(&mut chart, seen, going.map(|tried| &tried.config));
    chart.end()
}

struct Chart<'a> {
    /// The run's problems that no check has told so far.
    untold: Vec<&'a Problem>,
    lines: Vec<Line>,
}

impl Chart<'_> {
    /// One check, of which these codes are: what is wrong, or `ok`.
    fn check(
        &mut self,
        about: &str,
        codes: &[Code],
        own: impl IntoIterator<Item = (Mark, String)>,
        ok: impl Into<String>,
    ) {
        let of_check = |problem: &Problem| codes.contains(&problem.code);
        self.check_where(about, of_check, own, ok);
    }

    fn check_where(
        &mut self,
        about: &str,
        of_check: impl Fn(&Problem) -> bool,
        own: impl IntoIterator<Item = (Mark, String)>,
        ok: impl Into<String>,
    ) {
        let (told, untold): (Vec<&Problem>, Vec<&Problem>) =
            std::mem::take(&mut self.untold).into_iter().partition(|problem| of_check(problem));
        self.untold = untold;
        let told = told.into_iter().map(|problem| {
            let is_about = problem.link.as_deref().is_some_and(|link| about.starts_with(link));
            (mark_of(problem), if is_about { problem.text.clone() } else { problem.to_string() })
        });
        let mut found: Vec<(Mark, String)> = own.into_iter().collect();
        for (mark, text) in told {
            if !found.iter().any(|(_, said)| *said == text) {
                found.push((mark, text));
            }
        }
        if found.is_empty() {
            found.push((Mark::Ok, ok.into()));
        }
        let line = |(mark, text)| Line { mark, about: about.to_owned(), text };
        self.lines.extend(found.into_iter().map(line));
    }

    /// Whatever else the run has found.
    fn end(mut self) -> Vec<Line> {
        if !self.untold.is_empty() {
            self.check_where("a run", |_| true, None, "");
        }
        self.lines
    }
}

fn mark_of(problem: &Problem) -> Mark {
    match problem.code {
        _ if problem.is_a_doubt() => Mark::Warning,
        Code::LeaseNotUsed
        | Code::GatewayOutsideSubnet
        | Code::SameAddress
        | Code::TargetNeverAnswered
        | Code::RouteStays
        | Code::FamilyRefused
        | Code::FamilySilent
        | Code::HostRoute
        | Code::MessageSetAside
        | Code::ScriptsSandboxed => Mark::Warning,
        _ => Mark::Failure,
    }
}

/// A finding where something is the case.
fn if_so(is_so: bool, mark: Mark, text: impl Into<String>) -> Option<(Mark, String)> {
    is_so.then(|| (mark, text.into()))
}

fn of_machine(chart: &mut Chart, seen: &Seen) {
    let no_right = if_so(
        !seen.may_change_routes,
        Mark::Failure,
        "no right to change routes (CAP_NET_ADMIN); run this as root (`sudo wanfo doctor`), and the checks too",
    );
    chart.check("rights", &[], no_right, "routes may be changed");
    let failure = |why: &Option<String>| why.clone().map(|why| (Mark::Failure, why));
    chart.check("iproute2", &[], failure(&seen.without_ip), "`ip` is there");
    chart.check("ping", &[Code::CannotProbe], failure(&seen.cannot_ping), "ICMP sockets may be opened");
    let no_room: Vec<_> = seen.no_room.iter().map(|why| (Mark::Failure, why.clone())).collect();
    chart.check("files", &[], no_room, "there is room under `paths`");
    let text = "nothing is forwarded, so the LAN is not served; run `sysctl -w net.ipv4.ip_forward=1`, and write it to a file \
                in /etc/sysctl.d";
    chart.check("forwarding", &[], if_so(!seen.forwards, Mark::Warning, text), "IPv4 is forwarded");
}

fn of_routing(chart: &mut Chart, seen: &Seen, tried: &Tried) {
    let Tried { config, view, .. } = tried;
    let main = |family: &Family| {
        seen.rules.iter().any(|rule| rule.family == *family && rule.table == MAIN_TABLE && !rule.narrowed)
    };
    let families = [Family::V4, Family::V6].into_iter();
    let without_main = families.filter(|family| match family {
        Family::V4 => !main(family),
        Family::V6 => view.links.iter().any(|link| link.v6.is_ok()) && !main(family),
    });
    let policy: Vec<(Mark, String)> = match seen.rules.is_empty() {
        // Then the kernel looks up the main table without being told.
        true => vec![(
            Mark::Failure,
            "this kernel has no policy routing, by which targets are tied to their links; take one that is built with \
             CONFIG_IP_MULTIPLE_TABLES"
                .to_owned(),
        )],
        false => without_main
            .map(|family| {
                let flag = if family == Family::V4 { "-4" } else { "-6" };
                let text = format!(
                    "no rule of {family} leads to the main table, in which the default routes are; run \
                     `ip {flag} rule add lookup main priority 32766`"
                );
                (Mark::Failure, text)
            })
            .collect(),
    };
    chart.check("policy routing", &[], policy, "rules lead to the main table");

    let protocol = config.routing.protocol;
    let taken = list(tried.before.routes.iter().filter(|route| route.protocol == protocol));
    let taken = taken.filter(|_| seen.last_run.is_none()).map(|routes| {
        let text = format!(
            "routes have wanfo's protocol number {protocol}, and no run since boot has made them ({routes}): the first run \
             takes them out; if they are somebody else's, set `routing.protocol` to another number"
        );
        (Mark::Warning, text)
    });
    let codes = [Code::ForeignRoute, Code::ForeignRule];
    chart.check("numbers", &codes, taken, "tables, priority and protocol number are nobody else's");

    let priority = config.routing.rule_priority;
    // By a mark, as docs/inbound.md has it for forwarded ports.
    let is_meant = |rule: &Rule| {
        let narrow = rule.table == MAIN_TABLE && rule.suppress_prefix.is_some();
        rule.narrowed && (narrow || config.tables().contains(&rule.table))
    };
    let is_before =
        |rule: &&Rule| (1..priority).contains(&rule.priority) && rule.protocol != protocol && !is_meant(rule);
    let before = list(seen.rules.iter().filter(is_before)).map(|rules| {
        let text = format!(
            "foreign rules come before those of wanfo ({rules}), and what they catch no failover moves, probes neither; if that is \
             not meant, give them numbers above {MAIN_PRIORITY}, or set `routing.rule_priority` below theirs to have the probes \
             keep to their links"
        );
        (Mark::Warning, text)
    });
    let by_links = view.links.iter().flat_map(|link| routing::foreign_rules(config, link, &view.facts));
    let behind = list(by_links.filter(|rule| !is_before(rule))).map(|rules| {
        let text = format!(
            "foreign rules lead traffic to one line before the main table is asked ({rules}), and no failover moves it; if that is \
             not meant, give them numbers above {MAIN_PRIORITY}"
        );
        (Mark::Warning, text)
    });
    let rules: Vec<_> = before.into_iter().chain(behind).collect();
    let ok = "no foreign rule comes before those of wanfo, or leads past them to one line";
    chart.check("rules", &[Code::ProbeDiverted], rules, ok);
    let codes = [Code::EqualDefaults, Code::ForeignDefault, Code::DefaultElsewhere, Code::FamilyRefused];
    let ok = match view.facts.pretended {
        true => "each has a metric of its own",
        false => "the default traffic takes the active link",
    };
    chart.check("default routes", &codes, None, ok);

    let (mark, ok) = match list(&seen.strict) {
        Some(names) => (Mark::Failure, format!("strict on {names}, and the probes are made for that")),
        None => (Mark::Warning, "not strict".to_owned()),
    };
    let same = chart.untold.iter().filter(|problem| problem.code == Code::SameAddress);
    let same: Vec<_> = same.map(|problem| (mark, problem.to_string())).collect();
    chart.check("rp_filter", &[Code::SameAddress], same, ok);

    of_firewall(chart, seen, tried);
}

fn of_firewall(chart: &mut Chart, seen: &Seen, tried: &Tried) {
    let firewall = match &seen.ruleset {
        Ok(text) => Firewall::read(text).ok_or("`nft -j list ruleset` prints what cannot be read"),
        Err(why) => Err(why.as_str()),
    };
    let firewall = match firewall {
        Ok(firewall) => firewall,
        Err(why) => {
            let text = format!(
                "it could not be looked at: {why}; see to it yourself that it lets echo replies in, and masquerades what is \
                 forwarded out of each link"
            );
            return chart.check("firewall", &[], [(Mark::Warning, text)], "");
        }
    };
    let links = || tried.view.links.iter().zip(&tried.results);
    let interface = |link: &ResolvedLink| Some(link.v4.as_ref().ok()?.interface.clone());
    // What has just come in is not dropped, whatever the rules seem to say.
    let is_heard = |result: &LinkResult| {
        let mut targets = result.targets.iter().flatten();
        targets.any(|target| target.address.is_ipv4() && target.result.is_ok())
    };
    let unheard = links().filter(|(_, result)| !is_heard(result)).filter_map(|(link, _)| interface(link));
    let dropped = unheard.filter_map(|name| {
        let chain = firewall.refuses_replies(&name)?;
        let text = format!(
            "the chain {chain} seems to drop what answers to our echo requests by {name}; let `ct state established accept` \
             stand in it"
        );
        Some((Mark::Warning, text))
    });
    chart.check("firewall", &[], dropped, "echo replies come in");
    let interfaces = links().filter_map(|(link, _)| interface(link));
    let bare = list(interfaces.filter(|name| seen.forwards && !firewall.translates(name))).map(|names| {
        let text = format!(
            "nothing masquerades what is forwarded out of {names}; unless the provider there routes the LAN's addresses, add \
             `oifname {{ {names} }} masquerade` to a chain of `type nat hook postrouting priority srcnat`"
        );
        (Mark::Warning, text)
    });
    let ok = if seen.forwards { "out of every link" } else { "nothing is forwarded" };
    chart.check("NAT", &[], bare, ok);
}

/// Interface, addresses and gateways; and the targets.
fn of_link(chart: &mut Chart, seen: &Seen, tried: &Tried, index: usize, link: &Link) {
    let (resolved, result) = (&tried.view.links[index], &tried.results[index]);
    const LINK: [Code; 10] = [
        Code::NoInterface,
        Code::GatewayInNoSubnet,
        Code::AdminDown,
        Code::NoCarrier,
        Code::NoAddress,
        Code::NoGateway,
        Code::NoIpv6,
        Code::LeaseNotUsed,
        Code::GatewayOutsideSubnet,
        Code::GatewayIsOwnAddress,
    ];
    let is_mine = |problem: &Problem| problem.link.as_ref() == Some(&link.name);
    let of_link = |problem: &Problem| is_mine(problem) && LINK.contains(&problem.code);
    let alone = if link.routes_only { String::new() } else { without_a_family(tried, resolved) };
    let source = source_unknown(tried, index);
    chart.check_where(&link.name, of_link, source, describe(resolved) + &alone);

    const TARGETS: [Code; 5] = [
        Code::NotProbed,
        Code::TargetIsOwnAddress,
        Code::TargetNeverAnswered,
        Code::FamilySilent,
        Code::SharedTarget,
    ];
    let addresses: Vec<IpAddr> = link.targets.iter().filter_map(|target| resolved.resolve(*target)).collect();
    let mut found: Vec<(Mark, String)> = Vec::new();
    let mut rest = Vec::new();
    for target in result.targets.iter().flatten() {
        match ask(target, result, resolved) {
            Some((Mark::Ok, text)) => rest.push(text),
            other => found.extend(other),
        }
    }
    for check in &result.services.checks {
        match &check.error {
            Some(error) => found.push((Mark::Failure, format!("{} {error}", check.check))),
            None => rest.push(format!("{} passes", check.check)),
        }
    }
    match link.targets[..] {
        [Target::Gateway] => found.push((
            Mark::Warning,
            "the gateway is the only target, and answers though all beyond it is dead; add hosts beyond the provider"
                .to_owned(),
        )),
        [Target::Address(only)] => found.push((
            Mark::Warning,
            format!("{only} is the only target, so an outage of that host looks like one of the line; add one of another operator"),
        )),
        _ => {}
    }
    if let [first, ref others @ .., _] = addresses[..]
        && addresses.iter().all(|address| is_neighbour(first, *address))
    {
        let text = format!(
            "all its {} targets are in one network ({first} and others), of one operator perhaps, whose outage would look like one of \
             the line; add one of another",
            others.len() + 2
        );
        found.push((Mark::Warning, text));
    }
    for address in addresses.iter().filter(|address| seen.resolvers.contains(address)) {
        let text = format!(
            "target {address} is a name server of this machine (/etc/resolv.conf) too: if it answers nobody who comes by another line, \
             names are gone when this one dies; let a resolver ask name servers that answer over every line"
        );
        found.push((Mark::Warning, text));
    }
    let is_told = !found.is_empty();
    let of_targets = |problem: &Problem| is_mine(problem) && TARGETS.contains(&problem.code);
    let ok = match list(&rest) {
        Some(answers) => answers,
        None => "not asked, see above".to_owned(),
    };
    let about = format!("{} targets", link.name);
    chart.check_where(&about, of_targets, found, ok);
    if is_told && let Some(answers) = list(&rest) {
        chart.lines.push(Line { mark: Mark::Ok, about, text: answers });
    }
}

/// Where a link leads that has no fault.
pub fn describe(resolved: &ResolvedLink) -> String {
    let way = |next_hop: &NextHop| {
        let addresses = list(next_hop.addresses.iter().map(|own| own.network)).unwrap_or_default();
        let source = next_hop.source.map(|source| format!(", from {source}")).unwrap_or_default();
        match next_hop.via {
            Some(via) => format!("{addresses} by gateway {via}{source}"),
            None => format!("{addresses} without a gateway"),
        }
    };
    let ways = [&resolved.v4, &resolved.v6].into_iter().flatten().map(way).collect::<Vec<_>>().join("; ");
    format!("{} has carrier, {ways}", resolved.interface.as_deref().unwrap_or_default())
}

/// Of several delegated prefixes nobody knows which one is this line's.
fn source_unknown(tried: &Tried, index: usize) -> Option<(Mark, String)> {
    let next_hop = tried.view.links[index].v6.as_ref().ok()?;
    let mut others = tried.view.links.iter().enumerate().filter(|(other, _)| *other != index);
    let is_unknown = next_hop.addresses.is_empty()
        && next_hop.traits.source.or(next_hop.named_source).is_none()
        && others.any(|(_, link)| link.v6.is_ok());
    let text = format!(
        "{} has no IPv6 address of its own, and which of those in the LAN is from this line is not known: its probes may leave with \
         another line's, which the provider drops; let its default route say `src`, or `from` its prefix",
        next_hop.interface
    );
    if_so(is_unknown, Mark::Warning, text)
}

/// What becomes of a family that other links have, while this one carries the traffic without.
fn without_a_family(tried: &Tried, resolved: &ResolvedLink) -> String {
    let by_others = |family| tried.view.links.iter().any(|link| link.next_hop(family).is_ok());
    let is_missing = |family: &Family| resolved.next_hop(*family).is_err() && by_others(*family);
    let Some(family) = [Family::V4, Family::V6].into_iter().find(is_missing) else { return String::new() };
    let leave = tried.config.routing.ipv6_without_gateway == Ipv6WithoutGateway::Leave;
    let becomes = match family {
        Family::V6 if leave => "goes by whatever default route others have (`ipv6_without_gateway: leave`)",
        _ => "is refused at once, and programs take the other",
    };
    format!("; without {family}, which another link has: while this one is active {family} {becomes}")
}

/// What came of asking one target. What is no matter of the target's own is told elsewhere.
fn ask(target: &TargetResult, result: &LinkResult, resolved: &ResolvedLink) -> Option<(Mark, String)> {
    let (address, interface) = (target.address, resolved.interface.as_deref().unwrap_or_default());
    match &target.result {
        Ok(rtt) => Some((Mark::Ok, format!("{address} answered in {:.1} ms", rtt.as_secs_f64() * 1e3))),
        Err(ProbeError::Unpinned) => Some((
            Mark::Warning,
            format!(
                "{address} can be asked once a run has tied it to {interface}: run `wanfo check`, then this again"
            ),
        )),
        Err(error @ (ProbeError::NoReply | ProbeError::Unreachable | ProbeError::TooLate(_))) => {
            let mark = if result.probed == Probed::Answered { Mark::Warning } else { Mark::Failure };
            let text = format!(
                "{address} by {interface}: {error}; if it answers no ping to anybody, take another, else the line is dead or a \
                 firewall drops the replies"
            );
            Some((mark, text))
        }
        // The link itself works, by the other family.
        Err(ProbeError::Unusable(why)) if resolved.fault().is_none() => {
            Some((Mark::Failure, format!("{address} cannot be asked: {why}")))
        }
        Err(_) => None,
    }
}

fn is_neighbour(one: IpAddr, other: IpAddr) -> bool {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => one.octets()[..OPERATOR[0]] == other.octets()[..OPERATOR[0]],
        (IpAddr::V6(one), IpAddr::V6(other)) => one.octets()[..OPERATOR[1]] == other.octets()[..OPERATOR[1]],
        _ => false,
    }
}

/// Who else has a hand in it.
fn of_company(chart: &mut Chart, seen: &Seen, config: &Config) {
    let codes = [Code::HostRoute, Code::RouteStays];
    chart.check("tied destinations", &codes, None, "no foreign route keeps a name server on a line");
    if let Some(text) = &seen.networkd {
        let keys = ["ManageForeignRoutes", "ManageForeignRoutingPolicyRules"];
        let missing =
            list(keys.iter().filter(|key| !is_off(text, "Network", key)).map(|key| format!("{key}=no")));
        let fights = missing.map(|settings| {
            let text = format!(
                "it removes routes and rules of others when it restarts; write {settings} under [Network] in /etc/systemd/networkd.conf"
            );
            (Mark::Warning, text)
        });
        chart.check("systemd-networkd", &[], fights, "it leaves routes and rules of others alone");
    }
    if let Some(text) = &seen.network_manager {
        let judges = value(text, "connectivity", "uri").is_some_and(|uri| !uri.is_empty())
            && !is_off(text, "connectivity", "enabled")
            && value(text, "connectivity", "interval") != Some("0")
            && config.routing.override_by == Override::Halves;
        let text = "it asks by itself whether a line leads to the Internet, and moves that line's default route behind the others where \
                    not, while wanfo may hold otherwise; write `enabled=false` under [connectivity] in a file in \
                    /etc/NetworkManager/conf.d";
        chart.check(
            "NetworkManager",
            &[],
            if_so(judges, Mark::Warning, text),
            "it leaves the default routes in their order",
        );
    }
    if [&config.action_script, &config.exit_script, &config.link_script].into_iter().any(Option::is_some) {
        let codes = [Code::ScriptUnusable, Code::ScriptsSandboxed, Code::ScriptNotStarted];
        chart.check("scripts", &codes, None, "they can be run");
    }
    if config.flush_conntrack {
        chart.check("conntrack", &[Code::ConntrackMissing], None, "it is there");
    }
    let Some(notify) = &config.notify else { return };
    if notify.mail.is_some() {
        let relay = seen.relay.clone().map(|why| (Mark::Failure, why));
        let codes = [Code::MailFileUnusable, Code::MailNotSpooled, Code::MessageSetAside];
        chart.check("mail", &codes, relay, "it can be handed on; `wanfo deliver --test` sends one");
    }
    if notify.webhook.is_some() {
        // Without mail what could not be spooled was for the webhook alone.
        let codes = [Code::WebhookFileUnusable, Code::MailNotSpooled, Code::MessageSetAside];
        chart.check(
            "webhook",
            &codes,
            None,
            "its address can be used; `wanfo deliver --test` sends a message there",
        );
    }
}

/// Who starts wanfo.
fn of_runs(chart: &mut Chart, seen: &Seen, config: Option<&Config>) {
    let (start, who) = match seen.units {
        Some(_) => ("`systemctl enable --now wanfo.timer` has systemd start them", "wanfo.timer"),
        None => ("no systemd runs here, so let cron start `wanfo check`", "cron"),
    };
    let idle = match seen.last_run {
        None => Some(format!("there was no run since boot, or since `wanfo down`; {start}")),
        Some((age, true)) => {
            Some(format!("the last run was {} ago; {start}, or look at what it says", span(age)))
        }
        Some(_) => None,
    };
    let ok = seen.last_run.map(|(age, _)| format!("the last was {} ago", span(age)));
    chart.check("runs", &[], idle.map(|text| (Mark::Failure, text)), ok.unwrap_or_default());
    let Some([timer, path]) = seen.units else { return };
    let by_others = seen.last_run.is_some_and(|(_, is_old)| !is_old) && !timer.enabled && !timer.active;
    let mark = if by_others { Mark::Warning } else { Mark::Failure };
    let fault = fault_of(who, timer).map(|text| match by_others {
        true => (mark, format!("{text}, unless cron starts the checks")),
        false => (mark, text),
    });
    chart.check(who, &[], fault, "enabled and active");
    if config.is_some_and(|config| config.notify.is_some() || config.link_script.is_some()) {
        let unit = "wanfo-deliver.path";
        let lost = "or no message is sent, and no link script is run";
        let fault = fault_of(unit, path).map(|text| (Mark::Failure, format!("{text}, {lost}")));
        chart.check(unit, &[], fault, "enabled and active");
    }
}

fn fault_of(name: &str, unit: Unit) -> Option<String> {
    let what = match unit {
        Unit { enabled: true, active: true } => return None,
        Unit { enabled: false, active: true } => "it is not enabled, and is gone after a reboot",
        Unit { active: false, .. } => "it is not active",
    };
    Some(format!("{what}; run `systemctl enable --now {name}`"))
}

/// The last value of a key in files of sections, one after the other.
fn value<'a>(text: &'a str, section: &str, key: &str) -> Option<&'a str> {
    let (mut is_in, mut found) = (false, None);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_in = name == section;
        } else if let Some((_, value)) = line.split_once('=').filter(|(name, _)| is_in && name.trim() == key)
        {
            found = Some(value.trim());
        }
    }
    found
}

fn is_off(text: &str, section: &str, key: &str) -> bool {
    value(text, section, key)
        .is_some_and(|value| ["no", "false", "off", "0"].iter().any(|word| value.eq_ignore_ascii_case(word)))
}
