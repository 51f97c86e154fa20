//! Sending what waits. It has a lock of its own, so a relay that hangs holds up no check.

use anyhow::Result;
use jiff::Timestamp;

use super::{Exit, say};
use crate::cli;
use crate::core::config::{Config, Notify};
use crate::core::spool::Message;
use crate::core::spool::{self, MOST_ATTEMPTS, Mail, Refusal, Waiting};
use crate::system::clock;
use crate::system::smtp::{Failure, Outbox};
use crate::system::spool::{Delivery, Spool};

pub fn run(config: &Config, arguments: &cli::Deliver) -> Result<Exit> {
    let spool = Spool::new(&config.paths.state);
    match &config.notify {
        Some(notify) if arguments.test => test(notify),
        Some(notify) => deliver(notify, spool),
        None => {
            let waiting = spool.pending()?;
            if waiting == 0 && !arguments.test {
                return Ok(Exit::Done);
            }
            log::error!("the config has no `notify`, so no mail can be sent; {waiting} in the spool");
            Ok(Exit::Failed)
        }
    }
}

/// Every recipient gets the messages that are due and owed to him as one mail.
fn deliver(notify: &Notify, spool: Spool) -> Result<Exit> {
    if spool.pending()? == 0 {
        return Ok(Exit::Done);
    }
    let Some(delivery) = spool.lock()? else {
        log::info!("another `wanfo deliver` is at work");
        return Ok(Exit::Busy);
    };
    let now = clock::now()?.wall;
    let (due, troubles) = delivery.due(now)?;
    troubles.iter().for_each(|trouble| log::error!("{trouble}"));
    let (settled, mut messages): (Vec<_>, Vec<_>) =
        due.into_iter().partition(|waiting| waiting.is_settled(&notify.to));
    // Whoever had not got these is no longer in the config.
    settled.iter().try_for_each(|waiting| settle(&delivery, waiting, notify))?;
    for waiting in &mut messages {
        waiting.begin_attempt(now);
        // To disk before the first byte goes out: where nothing can be written, nothing may be sent, or it would be
        // sent again and again.
        delivery.save(waiting)?;
    }

    let mut outbox = Outbox::new(notify);
    let mut last_failure = None;
    for to in &notify.to {
        let owed = |waiting: &&mut Waiting| waiting.is_owed_to(to);
        let mut owed: Vec<&mut Waiting> = messages.iter_mut().filter(owed).collect();
        let Some(mail) = spool::join(owed.iter().flat_map(|waiting| waiting.messages()).collect()) else {
            continue;
        };
        let outcome = outbox.send(to, &mail);
        match &outcome {
            Ok(said) => log::info!("mail to {to}: {:?}: {said}", mail.subject),
            Err(failure) => log::error!("no mail to {to}: {failure}"),
        }
        for waiting in &mut owed {
            match &outcome {
                Ok(_) => waiting.sent_to.push(to.clone()),
                Err(Failure::Permanent(reason)) => {
                    waiting.refused.push(Refusal { to: to.clone(), reason: reason.clone() });
                }
                Err(Failure::Temporary(_)) => continue,
            }
            // Killed after the relay's OK and before this is written, the next delivery sends the mail once more: no
            // mail is lost, and it has the same Message-ID.
            settle(&delivery, waiting, notify)?;
        }
        last_failure = outcome.err().or(last_failure);
    }
    give_up(&delivery, &messages, notify, last_failure.as_ref())?;
    delivery.prune()?;
    outbox.close();
    Ok(if last_failure.is_some() || !troubles.is_empty() { Exit::Failed } else { Exit::Done })
}

/// Writes down who has a message; one that nobody waits for any more leaves the spool.
fn settle(delivery: &Delivery, waiting: &Waiting, notify: &Notify) -> Result<()> {
    match &waiting.refused[..] {
        _ if !waiting.is_settled(&notify.to) => delivery.save(waiting),
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
    notify: &Notify,
    failure: Option<&Failure>,
) -> Result<()> {
    let Some(failure) = failure else { return Ok(()) };
    let is_over = |waiting: &&Waiting| waiting.attempts >= MOST_ATTEMPTS && !waiting.is_settled(&notify.to);
    for waiting in messages.iter().filter(is_over) {
        delivery.set_aside(waiting, &format!("given up after three days: {failure}"))?;
    }
    Ok(())
}

/// `--test`: one mail to every recipient, past the spool, and what became of it.
fn test(notify: &Notify) -> Result<Exit> {
    let host = clock::host();
    let message = Message {
        id: format!("test-{}", Timestamp::now().as_millisecond()),
        at: Timestamp::now(),
        subject: format!("Test mail from wanfo on '{host}'"),
        text: format!(
            "This is what `wanfo deliver --test` sends. Mails about the WAN links of '{host}' will reach you.\n"
        ),
        topic: None,
    };
    let Some(mail): Option<Mail> = spool::join(vec![&message]) else { return Ok(Exit::Failed) };
    let mut outbox = Outbox::new(notify);
    let mut exit = Exit::Done;
    for to in &notify.to {
        match outbox.send(to, &mail) {
            Ok(said) => say(format_args!("{to}: sent; {said}\n"))?,
            Err(failure) => {
                log::error!("{to}: not sent; {failure}");
                exit = Exit::Failed;
            }
        }
    }
    outbox.close();
    Ok(exit)
}
