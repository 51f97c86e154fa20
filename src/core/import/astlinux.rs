//! AstLinux's WAN Failover: what its variables mean, and what stands for those that are not set.

use std::time::Duration;

use super::draft::{Draft, Fault, Origin, Source, destination, prefix_of, written};
use super::shell::Variables;

/// Where AstLinux looks for its action script (`/mnt/kd/wan-failover.script`).
pub const SCRIPT: &str = "wan-failover.script";

const DEFAULT_TARGETS: [&str; 2] = ["8.8.4.4", "4.2.2.3"];
const DEFAULT: &str = "AstLinux's default";

/// After a failed round AstLinux asks every two seconds, whatever its interval is.
const FAILED_ROUND: Duration = Duration::from_secs(2);

/// `script`: where the action script is, if it is there.
pub fn draft<'a>(variables: &Variables<'a>, script: Option<&str>) -> Result<Draft<'a>, Vec<Fault>> {
    let mut import = Import { variables, draft: Draft::default(), faults: Vec::new() };
    import.links();
    import.probe();
    if let Some(script) = script {
        let origin = Origin::of_itself("the script that AstLinux runs; only root may be able to write it");
        import.draft.text(0, "action_script", script, origin);
    }
    import.notify();
    import.log_level();
    import.what_has_no_equal();
    if import.faults.is_empty() { Ok(import.draft) } else { Err(import.faults) }
}

struct Import<'v, 'a> {
    variables: &'v Variables<'a>,
    draft: Draft<'a>,
    faults: Vec<Fault>,
}

struct Given<'a> {
    name: &'static str,
    value: String,
    source: Source<'a>,
}

impl<'a> Given<'a> {
    fn origin(&self) -> Origin<'a> {
        Origin::at(self.source, self.name)
    }
}

impl<'a> Import<'_, 'a> {
    /// A variable with a value. AstLinux takes an empty one for one that is not set.
    fn get(&mut self, name: &'static str) -> Option<Given<'a>> {
        let variable = self.variables.set.get(name)?;
        let source = variable.source;
        match &variable.value {
            Ok(value) if value.trim().is_empty() => None,
            Ok(value) => Some(Given { name, value: value.trim().to_owned(), source }),
            Err(why) => {
                let text = format!(
                    "{name} {why}, and nothing is executed: it counts as not set here; write its value"
                );
                self.draft.note(source, text);
                None
            }
        }
    }

    /// One without which there is no configuration.
    fn interface(&mut self, name: &'static str, of: &str) -> Option<Given<'a>> {
        let given = match self.variables.set.get(name) {
            Some(variable) => match &variable.value {
                Ok(_) => self.get(name).filter(|given| given.value != "none"),
                Err(why) => {
                    let text =
                        format!("{name} {why}, and nothing is executed; write the name of the interface");
                    self.faults.push(Fault::at(variable.source, text));
                    return None;
                }
            },
            None => None,
        };
        if given.is_none() {
            let text = format!(
                "{name} is set in none of these files, and it names {of}; give the file that sets it as well"
            );
            let fault = match self.variables.set.get(name) {
                Some(variable) => {
                    Fault::at(variable.source, format_args!("{name} names no interface, and it is {of}"))
                }
                None => Fault::of_all(text),
            };
            self.faults.push(fault);
        }
        given
    }

    fn is_yes(&self, name: &str) -> bool {
        self.variables.set.get(name).is_some_and(|variable| variable.value.as_deref() == Ok("yes"))
    }

    /// A whole number; what is none is a fault.
    fn number(&mut self, name: &'static str, default: u32) -> (u32, Origin<'a>) {
        let Some(given) = self.get(name) else {
            return (default, Origin::of_itself(format_args!("{DEFAULT} for {name}")));
        };
        match given.value.parse() {
            Ok(number) => (number, given.origin()),
            Err(_) => {
                let text =
                    format!("{name} is {:?}; write a whole number, for example {default}", given.value);
                self.faults.push(Fault::at(given.source, text));
                (default, given.origin())
            }
        }
    }

    fn links(&mut self) {
        self.draft.section(0, "links");
        self.primary();
        self.secondary();
    }

    fn primary(&mut self) {
        self.draft.text(2, "- name", "primary", Origin::of_itself("EXTIF's line"));
        if let Some(interface) = self.interface("EXTIF", "the primary's interface") {
            self.draft.text(4, "interface", &interface.value, interface.origin());
        }
        if let Some(address) = self.get("EXTIP") {
            let text = "EXTIP, with EXTNM, stays with this machine's own network settings, as the default route by EXTGW does";
            self.draft.note(address.source, text);
            self.text("gateway", "EXTGW");
        }
        self.text6("gateway6", "EXTGWIPV6");
        self.targets();
        let (delay, origin) = self.number("WAN_FAILOVER_PRIMARY_DELAY", 60);
        self.draft.duration(4, "delay", Duration::from_secs(delay.into()), origin);
    }

    fn text(&mut self, key: &str, name: &'static str) {
        if let Some(given) = self.get(name) {
            self.draft.text(4, key, &given.value, given.origin());
        }
    }

    /// AstLinux looks at its IPv6 variables with `IPV6=yes` only.
    fn text6(&mut self, key: &str, name: &'static str) {
        if let Some(given) = self.get6(name) {
            self.draft.text(4, key, &given.value, given.origin());
        }
    }

    fn get6(&mut self, name: &'static str) -> Option<Given<'a>> {
        let given = self.get(name)?;
        if !self.is_yes("IPV6") {
            self.draft
                .note(given.source, format_args!("{name} counted for nothing, since IPV6 is not \"yes\""));
            return None;
        }
        Some(given)
    }

    fn targets(&mut self) {
        let mut targets: Vec<(String, Origin)> = Vec::new();
        if let Some(given) = self.get("WAN_FAILOVER_TARGETS") {
            for target in given.value.split_whitespace() {
                if !target.chars().all(|c| c.is_ascii_digit() || c == '.') {
                    let text =
                        format!("the target {target:?} counted for nothing, since it is no IPv4 address");
                    self.draft.note(given.source, text);
                } else if !targets.iter().any(|(earlier, _)| earlier == target) {
                    targets.push((target.to_owned(), given.origin()));
                }
            }
        }
        if targets.is_empty() {
            targets.extend(DEFAULT_TARGETS.map(|target| (target.to_owned(), Origin::of_itself(DEFAULT))));
        }
        self.draft.list(4, "targets", &targets);
    }

    fn secondary(&mut self) {
        self.draft.text(2, "- name", "secondary", Origin::of_itself("EXT2IF's line"));
        if let Some(gateway) = self.get("WAN_FAILOVER_SECONDARY_GW") {
            self.draft.text(4, "gateway", &gateway.value, gateway.origin());
            self.text6("gateway6", "WAN_FAILOVER_SECONDARY_GWIPV6");
            for name in
                ["EXT2IF", "EXT2IP", "EXT2GW", "EXT2IPV6", "EXT2GWIPV6", "EXT2ROUTES", "EXT2ROUTESIPV6"]
            {
                if let Some(given) = self.get(name).filter(|given| given.value != "none") {
                    let text = format!(
                        "{name} is left out: the backup is the router that WAN_FAILOVER_SECONDARY_GW names"
                    );
                    self.draft.note(given.source, text);
                }
            }
        } else if let Some(interface) = self.interface("EXT2IF", "the backup's interface") {
            self.draft.text(4, "interface", &interface.value, interface.origin());
            self.text("gateway", "EXT2GW");
            self.text6("gateway6", "EXT2GWIPV6");
            if interface.value.starts_with("ppp") {
                if let Some(address) = self.get("EXT2IP") {
                    self.draft
                        .note(address.source, "EXT2IP counted for nothing, since PPP brings its own address");
                }
            } else {
                self.addresses();
            }
            self.routes();
        }
        let (delay, origin) = self.number("WAN_FAILOVER_SECONDARY_DELAY", 600);
        self.draft.duration(4, "delay", Duration::from_secs(delay.into()), origin);
        self.draft.remark(
            "the secondary has no targets, for AstLinux asks nothing of it: without any it counts as up while its interface \
             can carry traffic; write some, the primary's if you like",
        );
    }

    fn addresses(&mut self) {
        let mut addresses = Vec::new();
        if let Some(address) = self.get("EXT2IP") {
            let mask = self.get("EXT2NM");
            match mask.as_ref().map(|mask| (mask, prefix_of(&mask.value))) {
                Some((_, Some(prefix))) => addresses.push((
                    format!("{}/{prefix}", address.value),
                    Origin::at(address.source, "EXT2IP, EXT2NM"),
                )),
                Some((mask, None)) => {
                    let text =
                        format!("EXT2NM is {:?}; write a netmask, for example 255.255.255.0", mask.value);
                    self.faults.push(Fault::at(mask.source, text));
                }
                None => {
                    let text =
                        "EXT2IP is set and EXT2NM is not; write the netmask, for example 255.255.255.0";
                    self.faults.push(Fault::at(address.source, text));
                }
            }
        }
        if let Some(address) = self.get6("EXT2IPV6") {
            // As AstLinux's web page completes it.
            let prefix = if address.value.contains('/') { "" } else { "/64" };
            addresses.push((format!("{}{prefix}", address.value), address.origin()));
        }
        self.draft.list(4, "address", &addresses);
    }

    fn routes(&mut self) {
        let mut routes: Vec<(String, Origin)> = Vec::new();
        for given in [self.get("EXT2ROUTES"), self.get6("EXT2ROUTESIPV6")].into_iter().flatten() {
            for word in given.value.split_whitespace() {
                let (route, is_cut) = destination(word).unwrap_or((word.to_owned(), false));
                if is_cut {
                    self.draft
                        .note(given.source, format_args!("{word} in {} is the network {route}", given.name));
                }
                if !routes.iter().any(|(earlier, _)| *earlier == route) {
                    routes.push((route, given.origin()));
                }
            }
        }
        self.draft.list(4, "routes", &routes);
    }

    fn probe(&mut self) {
        let (threshold, origin) = self.number("WAN_FAILOVER_THRESHOLD", 3);
        let (latency, latency_origin) = self.number("WAN_FAILOVER_MAX_LATENCY", 1000);
        let latency = Duration::from_millis(latency.into());
        let wanted = FAILED_ROUND.saturating_mul(threshold).saturating_add(latency);
        let silence = wanted.clamp(Duration::from_secs(1), Duration::from_secs(45));
        self.draft.section(0, "probe");
        let origin = origin.and(format_args!(", so many rounds of 2s, and the latency"));
        self.draft.duration(2, "silence", silence, origin);
        if silence != wanted {
            self.draft.remark(format_args!(
                "AstLinux left a line after {}, and probe.silence goes from 1s to 45s: {} is nearest",
                written(wanted),
                written(silence)
            ));
        }
        if latency < silence {
            self.draft.duration(2, "max_latency", latency, latency_origin);
        } else {
            self.draft.remark(
                "WAN_FAILOVER_MAX_LATENCY is left out: an answer as late as that is behind probe.silence anyway",
            );
        }
    }

    fn notify(&mut self) {
        let Some(to) = self.get("WAN_FAILOVER_NOTIFY") else {
            if let Some(relay) = self.get("SMTP_SERVER") {
                let text =
                    "the mail relay is left out, for WAN_FAILOVER_NOTIFY names nobody who would get mail";
                self.draft.note(relay.source, text);
            }
            return;
        };
        self.draft.section(0, "notify");
        let mut recipients: Vec<(String, Origin)> = Vec::new();
        for recipient in to.value.split_whitespace() {
            if !recipients.iter().any(|(earlier, _)| earlier == recipient) {
                recipients.push((recipient.to_owned(), to.origin()));
            }
        }
        self.draft.list(2, "to", &recipients);
        match self.get("WAN_FAILOVER_NOTIFY_FROM").or_else(|| self.get("SMTP_FROM")) {
            Some(from) => self.draft.text(2, "from", &from.value, from.origin()),
            None => {
                let domain = self.get("SMTP_DOMAIN").or_else(|| self.get("DOMAIN"));
                let (domain, source) = domain
                    .map_or(("localhost".to_owned(), to.source), |domain| (domain.value, domain.source));
                let origin = Origin::at(source, "no WAN_FAILOVER_NOTIFY_FROM: as this router would sign");
                self.draft.text(2, "from", format_args!("root@{domain}"), origin);
            }
        }
        let events = [("switch".to_owned(), Origin::of_itself("AstLinux tells of nothing else"))];
        self.draft.list(2, "events", &events);
        self.relay(to.source);
    }

    fn relay(&mut self, to: Source<'a>) {
        let Some(server) = self.get("SMTP_SERVER") else {
            let origin = Origin::at(to, "no SMTP_SERVER: this machine's own mail program");
            self.draft.text(2, "sendmail", "/usr/sbin/sendmail", origin);
            return;
        };
        self.draft.section(2, "smtp");
        self.draft.text(4, "host", &server.value, server.origin());
        let (port, origin) = self.number("SMTP_PORT", 25);
        self.draft.raw(4, "port", port, origin);
        // Only whether there is one: what it is gets nowhere.
        let password = self.variables.set.get("SMTP_PASS");
        let password =
            password.filter(|password| password.value.as_deref() != Ok("")).map(|password| password.source);
        let (user, auth) = (self.get("SMTP_USER"), self.get("SMTP_AUTH"));
        let login = user.as_ref().zip(password).filter(|_| auth.is_some());
        let has_tls = self.is_yes("SMTP_TLS");
        let starttls = self.get("SMTP_STARTTLS");
        let (tls, origin) = match &starttls {
            Some(off) if has_tls && off.value == "off" => ("tls", off.origin()),
            _ if has_tls => ("starttls", self.origin_of("SMTP_TLS", server.source)),
            _ if login.is_some() => {
                let text = "without SMTP_TLS the password went to the relay for everybody to read, which wanfo does not do: \
                            the relay has to offer STARTTLS";
                self.draft.note(server.source, text);
                ("starttls", Origin::at(server.source, "SMTP_SERVER without SMTP_TLS: a password needs TLS"))
            }
            _ => ("none", Origin::at(server.source, "SMTP_SERVER without SMTP_TLS")),
        };
        self.draft.text(4, "tls", tls, origin);
        if let Some((user, password)) = login {
            self.draft.text(4, "username", &user.value, user.origin());
            let origin = Origin::at(password, "SMTP_PASS, to be written into this file");
            self.draft.text(4, "password_file", "/etc/wanfo/smtp-password", origin);
            let text = "SMTP_PASS is not printed: `sudo install -m 600 /dev/null /etc/wanfo/smtp-password`, then write the \
                        password into that file with an editor";
            self.draft.note(password, text);
        } else if let Some(user) = user {
            let text = "SMTP_USER counted for nothing, since SMTP_PASS or SMTP_AUTH is not set";
            self.draft.note(user.source, text);
        }
        if let Some(authority) = self.get("SMTP_CA").filter(|_| has_tls) {
            self.draft.text(4, "ca_file", &authority.value, authority.origin());
        }
        if let Some(check) = self.get("SMTP_CERTCHECK").filter(|check| check.value == "off") {
            let text = "SMTP_CERTCHECK=off has no equal: a certificate is always checked; name its authority in \
                        notify.smtp.ca_file where it is a private one";
            self.draft.note(check.source, text);
        }
    }

    fn origin_of(&self, name: &'static str, or: Source<'a>) -> Origin<'a> {
        Origin::at(self.variables.set.get(name).map_or(or, |variable| variable.source), name)
    }

    fn log_level(&mut self) {
        if let Some(verbosity) = self.get("WAN_FAILOVER_VERBOSITY") {
            let level = match verbosity.value.as_str() {
                "3" => "error",
                "9" => "debug",
                _ => "info",
            };
            self.draft.text(0, "log_level", level, verbosity.origin());
        }
    }

    fn what_has_no_equal(&mut self) {
        if let Some(interval) = self.get("WAN_FAILOVER_TEST_INTERVAL") {
            let text = "WAN_FAILOVER_TEST_INTERVAL has no equal: the timer starts a check every 2s";
            self.draft.note(interval.source, text);
        }
        if !self.is_yes("WAN_FAILOVER_ENABLE") {
            self.draft
                .remark("WAN_FAILOVER_ENABLE is not \"yes\": AstLinux did no failover with these settings");
        }
        let gateways = ["EXT2GWIPV6", "WAN_FAILOVER_SECONDARY_GWIPV6"];
        if self.is_yes("IPV6") && gateways.iter().all(|name| self.get(name).is_none()) {
            self.draft.remark(
                "the backup has no IPv6: AstLinux left IPv6 on the dead primary, and wanfo refuses it at once; \
                 `routing: {ipv6_without_gateway: leave}` is AstLinux's way",
            );
        }
        self.draft.remark(
            "AstLinux goes back after as many good tests as WAN_FAILOVER_THRESHOLD says; wanfo once the primary has answered \
             for links[0].stable (60s) without a gap",
        );
        const KNOWN: &str = " ENABLE TARGETS SECONDARY_GW SECONDARY_GWIPV6 TEST_INTERVAL MAX_LATENCY THRESHOLD \
                             PRIMARY_DELAY SECONDARY_DELAY VERBOSITY NOTIFY NOTIFY_FROM ";
        for (name, variable) in &self.variables.set {
            let unknown = |rest: &&str| !KNOWN.contains(&format!(" {rest} "));
            if name.strip_prefix("WAN_FAILOVER_").is_some_and(|rest| unknown(&rest)) {
                self.draft.note(variable.source, format_args!("{name} is not known here, and has no equal"));
            }
        }
        let mut commands = self.variables.commands.iter();
        for command in commands.by_ref().take(5) {
            self.draft.note(*command, "a command of the shell stands here, and nothing is executed: settings that it makes are missing");
        }
        if commands.len() > 0 {
            self.draft.remark(format_args!("{} more commands of the shell are not executed", commands.len()));
        }
    }
}

/// Whether any of these is of AstLinux at all.
pub fn is_astlinux(variables: &Variables) -> bool {
    variables
        .set
        .keys()
        .any(|name| name.starts_with("WAN_FAILOVER_") || name == "EXTIF" || name.starts_with("EXT2"))
}
