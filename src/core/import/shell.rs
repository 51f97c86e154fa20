//! Files of shell variables, read as the shell would read them (POSIX, Shell Command Language, 2.2 to 2.10), and never run:
//! an assignment of a word is understood, whatever a shell would have to work out is named.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

use super::draft::{Fault, File, Source};

pub struct Variable<'a> {
    /// Or why it is not known, as what the value does.
    pub value: Result<String, &'static str>,
    pub source: Source<'a>,
}

#[derive(Default)]
pub struct Variables<'a> {
    pub set: BTreeMap<String, Variable<'a>>,
    /// Where something stands that a shell would run.
    pub commands: Vec<Source<'a>>,
}

impl<'a> Variables<'a> {
    /// A later file overrides an earlier one.
    pub fn read(&mut self, file: &File<'a>) -> Result<(), Fault> {
        let text = file.text.trim_start_matches('\u{feff}');
        let mut reader = Reader { file: file.name, chars: text.chars().peekable(), line: 1, depth: 0 };
        let mut depth = 0_usize;
        let mut is_conditional = false;
        while let Some((words, end)) = reader.statement()? {
            self.take(&words, depth > 0 || is_conditional);
            depth = depth_behind(&words, depth);
            is_conditional = end == End::Operator || is_conditional && words.is_empty();
        }
        Ok(())
    }

    fn take(&mut self, words: &[Word<'a>], is_conditional: bool) {
        // What follows on these is a statement of its own.
        let own = |word: &&Word| {
            matches!(word.text.as_str(), "then" | "do" | "else" | "{" | "export" | "readonly")
                || word.text.ends_with(')') && word.trouble.is_none()
        };
        let lead = words.iter().take_while(own).count();
        let is_declared = lead > 0 && matches!(words[lead - 1].text.as_str(), "export" | "readonly");
        let assignments: Vec<_> = words[lead..].iter().map(Word::assignment).collect();
        if !assignments.iter().all(Option::is_some) && !is_declared {
            let source = words[lead].source;
            // The words that only hold other statements together say nothing by themselves.
            if !matches!(words[lead].text.as_str(), "fi" | "done" | "esac" | "}") {
                self.commands.push(source);
            }
            return;
        }
        for (name, value, source) in assignments.into_iter().flatten() {
            let value = match value {
                Ok(_) if is_conditional => Err("depends on a command"),
                value => value,
            };
            self.set.insert(name, Variable { value, source });
        }
    }
}

/// How deep inside of ifs, loops and functions the next statement stands.
fn depth_behind(words: &[Word], depth: usize) -> usize {
    let inside = words.iter().enumerate().filter(|(i, word)| match word.text.as_str() {
        "if" | "while" | "until" | "for" | "case" | "select" => *i == 0 || is_joint(&words[i - 1]),
        "{" => true,
        _ => false,
    });
    let ends = words.first().is_some_and(|word| matches!(word.text.as_str(), "fi" | "done" | "esac" | "}"));
    (depth + inside.count()).saturating_sub(usize::from(ends))
}

fn is_joint(word: &Word) -> bool {
    matches!(word.text.as_str(), "then" | "do" | "else" | "!" | "{")
}

#[derive(PartialEq, Eq)]
enum End {
    Line,
    /// `&&`, `||` or `|`: what comes next depends on what was.
    Operator,
}

struct Word<'a> {
    text: String,
    /// How many bytes of it stand before the first that is quoted.
    plain: usize,
    /// What a shell would have to do about it.
    trouble: Option<&'static str>,
    source: Source<'a>,
}

type Assignment<'a> = (String, Result<String, &'static str>, Source<'a>);

impl<'a> Word<'a> {
    fn at(source: Source<'a>) -> Word<'a> {
        Word { text: String::new(), plain: usize::MAX, trouble: None, source }
    }

    fn assignment(&self) -> Option<Assignment<'a>> {
        let (name, value) = self.text.split_once('=').filter(|(name, _)| name.len() < self.plain)?;
        let (name, adds) = name.strip_suffix('+').map_or((name, false), |name| (name, true));
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.chars().all(letters) || !name.starts_with(|c: char| letters(c) && !c.is_ascii_digit()) {
            return None;
        }
        let value = match self.trouble {
            Some(trouble) => Err(trouble),
            None if adds => Err("adds to what it was before"),
            None if value.starts_with('~') && self.plain > name.len() + 1 => Err("names a home folder by ~"),
            None => Ok(value.to_owned()),
        };
        Some((name.to_owned(), value, self.source))
    }
}

/// How deep quotes and brackets may stand in each other: each level is one of the reader's calls.
const DEEPEST: u32 = 50;

struct Reader<'a> {
    file: &'a str,
    chars: Peekable<Chars<'a>>,
    line: usize,
    /// Of brackets, at the place that is read.
    depth: u32,
}

const REFERS: &str = "refers to another variable";
const RUNS: &str = "runs a command";

impl<'a> Reader<'a> {
    fn here(&self) -> Source<'a> {
        Source { file: self.file, line: self.line }
    }

    fn next(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn next_if(&mut self, wanted: char) -> bool {
        self.chars.peek() == Some(&wanted) && self.next().is_some()
    }

    /// The words up to the end of a statement; `None`: that was all.
    fn statement(&mut self) -> Result<Option<(Vec<Word<'a>>, End)>, Fault> {
        let mut words = Vec::new();
        loop {
            match self.chars.peek() {
                None if words.is_empty() => return Ok(None),
                None => return Ok(Some((words, End::Line))),
                Some(' ' | '\t' | '\r') => drop(self.next()),
                Some('#') => {
                    while self.chars.peek().is_some_and(|c| *c != '\n') {
                        self.next();
                    }
                }
                Some('\n' | ';') => {
                    self.next();
                    return Ok(Some((words, End::Line)));
                }
                Some('&' | '|') => {
                    let alone = self.next_if('&') && !self.next_if('&');
                    while !alone && self.next_if('|') {}
                    return Ok(Some((words, if alone { End::Line } else { End::Operator })));
                }
                Some(_) => words.extend(self.word()?),
            }
        }
    }

    /// None where there was nothing but the end of a line that goes on.
    fn word(&mut self) -> Result<Option<Word<'a>>, Fault> {
        let mut word = Word::at(self.here());
        let mut is_empty = true;
        while let Some(c) = self.chars.peek().copied() {
            if matches!(c, ' ' | '\t' | '\n' | ';' | '&' | '|') || c == '\r' && self.ends_line() {
                break;
            }
            let start = self.here();
            self.next();
            if matches!(c, '\'' | '"' | '\\') && !(c == '\\' && self.chars.peek() == Some(&'\n')) {
                word.plain = word.plain.min(word.text.len());
            }
            match c {
                '\\' if self.next_if('\n') => continue,
                '\\' => word.text.extend(self.next()),
                '\'' => self.until('\'', start, &mut word.text)?,
                '"' => self.double_quoted(start, &mut word)?,
                '$' | '`' => self.expansion(c, start, &mut word)?,
                '(' => {
                    word.trouble = word.trouble.or(Some("is a list"));
                    word.text.push_str("()");
                    self.skip('(', ')', start)?;
                }
                '<' if self.next_if('<') => {
                    let text = "a here-document begins, and what belongs to it cannot be told from settings; take it out of \
                                a copy of the file, and import that";
                    return Err(Fault::at(start, text));
                }
                '<' | '>' => {
                    // A redirection: no part of a value, and no word of the statement that matters.
                    word.trouble = word.trouble.or(Some("is written to a file"));
                    word.text.push(c);
                }
                c => word.text.push(c),
            }
            is_empty = false;
        }
        Ok((!is_empty).then_some(word))
    }

    /// Whether a carriage return is the first half of a line break, as editors of other systems write it.
    fn ends_line(&self) -> bool {
        let mut ahead = self.chars.clone();
        ahead.next();
        matches!(ahead.next(), None | Some('\n'))
    }

    fn until(&mut self, end: char, start: Source, text: &mut String) -> Result<(), Fault> {
        loop {
            match self.next().ok_or_else(|| never_closed(start, end))? {
                c if c == end => return Ok(()),
                c => text.push(c),
            }
        }
    }

    fn double_quoted(&mut self, start: Source, word: &mut Word) -> Result<(), Fault> {
        loop {
            match self.next().ok_or_else(|| never_closed(start, '"'))? {
                '"' => return Ok(()),
                '\\' => match self.next().ok_or_else(|| never_closed(start, '"'))? {
                    '\n' => {}
                    c @ ('$' | '`' | '"' | '\\') => word.text.push(c),
                    c => word.text.extend(['\\', c]),
                },
                c @ ('$' | '`') => self.expansion(c, start, word)?,
                c => word.text.push(c),
            }
        }
    }

    /// `$NAME`, `${NAME}`, `$(COMMAND)`, `` `COMMAND` ``; a `$` before anything else is one.
    fn expansion(&mut self, c: char, start: Source, word: &mut Word) -> Result<(), Fault> {
        word.text.push(c);
        let trouble = match (c, self.chars.peek()) {
            ('`', _) => {
                self.until('`', start, &mut String::new())?;
                RUNS
            }
            (_, Some('(')) => {
                self.next();
                self.skip('(', ')', start)?;
                RUNS
            }
            (_, Some('{')) => {
                self.next();
                self.skip('{', '}', start)?;
                REFERS
            }
            (_, Some(c)) if c.is_ascii_alphanumeric() || "_@*#?-$!".contains(*c) => REFERS,
            (_, Some('\'' | '"')) => "has a $ before a quote",
            _ => return Ok(()),
        };
        word.trouble = word.trouble.or(Some(trouble));
        Ok(())
    }

    /// Up to the bracket that closes the one before.
    fn skip(&mut self, open: char, close: char, start: Source) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Fault::at(
                start,
                format_args!(
                    "quotes and brackets stand in each other more than {DEEPEST} deep here; is one of them missing?"
                ),
            ));
        }
        let mut unclosed = 1_usize;
        while unclosed > 0 {
            match self.next().ok_or_else(|| never_closed(start, close))? {
                '\\' => drop(self.next()),
                '\'' => self.until('\'', start, &mut String::new())?,
                '"' => self.double_quoted(start, &mut Word::at(start))?,
                c if c == open => unclosed += 1,
                c if c == close => unclosed -= 1,
                _ => {}
            }
        }
        self.depth -= 1;
        Ok(())
    }
}

fn never_closed(start: Source, mark: char) -> Fault {
    Fault::at(
        start,
        format_args!("something begins here that no {mark} ends; is a quote or a bracket missing?"),
    )
}
