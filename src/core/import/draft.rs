//! A configuration in the making: lines of YAML, each of which knows where it came from, and what could not be put into one.

use std::fmt::{self, Display};
use std::time::Duration;

/// One of the other program's files.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// As the admin named it.
    pub name: &'a str,
    pub text: &'a str,
}

/// A line of such a file, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source<'a> {
    pub file: &'a str,
    pub line: usize,
}

impl Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Why no configuration can be made: a sentence, and where its cause stands.
#[derive(Debug, Clone)]
pub struct Fault(String);

impl Fault {
    pub fn at(source: Source, text: impl Display) -> Fault {
        Fault(one_line(&format!("{source}: {text}")))
    }

    /// Of what stands nowhere.
    pub fn of_all(text: impl Display) -> Fault {
        Fault(one_line(&text.to_string()))
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a line says what it says.
#[derive(Debug, Clone)]
pub struct Origin<'a> {
    source: Option<Source<'a>>,
    why: String,
}

impl<'a> Origin<'a> {
    pub fn at(source: Source<'a>, why: impl Display) -> Origin<'a> {
        Origin { source: Some(source), why: why.to_string() }
    }

    /// Of what stands in no file.
    pub fn of_itself(why: impl Display) -> Origin<'a> {
        Origin { source: None, why: why.to_string() }
    }

    pub fn and(self, more: impl Display) -> Origin<'a> {
        Origin { why: format!("{}{more}", self.why), ..self }
    }
}

impl Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.source {
            Some(source) => write!(f, "{source} {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

#[derive(Default)]
pub struct Draft<'a> {
    lines: Vec<(String, Option<Origin<'a>>)>,
    notes: Vec<String>,
}

impl<'a> Draft<'a> {
    /// A key with keys below it.
    pub fn section(&mut self, indent: usize, key: &str) {
        self.lines.push((format!("{:indent$}{key}:", ""), None));
    }

    pub fn text(&mut self, indent: usize, key: &str, value: impl Display, origin: Origin<'a>) {
        self.raw(indent, key, scalar(&value.to_string()), origin);
    }

    /// A number, or a truth value; or one that is text already.
    pub fn raw(&mut self, indent: usize, key: &str, value: impl Display, origin: Origin<'a>) {
        self.lines.push((format!("{:indent$}{key}: {value}", ""), Some(origin)));
    }

    pub fn duration(&mut self, indent: usize, key: &str, value: Duration, origin: Origin<'a>) {
        self.raw(indent, key, written(value), origin);
    }

    /// Nothing where the list is empty.
    pub fn list(&mut self, indent: usize, key: &str, items: &[(String, Origin<'a>)]) {
        if !items.is_empty() {
            self.section(indent, key);
            self.lines.extend(
                items.iter().map(|(item, origin)| {
                    (format!("{:indent$}  - {}", "", scalar(item)), Some(origin.clone()))
                }),
            );
        }
    }

    /// What has no equal, or is to be looked at by somebody.
    pub fn note(&mut self, source: Source, text: impl Display) {
        self.remark(format!("{source}: {text}"));
    }

    /// The same of what stands in no line. Nothing is said twice.
    pub fn remark(&mut self, text: impl Display) {
        let text = one_line(&text.to_string());
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What a line of the YAML, counted from 1, was made of.
    pub fn fault_of(&self, line: Option<usize>, text: &str) -> Fault {
        // What is said of a section is said of its first line.
        let from = self.lines.get(line.map_or(0, |line| line.saturating_sub(1))..).unwrap_or_default();
        let origin = from.iter().find_map(|(_, origin)| origin.as_ref());
        match origin {
            Some(origin) => Fault::of_all(format_args!("{origin}: {text}")),
            None => Fault::of_all(text),
        }
    }

    pub fn yaml(&self) -> String {
        const COLUMN: usize = 42;
        let lines = self.lines.iter().map(|(yaml, origin)| match origin {
            Some(origin) => {
                format!("{yaml:COLUMN$} # {}\n", one_line(&origin.to_string()))
            }
            None => format!("{yaml}\n"),
        });
        lines.collect()
    }
}

/// A value that YAML takes for text: in quotes wherever somebody would have to think about it.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._@-".contains(c);
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/') && text.chars().all(plain);
    let means_something = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word));
    let is_address = text.contains('.') && text.parse::<ipnetwork::Ipv4Network>().is_ok();
    let is_duration =
        text.ends_with('s') && humantime::parse_duration(text).is_ok() && text.chars().all(plain);
    if is_word && !means_something || is_address || is_duration {
        return text.to_owned();
    }
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        ' '..='~' => c.to_string(),
        c => format!("\\U{:08x}", u32::from(c)),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

/// What stands in a comment must not end it; YAML knows more line breaks than one, and characters that it refuses.
fn one_line(text: &str) -> String {
    let fits = |c: char| c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric();
    text.chars()
        .map(|c| {
            if fits(c) {
                c
            } else if c.is_whitespace() {
                ' '
            } else {
                '?'
            }
        })
        .collect()
}

/// As the configuration writes a length of time.
pub fn written(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_millis()),
    }
}

/// A comment of its own.
pub fn comment(text: &str) -> String {
    format!("# {}\n", one_line(text))
}

/// The length of the prefix that a mask stands for: `255.255.255.0`, or the number itself.
pub fn prefix_of(mask: &str) -> Option<u8> {
    match mask.parse::<std::net::Ipv4Addr>() {
        Ok(mask) => ipnetwork::ipv4_mask_to_prefix(mask).ok(),
        Err(_) => mask.parse().ok().filter(|prefix| *prefix <= 32),
    }
}

/// A destination, and whether bits behind its prefix had to be struck off, as the kernel and iptables do.
pub fn destination(text: &str) -> Option<(String, bool)> {
    let written: ipnetwork::IpNetwork = text.parse().ok()?;
    let network = ipnetwork::IpNetwork::new(written.network(), written.prefix()).ok()?;
    let shown = if text.contains('/') { network.to_string() } else { written.ip().to_string() };
    Some((shown, network.ip() != written.ip()))
}
