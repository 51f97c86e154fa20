//! One value at a time: what a node means, or a sentence that says what would be right.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Component, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use lettre::Address;

use super::tree::{Node, Value, quoted};
use super::{Gateway, Target};
use crate::core::facts::{Family, is_link_local};

/// Letters, digits, '-' and '_', at most 32 of them: it goes into file names, mail subjects and metrics.
pub fn name(node: &Node) -> Result<String, String> {
    let name = text(node, "primary")?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 32 || !name.chars().all(fits) {
        return Err(format!(
            "{} is not a name; write 1 to 32 letters, digits, '-' or '_', for example primary",
            quoted(name)
        ));
    }
    Ok(name.to_owned())
}

/// The longest name and the longest altname (IFNAMSIZ and ALTIFNAMSIZ less the zero, linux/if.h).
const LONGEST_NAME: usize = 15;
const LONGEST_ALTNAME: usize = 127;

/// A name the kernel would give an interface (dev_valid_name in net/core/dev.c), or let it have besides.
pub fn interface(node: &Node) -> Result<String, String> {
    let name = text(node, "eth0")?;
    // The kernel's isspace() looks at bytes and takes 0xA0 for a space. NUL ends its names.
    let refused = |byte: u8| matches!(byte, 0 | b'/' | b':' | b'\t'..=b'\r' | b' ' | 0xA0);
    let fits = |name: &str| {
        // A longer one with an at sign is what `ip link` prints.
        let longest = if name.contains('@') { LONGEST_NAME } else { LONGEST_ALTNAME };
        !(name.is_empty() || name.len() > longest || name == "." || name == ".." || name.bytes().any(refused))
    };
    if !fits(name) {
        // With an at sign inside it may be one, so a shorter name passes here, and is missed in the kernel later.
        if let Some((own, _below)) =
            name.split_once('@').filter(|(own, _)| own.len() <= LONGEST_NAME && fits(own))
        {
            return Err(format!(
                "{} is too long for the name of an interface; `ip link` prints the interface below behind the at \
                 sign: write {own}",
                quoted(name)
            ));
        }
        return Err(format!(
            "{} cannot be the name of an interface; `ip link` shows the names, write for example eth0",
            quoted(name)
        ));
    }
    Ok(name.to_owned())
}

/// A gateway of one family: `auto`, `none` or an address.
pub fn gateway(family: Family) -> impl Fn(&Node) -> Result<Gateway, String> {
    let (own_key, kind, example, other_key, other_kind) = match family {
        Family::V4 => ("gateway", "IPv4", "192.0.2.1", "gateway6", "IPv6"),
        Family::V6 => ("gateway6", "IPv6", "2001:db8::1", "gateway", "IPv4"),
    };
    move |node| {
        let address = match &node.value {
            Value::Text(text) if text == "auto" => return Ok(Gateway::Auto),
            Value::Text(text) if text == "none" => return Ok(Gateway::None),
            Value::Text(text) => address(text),
            _ => Err(node.what()),
        };
        let address = address.map_err(|fault| {
            format!("{fault}; write auto, none or an {kind} address, for example {example}")
        })?;
        if Family::from(address) != family {
            return Err(format!(
                "{address} is an {other_kind} address; write it under \"{other_key}\", and under \
                 \"{own_key}\" auto, none or an {kind} address"
            ));
        }
        Ok(Gateway::Address(address))
    }
}

pub fn target(node: &Node) -> Result<Target, String> {
    const RIGHT: &str =
        "write an address (host names are not looked up), for example 198.51.100.53, or the word gateway";
    let written = match &node.value {
        Value::Text(text) if text == "gateway" => return Ok(Target::Gateway),
        Value::Text(text) => text,
        _ => return Err(format!("{}; {RIGHT}", node.what())),
    };
    let address = address(written).map_err(|fault| format!("{fault}; {RIGHT}"))?;
    if is_link_local(address) {
        return Err(format!(
            "{address} is a link-local address, which no ping of ours can reach: it would need the interface \
             beside it (a scope id), and ping-rs takes none; write a global address, for example 2001:db8::53"
        ));
    }
    Ok(Target::Address(address))
}

/// An address that an interface gets, with the length of its subnet's prefix.
pub fn own_address(node: &Node) -> Result<IpNetwork, String> {
    const RIGHT: &str = "write the router's own address with its prefix length, for example 192.168.5.2/24";
    let Value::Text(text) = &node.value else {
        return Err(format!("{}; {RIGHT}", node.what()));
    };
    let own = IpNetwork::from_str(text).map_err(|_| {
        format!("{} is not an address in CIDR form{}; {RIGHT}", quoted(text), zeros_hint(text))
    })?;
    address(&own.ip().to_string()).map_err(|fault| format!("{fault}; {RIGHT}"))?;
    if !text.contains('/') {
        return Err(format!("{text} has no prefix length; {RIGHT}"));
    }
    // A subnet of one or two addresses has no address of its own and no broadcast address (RFC 3021, RFC 6164).
    let host_bits = IpNetwork::from(own.ip()).prefix() - own.prefix();
    let reserved = match own {
        _ if host_bits <= 1 => None,
        _ if own.ip() == own.network() => Some("of the subnet itself"),
        IpNetwork::V4(own) if own.ip() == own.broadcast() => Some("for broadcasts in its subnet"),
        _ => None,
    };
    match reserved {
        Some(what) => Err(format!("{text} is the address {what}, not one of a host; {RIGHT}")),
        None => Ok(own),
    }
}

/// An address or CIDR that a link may carry all the time.
pub fn route(node: &Node) -> Result<IpNetwork, String> {
    const RIGHT: &str = "write for example 192.168.5.1 or 192.168.5.0/24";
    let Value::Text(text) = &node.value else {
        return Err(format!("{}; {RIGHT}", node.what()));
    };
    let route = IpNetwork::from_str(text)
        .map_err(|_| format!("{} is not an address or CIDR{}; {RIGHT}", quoted(text), zeros_hint(text)))?;
    if route.ip() != route.network() {
        let network =
            IpNetwork::new(route.network(), route.prefix()).map_or(String::new(), |right| right.to_string());
        return Err(format!(
            "{text} names an address inside a network; write {network} for the network or {} for the \
             one address",
            route.ip()
        ));
    }
    if route.prefix() == 0 {
        return Err(format!(
            "{route} is the default route, which wanfo moves from link to link by itself; write the \
             destinations that are always meant for this link"
        ));
    }
    if ["0.0.0.0/1", "128.0.0.0/1", "2000::/3"].contains(&route.to_string().as_str()) {
        return Err(format!(
            "{route} is one of the routes with which a backup takes all traffic; write smaller networks"
        ));
    }
    let kind = match route.ip() {
        own if own.is_loopback() => "this machine itself",
        own if is_link_local(own) => "on every interface, each its own",
        _ => return Ok(route),
    };
    Err(format!("{route} is {kind}, and no way leads there by a link; {RIGHT}"))
}

/// A length of time as humantime writes it.
pub fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Node) -> Result<Duration, String> {
    const RIGHT: &str = "write a number with its unit, for example 500ms, 60s or 10m";
    move |node| {
        let text = match &node.value {
            Value::Text(text) => text,
            Value::Number(number) => return Err(no_unit(number)),
            _ => return Err(format!("{}; {RIGHT}", node.what())),
        };
        // humantime takes "0" without a unit; one rule for all numbers is easier to remember.
        if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
            return Err(no_unit(text));
        }
        let duration = humantime::parse_duration(text)
            .map_err(|_| format!("{} is not a duration; {RIGHT}", quoted(text)))?;
        if !range.contains(&duration) {
            let [least, most] = [range.start(), range.end()].map(|limit| humantime::format_duration(*limit));
            return Err(format!("{text} is out of range; write {least} to {most}"));
        }
        Ok(duration)
    }
}

fn no_unit(number: &str) -> String {
    format!("{number} has no unit; add ms, s, m or h, for example {number}s for seconds")
}

pub fn number<T: FromStr + PartialOrd + Display>(
    range: RangeInclusive<T>,
) -> impl Fn(&Node) -> Result<T, String> {
    move |node| {
        let (least, most) = (range.start(), range.end());
        let Value::Number(number) = &node.value else {
            return Err(format!("{}; write a number from {least} to {most}, without quotes", node.what()));
        };
        number
            .parse()
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("{number} is not allowed; write a whole number from {least} to {most}"))
    }
}

/// One word out of a few.
pub fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&Node) -> Result<T, String> {
    move |node| {
        let chosen = match &node.value {
            Value::Text(text) => words.iter().find(|(word, _)| word == text),
            _ => None,
        };
        let names = || {
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            names
                .split_last()
                .map_or(String::new(), |(last, others)| format!("{} or {last}", others.join(", ")))
        };
        chosen.map(|(_, value)| *value).ok_or_else(|| match &node.value {
            Value::Text(text) => format!("{} is not known here; write {}", quoted(text), names()),
            _ => format!("{}; write {}", node.what(), names()),
        })
    }
}

/// A route protocol number that nobody else uses.
///
/// 0 to 4 are the kernel's and the admin's own (rtnetlink(7)); the numbers of daemons are those of
/// linux/rtnetlink.h, iproute2's rt_protos and, up to 198, FRR's zebra/rt_netlink.h.
pub fn protocol(node: &Node) -> Result<u8, String> {
    let protocol = number(5..=255)(node)?;
    if matches!(protocol, 8..=18 | 42 | 99 | 186..=198) {
        return Err(format!(
            "{protocol} is the number of a routing daemon or DHCP client (see rt_protos of iproute2), whose \
             routes wanfo would take for its own; write a free number, for example 119"
        ));
    }
    Ok(protocol)
}

/// The number below the links' tables; link i has the table behind it by i.
pub fn table(node: &Node) -> Result<u32, String> {
    let table: u32 = number(0..=u32::MAX - 8)(node)?;
    // 253 default, 254 main, 255 local: RT_TABLE_*, rtnetlink(7).
    if (table + 1..=table + 8).any(|table| (253..=255).contains(&table)) {
        return Err(format!(
            "{table} would give links the kernel's own tables 253 to 255 (link i has table {table}+i, up \
             to {}); write for example 5300",
            table + 8
        ));
    }
    Ok(table)
}

/// The directory of our files.
pub fn directory(node: &Node) -> Result<PathBuf, String> {
    let text = text(node, "/run/wanfo")?;
    let path = PathBuf::from(text);
    let named = path.components().any(|part| matches!(part, Component::Normal(_)));
    let climbs = path.components().any(|part| part == Component::ParentDir);
    if !path.is_absolute() || !named || climbs || text.contains('\0') {
        return Err(format!(
            "{} cannot be used; write a directory of its own from \"/\" on, without \"..\", for example \
             /run/wanfo",
            quoted(text)
        ));
    }
    Ok(path)
}

pub fn truth(node: &Node) -> Result<bool, String> {
    match node.value {
        Value::Bool(truth) => Ok(truth),
        _ => Err(format!("{}; write true or false, without quotes", node.what())),
    }
}

/// A file that wanfo reads or runs.
pub fn file(example: &'static str) -> impl Fn(&Node) -> Result<PathBuf, String> {
    move |node| {
        let text = text(node, example)?;
        let path = PathBuf::from(text);
        if !path.is_absolute() || path.file_name().is_none() || text.contains(char::is_control) {
            return Err(format!(
                "{} cannot be used; write the whole path of a file, from \"/\" on, for example {example}",
                quoted(text)
            ));
        }
        Ok(path)
    }
}

/// A bare address, such as noc@example.com.
///
/// lettre would take more (RFC 5321 knows quoted and international ones). It goes into SMTP commands, mail headers and
/// the arguments of a sendmail program, so nothing is let in that means something to one of them.
pub fn mail_address(node: &Node) -> Result<String, String> {
    let text = text(node, "noc@example.com")?;
    let odd = |c: char| !c.is_ascii_graphic() || "\"<>()[]\\,;:".contains(c);
    let hint = match text.chars().find(|c| odd(*c)) {
        Some(c) if !c.is_ascii() => " (only ASCII letters can be used; a domain has an xn--... form)",
        Some('<' | '>' | ' ') => " (no name beside it)",
        Some(_) => "",
        None if text.parse::<Address>().is_ok() => return Ok(text.to_owned()),
        None => "",
    };
    Err(format!("{} is not a mail address{hint}; write for example noc@example.com", quoted(text)))
}

/// A host name or an address of a server.
pub fn host(node: &Node) -> Result<String, String> {
    let text = text(node, "mail.example.com")?;
    if !is_host_name(text) && text.parse::<IpAddr>().is_err() {
        return Err(format!(
            "{} is neither a host name nor an address; write for example mail.example.com",
            quoted(text)
        ));
    }
    Ok(text.to_owned())
}

fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(fits) && !label.starts_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// A name that a DNS server is asked for.
pub fn dns_name(node: &Node) -> Result<String, String> {
    let text = text(node, "example.com")?;
    if !is_host_name(text) || text.parse::<IpAddr>().is_ok() {
        let hint = if text.ends_with('.') { " (without the dot at its end)" } else { "" };
        return Err(format!("{} is not a host name{hint}; write for example example.com", quoted(text)));
    }
    Ok(text.to_owned())
}

/// The address of a server that a check asks, or of one that it hears of.
pub fn server(node: &Node) -> Result<IpAddr, String> {
    const RIGHT: &str = "write an address (host names are not looked up), for example 198.51.100.53";
    let Value::Text(text) = &node.value else {
        return Err(format!("{}; {RIGHT}", node.what()));
    };
    let address = address(text).map_err(|fault| format!("{fault}; {RIGHT}"))?;
    match is_link_local(address) {
        true => {
            Err(format!("{address} is a link-local address, which needs the interface beside it; {RIGHT}"))
        }
        false => Ok(address),
    }
}

/// What is asked of a web server, from "/" on. It goes into the head of a request, where a space or the end of a line
/// would begin something else.
pub fn url_path(node: &Node) -> Result<String, String> {
    const LONGEST: usize = 1024;
    let text = text(node, "/")?;
    let fits = |c: char| c.is_ascii_graphic() && c != '#';
    if !text.starts_with('/') || text.len() > LONGEST || !text.chars().all(fits) {
        return Err(format!(
            "{} is not a path; write it from \"/\" on, {LONGEST} characters at most, spaces and letters beyond ASCII as %20 and \
             the like",
            quoted(text)
        ));
    }
    Ok(text.to_owned())
}

/// What has to stand in a page.
pub fn words(node: &Node) -> Result<String, String> {
    const LONGEST: usize = 200;
    let text = text(node, "Welcome")?;
    if text.is_empty() || text.chars().count() > LONGEST || text.contains(char::is_control) {
        return Err(format!(
            "{} cannot be looked for; write a piece of one line of the page, 1 to {LONGEST} characters",
            quoted(text)
        ));
    }
    Ok(text.to_owned())
}

/// Whether what is sent to this host stays on this machine.
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// The user name for AUTH, which is Unicode text (RFC 4616, section 2); NUL would end it.
pub fn username(node: &Node) -> Result<String, String> {
    let text = text(node, "router")?;
    if text.is_empty() || text.contains(char::is_control) {
        return Err(format!("{} cannot be a user name; write the one that the relay knows", quoted(text)));
    }
    Ok(text.to_owned())
}

/// The name of a systemd credential, which is also the name of its file (systemd.exec(5)).
pub fn credential(node: &Node) -> Result<String, String> {
    let text = text(node, "smtp-password")?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.starts_with('.') || !text.chars().all(fits) {
        return Err(format!(
            "{} is not the name of a credential; write the name before the colon in \"LoadCredential=\", for \
             example smtp-password",
            quoted(text)
        ));
    }
    Ok(text.to_owned())
}

/// YAML takes `1`, `0e0` or `true` for something else than text, and how they were written is lost by then.
fn text<'a>(node: &'a Node, example: &str) -> Result<&'a str, String> {
    match &node.value {
        Value::Text(text) => Ok(text),
        Value::Number(_) | Value::Bool(_) => {
            Err(format!("{} in YAML; put it in quotes to make it text", node.what()))
        }
        _ => Err(format!("{}; write for example {example}", node.what())),
    }
}

/// An address that one host can have.
fn address(text: &str) -> Result<IpAddr, String> {
    let address = IpAddr::from_str(text).map_err(|_| {
        let hint = match text.split_once(['%', '/']) {
            Some((before, _)) if IpAddr::from_str(before).is_ok() => format!(" (but {before} is)"),
            _ => zeros_hint(text).to_owned(),
        };
        format!("{} is not an address{hint}", quoted(text))
    })?;
    let kind = match address {
        IpAddr::V4(address) if address.is_broadcast() => "the broadcast address",
        // 0.0.0.0/8, RFC 791 section 3.2.
        IpAddr::V4(address) if address.octets()[0] == 0 => "no host's address",
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => "an IPv4 address dressed as IPv6",
        _ if address.is_unspecified() => "no host's address",
        _ if address.is_loopback() => "this machine itself",
        _ if address.is_multicast() => "a multicast address",
        _ => return Ok(address),
    };
    Err(format!("{address} is {kind}"))
}

/// 192.0.2.01 means 192.0.2.1 to some programs and octal to others, so Rust's parser takes it for neither.
fn zeros_hint(text: &str) -> &'static str {
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let address = text.split('/').next().unwrap_or_default();
    let parts: Vec<&str> = address.split('.').collect();
    let zeros = parts.iter().any(|part| part.len() > 1 && part.starts_with('0'));
    if parts.len() == 4 && parts.iter().all(|part| digits(part)) && zeros {
        " (leading zeros are not allowed)"
    } else {
        ""
    }
}
