//! OpenWrt's UCI files, read as libuci reads them: sections of options and lists.

use std::iter::Peekable;
use std::str::Chars;

use super::draft::{Fault, File, Source};

pub struct Section<'a> {
    /// `interface`, `member` and the like.
    pub kind: String,
    /// Empty where it has none.
    pub name: String,
    pub source: Source<'a>,
    pub options: Vec<Setting<'a>>,
}

#[derive(Debug, Clone)]
pub struct Setting<'a> {
    pub name: String,
    pub value: String,
    pub source: Source<'a>,
}

impl<'a> Section<'a> {
    /// Of one that is written twice the last counts; an empty one is none.
    pub fn get(&self, name: &str) -> Option<&Setting<'a>> {
        self.options.iter().rfind(|option| option.name == name).filter(|option| !option.value.is_empty())
    }

    /// The words of a list, however it is written.
    pub fn all(&self, name: &str) -> Vec<Setting<'a>> {
        let options = self.options.iter().filter(|option| option.name == name);
        let words = options.flat_map(|option| {
            option.value.split_whitespace().map(|word| Setting { value: word.to_owned(), ..option.clone() })
        });
        words.collect()
    }

    /// What `config_get_bool` takes for yes.
    pub fn is_on(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|option| matches!(option.value.as_str(), "1" | "on" | "true" | "yes" | "enabled"))
    }
}

/// Whether the first word of a file is one of these: nobody's shell variables begin so.
pub fn is_uci(text: &str) -> bool {
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim_start);
    let first = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .flat_map(str::split_whitespace)
        .next();
    first.is_some_and(|word| matches!(word, "config" | "package"))
}

/// Adds the sections of a file to those of others.
pub fn read<'a>(file: &File<'a>, sections: &mut Vec<Section<'a>>) -> Result<(), Fault> {
    let text = file.text.trim_start_matches('\u{feff}');
    let mut reader = Reader { file: file.name, chars: text.chars().peekable(), line: 1 };
    let mut first = sections.len();
    let mut current = None;
    while let Some(mut words) = reader.statement()? {
        if words.is_empty() {
            continue;
        }
        let (command, source) = words.remove(0);
        let mut words = words.into_iter().map(|(word, _)| word);
        match (command.as_str(), words.next(), words.next()) {
            // `uci export` prints all files as one.
            ("package" | "p", Some(_), _) => (first, current) = (sections.len(), None),
            ("config" | "c", Some(kind), name) => {
                let name = name.unwrap_or_default();
                // A section that is opened again goes on.
                let known =
                    |section: &Section| !name.is_empty() && section.kind == kind && section.name == name;
                current =
                    Some(sections[first..].iter().position(known).map_or(sections.len(), |i| first + i));
                if current == Some(sections.len()) {
                    sections.push(Section { kind, name, source, options: Vec::new() });
                }
            }
            ("option" | "o" | "list" | "l", Some(name), value) => match current {
                Some(current) => {
                    let options = &mut sections[current].options;
                    if command.starts_with('o') {
                        options.retain(|option| option.name != name);
                    }
                    options.push(Setting { name, value: value.unwrap_or_default(), source });
                }
                None => {
                    return Err(Fault::at(
                        source,
                        "an option stands before the first `config` line; is its beginning missing?",
                    ));
                }
            },
            _ => {
                let text =
                    "this line is not UCI: it should begin with config, option or list, and have a name";
                return Err(Fault::at(source, text));
            }
        }
    }
    Ok(())
}

struct Reader<'a> {
    file: &'a str,
    chars: Peekable<Chars<'a>>,
    line: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    /// The words up to the end of a line or a semicolon; `None`: that was all.
    fn statement(&mut self) -> Result<Option<Vec<(String, Source<'a>)>>, Fault> {
        let mut words: Vec<(String, Source)> = Vec::new();
        let mut is_inside = false;
        loop {
            let start = Source { file: self.file, line: self.line };
            let Some(c) = self.next() else {
                return Ok((!words.is_empty()).then_some(words));
            };
            let quoted = match c {
                '\n' | ';' => return Ok(Some(words)),
                '#' => {
                    while self.chars.peek().is_some_and(|c| *c != '\n') {
                        self.next();
                    }
                    continue;
                }
                c if c.is_whitespace() => {
                    is_inside = false;
                    continue;
                }
                '\\' => match self.next() {
                    Some('\n') | None => continue,
                    Some(c) => c.to_string(),
                },
                '\'' | '"' => self.quoted(c, start)?,
                c => c.to_string(),
            };
            match words.last_mut().filter(|_| is_inside) {
                Some((word, _)) => word.push_str(&quoted),
                None => words.push((quoted, start)),
            }
            is_inside = true;
        }
    }

    fn quoted(&mut self, mark: char, start: Source) -> Result<String, Fault> {
        let mut text = String::new();
        loop {
            match self.next() {
                Some(c) if c == mark => return Ok(text),
                Some('\\') if mark == '"' => text.extend(self.next().filter(|c| *c != '\n')),
                Some(c) => text.push(c),
                None => {
                    let text = format!("something begins here that no {mark} ends; is a quote missing?");
                    return Err(Fault::at(start, text));
                }
            }
        }
    }
}
