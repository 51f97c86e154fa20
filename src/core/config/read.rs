//! From the tree to the configuration: which keys there are, what they take, and what stands in for a
//! missing one.

use std::time::Duration;

use super::check::{self, Draft};
use super::fields::{Faults, Fields, Gone, Place, Placed};
use super::tree::{self, Node, Value};
use super::{
    ByMail, Config, ConfigError, Gateway, Ipv6WithoutGateway, LogLevel, Notify, NotifyEvent, Override, Paths,
    Pin, Probe, Relay, Routing, Smtp, Template, Tls, Webhook, value,
};
use crate::core::facts::Family;
use crate::core::service::{Check, Dns, Http, Tcp};

/// Nobody waits longer than this for a failback or for a first look at a backup; more is a slip of the unit.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

/// The keys of the file as a whole.
const KEYS: &[&str] = &[
    "links",
    "probe",
    "routing",
    "action_script",
    "exit_script",
    "link_script",
    "script_timeout",
    "flush_conntrack",
    "notify",
    "paths",
    "log_level",
];

/// All targets of all links are asked at once, and a process has 1024 descriptors where nobody says otherwise.
const MOST_TARGETS: usize = 16;

/// Of one that is looked for in a file that is no good.
const MOST_LINES_OF_A_SECTION: usize = 50;

/// In bytes. With every key it has four thousand (docs/full.yaml).
const LARGE: usize = 100_000;

/// All checks of a link are asked at once, and a metered line pays for each.
const MOST_CHECKS: usize = 8;

/// What each kind of check takes; the first key names the kind.
const KINDS: &[&[&str]] =
    &[&["dns", "name", "answer"], &["tcp", "port"], &["http", "port", "host", "path", "status", "contains"]];

/// Reads the text of a configuration file and fills in every default.
///
/// # Errors
/// Everything that is wrong, in the order of the file.
pub fn parse(text: &str) -> Result<Config, Vec<ConfigError>> {
    let root = tree::parse(text).map_err(|problem| vec![problem])?;
    if let Value::Null = root.value {
        let text =
            "the file is empty; write at least \"links:\" and two links, each with a name and an interface";
        return Err(vec![ConfigError { path: String::new(), line: None, text: text.into() }]);
    }
    let mut faults = Faults::default();
    match whole_file(&root, &mut faults) {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(faults.into_problems(text)),
    }
}

/// Where the runs of a file that is no good had their state: what it says under `paths`, as far as that can be read by
/// itself.
pub fn paths_of(text: &str) -> Paths {
    by_itself(text, "paths:", paths)
}

/// In the same way, which protocol number its routes bear.
pub fn protocol_of(text: &str) -> u8 {
    by_itself(text, "routing:", routing).protocol
}

fn by_itself<T: Default>(text: &str, key: &str, read: fn(&Fields, &mut Faults) -> T) -> T {
    let mut faults = Faults::default();
    // What is broken may stand right behind it.
    let lines = section_of(text, key);
    let sections = (1..=lines.len()).rev().map(|count| lines[..count].join("\n"));
    // Every run reads it: no more of it than of a file that somebody wrote.
    let text = if text.len() <= LARGE { text } else { "" };
    let root = sections
        .map(|section| tree::parse(&section))
        .find(Result::is_ok)
        .unwrap_or_else(|| tree::parse(text));
    let place = |root: &Node| Place { node: root.number, path: String::new() };
    match root.as_ref().map(|root| Fields::of(root, place(root), KEYS, &[], &mut faults)) {
        Ok(Some(file)) => read(&file, &mut faults),
        _ => T::default(),
    }
}

/// The lines of a key of the file as a whole, up to the next one.
fn section_of<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(key));
    let is_inside = |line: &&str| line.is_empty() || line.starts_with([' ', '#', '}']);
    let first = lines.next();
    first.into_iter().chain(lines.take_while(is_inside)).take(MOST_LINES_OF_A_SECTION).collect()
}

fn whole_file(root: &Node, faults: &mut Faults) -> Option<Config> {
    let place = Place { node: root.number, path: String::new() };
    let file = Fields::of(root, place, KEYS, &[], faults)?;
    let links = links(&file, faults);
    let probe = probe(&file, faults);
    let routing = routing(&file, faults);
    let action_script = file.read_optional("action_script", value::file("/etc/wanfo/action"), faults);
    let exit_script = file.read_optional("exit_script", value::file("/etc/wanfo/exit"), faults);
    let link_script = file.read_optional("link_script", value::file("/etc/wanfo/link"), faults);
    let script_timeouts = value::duration(Duration::from_millis(100)..=Duration::from_secs(3600));
    let script_timeout = file.read_or("script_timeout", Duration::from_secs(60), script_timeouts, faults);
    let flush_conntrack = file.read_or("flush_conntrack", false, value::truth, faults);
    let notify = notify(&file, faults);
    let paths = paths(&file, faults);
    let levels = &[("error", LogLevel::Error), ("info", LogLevel::Info), ("debug", LogLevel::Debug)];
    let log_level = file.read_or("log_level", LogLevel::Info, value::word(levels), faults);
    check::links(&links, probe.pin, faults);
    let links = links.into_iter().map(Draft::into_link).collect::<Option<_>>()?;
    Some(Config {
        links,
        probe,
        routing,
        action_script,
        exit_script,
        link_script,
        script_timeout,
        flush_conntrack,
        notify,
        paths,
        log_level,
    })
}

fn links(file: &Fields, faults: &mut Faults) -> Vec<Draft> {
    let place = file.place_of("links");
    if file.node("links").is_none() {
        faults.add_missing(&place, "write a list of 2 to 8 links");
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
        "address",
        "targets",
        "quorum",
        "checks",
        "delay",
        "stable",
        "standby_interval",
        "routes",
        "routes_only",
        "inbound",
    ];
    let link = Fields::of(node, place, KEYS, &[], faults)?;
    let name = link.read("name", value::name, faults);
    if let Ok(None) = name {
        missing(&link, "name", "name: primary", faults);
    }
    let interface = link.read("interface", value::interface, faults);
    let gateway = link.read("gateway", value::gateway(Family::V4), faults);
    if let (Ok(None), Ok(None | Some(Placed { value: Gateway::Auto | Gateway::None, .. }))) =
        (&interface, &gateway)
    {
        let example = "interface: eth0 (it may be left out only where \"gateway\" is an address)";
        missing(&link, "interface", example, faults);
    }
    let address = link.read_list("address", value::own_address, faults);
    let targets = link.read_list("targets", value::target, faults);
    if targets.len() > MOST_TARGETS {
        let text = format!(
            "the number of targets is {}; write at most {MOST_TARGETS}: each takes a file descriptor in every run, and \
             three tell as much",
            targets.len()
        );
        faults.add(&link.place_of("targets"), text);
    }
    let target_count = match link.node("targets").map(|node| &node.value) {
        None => Some(0),
        Some(Value::List(nodes)) => Some(nodes.len()),
        Some(_) => None,
    };
    // The metered lines are the backups, so they are probed seldom.
    let standby = if first { Duration::ZERO } else { MINUTE };
    let up_to_a_week = value::duration(Duration::ZERO..=WEEK);
    Some(Draft {
        name: name.ok().flatten(),
        interface,
        gateway: gateway.map(|gateway| gateway.map_or(Gateway::Auto, |gateway| gateway.value)),
        gateway6: link.read_or("gateway6", Gateway::Auto, value::gateway(Family::V6), faults),
        address,
        targets,
        quorum: link.read_or("quorum", 1, |node| quorum(node, target_count), faults),
        checks: checks(&link, faults),
        delay: link.read_or("delay", MINUTE, &up_to_a_week, faults),
        stable: link.read_or("stable", MINUTE, value::duration(Duration::ZERO..=HOUR), faults),
        standby_interval: link.read_or("standby_interval", standby, &up_to_a_week, faults),
        routes: link.read_list("routes", value::route, faults),
        routes_only: routes_only(&link, first, faults),
        inbound: link.read_or("inbound", false, value::truth, faults),
        place: link.place,
    })
}

fn routes_only(link: &Fields, first: bool, faults: &mut Faults) -> bool {
    let routes_only = link.read_or("routes_only", false, value::truth, faults);
    if routes_only {
        let has_none = match link.node("routes").map(|node| &node.value) {
            None => true,
            Some(Value::List(nodes)) => nodes.is_empty(),
            Some(_) => false,
        };
        if first {
            let text = "the first link is the primary, which carries the default traffic; remove this key, or put \
                        another link first";
            faults.add(&link.place_of("routes_only"), text.into());
        } else if has_none {
            let text = "this link has no \"routes\", so it would carry nothing; write the destinations that are meant \
                        for it, or remove this key";
            faults.add(&link.place_of("routes_only"), text.into());
        }
    }
    routes_only
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

/// The good ones; the others are reported.
fn checks(link: &Fields, faults: &mut Faults) -> Vec<Check> {
    let place = link.place_of("checks");
    let nodes = link.list("checks", faults).unwrap_or_default();
    if nodes.len() > MOST_CHECKS {
        let text = format!(
            "the number of checks is {}; write at most {MOST_CHECKS}: one that passes is enough, and two or three tell as \
             much",
            nodes.len()
        );
        faults.add(&place, text);
    }
    let read = nodes.iter().enumerate().filter_map(|(i, node)| {
        let place = place.item(i, node);
        Some(Placed { value: check(node, place.clone(), faults)?, place })
    });
    let read: Vec<Placed<Check>> = read.collect();
    once_each(&read, faults);
    read.into_iter().map(|check| check.value).collect()
}

fn check(node: &Node, place: Place, faults: &mut Faults) -> Option<Check> {
    const RIGHT: &str = "write one of dns, tcp and http with the server's address, for example {dns: 198.51.100.53, name: \
                         example.com}";
    let Value::Map(entries) = &node.value else {
        faults.add(&place, format!("{}; {RIGHT}", node.what()));
        return None;
    };
    let is_there =
        |key: &str| entries.iter().any(|(it, _)| matches!(&it.value, Value::Text(it) if it == key));
    let kinds: Vec<&[&str]> = KINDS.iter().copied().filter(|keys| is_there(keys[0])).collect();
    let [keys] = kinds[..] else {
        let text = match kinds[..] {
            [one, other, ..] => {
                format!("this is a check of {} and of {} in one; make two of it", one[0], other[0])
            }
            _ => format!("this is no check of any kind; {RIGHT}"),
        };
        faults.add(&place, text);
        return None;
    };
    let check = Fields::of(node, place, keys, &[], faults)?;
    let server = check.read(keys[0], value::server, faults);
    match keys[0] {
        "dns" => {
            let name = check.read("name", value::dns_name, faults);
            if let Ok(None) = name {
                missing(&check, "name", "name: example.com", faults);
            }
            let answer = check.read_optional("answer", value::server, faults);
            Some(Check::Dns(Dns { server: server.ok()??.value, name: name.ok()??.value, answer }))
        }
        "tcp" => {
            let port = check.read("port", value::number(1..=u16::MAX), faults);
            if let Ok(None) = port {
                missing(&check, "port", "port: 443", faults);
            }
            Some(Check::Tcp(Tcp { server: server.ok()??.value, port: port.ok()??.value }))
        }
        _ => {
            let host = check.read("host", value::host, faults);
            if let Ok(None) = host {
                missing(&check, "host", "host: www.example.com", faults);
            }
            let port = check.read_or("port", 80, value::number(1..=u16::MAX), faults);
            let path = check.read_or("path", "/".to_owned(), value::url_path, faults);
            let status = check.read_or("status", 204, value::number(200..=599), faults);
            let contains = check.read_optional("contains", value::words, faults);
            // RFC 9110, sections 15.3.5 and 15.4.5.
            if let (Some(_), 204 | 304) = (&contains, status) {
                let text = format!(
                    "an answer with status {status} has no body in which this could stand; write for example status: 200, or \
                     remove this key"
                );
                faults.add(&check.place_of("contains"), text);
            }
            let (server, host) = (server.ok()??.value, host.ok()??.value);
            Some(Check::Http(Http { server, port, host, path, status, contains }))
        }
    }
}

fn probe(file: &Fields, faults: &mut Faults) -> Probe {
    const GONE: &[(&str, Gone)] = &[
        ("threshold", in_place_of_threshold),
        ("timeout", in_place_of_timeout),
        ("recheck", in_place_of_recheck),
    ];
    let default = Probe::default();
    let Some(probe) =
        file.section_with_gone("probe", &["silence", "max_latency", "record", "pin"], GONE, faults)
    else {
        return default;
    };
    let silences = value::duration(Duration::from_secs(1)..=Duration::from_secs(45));
    let silence = probe.read_or("silence", default.silence, silences, faults);
    Probe {
        silence,
        max_latency: probe.read_or("max_latency", None, |node| max_latency(node, silence), faults),
        record: probe.read_or("record", default.record, value::truth, faults),
        pin: probe.read_or("pin", default.pin, pin, faults),
    }
}

fn pin(node: &Node) -> Result<Pin, String> {
    match &node.value {
        Value::Text(word) if word == "rule" => {
            Err("links are told apart by uid now, and may have the same targets; remove this key, or write target".to_owned())
        }
        Value::Text(word) if word == "route" => {
            Err("host routes tie no targets any more; remove this key, or write target".to_owned())
        }
        _ => value::word(&[("link", Pin::Link), ("target", Pin::Target)])(node),
    }
}

/// `none`, or a time within the silence: a later answer could never count.
fn max_latency(node: &Node, silence: Duration) -> Result<Option<Duration>, String> {
    if matches!(&node.value, Value::Text(word) if word == "none") {
        return Ok(None);
    }
    let latency = value::duration(Duration::from_millis(10)..=Duration::from_secs(45))(node)
        .map_err(|fault| format!("{fault}, or none"))?;
    match latency < silence {
        true => Ok(Some(latency)),
        false => Err(format!(
            "{} is not below \"silence\" ({}); write less, or none",
            humantime::format_duration(latency),
            humantime::format_duration(silence)
        )),
    }
}

/// What a failed round took: the shipped beat.
const OLD_ROUND: Duration = Duration::from_secs(2);

fn in_place_of_threshold(node: &Node) -> String {
    let rounds = value::number(1..=100)(node).unwrap_or(3);
    let silence = (OLD_ROUND * rounds).clamp(Duration::from_secs(1), Duration::from_secs(45));
    format!(
        "a link is down by its silence now, not by failed rounds; write silence: {} in place of it",
        humantime::format_duration(silence)
    )
}

fn in_place_of_timeout(node: &Node) -> String {
    let latency = value::duration(Duration::from_millis(10)..=Duration::from_secs(45))(node);
    format!(
        "a late answer is a sign of life now; remove this key, or write max_latency: {} where a later one shall not count",
        humantime::format_duration(latency.unwrap_or(Duration::from_secs(1)))
    )
}

fn in_place_of_recheck(_: &Node) -> String {
    "a run stays by itself now until a silent link is decided; remove this key".to_owned()
}

fn routing(file: &Fields, faults: &mut Faults) -> Routing {
    const KEYS: &[&str] = &["protocol", "table", "rule_priority", "uid", "override", "ipv6_without_gateway"];
    let default = Routing::default();
    let Some(routing) = file.section("routing", KEYS, faults) else {
        return default;
    };
    let overrides = value::word(&[("halves", Override::Halves), ("default", Override::Default)]);
    let ipv6 = value::word(&[
        ("unreachable", Ipv6WithoutGateway::Unreachable),
        ("leave", Ipv6WithoutGateway::Leave),
    ]);
    // Rule 32766 is the one that looks up the main table (ip-rule(8)); ours must come before it, those for `inbound`, at two
    // and one less and at one more, as well.
    let priorities = value::number(3..=32764);
    Routing {
        protocol: routing.read_or("protocol", default.protocol, value::protocol, faults),
        table: routing.read_or("table", default.table, value::table, faults),
        rule_priority: routing.read_or("rule_priority", default.rule_priority, priorities, faults),
        // 0 is root, and u32::MAX nobody at all (linux/uidgid.h).
        uid: routing.read_or("uid", default.uid, value::number(1..=u32::MAX - 9), faults),
        override_by: routing.read_or("override", default.override_by, overrides, faults),
        ipv6_without_gateway: routing.read_or(
            "ipv6_without_gateway",
            default.ipv6_without_gateway,
            ipv6,
            faults,
        ),
    }
}

/// None: there is no such section. Of what has faults, which are reported, nothing is in it.
fn notify(file: &Fields, faults: &mut Faults) -> Option<Notify> {
    const KEYS: &[&str] = &["to", "from", "events", "smtp", "sendmail", "webhook"];
    let notify = file.section("notify", KEYS, faults)?;
    const EVENTS: &[(&str, NotifyEvent)] =
        &[("switch", NotifyEvent::Switch), ("standby", NotifyEvent::Standby)];
    let mut events = notify.read_list("events", value::word(EVENTS), faults);
    once_each(&events, faults);
    match notify.node("events").map(|node| &node.value) {
        None => events.extend(EVENTS.iter().map(|(_, event)| Placed {
            place: notify.place_of("events"),
            value: *event,
        })),
        Some(Value::List(nodes)) if nodes.is_empty() => faults.add(
            &notify.place_of("events"),
            "the list is empty, so nothing would ever be told; write switch, standby or both, or leave this key \
             out"
            .into(),
        ),
        Some(_) => {}
    }

    let of_mail = ["to", "from", "smtp", "sendmail"].iter().any(|key| notify.node(key).is_some());
    let with_mail = of_mail || notify.node("webhook").is_none();
    Some(Notify {
        mail: if with_mail { mail(&notify, faults) } else { None },
        events: events.into_iter().map(|event| event.value).collect(),
        webhook: webhook(&notify, faults),
    })
}

fn missing(section: &Fields, key: &str, example: &str, faults: &mut Faults) {
    faults.add_missing(&section.place.child(key), &format!("write for example {example}"));
}

fn webhook(notify: &Fields, faults: &mut Faults) -> Option<Webhook> {
    const TEMPLATES: &[(&str, Template)] = &[
        ("ntfy", Template::Ntfy),
        ("slack", Template::Slack),
        ("telegram", Template::Telegram),
        ("home-assistant", Template::HomeAssistant),
        ("json", Template::Json),
    ];
    let webhook = notify.section("webhook", &["url_file", "template"], faults)?;
    let url_file = webhook.read("url_file", value::file("/etc/wanfo/webhook-url"), faults);
    if let Ok(None) = url_file {
        let example = "url_file: /etc/wanfo/webhook-url, and the address into that file, of mode 600";
        missing(&webhook, "url_file", example, faults);
    }
    let template = webhook.read("template", value::word(TEMPLATES), faults);
    if let Ok(None) = template {
        missing(&webhook, "template", "template: ntfy (or slack, telegram, home-assistant, json)", faults);
    }
    Some(Webhook { url_file: url_file.ok()??.value, template: template.ok()??.value })
}

fn mail(notify: &Fields, faults: &mut Faults) -> Option<ByMail> {
    let to = notify.read_list("to", value::mail_address, faults);
    match notify.node("to").map(|node| &node.value) {
        None => missing(notify, "to", "to: [noc@example.com]", faults),
        Some(Value::List(nodes)) if nodes.is_empty() => faults.add(
            &notify.place_of("to"),
            "the list is empty; write one address or more, or remove \"notify\"".into(),
        ),
        Some(_) => {}
    }
    once_each(&to, faults);

    let from = notify.read("from", value::mail_address, faults);
    if let Ok(None) = from {
        missing(notify, "from", "from: wanfo@router.example.com", faults);
    }

    let smtp = smtp(notify, faults);
    let sendmail = notify.read_optional("sendmail", value::file("/usr/sbin/sendmail"), faults);
    match (notify.node("smtp"), notify.node("sendmail")) {
        (None, None) => {
            let example = "smtp: {host: mail.example.com} (or sendmail: /usr/sbin/sendmail, or webhook)";
            missing(notify, "smtp", example, faults);
        }
        (Some(_), Some(_)) => faults.add(
            &notify.place_of("sendmail"),
            "\"smtp\" is here too, and a mail goes one way only; keep one of the two".into(),
        ),
        _ => {}
    }
    Some(ByMail {
        to: to.into_iter().map(|address| address.value).collect(),
        from: from.ok()??.value,
        relay: smtp.map(Relay::Smtp).or(sendmail.map(Relay::Sendmail))?,
    })
}

fn once_each<T: PartialEq>(list: &[Placed<T>], faults: &mut Faults) {
    for (i, item) in list.iter().enumerate() {
        if list[..i].iter().any(|earlier| earlier.value == item.value) {
            faults.add(&item.place, "this stands here twice; keep one of the two".into());
        }
    }
}

fn smtp(notify: &Fields, faults: &mut Faults) -> Option<Smtp> {
    const KEYS: &[&str] =
        &["host", "port", "tls", "username", "password_file", "password_credential", "ca_file"];
    let smtp = notify.section("smtp", KEYS, faults)?;
    let host = smtp.read("host", value::host, faults);
    if let Ok(None) = host {
        missing(&smtp, "host", "host: mail.example.com", faults);
    }
    let kinds = value::word(&[("none", Tls::None), ("starttls", Tls::Starttls), ("tls", Tls::Tls)]);
    let tls = smtp.read("tls", kinds, faults);
    let kind = tls.as_ref().map_or(Tls::Starttls, |tls| tls.as_ref().map_or(Tls::Starttls, |tls| tls.value));
    let port = smtp.read_or("port", kind.default_port(), value::number(1..=u16::MAX), faults);
    let username = smtp.read_optional("username", value::username, faults);
    let password_file = smtp.read_optional("password_file", value::file("/etc/wanfo/smtp-password"), faults);
    let password_credential = smtp.read_optional("password_credential", value::credential, faults);
    let ca_file = smtp.read_optional("ca_file", value::file("/etc/wanfo/ca.pem"), faults);

    match ["username", "password_file", "password_credential"].map(|key| smtp.node(key).is_some()) {
        [true, false, false] => faults.add(
            &smtp.place_of("username"),
            "its password is missing; write it into a file of mode 600 and the file's path under \
             \"password_file\", or the name of a systemd credential under \"password_credential\""
                .into(),
        ),
        [_, true, true] => faults.add(
            &smtp.place_of("password_credential"),
            "\"password_file\" is here too; keep one of the two".into(),
        ),
        [false, true, false] | [false, false, true] => {
            faults.add_missing(&smtp.place.child("username"), "write whose password it is");
        }
        _ => {}
    }
    if let (Ok(_), Tls::None, Ok(Some(host))) = (&tls, kind, &host) {
        // Whoever sits on the way could read it: on a WAN line, but in many a LAN too.
        if smtp.node("username").is_some() && !value::is_loopback(&host.value) {
            faults.add(
                &smtp.place_of("tls"),
                format!(
                    "the password would go to {} for everybody to read; write starttls or tls, or leave \
                     \"username\" out where the relay needs none",
                    host.value
                ),
            );
        }
        if smtp.node("ca_file").is_some() {
            let text = "without TLS there is no certificate to check; remove this key, or write starttls or tls \
                        under \"tls\"";
            faults.add(&smtp.place_of("ca_file"), text.into());
        }
    }
    Some(Smtp {
        host: host.ok()??.value,
        port,
        tls: kind,
        username,
        password_file,
        password_credential,
        ca_file,
    })
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
