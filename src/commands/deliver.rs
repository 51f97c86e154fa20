//! Sending what waits, and running the link script. It has a lock of its own, so a relay that hangs, or a modem that dials,
//! holds up no check.

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;

use super::{Exit, say};
use crate::cli;
use crate::core::config::{Config, Notify};
use crate::core::gateway::View;
use crate::core::hold::Hold;
use crate::core::message::Switched;
use crate::core::script::Ending;
use crate::core::spool::{self, MOST_ATTEMPTS, Mail, Message, Refusal, WEBHOOK, Waiting};
use crate::core::state::Loaded;
use crate::core::switch::{Cause, Switch};
use crate::core::units::span;
use crate::system::clock;
use crate::system::kernel::Kernel;
use crate::system::router;
use crate::system::script;
use crate::system::smtp::{Failure, Outbox};
use crate::system::spool::{Delivery, Spool};
use crate::system::store;
use crate::system::webhook;

/// How often the link script is started for one change, when it is killed with us each time, or cannot be started.
const MOST_STARTS: u32 = 3;

/// How soon a change that comes while people are told is told to the link script.
const BEAT: Duration = Duration::from_secs(1);

pub fn run(config: &Config, arguments: &cli::Deliver) -> Result<Exit> {
    if arguments.example {
        return example(config);
    }
    let spool = Spool::new(&config.paths.state);
    match &config.notify {
        Some(notify) if arguments.test => return test(notify),
        None if arguments.test || config.link_script.is_none() => {
            let waiting = spool.pending()?;
            if waiting == 0 && !arguments.test {
                return Ok(Exit::Done);
            }
            log::error!("the config has no `notify`, so nothing can be sent; {waiting} in the spool");
            return Ok(Exit::Failed);
        }
        _ => {}
    }
    if spool.pending()? == 0 {
        return Ok(Exit::Done);
    }
    let Some(delivery) = spool.lock()? else {
        log::info!("another `wanfo deliver` is at work");
        return Ok(Exit::Busy);
    };
    // A relay that hangs holds up no redial, and a redial no mail.
    let (told, called) = thread::scope(|scope| {
        let (end, people) = channel::<()>();
        // `scope.spawn` would panic where the kernel has no thread for us.
        let script =
            thread::Builder::new().spawn_scoped(scope, || call_link_script(config, &delivery, people));
        let told = match &config.notify {
            Some(notify) => deliver(notify, &delivery),
            None => set_aside_all(&delivery),
        };
        drop(end);
        let called = script
            .context("starting a thread for the link script")
            .and_then(|script| script.join().unwrap_or_else(|panic| resume_unwind(panic)));
        (told, called)
    });
    Ok(if told? == Exit::Done && called? { Exit::Done } else { Exit::Failed })
}

/// Prints the mail that a switch off the active link would bring, with the router's routes as they are.
fn example(config: &Config) -> Result<Exit> {
    let machine = clock::machine()?;
    let mut state = match store::peek(&config.paths.run, &machine.boot_id)? {
        Loaded::Known(state) => *state,
        Loaded::Nothing | Loaded::Damaged(_) => {
            log::error!("no run of `wanfo check` since boot, so there is nothing to tell an example of");
            return Ok(Exit::Failed);
        }
    };
    let now = clock::now()?;
    let from = state.active.clone();
    let Some(to) = config.links.iter().position(|link| link.name != from && !link.routes_only) else {
        log::error!("there is no link but {from} that may carry the traffic");
        return Ok(Exit::Failed);
    };
    let reason = format!("{from} is down: an example, nothing was switched");
    let switch = Switch { to, cause: Cause::LinkDown, reason, may_be_vetoed: false, hold: Hold::No };
    state.begin_switch(&switch, config, None, now.boot);
    let view = View::of(config, router::look(&mut Kernel::open()?, config)?);
    let Some(switching) = &state.switching else { return Ok(Exit::Failed) };
    let (host, at) = (machine.host.as_str(), &machine.local(now));
    let mail = Switched { host, at, config, state: &state, switching, view: &view }.message();
    say(format_args!("Subject: {}\n\n{}\n", mail.subject, mail.text.trim_end()))?;
    Ok(Exit::Done)
}

/// Tells the link script of one change after the other, until nothing waits and all `people` are told. Returns whether it
/// could be run.
fn call_link_script(config: &Config, delivery: &Delivery, people: Receiver<()>) -> Result<bool> {
    let mut is_well = true;
    loop {
        let now = clock::now()?.wall;
        let Some(mut waiting) = delivery.next_call(now)? else {
            match people.recv_timeout(BEAT) {
                Err(RecvTimeoutError::Timeout) => continue,
                _ => return Ok(is_well),
            }
        };
        // One from before the last boot is no news, and where there is no script any more nobody hears it.
        let boot_id = store::boot_of_last_run(&config.paths.run);
        let call = waiting.message.call.clone().filter(|call| Some(&call.boot_id) == boot_id.as_ref());
        if let (Some(path), Some(call)) = (&config.link_script, call) {
            waiting.begin_attempt(now);
            delivery.save(&waiting)?;
            if script::sandboxed() == Some(true) {
                log::warn!(
                    "the link script runs inside the sandbox of wanfo-deliver.service and may fail at what it does; install \
                     the drop-in action-script.conf, which comes with the units, for that unit"
                );
            }
            let ending = script::run(path, &call.arguments, &call.environment, config.script_timeout);
            let said = format!("script {} {}: {ending}", path.display(), waiting.message.subject);
            match ending {
                Ending::Refused(_) | Ending::NotStarted(_) => log::error!("{said}"),
                _ => log::info!("{said}"),
            }
            is_well &= !matches!(ending, Ending::Refused(_) | Ending::NotStarted(_));
            if matches!(ending, Ending::NotStarted(_)) && waiting.attempts < MOST_STARTS {
                continue;
            }
        }
        delivery.finish(&waiting)?;
    }
}

/// What is left for people where the config tells nobody any more.
fn set_aside_all(delivery: &Delivery) -> Result<Exit> {
    let (due, _, troubles) = delivery.messages(clock::now()?.wall)?;
    troubles.iter().for_each(|trouble| log::error!("{trouble}"));
    due.iter().try_for_each(|waiting| delivery.set_aside(waiting, "the config has no `notify` any more"))?;
    delivery.prune()?;
    Ok(if troubles.is_empty() { Exit::Done } else { Exit::Failed })
}

/// Every recipient gets the messages that are due and owed to him as one mail.
fn deliver(notify: &Notify, delivery: &Delivery) -> Result<Exit> {
    let now = clock::now()?.wall;
    let (due, later, troubles) = delivery.messages(now)?;
    troubles.iter().for_each(|trouble| log::error!("{trouble}"));
    later.iter().for_each(|waiting| log::debug!("{}", why_later(waiting, now)));
    let recipients = recipients(notify);
    let (settled, mut messages): (Vec<_>, Vec<_>) =
        due.into_iter().partition(|waiting| waiting.is_settled(&recipients));
    // Whoever had not got these is no longer in the config.
    settled.iter().try_for_each(|waiting| settle(delivery, waiting, &recipients))?;
    for waiting in &mut messages {
        waiting.begin_attempt(now);
        // To disk before the first byte goes out: where nothing can be written, nothing may be sent, or it would be
        // sent again and again.
        delivery.save(waiting)?;
    }

    let mut outbox = None;
    let mut last_failure = None;
    for to in &recipients {
        let owed = |waiting: &&mut Waiting| waiting.is_owed_to(to);
        let mut owed: Vec<&mut Waiting> = messages.iter_mut().filter(owed).collect();
        let Some(mail) = spool::join(owed.iter().flat_map(|waiting| waiting.messages()).collect()) else {
            continue;
        };
        let outcome = send(notify, &mut outbox, to, &mail);
        match &outcome {
            Ok(said) => log::info!("told {to}: {:?}: {said}", mail.subject),
            Err(failure) => log::error!("{to} could not be told: {failure}"),
        }
        for waiting in &mut owed {
            match &outcome {
                Ok(_) => waiting.sent_to.push(to.clone()),
                Err(Failure::Permanent(reason)) => {
                    waiting.refused.push(Refusal { to: to.clone(), reason: reason.clone() });
                }
                Err(Failure::Temporary(reason)) => {
                    waiting.last_failure = Some(format!("{to} could not be told: {reason}"));
                    // Only the reason would be lost, and the others still wait.
                    delivery.save(waiting).unwrap_or_else(|error| log::error!("{error:#}"));
                    continue;
                }
            }
            // Killed after the relay's OK and before this is written, the next delivery sends the mail once more: no
            // mail is lost, and it has the same Message-ID.
            settle(delivery, waiting, &recipients)?;
        }
        last_failure = outcome.err().or(last_failure);
    }
    give_up(delivery, &messages, &recipients, last_failure.as_ref())?;
    delivery.prune()?;
    outbox.into_iter().for_each(Outbox::close);
    Ok(if last_failure.is_some() || !troubles.is_empty() { Exit::Failed } else { Exit::Done })
}

/// Why a message waits, and for how long.
fn why_later(waiting: &Waiting, now: Timestamp) -> String {
    let wait = waiting.due_at(now).duration_since(now).unsigned_abs();
    let why = match (&waiting.last_failure, &waiting.message.topic) {
        (Some(failure), _) => failure,
        (None, Some(_)) => "one on the same matter went out just before",
        (None, None) => "an attempt was broken off",
    };
    format!("{:?} is sent in {}: {why}", waiting.message.subject, span(wait))
}

/// Everybody who is told, each by himself. The webhook comes first, for it has less time than a relay.
fn recipients(notify: &Notify) -> Vec<String> {
    let webhook = notify.webhook.iter().map(|_| WEBHOOK);
    let mail = notify.mail.iter().flat_map(|mail| &mail.to).map(String::as_str);
    webhook.chain(mail).map(str::to_owned).collect()
}

/// Tells one of them. The relay is there for all the others as well, and its time begins with the first.
fn send<'a>(
    notify: &'a Notify,
    outbox: &mut Option<Outbox<'a>>,
    to: &str,
    mail: &Mail,
) -> Result<String, Failure> {
    match (&notify.webhook, &notify.mail) {
        (Some(webhook), _) if to == WEBHOOK => webhook::post(webhook, mail),
        (_, Some(by_mail)) => outbox.get_or_insert_with(|| Outbox::new(by_mail)).send(to, mail),
        (_, None) => unreachable!("it is no recipient"),
    }
}

/// Writes down who has a message; one that nobody waits for any more leaves the spool.
fn settle(delivery: &Delivery, waiting: &Waiting, recipients: &[String]) -> Result<()> {
    match &waiting.refused[..] {
        _ if !waiting.is_settled(recipients) => delivery.save(waiting),
        [] => delivery.finish(waiting),
        refused => {
            let reasons: Vec<String> =
                refused.iter().map(|refusal| format!("{}: {}", refusal.to, refusal.reason)).collect();
            delivery.set_aside(waiting, &reasons.join("\n"))
        }
    }
}

/// Sets aside what could not be sent for three days.
fn give_up(
    delivery: &Delivery,
    messages: &[Waiting],
    recipients: &[String],
    failure: Option<&Failure>,
) -> Result<()> {
    let Some(failure) = failure else { return Ok(()) };
    let is_over = |waiting: &&Waiting| waiting.attempts >= MOST_ATTEMPTS && !waiting.is_settled(recipients);
    for waiting in messages.iter().filter(is_over) {
        delivery.set_aside(waiting, &format!("given up after three days: {failure}"))?;
    }
    Ok(())
}

/// `--test`: one message to every recipient, past the spool, and what became of it.
fn test(notify: &Notify) -> Result<Exit> {
    let host = clock::host();
    let message = Message {
        id: format!("test-{}", Timestamp::now().as_millisecond()),
        at: Timestamp::now(),
        subject: format!("Test message from wanfo on '{host}'"),
        text: format!(
            "This is what `wanfo deliver --test` sends. News about the WAN links of '{host}' will reach you.\n"
        ),
        topic: None,
        call: None,
    };
    let Some(mail): Option<Mail> = spool::join(vec![&message]) else { return Ok(Exit::Failed) };
    let mut outbox = None;
    let mut exit = Exit::Done;
    for to in &recipients(notify) {
        match send(notify, &mut outbox, to, &mail) {
            Ok(said) => say(format_args!("{to}: sent; {said}\n"))?,
            Err(failure) => {
                log::error!("{to}: not sent; {failure}");
                exit = Exit::Failed;
            }
        }
    }
    outbox.into_iter().for_each(Outbox::close);
    Ok(exit)
}
