//! The keys of a mapping, and what is wrong with what stands there: generic, for any file of keys.

use super::ConfigError;
use super::tree::{self, Node, Value};

/// What is wrong so far.
#[derive(Default)]
pub struct Faults {
    /// Each with the number of the node it is about, its path, and the sentence.
    found: Vec<(usize, String, String)>,
    /// The paths of keys that are there under a slip of the pen.
    misspelt: Vec<String>,
}

impl Faults {
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub fn add(&mut self, place: &Place, text: String) {
        self.found.push((place.node, place.path.clone(), text));
    }

    /// Of one that is only misspelt that is told already.
    pub fn add_missing(&mut self, key: &Place, cure: &str) {
        if !self.misspelt.contains(&key.path) {
            self.add(key, format!("this key is missing; {cure}"));
        }
    }

    /// In the order of the text, with lines.
    pub fn into_problems(mut self, text: &str) -> Vec<ConfigError> {
        // Each line costs a walk through the text, in every run. Nobody reads past the first forty problems
        // before mending some.
        const MOST_LINES: usize = 40;
        self.found.sort_by_key(|(node, ..)| *node);
        let line = |i, node| if i < MOST_LINES { tree::line_of(text, node) } else { None };
        let faults = self.found.into_iter().enumerate();
        faults.map(|(i, (node, path, text))| ConfigError { line: line(i, node), path, text }).collect()
    }
}

/// Where a value stands: its node, and the way to it in words.
#[derive(Debug, Clone)]
pub struct Place {
    pub node: usize,
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

    pub fn item(&self, index: usize, node: &Node) -> Place {
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
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reported;

/// What is said of a key of an earlier version: what takes its place, with the value that comes closest.
pub type Gone = fn(&Node) -> String;

/// A mapping with known keys.
pub struct Fields<'a> {
    pub place: Place,
    pairs: Vec<(&'a str, &'a Node)>,
}

impl<'a> Fields<'a> {
    /// Reports whatever is not a known key standing there once.
    pub fn of(
        node: &'a Node,
        place: Place,
        known: &[&str],
        gone: &[(&str, Gone)],
        faults: &mut Faults,
    ) -> Option<Fields<'a>> {
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
            if let Some((_, in_place)) = gone.iter().find(|(key, _)| key == name) {
                faults.add(&key_place, in_place(value));
            } else if !known.contains(&name.as_str()) {
                let meant = meant_by(name, known);
                faults.add(
                    &key_place,
                    match meant {
                        Some(key) => format!("this key is not known here; did you mean {key}?"),
                        None => format!("this key is not known here; known are {}", known.join(", ")),
                    },
                );
                faults.misspelt.extend(meant.map(|key| place.child(key).path));
            } else if pairs.iter().any(|(earlier, _)| earlier == name) {
                faults.add(&key_place, "this key is written twice; keep one of the two".into());
            } else {
                pairs.push((name, value));
            }
        }
        Some(Fields { place, pairs })
    }

    pub fn node(&self, key: &str) -> Option<&'a Node> {
        self.pairs.iter().find(|(name, _)| *name == key).map(|(_, node)| *node)
    }

    pub fn place_of(&self, key: &str) -> Place {
        let place = self.place.child(key);
        Place { node: self.node(key).map_or(place.node, |node| node.number), ..place }
    }

    /// A mapping inside this one; none where it is missing or no mapping.
    pub fn section(&self, key: &str, known: &[&str], faults: &mut Faults) -> Option<Fields<'a>> {
        self.section_with_gone(key, known, &[], faults)
    }

    /// The same, where an earlier version had other keys.
    pub fn section_with_gone(
        &self,
        key: &str,
        known: &[&str],
        gone: &[(&str, Gone)],
        faults: &mut Faults,
    ) -> Option<Fields<'a>> {
        Fields::of(self.node(key)?, self.place_of(key), known, gone, faults)
    }

    /// The value of a key, if it is there.
    pub fn read<T>(
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

    /// The value of a key that need not be there; none too where it is faulty, which is reported.
    pub fn read_optional<T>(
        &self,
        key: &str,
        meaning: impl Fn(&Node) -> Result<T, String>,
        faults: &mut Faults,
    ) -> Option<T> {
        self.read_or(key, None, |node| meaning(node).map(Some), faults)
    }

    /// The value of a key, or its default where it is missing (or faulty, which is reported).
    pub fn read_or<T>(
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
    pub fn list(&self, key: &str, faults: &mut Faults) -> Option<&'a [Node]> {
        let node = self.node(key)?;
        if let Value::List(nodes) = &node.value {
            return Some(nodes);
        }
        let right = match &node.value {
            // What would break the line, flood the terminal or tell a secret is not repeated either.
            Value::Text(text) if tree::quoted(text) == format!("\"{text}\"") => {
                format!("write a list: [{text}]")
            }
            _ => "write a list, each item on a line that begins with \"- \"".into(),
        };
        faults.add(&self.place_of(key), format!("{}; {right}", node.what()));
        None
    }

    /// The good values of a list; the others are reported.
    pub fn read_list<T>(
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

fn meant_by<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    // `Log-Level` and `gatway` are slips; anything further away is another word.
    const MOST_SLIPS: usize = 2;
    let slips = |key: &&&str| strsim::osa_distance(&name.to_lowercase(), key);
    known.iter().min_by_key(slips).filter(|key| slips(key) <= MOST_SLIPS).copied()
}
