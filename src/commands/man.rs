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
    for line in REFERENCE.lines().skip(2) {
        let row = line.strip_prefix('|').and_then(|row| row.strip_suffix('|'));
        let cells: Vec<&str> = row.map_or(vec![line], |row| row.split('|').map(str::trim).collect());
        match cells[..] {
            ["key", ..] => roff.control("SH", ["KEYS"]),
            [key, ..] if key.starts_with("---") => continue,
            [key, "", meaning] => roff.control("TP", []).text(inline(key)).text(inline(meaning)),
            [key, default, meaning] => roff
                .control("TP", [])
                .text([inline(key), vec![roman(", default: ")], inline(default)].concat())
                .text(inline(meaning)),
            [""] => roff.control("PP", []),
            _ => roff.text(inline(line)),
        };
    }
    roff.control("SH", ["EXAMPLE"]).control("nf", []);
    for line in FULL.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []).control("SH", ["SEE ALSO"]).text([roman("wanfo(1)")]);
    roff.render()
}

/// Markdown's `code` is bold.
fn inline(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    parts.map(|(at, part)| if at % 2 == 1 { bold(part) } else { roman(part) }).collect()
}
