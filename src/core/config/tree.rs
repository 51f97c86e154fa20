//! The text as a tree of nodes that keeps what `serde_yaml::Value` loses: duplicate keys, and the line of a
//! node.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::ConfigError;

/// A short text full of aliases can stand for billions of nodes; no honest configuration comes near this
/// many. Every run reads it, also while it is broken, and the line may be dead.
const MOST_NODES: usize = 20_000;

/// The reader of serde_yaml takes a time that grows with the square of how many brackets are open, before it gives up. So
/// many are nobody's honest file, though some may stand in quotes.
const MOST_OPEN_BRACKETS: usize = 200;

#[derive(Debug)]
pub struct Node {
    /// Counted in the order of the text, keys included: what `line_of` finds it by.
    pub number: usize,
    pub value: Value,
}

#[derive(Debug)]
pub enum Value {
    Null,
    Bool(bool),
    /// As Rust prints it; how it was written is lost (0x10 is 16).
    Number(String),
    Text(String),
    List(Vec<Node>),
    /// Pairs in the order of the text.
    Map(Vec<(Node, Node)>),
    /// A node with a tag of its own, such as `!secret`: nothing here has a use for one.
    Tagged(String),
}

impl Node {
    /// What stands here, as the first half of a sentence.
    pub fn what(&self) -> String {
        match &self.value {
            Value::Null => "no value stands here".into(),
            Value::Bool(truth) => format!("{truth} is a truth value"),
            Value::Number(number) => format!("{number} is a number"),
            Value::Text(text) => format!("{} is text", quoted(text)),
            Value::List(_) => "a list stands here".into(),
            Value::Map(_) => "a mapping stands here".into(),
            Value::Tagged(tag) => {
                format!("a value with the tag !{} stands here", tag.trim_start_matches('!'))
            }
        }
    }
}

/// In double quotes, with what cannot be printed made visible, and cut where it would flood the terminal. The address of
/// a webhook is a key, and stands in the wrong place easily: no address gets into the log.
pub fn quoted(text: &str) -> String {
    const MOST_CHARS: usize = 80;
    if let Some((scheme, _)) = text.split_once("://") {
        return format!("{:?}...", format!("{scheme}://"));
    }
    match text.char_indices().nth(MOST_CHARS) {
        Some((end, _)) => format!("{:?}...", text.split_at(end).0),
        None => format!("{text:?}"),
    }
}

/// Reads the text into a tree.
///
/// # Errors
/// The one problem with which YAML itself gave up.
pub fn parse(text: &str) -> Result<Node, ConfigError> {
    if let Some(line) = line_nested_too_deep(text) {
        return Err(ConfigError { path: String::new(), line: Some(line), text: TOO_DEEP.into() });
    }
    walk(text, None).map_err(|error| {
        let line = error.location().map(|location| location.line());
        ConfigError { path: String::new(), line, text: explain(text, line, &error.to_string()) }
    })
}

/// The line of a node of the tree that `parse` makes of the same text.
///
/// serde_yaml tells a position only with an error, so the text is walked again up to this node, which then
/// fails.
pub fn line_of(text: &str, number: usize) -> Option<usize> {
    let error = walk(text, Some(number)).err()?;
    error.location().map(|location| location.line())
}

fn explain(text: &str, line: Option<usize>, error: &str) -> String {
    // serde_yaml's kinds of errors are private; these words are all it shows of them.
    let begins_another = |line: &str| line.starts_with("---") || line.starts_with("...");
    if error.contains("more than one document") && text.lines().any(begins_another) {
        return "there are several YAML documents in this file; keep one and remove the \"---\" between them"
            .into();
    }
    if error.contains("recursion limit") {
        return TOO_DEEP.into();
    }
    if error.contains("repetition limit") || error.contains(TOO_MANY) {
        return "this file has too many values, or its aliases repeat too much; write it shorter, without \
                aliases"
            .into();
    }
    let indentation = |line: &str| line.chars().take_while(|c| c.is_whitespace()).collect::<String>();
    let here = line.and_then(|line| text.lines().nth(line - 1)).unwrap_or_default();
    let cure = if indentation(here).contains('\t') {
        "indent this line with spaces, YAML allows no tabs"
    } else if here.contains("::") {
        "put an address that begins or ends with \"::\" in quotes"
    } else {
        "look at the indentation, quotes, colons and brackets of this line and the one above"
    };
    format!("this is not valid YAML ({error}); {cure}")
}

const TOO_DEEP: &str =
    "lists and mappings are nested too deep here; nothing in this file needs more than four levels";

fn line_nested_too_deep(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    text.lines().zip(1..).find_map(|(line, number)| {
        let mut before = ' ';
        for character in line.chars() {
            match character {
                // The rest is a comment, or as good as one for an honest file.
                '#' if before.is_whitespace() => break,
                '[' | '{' => open += 1,
                ']' | '}' => open = open.saturating_sub(1),
                _ => {}
            }
            if open > MOST_OPEN_BRACKETS {
                return Some(number);
            }
            before = character;
        }
        None
    })
}

const TOO_MANY: &str = "more values than a configuration has";

fn walk(text: &str, stop_at: Option<usize>) -> Result<Node, serde_yaml::Error> {
    let passed = Cell::new(0);
    // What some editors begin a file with, to say that it is UTF-8, is no part of its text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Walk { passed: &passed, stop_at }.deserialize(serde_yaml::Deserializer::from_str(text))
}

#[derive(Clone, Copy)]
struct Walk<'a> {
    passed: &'a Cell<usize>,
    stop_at: Option<usize>,
}

impl Walk<'_> {
    /// The next node's number. An error raised here is given the node's position by serde_yaml.
    fn number<E: de::Error>(self) -> Result<usize, E> {
        let number = self.passed.replace(self.passed.get() + 1);
        if Some(number) == self.stop_at {
            return Err(E::custom("here"));
        }
        if number == MOST_NODES {
            return Err(E::custom(TOO_MANY));
        }
        Ok(number)
    }

    fn leaf<E: de::Error>(self, value: Value) -> Result<Node, E> {
        Ok(Node { number: self.number()?, value })
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        self.leaf(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        self.leaf(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Node, E> {
        self.leaf(Value::Bool(truth))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Node, E> {
        self.leaf(Value::Number(number.to_string()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Node, E> {
        self.leaf(Value::Number(number.to_string()))
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<Node, E> {
        self.leaf(Value::Number(number.to_string()))
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<Node, E> {
        self.leaf(Value::Number(number.to_string()))
    }

    /// Debug keeps the ".0" that Display drops: 3.0 is no whole number here.
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Node, E> {
        self.leaf(Value::Number(format!("{number:?}")))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Node, E> {
        self.leaf(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let number = self.number()?;
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element_seed(self)? {
            nodes.push(node);
        }
        Ok(Node { number, value: Value::List(nodes) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let number = self.number()?;
        let mut pairs = Vec::new();
        while let Some(key) = map.next_key_seed(self)? {
            pairs.push((key, map.next_value_seed(self)?));
        }
        Ok(Node { number, value: Value::Map(pairs) })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Node, A::Error> {
        let number = self.number()?;
        let (tag, content) = tagged.variant::<String>()?;
        content.newtype_variant::<IgnoredAny>()?;
        Ok(Node { number, value: Value::Tagged(tag) })
    }
}
