//! A config for a machine that has none yet, made from its interfaces, default routes and leases.

use std::fmt::Write;
use std::net::IpAddr;

use super::config::{Config, Target, read};
use super::doctor::describe;
use super::facts::{Facts, Family, Interface, MAIN_TABLE};
use super::gateway::{ResolvedLink, View};

/// No config takes more.
const MOST_LINKS: usize = 8;

/// What leads to the Internet, in the order in which the kernel prefers it, and what does not, each with the reason.
pub struct Survey {
    pub lines: Vec<Line>,
    pub passed_over: Vec<String>,
}

#[derive(Clone)]
pub struct Line {
    pub interface: String,
    pub description: String,
    /// Where it can be pinged.
    gateway: Option<IpAddr>,
}

/// What only people know.
#[derive(Default)]
pub struct Wishes {
    /// By its place among the lines.
    pub preferred: usize,
    pub metered: Option<bool>,
    pub mail: Option<String>,
    /// There is a program at /usr/sbin/sendmail.
    pub sendmail: bool,
}

/// A config by which every interface is looked at as if it were a link.
pub fn of_every(interfaces: &[Interface]) -> Config {
    let two = "links: [{name: a, interface: a}, {name: b, interface: b}]";
    let mut config = read::parse(two).expect("the smallest config is a good one");
    let link = config.links.swap_remove(1);
    let links = interfaces.iter().map(|interface| {
        let mut link = link.clone();
        (link.name, link.interface) = (interface.name.clone(), Some(interface.name.clone()));
        link
    });
    config.links = links.collect();
    config
}

impl Survey {
    pub fn of(view: &View) -> Survey {
        let mut survey = Survey { lines: Vec::new(), passed_over: Vec::new() };
        let mut found: Vec<_> = view.links.iter().map(|link| (rank(link, &view.facts), link)).collect();
        found.sort_by_key(|(rank, _)| *rank);
        for (_, link) in found {
            let Some(interface) = link.interface.clone() else { continue };
            match why_not(link, &view.facts) {
                None if survey.lines.len() == MOST_LINKS => {
                    survey
                        .passed_over
                        .push(format!("{interface}, as no more than {MOST_LINKS} links are possible"));
                }
                None => survey.lines.push(Line {
                    interface,
                    description: describe(link),
                    gateway: link.resolve(Target::Gateway),
                }),
                Some(why) => survey.passed_over.push(format!("{interface}: {why}")),
            }
        }
        survey
    }

    /// Why there is nothing to propose.
    pub fn refusal(&self) -> Option<String> {
        let (found, missing) = match &self.lines[..] {
            [] => ("no line to the Internet is found".to_owned(), "two"),
            [only] => (format!("only one line to the Internet is found ({})", only.description), "the other"),
            _ => return None,
        };
        let passed_over: String = self.passed_over.iter().map(|it| format!("\n  not taken: {it}")).collect();
        Some(format!(
            "{found}, and a failover takes two: connect {missing}, and let its DHCP client or PPP give it an address and a gateway (a \
             default route may have any metric), or write the config by hand with `gateway` and `address`{passed_over}"
        ))
    }

    /// The config's text.
    pub fn propose(&self, wishes: &Wishes) -> String {
        let mut lines = self.lines.clone();
        let preferred = lines.remove(wishes.preferred);
        lines.insert(0, preferred);
        let mut unknown = vec![
            "which hosts beyond the providers answer pings, and whether the gateways do. A gateway answers though all beyond it is \
             dead:\n#   add two hosts of two operators to the `targets`; every link may have the same"
                .to_owned(),
        ];
        let mut links = String::new();
        for (index, line) in lines.iter().enumerate() {
            let name = match index {
                0 => "primary".to_owned(),
                1 => "secondary".to_owned(),
                _ => format!("backup{index}"),
            };
            let targets = match line.gateway {
                Some(_) => "[gateway]   # add hosts beyond the provider",
                None => "[]   # there is no gateway that could be pinged: add hosts beyond the provider",
            };
            let Line { interface, description, .. } = line;
            let _ = write!(
                links,
                "\n  # {description}\n  - name: {name}\n    interface: {}\n    targets: {targets}\n",
                quoted(interface)
            );
            if index > 0 {
                links += match wishes.metered {
                    Some(false) => "    standby_interval: 10s   # so often it is asked while it waits\n",
                    _ => {
                        "    standby_interval: 60s   # so often it is asked while it waits: 3 MB a month for each target; 10s if that costs nothing\n"
                    }
                };
            }
        }
        if wishes.metered.is_none() {
            unknown.push("whether a backup is metered: it is taken for metered".to_owned());
        }
        let notify = match (&wishes.mail, wishes.sendmail) {
            (Some(mail), true) => format!(
                "\nnotify:   # by mail, of every switch; `wanfo deliver --test` sends one\n  to: [{mail}]\n  from: {mail}\n  \
                 sendmail: /usr/sbin/sendmail\n"
            ),
            (Some(mail), false) => {
                unknown.push("which relay takes mail: fill that in under `notify`".to_owned());
                format!(
                    "\n#notify:   # by mail, of every switch\n#  to: [{mail}]\n#  from: {mail}\n#  smtp: {{host: mail.example.com, tls: starttls, \
                     username: router, password_file: /etc/wanfo/smtp-password}}\n"
                )
            }
            (None, _) => {
                unknown.push("who is to be told: see `notify` in wanfo.yaml(5)".to_owned());
                String::new()
            }
        };
        let unknown: String = unknown.iter().map(|what| format!("# - {what}.\n")).collect();
        let passed_over: String = self.passed_over.iter().map(|what| format!("# - {what}.\n")).collect();
        let passed_over = match passed_over.is_empty() {
            true => String::new(),
            false => format!("# No link was made of:\n{passed_over}"),
        };
        format!(
            "# Proposed by `wanfo init` from the interfaces, default routes and DHCP leases of this machine. Save it as\n\
             # /etc/wanfo/wanfo.yaml, then `sudo wanfo doctor` says what is missing; `wanfo config --effective` shows every key.\n#\n\
             # What could not be found out:\n{unknown}{passed_over}\n\
             links:   # in order of preference{links}{notify}"
        )
    }
}

/// Why an interface is no line.
fn why_not(link: &ResolvedLink, facts: &Facts) -> Option<String> {
    if let Some(fault) = link.fault() {
        return Some(fault.to_string());
    }
    let ways = || [&link.v4, &link.v6].into_iter().flatten();
    let has_gateway = ways().any(|way| way.via.is_some());
    // A tunnel may lead to an office and no further.
    let dials = link
        .interface
        .as_deref()
        .is_some_and(|name| ["ppp", "wwan"].iter().any(|kind| name.starts_with(kind)));
    let leads_on = dials || rank(link, facts) < u32::MAX;
    (!has_gateway && !leads_on).then(|| "it is point-to-point, and has no default route".to_owned())
}

/// The metric of the interface's default route; the largest where it has none.
fn rank(link: &ResolvedLink, facts: &Facts) -> u32 {
    let Some(interface) = link.interface.as_deref() else { return u32::MAX };
    let metric = |family| {
        let own = facts.routes.iter().filter(move |route| {
            route.table == MAIN_TABLE && route.is_default(family) && route.leaves_by(interface)
        });
        own.map(|route| route.metric).min()
    };
    metric(Family::V4).or_else(|| metric(Family::V6)).unwrap_or(u32::MAX)
}

/// A name that YAML could take for something else.
fn quoted(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() > 3
        && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_@".contains(c))
        && !["true", "false", "null", "none"].contains(&name.to_ascii_lowercase().as_str());
    if is_plain { name.to_owned() } else { format!("'{}'", name.replace('\'', "''")) }
}
