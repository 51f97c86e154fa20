//! What is told, with the seconds since the start.

use std::env;
use std::io::{IsTerminal, stdout};
use std::time::Instant;

/// Where what is told begins, behind the time.
const MARGIN: usize = 10;
const WIDTH: usize = 100;
/// Where the values begin in wanfo's mails, and what is too long for a line goes on.
const HANGING: usize = 8;

pub struct Story {
    pub start: Instant,
    colour: bool,
}

impl Story {
    pub fn begin() -> Story {
        // https://no-color.org: set and not empty.
        let colour = stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Story { start: Instant::now(), colour }
    }

    pub fn say(&self, sentence: &str) {
        let time = format!("{:6.1} s", self.start.elapsed().as_secs_f64());
        println!("{}  {sentence}", self.painted("2", &time));
    }

    /// The next line of a sentence, or of a program's output.
    pub fn more(&self, line: &str) {
        println!("{}", format!("{:MARGIN$}{line}", "").trim_end());
    }

    /// A line of something that was received, wrapped between words.
    pub fn quote(&self, line: &str) {
        let bar = self.painted("2", "|");
        let mut rest = line;
        let mut indent = 0;
        loop {
            let room = WIDTH - MARGIN - 2 - indent;
            let end = match rest.char_indices().nth(room) {
                None => rest.len(),
                Some((limit, _)) => rest[..limit].rfind(' ').unwrap_or(limit),
            };
            println!("{:MARGIN$}{bar} {:indent$}{}", "", "", &rest[..end]);
            rest = rest[end..].trim_start();
            indent = HANGING;
            if rest.is_empty() {
                return;
            }
        }
    }

    pub fn bad(&self, sentence: &str) {
        self.say(&self.painted("31", sentence));
    }

    pub fn good(&self, sentence: &str) {
        self.say(&self.painted("32", sentence));
    }

    pub fn heading(&self, words: &str) {
        println!("\n{}", self.painted("1", words));
    }

    /// `style`: the number of an SGR sequence (ECMA-48).
    fn painted(&self, style: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
