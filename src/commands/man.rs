use anyhow::Result;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::{Exit, say};
use crate::cli::{self, Cli, Page};

/// The one place where the keys are explained.
const REFERENCE: &str = include_str!("../../docs/config.md");
const FULL: &str = include_str!("../../docs/full.yaml");

/// The manual, for man(1) to show: of the program's own help, and of the page with every key.
pub fn run(arguments: &cli::Man) -> Result<Exit> {
    say(match arguments.page {
        Page::Wanfo => of_the_program()?,
        Page::Config => of_the_config(),
    })?;
    Ok(Exit::Done)
}

fn of_the_program() -> Result<String> {
    let mut program = Cli::command();
    let mut page = Vec::new();
    let man = Man::new(program.clone()).manual("wanfo");
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    Roff::new().control("SH", ["COMMANDS"]).to_writer(&mut page)?;
    for command in program.get_subcommands_mut() {
        let command = command.clone().bin_name(format!("wanfo {}", command.get_name()));
        describe(command.disable_help_flag(true), &mut page)?;
    }
    let mut end = Roff::new();
    end.control("SH", ["EXIT STATUS"]);
    end.text([roman(program.get_after_long_help().map(ToString::to_string).unwrap_or_default())]);
    end.control("SH", ["FILES"]);
    for (path, what) in [
        ("/etc/wanfo/wanfo.yaml", "the configuration, wanfo.yaml(5)"),
        ("/run/wanfo", "what the last run knew; emptied by a reboot"),
        ("/var/lib/wanfo", "the history, and the mails that wait"),
    ] {
        end.control("TP", []).text([bold(path)]).text([roman(what)]);
    }
    end.control("SH", ["SEE ALSO"]);
    end.text([roman("wanfo.yaml(5), ip-route(8), ip-rule(8), systemd.timer(5), icmp(7)")]);
    end.to_writer(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

fn describe(mut command: Command, page: &mut Vec<u8>) -> Result<()> {
    let mut roff = Roff::new();
    let usage = command.render_usage().to_string();
    roff.control("SS", [usage.trim_start_matches("Usage: ")]);
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    for paragraph in about.split("\n\n") {
        roff.text([roman(paragraph)]).control("PP", []);
    }
    roff.to_writer(page)?;
    let mut options = Vec::new();
    Man::new(command).render_options_section(&mut options)?;
    page.extend(String::from_utf8_lossy(&options).replace(".SH OPTIONS\n", "").into_bytes());
    Ok(())
}

fn of_the_config() -> String {
    let mut roff = Roff::new();
    roff.control("TH", ["wanfo.yaml", "5", "", concat!("wanfo ", env!("CARGO_PKG_VERSION")), "wanfo"]);
    roff.control("SH", ["NAME"]).text([roman("wanfo.yaml - the configuration of wanfo, in YAML")]);
    roff.control("SH", ["SYNOPSIS"]).text([bold("/etc/wanfo/wanfo.yaml")]);
    roff.control("SH", ["DESCRIPTION"]);
    // Behind its title.
    let mut lines = REFERENCE.lines().skip(2).peekable();
    let (mut is_example, mut columns) = (false, Vec::new());
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            is_example = !is_example;
            roff.control(if is_example { "nf" } else { "fi" }, []);
        } else if is_example {
            roff.text([roman(line)]);
        } else if let Some(title) = line.strip_prefix("## ") {
            roff.control("SH", [title.to_uppercase().as_str()]);
        } else if let Some(row) = line.strip_prefix('|').and_then(|row| row.strip_suffix('|')) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            if lines.next_if(|next| next.starts_with("|---")).is_some() {
                // The keys go first, in a section of their own.
                if cells.first() == Some(&"key") {
                    roff.control("SH", ["KEYS"]);
                }
                columns = cells;
                continue;
            }
            let (term, meaning) = row_of(&cells, &columns);
            roff.control("TP", []).text(term).text(inline(&meaning));
        } else if line.is_empty() {
            roff.control("PP", []);
        } else {
            roff.text(inline(line));
        }
    }
    roff.control("SH", ["EXAMPLE"]).control("nf", []);
    for line in FULL.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []).control("SH", ["SEE ALSO"]).text([roman("wanfo(1)")]);
    roff.render()
}

/// What a row is about, and what it says of that: of the keys their meaning, of other tables each column by its name.
fn row_of(cells: &[&str], columns: &[&str]) -> (Vec<Inline>, String) {
    match (cells, columns.last()) {
        ([key, "", meaning], Some(&"meaning")) => (inline(key), (*meaning).to_owned()),
        ([key, default, meaning], Some(&"meaning")) => {
            let default = [vec![roman(", default: ")], inline(default)].concat();
            ([inline(key), default].concat(), (*meaning).to_owned())
        }
        _ => {
            let mut told = cells.iter().zip(columns);
            let term = told.next().map(|(cell, _)| inline(cell)).unwrap_or_default();
            let others = told.map(|(cell, column)| format!("{column}: {cell}"));
            (term, others.collect::<Vec<_>>().join(". "))
        }
    }
}

/// Markdown's `code` is bold, and of a link the words stay: a page under docs/ is named by them.
fn inline(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    parts.map(|(at, part)| if at % 2 == 1 { bold(part) } else { roman(without_links(part)) }).collect()
}

fn without_links(text: &str) -> String {
    let mut parts = text.split("](");
    let mut words = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        if let (Some(begin), Some((_, rest))) = (words.rfind('['), part.split_once(')')) {
            words.remove(begin);
            words += rest;
        }
    }
    words
}
