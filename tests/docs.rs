//! The pages, held against the program: a command line is one that it takes, a piece of config one that its reader takes,
//! and what they name (files, units, headings, keys) is there.
//!
//! A block in a page is a drawing, or command lines where it is indented; fenced, it is what its language says: `yaml`
//! is wanfo's config, `sh` a script, and `conf`, `ini`, `nft` and `text` belong to others.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use clap::error::ErrorKind::{DisplayHelp, DisplayVersion, MissingRequiredArgument};
use clap::{CommandFactory, Parser};
use serde_yaml::{Mapping, Value};
use wanfo::cli::Cli;
use wanfo::core::config::ConfigError;
use wanfo::core::config::read::parse;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What an admin has, or is told to install, and the words of a shell.
const PROGRAMS: &str =
    ".ci/run apt cargo rustup do done editor for install ip rm scp sysctl systemctl tee wanfo";
/// ip(8)
const OBJECTS: [&str; 5] = ["address", "link", "monitor", "route", "rule"];
/// systemctl(1)
const VERBS: [&str; 8] =
    ["daemon-reload", "disable", "enable", "reload", "restart", "start", "status", "stop"];
/// Names of other programs, of which the program knows nothing.
const OTHERS: [&str; 2] = ["init_fail", "wpa_supplicant"];
/// Of a reader who looks up what was meant: the least that the program wants there.
const STAND_INS: [(&str, &str); 3] = [("SHELL", "bash"), ("COMMAND", "check"), ("DURATION", "30m")];

struct Page {
    /// As from the root of the repository.
    path: PathBuf,
    blocks: Vec<Block>,
    /// The rest, with empty lines where the blocks stood.
    prose: String,
}

struct Block {
    line: usize,
    /// None: it is indented.
    language: Option<String>,
    text: String,
}

impl Block {
    fn is_drawing(&self) -> bool {
        self.language.is_none() && ["---", "~~~"].iter().any(|stroke| self.text.contains(stroke))
    }

    fn are_commands(&self) -> bool {
        self.language.is_none() && !self.is_drawing()
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(number, line)| (self.line + number, line))
    }
}

impl Page {
    fn read(path: PathBuf) -> Page {
        let text = fs::read_to_string(Path::new(ROOT).join(&path)).expect("a page");
        let (mut blocks, mut prose) = (Vec::<Block>::new(), String::new());
        let (mut is_fenced, mut goes_on, mut after_blank) = (false, false, true);
        for (number, line) in (1..).zip(text.lines()) {
            let fence = line.trim_start().strip_prefix("```");
            let is_indented = line.starts_with("    ") && (goes_on || after_blank);
            match fence {
                Some(language) => {
                    is_fenced = !is_fenced;
                    if is_fenced {
                        let language = Some(language.to_owned());
                        blocks.push(Block { line: number + 1, language, text: String::new() });
                    }
                    goes_on = false;
                }
                None if is_fenced || is_indented => {
                    if !is_fenced && !goes_on {
                        blocks.push(Block { line: number, language: None, text: String::new() });
                    }
                    goes_on = !is_fenced;
                    blocks.last_mut().expect("one that was begun").text += &format!("{line}\n");
                }
                None => {
                    goes_on = false;
                    prose += line;
                }
            }
            prose.push('\n');
            after_blank = line.is_empty();
        }
        assert!(!is_fenced, "{}: the last fence is open", path.display());
        Page { path, blocks, prose }
    }

    fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }

    /// What stands between backticks, with the number of its line.
    fn spans(&self) -> Vec<(usize, String)> {
        let mut spans = Vec::new();
        let mut line = 1;
        for (number, piece) in self.prose.split('`').enumerate() {
            if number % 2 == 1 {
                // A bar in a table needs the backslash.
                let words: Vec<&str> = piece.split_whitespace().collect();
                spans.push((line, words.join(" ").replace("\\|", "|")));
            }
            line += piece.matches('\n').count();
        }
        assert!(
            self.prose.matches('`').count().is_multiple_of(2),
            "{}: a backtick is left over",
            self.path.display()
        );
        spans
    }

    /// Every link to another file, or to a heading, with the number of its line.
    fn links(&self) -> impl Iterator<Item = (usize, &str)> {
        let links = (1..).zip(self.prose.lines()).flat_map(|(number, line)| {
            line.split("](").skip(1).map(move |rest| (number, rest.split(')').next().expect("a piece")))
        });
        links.filter(|(_, target)| !target.starts_with("https://"))
    }

    /// Every command line in it, in words, with the number of its line.
    fn commands(&self) -> Vec<(usize, Vec<String>)> {
        let in_blocks = self.blocks.iter().filter(|block| !block.is_drawing()).flat_map(Block::lines);
        let in_blocks =
            in_blocks.flat_map(|(number, line)| split(line).into_iter().map(move |it| (number, it)));
        let in_spans = self.spans().into_iter().flat_map(|(number, span)| {
            variants(&span)
                .into_iter()
                .flat_map(|it| split(&it))
                .map(move |it| (number, it))
                .collect::<Vec<_>>()
        });
        in_blocks.chain(in_spans).collect()
    }

    /// Every word in it that may name a file, with the number of its line.
    fn words(&self) -> Vec<(usize, String)> {
        let blocks = self.blocks.iter().filter(|block| block.are_commands()).flat_map(Block::lines);
        let blocks = blocks.map(|(number, line)| (number, line.to_owned()));
        let all = blocks.chain(self.spans()).collect::<Vec<_>>();
        let words = |(number, text): &(usize, String)| {
            let words = text.split([' ', '"', '(', ')', ':', '=']).map(|word| (*number, word.to_owned()));
            words.collect::<Vec<_>>()
        };
        all.iter().flat_map(words).collect()
    }
}

/// All that are for people, but for the past.
fn pages() -> Vec<Page> {
    let mut paths: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(PathBuf::from).into();
    for folder in ["docs", "examples"] {
        let entries = fs::read_dir(Path::new(ROOT).join(folder)).expect("a folder");
        paths.extend(entries.map(|entry| Path::new(folder).join(entry.expect("an entry").file_name())));
    }
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    paths.sort();
    assert!(paths.len() > 20, "{paths:?}");
    paths.into_iter().map(Page::read).collect()
}

/// The commands of a line, each in words, which quotes hold together. A comment ends it; what a redirection leads to is
/// left out.
fn split(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![(true, Vec::new())];
    let (mut word, mut quote) = (None::<String>, None);
    for character in line.chars().chain([' ']) {
        match (quote, character) {
            (Some(end), _) if character == end => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (None, '#') if word.is_none() => break,
            (None, ' ' | '|' | ';' | '&' | '>') => {
                commands.last_mut().expect("one is begun").1.extend(word.take());
                if character != ' ' {
                    commands.push((character != '>', Vec::new()));
                }
            }
            _ => word.get_or_insert_default().push(character),
        }
    }
    commands.retain(|(is_command, words)| *is_command && !words.is_empty());
    commands.into_iter().map(|(_, words)| words).collect()
}

/// Of `status [-v] [--for 30m | --hold]` the one without, and one with each.
fn variants(synopsis: &str) -> Vec<String> {
    let mut bare = String::new();
    let mut optional = Vec::new();
    for piece in synopsis.split(" [") {
        match piece.split_once(']') {
            Some((inside, behind)) => {
                optional.extend(inside.split(" | "));
                bare += behind;
            }
            None => bare += piece,
        }
    }
    let with_one = optional.iter().map(|words| format!("{bare} {words}"));
    [bare.clone()].into_iter().chain(with_one).collect()
}

/// The words behind those that only say as whom, and in which environment.
fn bare(words: &[String]) -> &[String] {
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let is_setting = |word: &str| word.split_once('=').is_some_and(|(name, _)| is_name(name));
    let before =
        words.iter().take_while(|word| ["sudo", "export"].contains(&word.as_str()) || is_setting(word));
    &words[before.count()..]
}

/// What is given to wanfo, where that is called: by itself, or in another program's settings.
fn arguments(words: &[String]) -> Option<Vec<String>> {
    if let Some((_, given)) = words.iter().find_map(|word| word.split_once("/wanfo ")) {
        let (given, _) = given.split_once(';').unwrap_or((given, ""));
        return Some(given.split(' ').map(str::to_owned).collect());
    }
    let (first, given) = bare(words).split_first()?;
    let is_wanfo = first == "wanfo" || first.ends_with("/wanfo");
    (is_wanfo && !given.is_empty()).then(|| given.to_vec())
}

/// Why the program does not take these words.
fn refusal(given: &[String]) -> Option<String> {
    let is_name = given.len() == 1;
    let given = given.iter().map(|word| {
        let word = word.trim_end_matches('…');
        STAND_INS.iter().find(|(name, _)| *name == word).map_or(word, |(_, stand_in)| stand_in)
    });
    let error = Cli::try_parse_from(["wanfo"].into_iter().chain(given)).err()?;
    let is_right = match error.kind() {
        DisplayHelp | DisplayVersion => true,
        // It is only called by its name.
        MissingRequiredArgument => is_name,
        _ => false,
    };
    (!is_right).then(|| error.to_string().lines().next().unwrap_or_default().to_owned())
}

fn assert_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_command_line_is_one_that_the_program_takes() {
    let program = Cli::command();
    let names: Vec<&str> = program.get_subcommands().map(clap::Command::get_name).collect();
    let options: Vec<&str> = program
        .get_subcommands()
        .chain([&program])
        .flat_map(clap::Command::get_arguments)
        .filter_map(clap::Arg::get_long)
        .chain(["help", "version"])
        .collect();
    let (mut faults, mut count) = (Vec::new(), 0);
    for page in pages() {
        for (line, words) in page.commands() {
            let place = page.place(line);
            let given = match &words[..] {
                // `status --exit-code` says it in short.
                [name, option, ..] if names.contains(&name.as_str()) && option.starts_with('-') => words,
                [option, ..] if option.starts_with("--") => {
                    if !options.contains(&&option[2..]) {
                        faults.push(format!("{place}: no command has {option}"));
                    }
                    continue;
                }
                _ => match arguments(&words) {
                    Some(given) => given,
                    None => continue,
                },
            };
            count += 1;
            faults.extend(refusal(&given).map(|why| format!("{place}: {given:?}: {why}")));
        }
    }
    assert_none(faults);
    assert!(count > 80, "{count}");
}

#[test]
fn every_other_command_names_what_is_there() {
    let (mut faults, mut count) = (Vec::new(), 0);
    for page in pages() {
        let in_blocks = page.blocks.iter().filter(|block| block.are_commands());
        let known = in_blocks
            .flat_map(Block::lines)
            .flat_map(|(line, text)| split(text).into_iter().map(move |words| (line, words)));
        for (line, words) in known {
            count += 1;
            let program = bare(&words).first().expect("a program").as_str();
            if !PROGRAMS.split(' ').any(|known| known == program) {
                faults.push(format!("{}: who is {program}? ({})", page.place(line), words.join(" ")));
            }
        }
        for (line, words) in page.commands() {
            let words: Vec<&str> = bare(&words).iter().map(String::as_str).collect();
            let fault = match words[..] {
                ["ip", ref rest @ ..] if !rest.is_empty() => {
                    let object = rest.iter().find(|word| !word.starts_with('-'));
                    object.filter(|object| !OBJECTS.contains(object)).map(|_| "no object of ip(8)")
                }
                ["systemctl", verb, ..] if !VERBS.contains(&verb) => Some("no verb of systemctl(1)"),
                ["systemctl", _, ref units @ ..] => {
                    let unknown = units.iter().find(|unit| unit.starts_with("wanfo") && !is_unit(unit));
                    unknown.map(|_| "no unit of ours")
                }
                ["sysctl", "-w", setting, ..] => {
                    let (key, _) = setting.split_once('=').expect("a value");
                    (!has_sysctl(key)).then_some("no such sysctl")
                }
                ["cargo", _, ref rest @ ..] => {
                    let named = rest.windows(2).find(|pair| !has_target(pair[0], pair[1]));
                    named.map(|_| "it names what is not there")
                }
                _ => None,
            };
            faults.extend(fault.map(|fault| format!("{}: {fault}: {words:?}", page.place(line))));
        }
        for block in page.blocks.iter().filter(|block| block.text.starts_with("# /etc/sysctl.d/")) {
            for (line, text) in block.lines().skip(1) {
                let (key, _) = text.split_once(" = ").expect("a value");
                if !has_sysctl(key) {
                    faults.push(format!("{}: no such sysctl: {key}", page.place(line)));
                }
            }
        }
    }
    assert_none(faults);
    assert!(count > 40, "{count}");
}

/// Whatever interface it is about.
fn has_sysctl(key: &str) -> bool {
    let mut path = PathBuf::from("/proc/sys");
    let mut steps = key.split('.').peekable();
    while let Some(step) = steps.next() {
        path.push(step);
        if step == "conf" && steps.next_if(|name| *name != "all").is_some() {
            path.push("default");
        }
    }
    path.exists() || key.starts_with("net.ipv6.") && !Path::new("/proc/sys/net/ipv6").exists()
}

/// What `cargo` is told to build.
fn has_target(option: &str, name: &str) -> bool {
    let folder = match option {
        "--test" => "tests",
        "--bench" => "benches",
        "--example" => "examples",
        _ => return true,
    };
    let path = Path::new(ROOT).join(folder).join(name);
    path.join("main.rs").exists() || path.with_extension("rs").exists()
}

#[test]
fn every_script_can_be_read_by_a_shell_and_every_block_is_of_a_known_kind() {
    for page in pages() {
        for block in &page.blocks {
            let place = page.place(block.line);
            match block.language.as_deref() {
                None | Some("yaml" | "conf" | "ini" | "nft" | "text") => {}
                Some("sh") => {
                    let shell =
                        Command::new("sh").arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
                    let mut shell = shell.expect("a shell");
                    shell.stdin.take().expect("a pipe").write_all(block.text.as_bytes()).expect("it reads");
                    let output = shell.wait_with_output().expect("it ends");
                    let complaint = String::from_utf8_lossy(&output.stderr);
                    assert!(output.status.success(), "{place}: {complaint}");
                }
                Some(other) => panic!("{place}: what is {other:?}?"),
            }
        }
    }
}

/// The least that is a config, and what a piece may lack around it.
const BASE: &str = "
links:
  - {name: primary, interface: eth0, targets: [198.51.100.53, 203.0.113.53]}
  - {name: secondary, interface: eth1, routes: [192.0.2.128/25]}
";
const NOTIFY: &str = "{to: [noc@example.com], from: wanfo@router.example.com}";
const SMTP: &str = "{host: mail.example.com}";
const WEBHOOK: &str = "{url_file: /etc/wanfo/webhook-url, template: ntfy}";

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).expect("YAML")
}

/// The whole configs that a piece may be of: it stands in one of the sections.
fn whole(piece: &Mapping) -> Vec<Value> {
    let with = |section: &str| {
        let mut config = yaml(BASE);
        let add = |place: &mut Value| place.as_mapping_mut().expect("a mapping").extend(piece.clone());
        match section {
            "" => add(&mut config),
            "links" => add(&mut config["links"][1]),
            "notify" | "smtp" | "webhook" => {
                config["notify"] = yaml(NOTIFY);
                match section {
                    "notify" if piece.contains_key("sendmail") => {}
                    _ => config["notify"]["smtp"] = yaml(SMTP),
                }
                config["notify"]["webhook"] = yaml(WEBHOOK);
                match section {
                    "notify" => add(&mut config["notify"]),
                    _ => add(&mut config["notify"][section]),
                }
            }
            _ => {
                config[section] = Mapping::new().into();
                add(&mut config[section]);
            }
        }
        config
    };
    ["", "links", "probe", "routing", "notify", "smtp", "webhook", "paths"].map(with).into()
}

fn problems(config: &Value) -> Vec<ConfigError> {
    parse(&serde_yaml::to_string(config).expect("YAML")).err().unwrap_or_default()
}

/// Why a piece is part of no config: what is said of it where it fits best.
fn config_fault(text: &str) -> Option<String> {
    let piece = match serde_yaml::from_str(text) {
        Ok(Value::Mapping(piece)) => piece,
        Ok(_) => return Some("no keys".to_owned()),
        Err(error) => return Some(error.to_string()),
    };
    let said = whole(&piece).into_iter().map(|config| problems(&config));
    let unknown = |problems: &Vec<ConfigError>| problems.iter().filter(|it| is_unknown(it)).count();
    let least = said.min_by_key(|problems| (unknown(problems), problems.len())).expect("there are several");
    (!least.is_empty()).then(|| least.iter().map(ConfigError::to_string).collect::<Vec<_>>().join("; "))
}

fn is_unknown(problem: &ConfigError) -> bool {
    problem.text.contains("not known here")
}

/// Whether `probe.silence`, or `links[].name`, is a key.
fn is_key(path: &str) -> bool {
    let nested = path.rsplit('.').fold(Value::Null, |inside, name| {
        let (name, inside) = match name.strip_suffix("[]") {
            Some(name) => (name, Value::Sequence(vec![inside])),
            None => (name, inside),
        };
        Value::Mapping([(Value::from(name), inside)].into_iter().collect())
    });
    !problems(&nested).iter().any(is_unknown)
}

#[test]
fn every_piece_of_config_is_one_that_the_reader_takes() {
    let (mut faults, mut count) = (Vec::new(), 0);
    let is_name = |word: &str| word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    for page in pages() {
        for block in page.blocks.iter().filter(|block| block.language.as_deref() == Some("yaml")) {
            count += 1;
            let fault = config_fault(&block.text);
            faults.extend(fault.map(|fault| format!("{}: {fault}", page.place(block.line))));
        }
        for (line, span) in page.spans() {
            let place = page.place(line);
            if span.split_once(": ").is_some_and(|(key, _)| is_name(key)) {
                count += 1;
                faults.extend(config_fault(&span).map(|fault| format!("{place}: `{span}`: {fault}")));
            }
            let of_section = ["links[].", "probe.", "routing.", "notify.", "paths."];
            if of_section.iter().any(|section| span.starts_with(section)) {
                count += 1;
                if !is_key(&span) {
                    faults.push(format!("{place}: no key {span}"));
                }
            }
        }
    }
    assert_none(faults);
    assert!(count > 60, "{count}");
}

/// Every name that stands in the program, its tests, or what is installed with it.
fn names() -> HashSet<String> {
    fn collect(path: &Path, names: &mut HashSet<String>) {
        if path.is_dir() {
            for entry in fs::read_dir(path).expect("a folder") {
                collect(&entry.expect("an entry").path(), names);
            }
        } else if let Ok(text) = fs::read_to_string(path) {
            names.extend(text.split(is_between).map(str::to_owned));
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    let mut names = HashSet::new();
    for top in ["src", "tests", "benches", "systemd", "examples/hooks", "docs/status.schema.json"] {
        collect(&Path::new(ROOT).join(top), &mut names);
    }
    names
}

fn is_between(character: char) -> bool {
    !character.is_ascii_alphanumeric() && character != '_'
}

#[test]
fn every_name_of_code_stands_in_the_code() {
    let names = names();
    let (mut faults, mut count) = (Vec::new(), 0);
    for page in pages() {
        for (line, span) in page.spans() {
            // With an ellipsis it is a part of one.
            for word in span.split(is_between).filter(|_| !span.contains('…')) {
                let is_of_code = word.trim_matches('_').contains('_') || span.contains("::");
                if !is_of_code || word.ends_with('_') {
                    continue;
                }
                count += 1;
                // The program puts that in front of each.
                let short = word.strip_prefix("WANFO_").unwrap_or(word);
                if ![word, short].iter().any(|name| names.contains(*name)) && !OTHERS.contains(&word) {
                    faults.push(format!("{}: `{span}`: nobody else says {word}", page.place(line)));
                }
            }
        }
    }
    assert_none(faults);
    assert!(count > 80, "{count}");
}

#[test]
fn every_file_and_unit_that_is_named_is_there() {
    let root = Path::new(ROOT);
    let (mut faults, mut count) = (Vec::new(), 0);
    for page in pages() {
        for (line, word) in page.words() {
            let path = Path::new(&word);
            let Some(Component::Normal(first)) = path.components().next() else { continue };
            let first = first.to_str().expect("text");
            let is_inside = word.contains('/') && !word.contains("NN");
            let found = match first {
                "src" | "tests" | "docs" | "examples" | "systemd" | "packaging" | "benches" | ".ci"
                    if is_inside =>
                {
                    // All of a kind.
                    let whole = if word.contains('*') { path.parent().expect("a folder") } else { path };
                    root.join(whole).exists()
                }
                "core" | "commands" | "system" if is_inside => root.join("src").join(path).exists(),
                _ => continue,
            };
            count += 1;
            if !found {
                faults.push(format!("{}: there is no {word}", page.place(line)));
            }
        }
        for (line, word) in page.words() {
            let name = word.rsplit('/').next().expect("a piece").trim_end_matches(',');
            let may_be_unit = [".service", ".timer", ".path"].iter().any(|ending| name.ends_with(ending));
            if may_be_unit && name.starts_with("wanfo") {
                count += 1;
                faults.extend((!is_unit(name)).then(|| format!("{}: no unit {name}", page.place(line))));
            }
        }
    }
    assert_none(faults);
    assert!(count > 80, "{count}");
}

fn is_unit(name: &str) -> bool {
    ["systemd", "examples/monitoring"].iter().any(|place| Path::new(ROOT).join(place).join(name).exists())
}

/// What a heading is called in a link: as code hosts make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut faults = Vec::new();
    let mut count = 0;
    for page in pages().into_iter().chain([Page::read("CHANGELOG.md".into())]) {
        for (number, target) in page.links() {
            count += 1;
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let beside = page.path.parent().expect("a file").join(path);
            let path = if path.is_empty() { page.path.clone() } else { beside };
            let whole = Path::new(ROOT).join(&path);
            let has_heading = || {
                let text = fs::read_to_string(&whole).expect("a page");
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                headings.any(|line| anchor(line.trim_start_matches('#')) == heading)
            };
            if !whole.exists() || !heading.is_empty() && !has_heading() {
                faults.push(format!("{}: {target} leads nowhere", page.place(number)));
            }
        }
        // Named in passing, for those who have the folder before them.
        for (number, line) in (1..).zip(page.prose.lines()) {
            for word in line.split(|c: char| c.is_whitespace() || "()[],;#`".contains(c)) {
                let word = word.trim_end_matches('.');
                if !word.ends_with(".md") || word.starts_with("https://") {
                    continue;
                }
                count += 1;
                let beside = Path::new(ROOT).join(page.path.parent().expect("a file")).join(word);
                if !beside.exists() && !Path::new(ROOT).join(word).exists() {
                    faults.push(format!("{}: there is no {word}", page.place(number)));
                }
            }
        }
    }
    assert_none(faults);
    assert!(count > 50, "{count}");
}

/// What the Debian package puts where, and which file of the repository that is; but for what is built.
fn installed() -> Vec<(PathBuf, PathBuf)> {
    let manifest = fs::read_to_string(Path::new(ROOT).join("Cargo.toml")).expect("a manifest");
    let assets = manifest.lines().skip_while(|line| *line != "assets = [").skip(1);
    let assets = assets.take_while(|line| *line != "]").map(|line| {
        // TOML of this kind is JSON as well.
        serde_json::from_str::<[String; 3]>(line.trim().trim_end_matches(',')).expect("what, where, mode")
    });
    let mut installed = Vec::new();
    for [what, place, _] in assets.filter(|[what, ..]| !what.starts_with("target/")) {
        let (folder, pattern) = what.rsplit_once('/').unwrap_or(("", &what));
        let (begin, end) = pattern.split_once('*').unwrap_or((pattern, ""));
        for entry in fs::read_dir(Path::new(ROOT).join(folder)).expect("a folder") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("text");
            let is_meant = if pattern.contains('*') {
                name.starts_with(begin) && name.ends_with(end)
            } else {
                name == pattern
            };
            if is_meant && entry.path().is_file() {
                let place = if place.ends_with('/') { format!("{place}{name}") } else { place.clone() };
                installed.push((place.into(), Path::new(folder).join(name)));
            }
        }
    }
    installed
}

#[test]
fn every_link_of_an_installed_page_leads_to_what_is_installed() {
    let installed = installed();
    let is_page = |source: &Path| source.extension().is_some_and(|ending| ending == "md");
    let (mut faults, mut count) = (Vec::new(), 0);
    for (place, source) in installed.iter().filter(|(_, source)| is_page(source)) {
        for (line, target) in Page::read(source.clone()).links() {
            let (path, _) = target.split_once('#').unwrap_or((target, ""));
            let mut there = place.parent().expect("a folder").to_owned();
            for step in Path::new(path).components() {
                match step {
                    Component::ParentDir => _ = there.pop(),
                    step => there.push(step),
                }
            }
            count += 1;
            if !path.is_empty() && !installed.iter().any(|(place, _)| place.starts_with(&there)) {
                faults.push(format!("{}:{line}: {} is not installed", source.display(), there.display()));
            }
        }
    }
    assert_none(faults);
    assert!(count > 60, "{count}");
}

#[test]
fn what_is_installed_is_in_the_crate() {
    let mut list = Command::new(env!("CARGO"));
    list.current_dir(ROOT).args(["package", "--list", "--allow-dirty", "--offline"]);
    let output = list.output().expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let published = String::from_utf8(output.stdout).expect("text");
    let published: HashSet<&Path> = published.lines().map(Path::new).collect();
    let installed = installed();
    let missing = installed.iter().filter(|(_, source)| !published.contains(&**source));
    assert_none(missing.map(|(_, source)| format!("`include` has no {}", source.display())).collect());
    assert!(installed.len() > 50, "{}", installed.len());
}
