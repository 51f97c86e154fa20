//! A message on its way to the people: who has it, when it is tried again, and how several become one mail.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The pauses after the first attempts; after later ones it is `LONGEST_PAUSE`.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(120),
    Duration::from_secs(240),
    Duration::from_secs(480),
];

const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

/// One mail about a topic in this time; what comes meanwhile waits and is joined. Less than `LONGEST_PAUSE`.
const TOPIC_PAUSE: Duration = Duration::from_secs(10 * 60);

/// A text of more bytes is cut.
const MOST_TEXT: usize = 32 * 1024;

/// What is joined keeps so many earlier messages, the newest; the history has them all.
const MOST_EARLIER: usize = 30;

/// So many characters are told of what the other side says, which may be fifty thousand: it goes into the log and into the spool.
const MOST_QUOTED: usize = 200;

/// Three days of trying. Counted in attempts, since the wall clock of a router without a battery may jump by years
/// when it hears of NTP, and that must neither drop a mail nor keep it for ever.
pub const MOST_ATTEMPTS: u32 = 293;

/// What `sent_to` calls the webhook. No mail address is called so.
pub const WEBHOOK: &str = "webhook";

/// One thing to tell, as it waits in the state file and then in the spool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Letters, digits, '-' and '_', as in link names: names the message's file in the spool. What is put there twice
    /// under one id is one message, so a run that was killed half way can do it again.
    pub id: String,
    /// When it happened, by the wall clock.
    pub at: Timestamp,
    /// One line.
    pub subject: String,
    pub text: String,
    /// Of what may be told too often ("standby-lte"); `None`: each is told at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// It is for the link script alone. On its topic, the link, the newest counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<LinkCall>,
}

/// What the link script is told, in place of people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkCall {
    /// After a reboot nobody knows how the links are, and what they were before is no news.
    pub boot_id: String,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
}

/// One file of the spool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    #[serde(flatten)]
    pub message: Message,
    /// Earlier ones on the same topic, which go with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Message>,
    pub sent_to: Vec<String>,
    pub refused: Vec<Refusal>,
    /// How many were begun.
    pub attempts: u32,
    /// By the wall clock; `None`: at once.
    pub next_attempt: Option<Timestamp>,
    /// What came of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
}

/// What a run of `check` knows of the spool from the run before, so that it need not read it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outlook {
    /// How many messages wait.
    pub pending: usize,
    /// When the first of them is due.
    pub next: Option<Timestamp>,
    /// How many are set aside, since they can never be delivered as they are.
    #[serde(default)]
    pub set_aside: usize,
    /// The directories' latest time of change when they were read; `None`: it may have changed since without a trace.
    pub changed: Option<Timestamp>,
}

/// What will never be delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub to: String,
    pub reason: String,
}

/// What one recipient gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The same for the same messages, so that a mailbox can tell a mail that was sent twice.
    pub id: String,
    /// When the newest of them happened.
    pub at: Timestamp,
    /// One line.
    pub subject: String,
    pub text: String,
}

impl Waiting {
    pub fn new(mut message: Message) -> Waiting {
        cut(&mut message.text, MOST_TEXT);
        let earlier = Vec::new();
        Waiting {
            message,
            earlier,
            sent_to: Vec::new(),
            refused: Vec::new(),
            attempts: 0,
            next_attempt: None,
            last_failure: None,
        }
    }

    pub fn is_due(&self, now: Timestamp) -> bool {
        self.due_at(now) == now
    }

    /// When it is to be tried; one that is due is so `now`.
    pub fn due_at(&self, now: Timestamp) -> Timestamp {
        self.next_attempt.filter(|next| !is_reached(*next, now)).unwrap_or(now)
    }

    /// Whether some have it, or will never have it, while others wait.
    pub fn is_told(&self) -> bool {
        !self.sent_to.is_empty() || !self.refused.is_empty()
    }

    /// The two as one, which is tried when this one would have been.
    pub fn joined_by(self, message: Message) -> Waiting {
        let Waiting { message: last, mut earlier, .. } = self;
        earlier.push(last);
        earlier.drain(..earlier.len().saturating_sub(MOST_EARLIER));
        Waiting { message, earlier, ..self }
    }

    pub fn messages(&self) -> impl Iterator<Item = &Message> {
        self.earlier.iter().chain([&self.message])
    }

    /// A message on a topic of which a mail went out at `told`.
    pub fn after(message: Message, told: Timestamp) -> Waiting {
        Waiting { next_attempt: told.checked_add(TOPIC_PAUSE).ok(), ..Waiting::new(message) }
    }

    /// Counts an attempt before it is made, so that one that is killed half way is not made again at once.
    pub fn begin_attempt(&mut self, now: Timestamp) {
        let pause = PAUSES.get(self.attempts as usize).copied().unwrap_or(LONGEST_PAUSE);
        self.attempts = self.attempts.saturating_add(1);
        self.next_attempt = now.checked_add(pause).ok();
    }

    pub fn is_owed_to(&self, recipient: &str) -> bool {
        let sent = self.sent_to.iter().any(|to| to == recipient);
        !sent && !self.refused.iter().any(|refusal| refusal.to == recipient)
    }

    pub fn is_settled(&self, recipients: &[String]) -> bool {
        !recipients.iter().any(|recipient| self.is_owed_to(recipient))
    }
}

impl Outlook {
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.next.is_some_and(|next| is_reached(next, now))
    }
}

/// A time further ahead than the longest pause was set by a clock that has been stepped since.
fn is_reached(next: Timestamp, now: Timestamp) -> bool {
    next <= now || next.duration_since(now) > longest_pause()
}

/// The messages that wait for one recipient as one mail, in the order of time; `None` where there are none.
pub fn join(mut messages: Vec<&Message>) -> Option<Mail> {
    messages.sort_by_key(|message| (message.at, &message.id));
    let newest = *messages.last()?;
    let (subject, text) = match messages.len() {
        1 => (one_line(&newest.subject), newest.text.clone()),
        count => (format!("{} (and {} before)", one_line(&newest.subject), count - 1), chapters(&messages)),
    };
    Some(Mail { id: format!("{}.{}", newest.id, messages.len()), at: newest.at, subject, text })
}

/// Leaves about so many bytes of it, and says so.
pub fn cut(text: &mut String, most: usize) {
    if let Some((end, _)) = text.char_indices().find(|(at, _)| *at >= most) {
        text.truncate(end);
        *text += "\n(cut here)\n";
    }
}

fn chapters(messages: &[&Message]) -> String {
    let chapter = |message: &&Message| {
        let heading = one_line(&message.subject);
        format!("{heading}\n{}\n\n{}\n", "=".repeat(heading.chars().count()), message.text.trim_end())
    };
    messages.iter().map(chapter).collect::<Vec<_>>().join("\n\n")
}

/// Whatever would end the line, and with it a header or a log line, becomes a space.
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .collect()
}

/// What a relay or a webhook says, as it is told: one line, and not too long.
pub fn quoted(text: &str) -> String {
    one_line(text.trim()).chars().take(MOST_QUOTED).collect()
}

fn longest_pause() -> jiff::SignedDuration {
    jiff::SignedDuration::from_secs(LONGEST_PAUSE.as_secs() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, at: i64, subject: &str, text: &str) -> Message {
        let at = Timestamp::from_second(at).unwrap();
        Message {
            id: id.to_owned(),
            at,
            subject: subject.to_owned(),
            text: text.to_owned(),
            topic: None,
            call: None,
        }
    }

    #[test]
    fn attempts_grow_apart_and_end_after_three_days() {
        let start = Timestamp::from_second(1_795_000_000).unwrap();
        let mut waiting = Waiting::new(message("a", 0, "", ""));
        let mut now = start;
        let mut after = Vec::new();
        while waiting.attempts < MOST_ATTEMPTS {
            assert!(waiting.is_due(now));
            after.push(now.duration_since(start).as_secs());
            waiting.begin_attempt(now);
            now = waiting.next_attempt.unwrap();
        }
        assert_eq!(after[..7], [0, 30, 90, 210, 450, 930, 1830]);
        assert_eq!(after.last(), Some(&(3 * 24 * 3600 + 30)));
    }

    #[test]
    fn a_stepped_clock_holds_nothing_back() {
        let now = Timestamp::from_second(1_795_000_000).unwrap();
        let mut waiting = Waiting::new(message("a", 0, "", ""));
        waiting.begin_attempt(now);
        let seconds = |seconds| now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
        assert!(!waiting.is_due(now));
        assert!(!waiting.is_due(seconds(29)));
        assert!(waiting.is_due(seconds(30)));
        assert!(!waiting.is_due(seconds(-800)));
        assert!(waiting.is_due(seconds(-3600)), "the clock was set back an hour");
        assert!(waiting.is_due(Timestamp::MIN) && waiting.is_due(Timestamp::MAX));
    }

    #[test]
    fn what_waited_is_told_in_the_order_of_time() {
        let [one, two] = [message("b", 1, "Down", "no reply\n"), message("a", 2, "Up\r\nBcc: x", "back\n")];
        assert_eq!(join(vec![]), None);
        let alone = join(vec![&two]).unwrap();
        assert_eq!((alone.subject.as_str(), alone.text.as_str()), ("Up  Bcc: x", "back\n"));
        let both = join(vec![&two, &one]).unwrap();
        assert_eq!(both.subject, "Up  Bcc: x (and 1 before)");
        assert_eq!(both.text, "Down\n====\n\nno reply\n\n\nUp  Bcc: x\n==========\n\nback\n");
    }
}
