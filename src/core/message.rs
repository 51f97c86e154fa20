//! What people are told by mail: AstLinux's words first, then the evidence.

use std::fmt::Write;
use std::time::Duration;

use jiff::{Timestamp, ZonedDateTime};

use super::config::Config;
use super::drill::Drill;
use super::facts::{Route, RouteTarget};
use super::gateway::{NextHop, View};
use super::health::Verdict;
use super::spool::{Message, one_line};
use super::state::{LinkState, State};
use super::switch::{Cause, Switching};
use super::units::{bytes, span};

/// A router that has all routes of the Internet mails only so many.
const MOST_ROUTES: usize = 100;

/// What is known of a switch that was seen in the kernel.
pub struct Switched<'a> {
    pub host: &'a str,
    pub at: &'a ZonedDateTime,
    pub config: &'a Config,
    pub state: &'a State,
    pub switching: &'a Switching,
    pub view: &'a View,
}

impl Switched<'_> {
    /// The mail about it.
    pub fn message(&self) -> Message {
        let subject = one_line(&self.headline());
        let mut text = format!("{subject}\n\n");
        self.write_evidence(&mut text).expect("writing to a string does not fail");
        Message {
            id: self.state.id_of_switch(),
            at: self.at.timestamp(),
            subject,
            text,
            topic: None,
            call: None,
        }
    }

    /// AstLinux's sentences; with more than two links "primary" and "secondary" would not say which.
    fn headline(&self) -> String {
        let Switching { from, to, .. } = self.switching;
        let host = self.host;
        let two = self.state.links.len() == 2;
        let index = |name: &str| self.state.links.iter().position(|link| link.name == name);
        let name = |name: &str, in_two: &'static str| if two { in_two.to_owned() } else { name.to_owned() };
        match (index(from), index(to)) {
            _ if self.switching.cause == Cause::Found => {
                format!("'{host}' has been on {} WAN link since it started.", name(to, "secondary"))
            }
            _ if self.switching.cause == Cause::Config => {
                format!(
                    "WAN link {from} left on '{host}', because the config says so. Switched to {to} link."
                )
            }
            (Some(left), Some(entered)) if entered < left => {
                let capital = name(to, "Primary");
                format!("{capital} WAN link OK on '{host}'. Switched back to {} link.", name(to, "primary"))
            }
            _ if self.state.forced => {
                let capital = name(from, "Primary");
                format!(
                    "{capital} WAN link left by hand on '{host}'. Switched to {} link.",
                    name(to, "secondary")
                )
            }
            _ => {
                let capital = name(from, "Primary");
                format!("{capital} WAN link failed on '{host}'. Switched to {} link.", name(to, "secondary"))
            }
        }
    }

    fn write_evidence(&self, text: &mut String) -> std::fmt::Result {
        let Switching { from, to, .. } = self.switching;
        writeln!(text, "Why:    {}", self.state.reason)?;
        writeln!(text, "When:   {}", self.at.strftime("%Y-%m-%d %H:%M:%S %:z (%Z)"))?;
        writeln!(text, "From:   {}", self.described(from))?;
        writeln!(text, "To:     {}", self.described(to))?;
        if let Some(outage_ms) = self.switching.outage_ms {
            writeln!(text, "Outage: {to} was out for {}", span(Duration::from_millis(outage_ms)))?;
        }
        if let Some(count) = self.switching.backup_bytes {
            writeln!(text, "Volume: {} went over {from} meanwhile", bytes(count))?;
        }
        if let Some(ending) = &self.switching.script {
            writeln!(text, "Script: {ending}")?;
        }
        writeln!(text, "\nTargets, as the last round found them:")?;
        for link in &self.state.links {
            write_targets(text, link)?;
        }
        writeln!(text, "\nRoutes by the two links, as the kernel has them now:")?;
        let names: Vec<&str> = [from, to].into_iter().filter_map(|name| self.interface(name)).collect();
        let mut routes = self.view.facts.routes.iter().filter(|route| leaves_by(route, &names));
        for route in routes.by_ref().take(MOST_ROUTES) {
            writeln!(text, "  {route}")?;
        }
        match routes.count() {
            0 => Ok(()),
            more => writeln!(text, "  and {more} more"),
        }
    }

    fn interface(&self, name: &str) -> Option<&str> {
        self.state.link(name).and_then(|link| link.interface.as_deref())
    }

    fn described(&self, name: &str) -> String {
        let via = |next_hop: &Result<NextHop, _>| next_hop.as_ref().ok().and_then(|next_hop| next_hop.via);
        let index = self.config.links.iter().position(|link| link.name == name);
        let (interface, gateways, addresses) = match index.and_then(|index| self.view.links.get(index)) {
            Some(now) => (now.interface.clone(), [via(&now.v4), via(&now.v6)], now.addresses()),
            // The config has no such link any more.
            None => match self.state.link(name) {
                Some(last) => (last.interface.clone(), [last.gateway, last.gateway6], last.addresses.clone()),
                None => (None, [None; 2], Vec::new()),
            },
        };
        let interface = interface.map(|interface| format!(", {interface}"));
        let gateways = gateways.into_iter().flatten().map(|gateway| format!(", gateway {gateway}"));
        let addresses = addresses.into_iter().map(|address| format!(", address {address}"));
        let details: String = interface.into_iter().chain(gateways).chain(addresses).collect();
        format!("{name}{details}")
    }
}

/// The mail about a waiting backup that went down (`last_error` says why) or came back.
pub fn standby(
    host: &str,
    at: &ZonedDateTime,
    state: &State,
    link: &str,
    last_error: Option<&str>,
) -> Message {
    let (subject, why) = match last_error {
        Some(last_error) => {
            (format!("Standby WAN link {link} failed on '{host}'."), format!("Why:  {last_error}\n"))
        }
        None => (format!("Standby WAN link {link} OK again on '{host}'."), String::new()),
    };
    let subject = one_line(&subject);
    let when = at.strftime("%Y-%m-%d %H:%M:%S %:z (%Z)");
    let mut text = format!("{subject}\n\n{why}When: {when}\n{}", stays(state));
    if let Some(link) = state.link(link) {
        text += "\nTargets, as the last round found them:\n";
        write_targets(&mut text, link).expect("writing to a string does not fail");
    }
    let topic = format!("standby-{link}");
    Message { id: state.id_of_now(&topic), at: at.timestamp(), subject, text, topic: Some(topic), call: None }
}

/// The mail about a config that is broken since a while.
pub fn config_broken(host: &str, at: &ZonedDateTime, state: &State, why: &str) -> Message {
    let subject = one_line(&format!("The WAN failover config is broken on '{host}'."));
    let when = at.strftime("%Y-%m-%d %H:%M:%S %:z (%Z)");
    let text = format!(
        "{subject}\n\nWhy:  {why}\nWhen: {when}\n{}After a reboot there is no last good one to go by.\n",
        stays(state)
    );
    Message { id: state.id_of_now("config"), at: at.timestamp(), subject, text, topic: None, call: None }
}

/// Where the traffic was when it was found, and not on account of it.
fn stays(state: &State) -> String {
    let active = &state.active;
    match state.link(active).is_some_and(|link| link.health.verdict == Verdict::Down) {
        true => format!("The traffic went over {active} then, which is down too.\n"),
        false => format!("The traffic goes over {active} as before.\n"),
    }
}

fn write_targets(text: &mut String, link: &LinkState) -> std::fmt::Result {
    if let (true, Some(last_error)) = (link.targets.is_empty(), &link.last_error) {
        writeln!(text, "  {}: {last_error}", link.name)?;
    }
    for target in &link.targets {
        let answer = match (&target.error, target.rtt_ms) {
            (Some(error), _) => error.clone(),
            (None, rtt_ms) => format!("answered in {:.1} ms", rtt_ms.unwrap_or_default()),
        };
        writeln!(text, "  {}: {} {answer}", link.name, target.address)?;
    }
    Ok(())
}

fn leaves_by(route: &Route, interfaces: &[&str]) -> bool {
    matches!(&route.target, RouteTarget::Out { interface, .. } if interfaces.contains(&interface.as_str()))
}

/// The mail of a drill.
pub fn drilled(host: &str, id: String, at: Timestamp, drills: &[Drill], report: String) -> Message {
    let verdicts = drills.iter().map(|drill| format!("{} is {}", drill.link, drill.verdict()));
    let verdicts = verdicts.collect::<Vec<_>>().join(", ");
    let subject = one_line(&format!("Drill of the WAN links on '{host}': {verdicts}."));
    Message { id, at, text: format!("{subject}\n\n{report}"), subject, topic: None, call: None }
}
