//! What a webhook is told: one POST for all that waits, in the words of whoever receives it.

use serde_json::{Value, json};

use super::config::Template;
use super::spool::{Mail, cut};

/// What is sent, but for the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    pub content_type: &'static str,
    /// ntfy's title, which is a header.
    pub title: Option<String>,
    pub body: String,
}

/// ntfy makes an attachment of a message with more than 4,096 bytes; Telegram refuses more than 4096 characters. Both
/// with room for the title.
const MOST_ON_A_PHONE: usize = 3500;

/// Mattermost has 16,383 characters in a post, Slack 40,000.
const MOST_IN_A_CHAT: usize = 12_000;

/// Who takes JSON takes a megabyte at least, as Home Assistant does.
const MOST: usize = 500_000;

pub fn post(template: Template, mail: &Mail) -> Post {
    let title = &mail.subject;
    let details = |most| {
        // A single message begins with its subject.
        let text = mail.text.strip_prefix(title.as_str()).unwrap_or(&mail.text).trim();
        let mut text = if text.is_empty() { title.clone() } else { text.to_owned() };
        cut(&mut text, most);
        text
    };
    match template {
        Template::Ntfy => Post {
            content_type: "text/plain; charset=utf-8",
            title: Some(title.clone()),
            body: details(MOST_ON_A_PHONE),
        },
        // These three have a meaning there (Slack: "Escaping text"), in a block of fixed width too.
        Template::Slack => {
            let text = format!("{title}\n```\n{}\n```", details(MOST_IN_A_CHAT));
            of_json(&json!({"text": text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")}))
        }
        Template::Telegram => of_json(&json!({"text": format!("{title}\n\n{}", details(MOST_ON_A_PHONE))})),
        Template::HomeAssistant => of_json(&json!({"title": title, "message": details(MOST)})),
        Template::Json => {
            let mut text = mail.text.clone();
            cut(&mut text, MOST);
            of_json(&json!({"id": mail.id, "at": mail.at, "subject": title, "text": text}))
        }
    }
}

fn of_json(value: &Value) -> Post {
    Post { content_type: "application/json", title: None, body: value.to_string() }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn body(template: Template, subject: &str, text: &str) -> String {
        let (subject, text) = (subject.to_owned(), text.to_owned());
        post(template, &Mail { id: "a.1".to_owned(), at: Timestamp::UNIX_EPOCH, subject, text }).body
    }

    #[test]
    fn a_title_is_not_told_twice_and_nothing_means_anything_to_slack() {
        assert_eq!(body(Template::Ntfy, "Down", "Down\n\nWhy: no reply\n"), "Why: no reply");
        assert_eq!(body(Template::Ntfy, "Down", "Down\n"), "Down");
        assert_eq!(body(Template::Telegram, "Down", "Down\n\nWhy\n"), r#"{"text":"Down\n\nWhy"}"#);
        let slack = body(Template::Slack, "Down <!channel>", "a & b");
        assert_eq!(slack, r#"{"text":"Down &lt;!channel&gt;\n```\na &amp; b\n```"}"#);
    }

    #[test]
    fn nothing_is_longer_than_what_is_taken() {
        let long = "é".repeat(2_000_000);
        for (template, most) in [
            (Template::Ntfy, 4096),
            (Template::Telegram, 4096),
            (Template::Slack, 16_383),
            (Template::HomeAssistant, 1 << 20),
            (Template::Json, 1 << 20),
        ] {
            assert!(body(template, "Down", &long).len() <= most, "{template:?}");
        }
    }
}
