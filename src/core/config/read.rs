//! From the tree to the configuration: which keys there are, what they take, and what stands in for a
//! missing one.

use std::time::Duration;

use super::check::{self, Draft};
use super::tree::{self, Node, Value};
use super::{
    Config, Gateway, Ipv6WithoutGateway, LogLevel, Override, Paths, Pin, Probe, Problem, Routing, value,
};
use crate::core::facts::Family;

/// Nobody waits longer than this for a failback or for a first look at a backup; more is a slip of the unit.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

pub fn config(text: &str) -> Result<Config, Vec<Problem>> {
    let root = tree::parse(text).map_err(|problem| vec![problem])?;
    if let Value::Null = root.value {
        let text =
            "the file is empty; write at least \"links:\" and two links, each with a name and an interface";
        return Err(vec![Problem { path: String::new(), line: None, text: text.into() }]);
    }
    let mut faults = Faults::default();
    match whole_file(&root, &mut faults) {
        Some(config) if faults.0.is_empty() => Ok(config),
        _ => Err(faults.into_problems(text)),
    }
}

fn whole_file(root: &Node, faults: &mut Faults) -> Option<Config> {
    let place = Place { node: root.number, path: String::new() };
    let file = Fields::of(root, place, &["links", "probe", "routing", "paths", "log_level"], faults)?;
    let links = links(&file, faults);
    let probe = probe(&file, faults);
    let routing = routing(&file, faults);
    let paths = paths(&file, faults);
    let levels = &[("error", LogLevel::Error), ("info", LogLevel::Info), ("debug", LogLevel::Debug)];
    let log_level = file.read_or("log_level", LogLevel::Info, value::word(levels), faults);
    check::links(&links, probe.pin, faults);
    let links = links.into_iter().map(Draft::into_link).collect::<Option<_>>()?;
    Some(Config {
        links,
        probe,
        routing,
        action_script: None,
        exit_script: None,
        script_timeout: Duration::from_secs(60),
        flush_conntrack: false,
        notify: None,
        paths,
        log_level,
    })
}

fn links(file: &Fields, faults: &mut Faults) -> Vec<Draft> {
    let place = file.place_of("links");
    if file.node("links").is_none() {
        faults.add(&place, "this key is missing; write a list of 2 to 8 links".into());
    }
    let Some(nodes) = file.list("links", faults) else {
        return Vec::new();
    };
    if !(2..=8).contains(&nodes.len()) {
        faults.add(&place, format!("the number of links is {}; write 2 to 8 of them", nodes.len()));
    }
    nodes.iter().enumerate().filter_map(|(i, node)| link(node, place.item(i, node), i == 0, faults)).collect()
}

fn link(node: &Node, place: Place, first: bool, faults: &mut Faults) -> Option<Draft> {
    const KEYS: &[&str] = &[
        "name",
        "interface",
        "gateway",
        "gateway6",
        "targets",
        "quorum",
        "delay",
        "standby_interval",
        "routes",
    ];
    let link = Fields::of(node, place, KEYS, faults)?;
    let name = link.read("name", value::name, faults);
    if let Ok(None) = name {
        faults.add(&link.place.child("name"), "this key is missing; write for example name: primary".into());
    }
    let interface = link.read("interface", value::interface, faults);
    let gateway = link.read("gateway", value::gateway(Family::V4), faults);
    if let (Ok(None), Ok(None | Some(Placed { value: Gateway::Auto | Gateway::None, .. }))) =
        (&interface, &gateway)
    {
        let text = "this key is missing; write for example interface: eth0 (it may be left out only where \
                    \"gateway\" is an address)";
        faults.add(&link.place.child("interface"), text.into());
    }
    let targets = link.read_list("targets", value::target, faults);
    let target_count = match link.node("targets").map(|node| &node.value) {
        None => Some(0),
        Some(Value::List(nodes)) => Some(nodes.len()),
        Some(_) => None,
    };
    // The metered lines are the backups, so they are probed seldom and kept for long.
    let (delay, standby) = match first {
        true => (Duration::from_secs(60), Duration::ZERO),
        false => (Duration::from_secs(600), Duration::from_secs(60)),
    };
    let up_to_a_week = value::duration(Duration::ZERO..=WEEK);
    Some(Draft {
        name: name.ok().flatten(),
        interface,
        gateway: gateway.map(|gateway| gateway.map_or(Gateway::Auto, |gateway| gateway.value)),
        gateway6: link.read_or("gateway6", Gateway::Auto, value::gateway(Family::V6), faults),
        targets,
        quorum: link.read_or("quorum", 1, |node| quorum(node, target_count), faults),
        delay: link.read_or("delay", delay, &up_to_a_week, faults),
        standby_interval: link.read_or("standby_interval", standby, &up_to_a_week, faults),
        routes: link.read_list("routes", value::route, faults),
        place: link.place,
    })
}

/// `targets`: how many there are, where that can be told.
fn quorum(node: &Node, targets: Option<usize>) -> Result<u32, String> {
    let most = targets.map_or(u32::MAX, |count| count.max(1) as u32);
    value::number(1..=most)(node).map_err(|_| {
        let fault = match &node.value {
            Value::Number(number) => format!("{number} is not allowed"),
            _ => node.what(),
        };
        match targets {
            None => format!("{fault}; write how many targets must answer, 1 or more"),
            Some(0) => format!("{fault}; this link has no targets, so leave this key out"),
            Some(1) => format!("{fault}; this link has one target, so write 1 or leave this key out"),
            Some(count) => {
                format!("{fault}; this link has {count} targets, so write a number from 1 to {count}")
            }
        }
    })
}

fn probe(file: &Fields, faults: &mut Faults) -> Probe {
    let default = Probe::default();
    let Some(probe) = file.section("probe", &["timeout", "threshold", "pin"], faults) else {
        return default;
    };
    let timeouts = value::duration(Duration::from_millis(10)..=Duration::from_secs(60));
    let pins = value::word(&[("rule", Pin::Rule), ("route", Pin::Route)]);
    Probe {
        timeout: probe.read_or("timeout", default.timeout, timeouts, faults),
        threshold: probe.read_or("threshold", default.threshold, value::number(1..=100), faults),
        pin: probe.read_or("pin", default.pin, pins, faults),
    }
}

fn routing(file: &Fields, faults: &mut Faults) -> Routing {
    const KEYS: &[&str] = &["protocol", "table", "rule_priority", "override", "ipv6_without_gateway"];
    let default = Routing::default();
    let Some(routing) = file.section("routing", KEYS, faults) else {
        return default;
    };
    let overrides = value::word(&[("halves", Override::Halves), ("default", Override::Default)]);
    let ipv6 = value::word(&[
        ("unreachable", Ipv6WithoutGateway::Unreachable),
        ("leave", Ipv6WithoutGateway::Leave),
    ]);
    // Rule 32766 is the one that looks up the main table (ip-rule(8)); ours must come before it.
    let priorities = value::number(1..=32765);
    Routing {
        protocol: routing.read_or("protocol", default.protocol, value::protocol, faults),
        table: routing.read_or("table", default.table, value::table, faults),
        rule_priority: routing.read_or("rule_priority", default.rule_priority, priorities, faults),
        override_by: routing.read_or("override", default.override_by, overrides, faults),
        ipv6_without_gateway: routing.read_or(
            "ipv6_without_gateway",
            default.ipv6_without_gateway,
            ipv6,
            faults,
        ),
    }
}

fn paths(file: &Fields, faults: &mut Faults) -> Paths {
    let default = Paths::default();
    let Some(paths) = file.section("paths", &["run", "state"], faults) else {
        return default;
    };
    Paths {
        run: paths.read_or("run", default.run, value::directory, faults),
        state: paths.read_or("state", default.state, value::directory, faults),
    }
}

/// What is wrong so far, each with the number of the node it is about.
#[derive(Default)]
pub struct Faults(Vec<(usize, String, String)>);

impl Faults {
    pub fn add(&mut self, place: &Place, text: String) {
        self.0.push((place.node, place.path.clone(), text));
    }

    /// In the order of the text, with lines.
    fn into_problems(mut self, text: &str) -> Vec<Problem> {
        // Each line costs a walk through the text. Nobody reads past the first hundred problems before
        // mending some.
        const MOST_LINES: usize = 100;
        self.0.sort_by_key(|(node, ..)| *node);
        let line = |i, node| if i < MOST_LINES { tree::line_of(text, node) } else { None };
        let faults = self.0.into_iter().enumerate();
        faults.map(|(i, (node, path, text))| Problem { line: line(i, node), path, text }).collect()
    }
}

/// Where a value stands: its node, and the way to it in words.
#[derive(Debug, Clone)]
pub struct Place {
    node: usize,
    pub path: String,
}

impl Place {
    /// The place of a key that is not there: the mapping that lacks it gives the line.
    pub fn child(&self, key: &str) -> Place {
        let dot = if self.path.is_empty() { "" } else { "." };
        let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        let key = if plain { key.to_owned() } else { tree::quoted(key) };
        Place { node: self.node, path: format!("{}{dot}{key}", self.path) }
    }

    fn item(&self, index: usize, node: &Node) -> Place {
        Place { node: node.number, path: format!("{}[{index}]", self.path) }
    }
}

/// A value and where it was written, for whoever compares it with others.
#[derive(Debug, Clone)]
pub struct Placed<T> {
    pub place: Place,
    pub value: T,
}

/// The value was no good, and the faults say so.
#[derive(Debug, Clone, Copy)]
pub struct Reported;

/// A mapping with known keys.
struct Fields<'a> {
    place: Place,
    pairs: Vec<(&'a str, &'a Node)>,
}

impl<'a> Fields<'a> {
    /// Reports whatever is not a known key standing there once.
    fn of(node: &'a Node, place: Place, known: &[&str], faults: &mut Faults) -> Option<Fields<'a>> {
        let Value::Map(entries) = &node.value else {
            let removed = if let Value::Null = node.value { ", or remove it" } else { "" };
            faults.add(&place, format!("{}; write keys like \"{}:\" here{removed}", node.what(), known[0]));
            return None;
        };
        let mut pairs: Vec<(&str, &Node)> = Vec::new();
        for (key, value) in entries {
            let Value::Text(name) = &key.value else {
                let place = Place { node: key.number, path: place.path.clone() };
                faults.add(&place, format!("{}, not a key; known here: {}", key.what(), known.join(", ")));
                continue;
            };
            let key_place = Place { node: key.number, ..place.child(name) };
            if !known.contains(&name.as_str()) {
                faults.add(&key_place, unknown_key(name, known));
            } else if pairs.iter().any(|(earlier, _)| earlier == name) {
                faults.add(&key_place, "this key is written twice; keep one of the two".into());
            } else {
                pairs.push((name, value));
            }
        }
        Some(Fields { place, pairs })
    }

    fn node(&self, key: &str) -> Option<&'a Node> {
        self.pairs.iter().find(|(name, _)| *name == key).map(|(_, node)| *node)
    }

    fn place_of(&self, key: &str) -> Place {
        let place = self.place.child(key);
        Place { node: self.node(key).map_or(place.node, |node| node.number), ..place }
    }

    /// A mapping inside this one; none where it is missing or no mapping.
    fn section(&self, key: &str, known: &[&str], faults: &mut Faults) -> Option<Fields<'a>> {
        Fields::of(self.node(key)?, self.place_of(key), known, faults)
    }

    /// The value of a key, if it is there.
    fn read<T>(
        &self,
        key: &str,
        meaning: impl Fn(&Node) -> Result<T, String>,
        faults: &mut Faults,
    ) -> Result<Option<Placed<T>>, Reported> {
        let Some(node) = self.node(key) else {
            return Ok(None);
        };
        let place = self.place_of(key);
        match meaning(node) {
            Ok(value) => Ok(Some(Placed { place, value })),
            Err(fault) => {
                faults.add(&place, fault);
                Err(Reported)
            }
        }
    }

    /// The value of a key, or its default where it is missing (or faulty, which is reported).
    fn read_or<T>(
        &self,
        key: &str,
        default: T,
        meaning: impl Fn(&Node) -> Result<T, String>,
        faults: &mut Faults,
    ) -> T {
        let meaning = |node: &Node| {
            meaning(node).map_err(|fault| match &node.value {
                Value::Null => format!("{fault}, or leave this key out"),
                _ => fault,
            })
        };
        self.read(key, meaning, faults).ok().flatten().map_or(default, |placed| placed.value)
    }

    /// The nodes of a list; none where it is missing or no list, which is reported.
    fn list(&self, key: &str, faults: &mut Faults) -> Option<&'a [Node]> {
        let node = self.node(key)?;
        if let Value::List(nodes) = &node.value {
            return Some(nodes);
        }
        let right = match &node.value {
            Value::Text(text) => format!("write a list: [{text}]"),
            _ => "write a list, each item on a line that begins with \"- \"".into(),
        };
        faults.add(&self.place_of(key), format!("{}; {right}", node.what()));
        None
    }

    /// The good values of a list; the others are reported.
    fn read_list<T>(
        &self,
        key: &str,
        meaning: impl Fn(&Node) -> Result<T, String>,
        faults: &mut Faults,
    ) -> Vec<Placed<T>> {
        let place = self.place_of(key);
        let mut values = Vec::new();
        for (i, node) in self.list(key, faults).unwrap_or_default().iter().enumerate() {
            let place = place.item(i, node);
            match meaning(node) {
                Ok(value) => values.push(Placed { place, value }),
                Err(fault) => faults.add(&place, fault),
            }
        }
        values
    }
}

fn unknown_key(name: &str, known: &[&str]) -> String {
    // `Log-Level` and `gatway` are slips; anything further away is another word.
    const MOST_SLIPS: usize = 2;
    let slips = |key: &&&str| strsim::osa_distance(&name.to_lowercase(), key);
    match known.iter().min_by_key(slips).filter(|key| slips(key) <= MOST_SLIPS) {
        Some(key) => format!("this key is not known here; did you mean {key}?"),
        None => format!("this key is not known here; known are {}", known.join(", ")),
    }
}
