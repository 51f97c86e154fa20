use std::io::{IsTerminal, stderr, stdin};
use std::path::Path;

use anyhow::{Result, bail};

use super::{Exit, say};
use crate::core::config::read;
use crate::core::gateway::View;
use crate::core::proposal::{self, Survey, Wishes};
use crate::system::kernel::Kernel;
use crate::system::output::STDERR;
use crate::system::router;

/// Prints a config for this machine, and changes nothing. What only people know it asks, where there is a terminal.
pub fn run() -> Result<Exit> {
    let mut kernel = Kernel::open()?;
    let mut interfaces = kernel.interfaces(&[])?;
    interfaces.retain(|interface| interface.name != "lo");
    let config = proposal::of_every(&interfaces);
    let survey = Survey::of(&View::of(&config, router::look(&mut kernel, &config)?));
    if let Some(refusal) = survey.refusal() {
        log::error!("{refusal}");
        return Ok(Exit::Failed);
    }
    let sendmail = Path::new("/usr/sbin/sendmail").exists();
    let mut wishes = Wishes { sendmail, ..Wishes::default() };
    // Stdout is most often the file to be.
    if stdin().is_terminal() && stderr().is_terminal() {
        ask(&survey, &mut wishes)?;
    }
    let text = survey.propose(&wishes);
    if let Err(faults) = read::parse(&text) {
        bail!("no good config could be made: {}", faults[0]);
    }
    say(text)?;
    Ok(Exit::Done)
}

fn ask(survey: &Survey, wishes: &mut Wishes) -> Result<()> {
    for (number, line) in (1..).zip(&survey.lines) {
        tell(&format!("{number}: {}\n", line.description))?;
    }
    wishes.preferred = answer("Which line is preferred? [1]", |word| match word {
        "" => Some(0),
        word => survey
            .lines
            .iter()
            .zip(1..)
            .position(|(line, number)| line.interface == word || word.parse() == Ok(number)),
    })?;
    wishes.metered = answer("Is a backup metered (paid by the megabyte)? [Y/n]", |word| {
        match word.to_ascii_lowercase().as_str() {
            "" | "y" | "yes" => Some(Some(true)),
            "n" | "no" => Some(Some(false)),
            _ => None,
        }
    })?;
    wishes.mail = answer("Mail address that is told of every switch? [nobody]", |word| match word {
        "" => Some(None),
        word => {
            let wishes = Wishes { mail: Some(word.to_owned()), sendmail: true, ..Wishes::default() };
            read::parse(&survey.propose(&wishes)).is_ok().then_some(wishes.mail)
        }
    })?;
    Ok(())
}

/// Asks until there is an answer that `read` takes.
fn answer<T>(question: &str, read: impl Fn(&str) -> Option<T>) -> Result<T> {
    loop {
        tell(&format!("{question} "))?;
        let mut words = String::new();
        if stdin().read_line(&mut words)? == 0 {
            bail!(
                "the questions were not answered to the end; without a terminal none is asked: `wanfo init < /dev/null`"
            );
        }
        match read(words.trim()) {
            Some(answer) => return Ok(answer),
            None => tell("That is no answer to it.\n")?,
        }
    }
}

fn tell(text: &str) -> Result<()> {
    Ok(STDERR.write(text)?)
}
