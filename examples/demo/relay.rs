//! A mail relay on the Internet: as much of RFC 5321 as it takes to receive what wanfo sends, and no TLS.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::lab::{self, Lab, Line, SERVICE};

const PORT: u16 = 25;
/// The longest pause of a client, which may have lost its line.
const PATIENCE: Duration = Duration::from_secs(5);

/// A mail that the relay has said yes to.
#[derive(Debug, Clone)]
pub struct Mail {
    /// The line over which the router sent it, by the address it came from.
    pub line: Option<Line>,
    pub recipients: Vec<String>,
    pub subject: String,
    /// What stands behind the header.
    pub text: String,
}

/// Takes mails until the process ends.
pub struct Relay {
    mails: Arc<Mutex<Vec<Mail>>>,
}

impl Relay {
    pub fn start(lab: &Lab) -> Result<Relay> {
        let listener = lab.internet.run(|| TcpListener::bind((SERVICE, PORT)));
        let listener = listener.with_context(|| format!("the relay cannot listen on {SERVICE}:{PORT}"))?;
        let mails = Arc::<Mutex<Vec<Mail>>>::default();
        let taken = Arc::clone(&mails);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A client that hangs up or falls silent has not had its 250, and comes again.
                let _ = converse(client, &taken);
            }
        });
        Ok(Relay { mails })
    }

    /// The mails so far, oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        self.mails.lock().unwrap().clone()
    }
}

/// One session.
fn converse(client: TcpStream, mails: &Mutex<Vec<Mail>>) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    let from = client.peer_addr()?.ip();
    let line = (1..=2).find(|line| from == IpAddr::from(lab::router_address(*line)));
    let mut answers = client.try_clone()?;
    let mut input = BufReader::new(client).lines();
    let (mut has_sender, mut recipients) = (false, Vec::new());
    answers.write_all(b"220 relay.example.net is ready\r\n")?;
    while let Some(command) = input.next().transpose()? {
        let verb = command.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let answer = match verb.as_str() {
            "EHLO" | "HELO" | "RSET" => {
                (has_sender, recipients) = (false, Vec::new());
                "250 relay.example.net"
            }
            "MAIL" => {
                has_sender = true;
                "250 sender noted"
            }
            "RCPT" if has_sender => {
                recipients.push(address_in(&command));
                "250 recipient noted"
            }
            "DATA" if !recipients.is_empty() => {
                answers.write_all(b"354 end with a dot on a line of its own\r\n")?;
                let content = content(&mut input)?;
                let recipients = std::mem::take(&mut recipients);
                has_sender = false;
                mails.lock().unwrap().push(read(&content, recipients, line));
                "250 taken"
            }
            "NOOP" => "250 still here",
            "QUIT" => {
                answers.write_all(b"221 goodbye\r\n")?;
                return Ok(());
            }
            "RCPT" | "DATA" => "503 not now",
            _ => "500 no such command here",
        };
        answers.write_all(format!("{answer}\r\n").as_bytes())?;
    }
    Ok(())
}

/// What stands between the angle brackets, `RCPT TO:<noc@example.com>`.
fn address_in(command: &str) -> String {
    let inside = command.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or(command, |(address, _)| address).to_owned()
}

/// The lines up to the lone dot; a line that begins with one was sent with one more (RFC 5321, section 4.5.2).
fn content(input: &mut impl Iterator<Item = io::Result<String>>) -> io::Result<Vec<String>> {
    let mut content = Vec::new();
    for line in input {
        match line?.as_str() {
            "." => return Ok(content),
            line => content.push(line.strip_prefix('.').unwrap_or(line).to_owned()),
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn read(content: &[String], recipients: Vec<String>, line: Option<Line>) -> Mail {
    let end = content.iter().position(String::is_empty).unwrap_or(content.len());
    let (header, text) = content.split_at(end);
    // A long header is folded: each further line begins with a blank (RFC 5322, section 2.2.3).
    let header = header.join("\n").replace("\n ", " ");
    let field = |name: &str| header.lines().find_map(|line| line.strip_prefix(name));
    let text = text.get(1..).unwrap_or_default();
    let text = match field("Content-Transfer-Encoding: ") {
        // A mail with a line of more than 76 characters.
        Some("quoted-printable") => from_quoted_printable(text),
        _ => text.join("\n"),
    };
    Mail { line, recipients, subject: field("Subject: ").unwrap_or("(none)").to_owned(), text }
}

/// RFC 2045, section 6.7.
fn from_quoted_printable(lines: &[String]) -> String {
    let mut bytes = Vec::new();
    for line in lines {
        let (line, end) = line.strip_suffix('=').map_or((line.as_str(), "\n"), |line| (line, ""));
        let (plain, encoded) = line.split_at(line.find('=').unwrap_or(line.len()));
        bytes.extend(plain.bytes());
        for piece in encoded.split('=').skip(1) {
            let code = piece.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
            bytes.extend(code);
            bytes.extend(piece.bytes().skip(2));
        }
        bytes.extend(end.bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
