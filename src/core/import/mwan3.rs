//! OpenWrt's mwan3: lines with metrics in policies, and rules that say which policy carries what.

use std::collections::HashMap;
use std::time::Duration;

use ipnetwork::IpNetwork;

use super::draft::{Draft, Fault, Origin, Source, destination, prefix_of, written};
use super::uci::{Section, Setting};

/// What mwan3 has and wanfo has not, with the reason.
const WITHOUT_EQUAL: [(&str, &str); 8] = [
    (
        "initial_state",
        "what nobody has asked yet is unknown, and the kernel's routes tell which line is active",
    ),
    ("count", "a silent target is asked again every 250ms until its line is decided"),
    ("size", "the payload of echo requests is fixed"),
    ("max_ttl", "echo requests have the kernel's TTL"),
    ("recovery_latency", "there is one limit, probe.max_latency"),
    ("failure_loss", "a line is judged by its silence, not by how many answers are lost"),
    ("recovery_loss", "a line is judged by its silence, not by how many answers are lost"),
    ("httping_ssl", "targets are pinged"),
];

pub fn draft<'a>(sections: &[Section<'a>]) -> Result<Draft<'a>, Vec<Fault>> {
    let mut import = Import::new(sections)?;
    let chosen = import.default_policy()?;
    let mut lines = import.lines(&chosen)?;
    import.rules(&chosen, &mut lines)?;
    if lines.len() < 2 {
        let text = format!(
            "{} leads over one line that is enabled, and a failover takes two; let its policy have a backup",
            chosen.what
        );
        return Err(vec![Fault::at(chosen.source, text)]);
    }
    import.draft.section(0, "links");
    for (i, line) in lines.iter().enumerate() {
        import.link(line, i == 0)?;
    }
    import.probe(&lines)?;
    Ok(import.draft)
}

const FAMILIES: [&str; 2] = ["ipv4", "ipv6"];

struct Import<'s, 'a> {
    /// Of `/etc/config/network`.
    networks: HashMap<&'s str, &'s Section<'a>>,
    /// Those of mwan3 that are enabled.
    interfaces: Vec<&'s Section<'a>>,
    members: HashMap<&'s str, &'s Section<'a>>,
    policies: HashMap<&'s str, &'s Section<'a>>,
    /// Each with the policy that it names.
    rules: Vec<(&'s Section<'a>, &'s Setting<'a>)>,
    draft: Draft<'a>,
}

/// The policy of the rule that catches everything.
struct Chosen<'s, 'a> {
    what: String,
    source: Source<'a>,
    /// Interfaces of mwan3, in order of preference.
    order: Vec<&'s Section<'a>>,
}

/// What becomes a link: all interfaces of mwan3 over one of the kernel's.
struct Line<'s, 'a> {
    device: (String, Origin<'a>),
    interfaces: Vec<&'s Section<'a>>,
    routes: Vec<(String, Origin<'a>)>,
    routes_only: bool,
}

impl<'s, 'a> Import<'s, 'a> {
    fn new(sections: &'s [Section<'a>]) -> Result<Self, Vec<Fault>> {
        let mut import = Import {
            networks: HashMap::new(),
            interfaces: Vec::new(),
            members: HashMap::new(),
            policies: HashMap::new(),
            rules: Vec::new(),
            draft: Draft::default(),
        };
        for section in sections {
            let name = section.name.as_str();
            match section.kind.as_str() {
                "interface" if is_of_network(section) => drop(import.networks.insert(name, section)),
                "interface" if section.is_on("enabled") => import.interfaces.push(section),
                "interface" => {
                    let text = format!("the interface {name} is not enabled, and is left out");
                    import.draft.note(section.source, text);
                }
                "member" => drop(import.members.insert(name, section)),
                "policy" => drop(import.policies.insert(name, section)),
                "rule" => import.rules.extend(section.get("use_policy").map(|policy| (section, policy))),
                _ => {}
            }
        }
        let fault = |text: &str| Err(vec![Fault::of_all(text)]);
        if import.interfaces.is_empty() && import.policies.is_empty() {
            return fault(
                "these files have no settings of mwan3; give its file as well: `wanfo import /etc/config/mwan3 \
                 /etc/config/network`",
            );
        }
        if import.networks.is_empty() {
            return fault(
                "mwan3 names interfaces of OpenWrt, and what they are stands in /etc/config/network; give that file as well: \
                 `wanfo import /etc/config/mwan3 /etc/config/network`",
            );
        }
        Ok(import)
    }

    fn default_policy(&mut self) -> Result<Chosen<'s, 'a>, Vec<Fault>> {
        let [first, second] = FAMILIES.map(|family| {
            self.rules.iter().copied().find(|(rule, policy)| catches_all(rule, policy, family))
        });
        let Some((rule, policy)) = first.or(second) else {
            let text = "no rule of mwan3 sends all traffic by a policy (dest_ip 0.0.0.0/0 and nothing else), so nobody knows \
                        which line is preferred";
            let last = self.rules.last().map(|(rule, _)| rule).or(self.interfaces.last());
            return Err(vec![
                last.map_or_else(|| Fault::of_all(text), |section| Fault::at(section.source, text)),
            ]);
        };

        let order = self.order(policy)?;
        if let Some((_, other)) = second.filter(|(_, other)| other.value != policy.value) {
            let text = format!(
                "the policy {} for IPv6 is left out: a link of wanfo's carries both families, in the order of {}",
                other.value, policy.value
            );
            self.draft.note(other.source, text);
        }
        let what = format!("the policy {} of the rule {}", policy.value, rule.name);
        Ok(Chosen { what, source: policy.source, order })
    }

    /// The enabled interfaces of a policy, in order of preference.
    fn order(&mut self, policy: &Setting<'a>) -> Result<Vec<&'s Section<'a>>, Vec<Fault>> {
        let Some(section) = self.policies.get(policy.value.as_str()).copied() else {
            let text = format!("there is no policy {}; which one is meant?", policy.value);
            return Err(vec![Fault::at(policy.source, text)]);
        };
        if let Some(last) = section.get("last_resort").filter(|last| last.value != "unreachable") {
            let text = format!(
                "last_resort {} has no equal: with no line up wanfo stays where it was, and the kernel's own routes count",
                last.value
            );
            self.draft.note(last.source, text);
        }
        let mut ranked = Vec::new();
        for member in section.all("use_member") {
            let found = self.members.get(member.value.as_str());
            let Some((settings, interface)) = found.and_then(|found| Some((*found, found.get("interface")?)))
            else {
                let text =
                    format!("there is no member {} with an interface; which one is meant?", member.value);
                return Err(vec![Fault::at(member.source, text)]);
            };
            let (metric, weight) = (number(settings, "metric", 1)?.0, number(settings, "weight", 1)?.0);
            if let Some(section) = self.interfaces.iter().find(|section| section.name == interface.value) {
                ranked.push((metric, u32::MAX - weight, *section, settings.source));
            }
        }
        ranked.sort_by_key(|(metric, weight, ..)| (*metric, *weight));
        for pair in ranked.windows(2) {
            let [(metric, _, first, _), (second_metric, _, second, source)] = pair else { continue };
            if metric == second_metric && family(first) == family(second) {
                let text = format!(
                    "{} and {} share the traffic in the policy {} (metric {metric}, weights), which has no equal: {} is \
                     preferred now, the other one waits",
                    first.name, second.name, policy.value, first.name
                );
                self.draft.note(*source, text);
            }
        }
        Ok(ranked.into_iter().map(|(.., section, _)| section).collect())
    }

    /// Those of the policy in their order, then the others.
    fn lines(&mut self, chosen: &Chosen<'s, 'a>) -> Result<Vec<Line<'s, 'a>>, Vec<Fault>> {
        let mut lines: Vec<Line> = Vec::new();
        let others = self.interfaces.clone();
        let all = chosen.order.iter().chain(&others);
        for (i, section) in all.copied().enumerate() {
            if lines.iter().any(|line| line.interfaces.iter().any(|known| known.name == section.name)) {
                continue;
            }
            let device = self.device(section, 0)?;
            match lines.iter_mut().find(|line| line.device.0 == device.0) {
                Some(line) => line.interfaces.push(section),
                None => lines.push(Line {
                    device,
                    interfaces: vec![section],
                    routes: Vec::new(),
                    routes_only: i >= chosen.order.len(),
                }),
            }
        }
        Ok(lines)
    }

    /// The kernel's name of an interface of OpenWrt's.
    fn device(&mut self, section: &Section<'a>, depth: usize) -> Result<(String, Origin<'a>), Vec<Fault>> {
        let name = section.name.as_str();
        let Some(network) = self.networks.get(name).copied() else {
            let text = format!("the network file has no interface {name:?}; give the one of the same router");
            return Err(vec![Fault::at(section.source, text)]);
        };
        let proto = network.get("proto").map_or("", |proto| proto.value.as_str());
        let device = network.get("device").or_else(|| network.get("ifname"));
        let device_source = device.map_or(network.source, |device| device.source);
        let origin = |what: &str| Origin::at(device_source, what);
        let guess = |draft: &mut Draft<'a>, name: &str| {
            let text = format!(
                "{name} is what OpenWrt calls the interface of the protocol {proto}; on another system it has another name \
                 (`ip link`)"
            );
            draft.note(network.source, text);
            Ok((name.to_owned(), Origin::at(network.source, format_args!("proto {proto}"))))
        };
        match (proto, device.map(|device| device.value.as_str())) {
            ("pppoe" | "pppoa" | "ppp" | "pptp" | "l2tp" | "3g" | "6in4" | "6to4" | "6rd", _) => {
                guess(&mut self.draft, &format!("{proto}-{name}"))
            }
            ("qmi" | "mbim" | "ncm" | "modemmanager", _) => guess(&mut self.draft, "wwan0"),
            ("wireguard", _) => Ok((name.to_owned(), Origin::at(network.source, "proto wireguard"))),
            (_, Some(device)) if device.starts_with('@') && depth < 8 => {
                let other = device.trim_start_matches('@');
                match self.networks.get(other).copied() {
                    Some(other) => self.device(other, depth + 1),
                    None => {
                        let text = format!("{device} is no interface of this file");
                        Err(vec![Fault::at(device_source, text)])
                    }
                }
            }
            (_, Some(_)) if network.get("type").is_some_and(|kind| kind.value == "bridge") => {
                Ok((format!("br-{name}"), origin("type bridge")))
            }
            (_, Some(device)) => Ok((device.to_owned(), origin("device"))),
            (_, None) => {
                let text =
                    format!("the interface {name} has no device; write the kernel's name of it (`ip link`)");
                Err(vec![Fault::at(network.source, text)])
            }
        }
    }

    fn rules(&mut self, chosen: &Chosen<'s, 'a>, lines: &mut Vec<Line<'s, 'a>>) -> Result<(), Vec<Fault>> {
        let mut seen: Vec<String> = Vec::new();
        let mut caught = [false; 2];
        for (rule, policy) in self.rules.clone() {
            let catches = FAMILIES.map(|family| catches_all(rule, policy, family));
            if catches.contains(&true) {
                caught = [caught[0] || catches[0], caught[1] || catches[1]];
                continue;
            }
            let narrows = ["src_ip", "src_iface", "src_port", "dest_port", "ipset", "proto"];
            let narrowed = narrows.iter().find_map(|key| rule.get(key).filter(|option| !is_anything(option)));
            let order = match rule.get("dest_ip") {
                Some(_) if narrowed.is_none() && !is_no_policy(policy) => self.order(policy)?,
                _ => Vec::new(),
            };
            let (None, Some(destinations), Some(first)) = (narrowed, rule.get("dest_ip"), order.first())
            else {
                let what = narrowed.map_or("use_policy", |option| option.name.as_str());
                let text = format!(
                    "the rule {} has no equal ({what}): wanfo sends by destination, and everything else by the active link",
                    rule.name
                );
                self.draft.note(rule.source, text);
                continue;
            };
            let names = |order: &[&Section]| order.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
            if names(&order) == names(&chosen.order) {
                continue;
            }
            if order.iter().any(|other| family(other) == family(first) && other.name != first.name) {
                let text = format!(
                    "the rule {} ties its destinations to {} alone: while that cannot carry them they are unreachable",
                    rule.name, first.name
                );
                self.draft.note(rule.source, text);
            }
            for word in destinations.value.split([',', ' ']).filter(|word| !word.is_empty()) {
                let Some((route, is_cut)) = destination(word) else {
                    let text = format!("{word:?} is no address; write for example 192.0.2.0/24");
                    return Err(vec![Fault::at(destinations.source, text)]);
                };
                if is_cut {
                    self.draft.note(destinations.source, format_args!("{word} is the network {route}"));
                }
                let v6 = route.contains(':');
                if seen.contains(&route) || caught[usize::from(v6)] {
                    let text =
                        format!("{route} is left out: a rule before this one sends it somewhere already");
                    self.draft.note(destinations.source, text);
                    continue;
                }
                let carries = |line: &&mut Line| {
                    let names = || line.interfaces.iter().map(|interface| &interface.name);
                    order
                        .iter()
                        .find(|one| is_v6(one) == v6)
                        .or(Some(first))
                        .is_some_and(|one| names().any(|name| *name == one.name))
                };
                if let Some(line) = lines.iter_mut().find(carries) {
                    let origin = Origin::at(destinations.source, format_args!("rule {}", rule.name));
                    line.routes.push((route.clone(), origin));
                    seen.push(route);
                }
            }
        }
        let mut left_out = Vec::new();
        lines.retain(|line| {
            let carries = !line.routes_only || !line.routes.is_empty();
            if !carries {
                left_out.extend(
                    line.interfaces.first().map(|interface| (interface.source, interface.name.clone())),
                );
            }
            carries
        });
        for (source, name) in left_out {
            let text = format!("the interface {name} is left out, for {} does not lead over it", chosen.what);
            self.draft.note(source, text);
        }
        Ok(())
    }

    /// Of all interfaces of the line.
    fn targets(&mut self, line: &Line<'s, 'a>) -> Vec<(String, Origin<'a>)> {
        let mut targets: Vec<(String, Origin)> = Vec::new();
        for target in line.interfaces.iter().flat_map(|interface| interface.all("track_ip")) {
            match target.value.parse::<std::net::IpAddr>().map(|address| address.to_string()) {
                Ok(address) if targets.iter().any(|(earlier, _)| *earlier == address) => {}
                Ok(address) => targets.push((address, Origin::at(target.source, "track_ip"))),
                Err(_) => {
                    let text = format!(
                        "the target {:?} is left out: it is no address, and names are not looked up",
                        target.value
                    );
                    self.draft.note(target.source, text);
                }
            }
        }
        targets
    }

    fn link(&mut self, line: &Line<'s, 'a>, is_first: bool) -> Result<(), Vec<Fault>> {
        let main = line.interfaces[0];
        let at = |setting: &Setting<'a>| Origin::at(setting.source, &setting.name);
        self.draft.text(2, "- name", &main.name, Origin::at(main.source, "interface"));
        self.draft.text(4, "interface", &line.device.0, line.device.1.clone());
        let networks: Vec<&Section> = line
            .interfaces
            .iter()
            .filter_map(|interface| self.networks.get(interface.name.as_str()).copied())
            .collect();
        for (key, option) in [("gateway", "gateway"), ("gateway6", "ip6gw")] {
            if let Some(gateway) = networks.iter().find_map(|network| network.get(option)) {
                self.draft.text(4, key, &gateway.value, at(gateway));
            }
        }
        let addresses = own_addresses(&networks)?;
        if !is_first {
            self.draft.list(4, "address", &addresses);
        } else if let Some((address, origin)) = addresses.first() {
            self.draft.remark(format_args!(
                "{origin}: the address {address} of the first link stays with this machine's own network settings"
            ));
        }
        let targets = self.targets(line);
        self.draft.list(4, "targets", &targets);
        if targets.is_empty() {
            let text = format!(
                "{} has no targets, so it counts as up while its interface can carry traffic; write some",
                main.name
            );
            self.draft.note(main.source, text);
        }
        self.quorum(main, targets.len())?;
        if let [_, second, ..] = line.interfaces[..] {
            let names: Vec<&str> = line.interfaces[1..].iter().map(|other| other.name.as_str()).collect();
            let text = format!(
                "{} is one link with {} here, which mwan3 judged by itself: their targets count together, and as long as `quorum` \
                 of them answer, by whichever family, the link is up; leave the targets of the other family out, or set \
                 `quorum` so high that no family meets it alone",
                names.join(", "),
                main.name
            );
            self.draft.note(second.source, text);
        }
        self.draft.duration(4, "delay", Duration::ZERO, Origin::of_itself("mwan3 has no hold-down"));
        let (up, up_origin) = number(main, "up", 5)?;
        let interval = number(main, "interval", 10)?;
        let pause = if main.get("recovery_interval").is_some() {
            number(main, "recovery_interval", 10)?
        } else {
            interval.clone()
        };
        let stable = Duration::from_secs(u64::from(up) * u64::from(pause.0)).min(Duration::from_secs(3600));
        let origin = up_origin.and(format_args!(", so many intervals of {}s", pause.0));
        self.draft.duration(4, "stable", stable, origin);
        if !is_first {
            self.draft.duration(4, "standby_interval", Duration::from_secs(interval.0.into()), interval.1);
        }
        self.draft.list(4, "routes", &line.routes);
        if line.routes_only {
            self.draft.raw(
                4,
                "routes_only",
                true,
                Origin::of_itself("the default policy does not lead over it"),
            );
        }
        for interface in &line.interfaces {
            self.without_equal(interface);
        }
        Ok(())
    }

    fn quorum(&mut self, main: &Section<'a>, targets: usize) -> Result<(), Vec<Fault>> {
        let (wanted, origin) = number(main, "reliability", 1)?;
        let quorum = wanted.clamp(1, targets.max(1).try_into().unwrap_or(1));
        if quorum != 1 {
            self.draft.raw(4, "quorum", quorum, origin);
        }
        if quorum < wanted {
            let text = format!(
                "reliability is {wanted}, and {} has {targets} target(s) here: its quorum is {quorum}",
                main.name
            );
            self.draft.note(main.source, text);
        }
        Ok(())
    }

    fn without_equal(&mut self, interface: &Section<'a>) {
        for (name, why) in WITHOUT_EQUAL {
            if let Some(option) = interface.get(name) {
                self.draft.note(option.source, format_args!("{name} has no equal: {why}"));
            }
        }
        if let Some(method) = interface.get("track_method").filter(|method| method.value != "ping") {
            self.draft.note(
                method.source,
                format_args!(
                    "track_method {} has no equal: targets are pinged; `checks` has DNS, TCP and HTTP",
                    method.value
                ),
            );
        }
    }

    /// One for all links, where mwan3 has one for each: the most patient.
    fn probe(&mut self, lines: &[Line<'s, 'a>]) -> Result<(), Vec<Fault>> {
        let mut silences: Vec<(Duration, Origin)> = Vec::new();
        let mut latencies: Vec<(Duration, Origin)> = Vec::new();
        for main in lines.iter().map(|line| line.interfaces[0]) {
            let read = |key, default| number(main, key, default);
            let (down, timeout) = (read("down", 5)?, read("timeout", 4)?);
            let pause = read("failure_interval", read("interval", 10)?.0)?;
            let seconds = u64::from(down.0) * u64::from(pause.0) + u64::from(timeout.0);
            let origin = down.1.and(format_args!(", so many intervals of {}s, and the timeout", pause.0));
            silences.push((Duration::from_secs(seconds), origin));
            let (latency, origin) = read("failure_latency", 1000)?;
            latencies.push(match main.is_on("check_quality") {
                true => (Duration::from_millis(latency.into()), origin),
                false => (Duration::from_secs(timeout.0.into()), timeout.1),
            });
        }
        let longest = |list: &[(Duration, Origin<'a>)]| list.iter().max_by_key(|(time, _)| *time).cloned();
        let (Some((wanted, origin)), Some((latency, latency_origin))) =
            (longest(&silences), longest(&latencies))
        else {
            return Ok(());
        };
        let silence = wanted.clamp(Duration::from_secs(1), Duration::from_secs(45));
        self.draft.section(0, "probe");
        self.draft.duration(2, "silence", silence, origin);
        if silences.iter().any(|(time, _)| *time != wanted) {
            self.draft.remark("probe.silence is one for all links; it is that of the line with which mwan3 had most patience");
        }
        if silence != wanted {
            self.draft.remark(format_args!(
                "mwan3 left a line after {}, and probe.silence goes from 1s to 45s: {} is nearest; 6s is what wanfo takes by \
                 itself",
                written(wanted), written(silence)
            ));
        }
        let has_quality = |line: &Line| line.interfaces[0].is_on("check_quality");
        if latency < silence {
            self.draft.duration(2, "max_latency", latency, latency_origin);
            if lines.iter().any(has_quality) && latencies.iter().any(|(time, _)| *time != latency) {
                self.draft.remark(
                    "probe.max_latency is one for all links; it is that of the line with which mwan3 had most patience",
                );
            }
        } else if lines.iter().any(has_quality) {
            self.draft.remark(format_args!(
                "failure_latency {} is no limit beside a probe.silence of {}",
                written(latency),
                written(silence)
            ));
        }
        let flush = lines
            .iter()
            .flat_map(|line| &line.interfaces)
            .flat_map(|interface| interface.all("flush_conntrack"));
        if let Some(event) = flush.into_iter().find(|event| event.value != "never") {
            let origin = Origin::at(event.source, "flush_conntrack: only flows of the old link's address");
            self.draft.raw(0, "flush_conntrack", true, origin);
        }
        Ok(())
    }
}

/// Whether an `interface` section is one of the network file: there each says how it gets its addresses.
fn is_of_network(section: &Section) -> bool {
    section.get("proto").is_some()
}

fn family<'s>(section: &'s Section) -> &'s str {
    section.get("family").map_or("ipv4", |family| family.value.as_str())
}

fn is_v6(section: &Section) -> bool {
    family(section) == "ipv6"
}

/// Words in the place of a policy's name.
fn is_no_policy(policy: &Setting) -> bool {
    matches!(policy.value.as_str(), "default" | "unreachable" | "blackhole")
}

/// A value that narrows nothing.
fn is_anything(option: &Setting) -> bool {
    matches!(option.value.as_str(), "0.0.0.0/0" | "::/0" | "all")
}

/// Whether a rule sends all traffic of a family by a policy.
fn catches_all(rule: &Section, policy: &Setting, family: &str) -> bool {
    let everything = |key: &str| rule.get(key).is_none_or(is_anything);
    let of_family = rule.get("family").is_none_or(|own| own.value == family || own.value == "any");
    let destination =
        rule.get("dest_ip").is_none_or(|ip| ip.value == if family == "ipv6" { "::/0" } else { "0.0.0.0/0" });
    let narrows = ["src_iface", "src_port", "dest_port", "ipset"];
    of_family
        && destination
        && everything("src_ip")
        && everything("proto")
        && narrows.iter().all(|key| rule.get(key).is_none())
        && !is_no_policy(policy)
}

/// A number of an option; what is none is a fault.
fn number<'a>(section: &Section<'a>, key: &str, default: u32) -> Result<(u32, Origin<'a>), Vec<Fault>> {
    let Some(option) = section.get(key) else {
        return Ok((default, Origin::of_itself(format_args!("mwan3's default for {key}"))));
    };
    match option.value.parse() {
        Ok(number) => Ok((number, Origin::at(option.source, key))),
        Err(_) => {
            let text = format!("{key} is {:?}; write a whole number, for example {default}", option.value);
            Err(vec![Fault::at(option.source, text)])
        }
    }
}

/// The static addresses of an interface.
fn own_addresses<'a>(networks: &[&Section<'a>]) -> Result<Vec<(String, Origin<'a>)>, Vec<Fault>> {
    let mut addresses: Vec<(String, Origin)> = Vec::new();
    let statics =
        networks.iter().filter(|network| network.get("proto").is_some_and(|proto| proto.value == "static"));
    for network in statics {
        let mask = network.get("netmask");
        for address in network.all("ipaddr").into_iter().chain(network.all("ip6addr")) {
            let written = match (address.value.contains('/'), mask) {
                (false, Some(mask)) if address.name == "ipaddr" => match prefix_of(&mask.value) {
                    Some(prefix) => format!("{}/{prefix}", address.value),
                    None => {
                        let text = format!("netmask is {:?}; write for example 255.255.255.0", mask.value);
                        return Err(vec![Fault::at(mask.source, text)]);
                    }
                },
                _ => address.value.clone(),
            };
            if written.parse::<IpNetwork>().is_ok() && addresses.iter().any(|(known, _)| *known == written) {
                continue;
            }
            addresses.push((written, Origin::at(address.source, &address.name)));
        }
    }
    Ok(addresses)
}
