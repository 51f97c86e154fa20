//! A mail on its way out: to an SMTP relay, or into a sendmail program.

use std::error::Error as _;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, SinglePart};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{Certificate, SmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt, Rset};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use lettre::{Address, Message};

use super::process::{self, Unfinished};
use crate::core::config::{Notify, Relay, Smtp, Tls};
use crate::core::spool::Mail;
use crate::core::spool::one_line;

/// For the connection, and for every answer of the relay but one.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// For the answer to a whole mail, which the relay may scan first: to give up early would be to send it twice
/// (RFC 5321, section 4.5.3.2.6, says ten minutes).
const CONTENT_LIMIT: Duration = Duration::from_secs(300);

const SENDMAIL_LIMIT: Duration = Duration::from_secs(60);

/// EX_DATAERR, EX_NOUSER and EX_NOPERM (sysexits.h). The other codes may pass: some programs report a relay that is
/// out of reach as EX_NOHOST or EX_UNAVAILABLE.
const SENDMAIL_REFUSES: [i32; 3] = [65, 67, 77];

/// Why a mail was not taken, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It may go later.
    Temporary(String),
    /// It will never go.
    Permanent(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::Temporary(text) | Failure::Permanent(text)) = self;
        f.write_str(text)
    }
}

/// The way out for all mails of one delivery, over one connection as long as that lasts.
pub struct Outbox<'a> {
    notify: &'a Notify,
    session: Session,
}

enum Session {
    NotYet,
    Open(Box<SmtpConnection>),
    /// The relay itself failed, and would fail the same way again.
    Failed(Failure),
}

impl Outbox<'_> {
    pub fn new(notify: &Notify) -> Outbox<'_> {
        Outbox { notify, session: Session::NotYet }
    }

    /// Sends a mail to one recipient. Returns what the relay said to it.
    pub fn send(&mut self, to: &str, mail: &Mail) -> Result<String, Failure> {
        let letter = letter(&self.notify.from, to, mail).map_err(Failure::Permanent)?;
        match &self.notify.relay {
            Relay::Sendmail(program) => feed(program, &self.notify.from, to, &letter),
            Relay::Smtp(smtp) => self.send_by(smtp, &letter),
        }
    }

    /// Says goodbye to the relay.
    pub fn close(self) {
        if let Session::Open(mut connection) = self.session {
            let _ = connection.quit();
        }
    }

    fn send_by(&mut self, smtp: &Smtp, letter: &Message) -> Result<String, Failure> {
        if let Session::NotYet = self.session {
            self.session = open(smtp).map_or_else(Session::Failed, Session::Open);
        }
        let connection = match &mut self.session {
            Session::Open(connection) => connection,
            Session::Failed(failure) => return Err(failure.clone()),
            Session::NotYet => unreachable!("it was opened above"),
        };
        let error = match transact(connection, letter) {
            Ok(response) => return Ok(one_line(&words_of(&response))),
            Err(error) => error,
        };
        let failure = explain(smtp, "the mail", &error);
        if error.status().is_none() {
            self.session = Session::Failed(failure.clone());
        } else if connection.command(Rset).is_err() {
            // It said no and hung up. Perhaps it hears the next mail.
            self.session = Session::NotYet;
        }
        Err(failure)
    }
}

/// Puts a mail into its form. One mail has one recipient, so that nobody reads who else is told.
fn letter(from: &str, to: &str, mail: &Mail) -> Result<Message, String> {
    let mailbox = |address: &str| match address.parse::<Address>() {
        Ok(address) => Ok(Mailbox::new(None, address)),
        Err(error) => Err(format!("{address:?} is not a mail address: {error}")),
    };
    let from = mailbox(from)?;
    let message_id = format!("<{}@{}>", mail.id, from.email.domain());
    Message::builder()
        .from(from)
        .to(mailbox(to)?)
        .subject(one_line(&mail.subject))
        .message_id(Some(message_id))
        .date_now()
        // Keeps vacation programs from answering (RFC 3834, section 5).
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ))
        .singlepart(SinglePart::plain(mail.text.clone()))
        .map_err(|error| format!("no mail can be made of it: {error}"))
}

/// Connects, encrypts, logs in.
fn open(smtp: &Smtp) -> Result<Box<SmtpConnection>, Failure> {
    let hello = hello();
    let tls = match smtp.tls {
        Tls::None => None,
        Tls::Starttls | Tls::Tls => Some(tls_parameters(smtp)?),
    };
    let from_the_first_byte = tls.as_ref().filter(|_| smtp.tls == Tls::Tls);
    let server = (smtp.host.as_str(), smtp.port);
    let mut connection =
        SmtpConnection::connect(server, Some(COMMAND_LIMIT), &hello, from_the_first_byte, None)
            .map_err(|error| explain(smtp, "the connection", &error))?;
    if let (Tls::Starttls, Some(tls)) = (smtp.tls, &tls) {
        if !connection.can_starttls() {
            return Err(Failure::Temporary(format!(
                "{} offers no STARTTLS, and nothing is sent without; see `notify.smtp.tls` and `port`",
                name_of(smtp)
            )));
        }
        connection.starttls(tls, &hello).map_err(|error| explain(smtp, "STARTTLS", &error))?;
    }
    if let Some(username) = &smtp.username {
        if connection.server_info().get_auth_mechanism(DEFAULT_MECHANISMS).is_none() {
            return Err(Failure::Temporary(format!(
                "{} offers neither AUTH PLAIN nor LOGIN here; see `notify.smtp`",
                name_of(smtp)
            )));
        }
        let credentials = Credentials::new(username.clone(), password(smtp)?);
        connection
            .auth(DEFAULT_MECHANISMS, &credentials)
            .map_err(|error| explain(smtp, &format!("the login as {username:?}"), &error))?;
    }
    Ok(Box::new(connection))
}

/// lettre's own `send` ends the session where one recipient is refused, and knows one time limit only.
fn transact(connection: &mut SmtpConnection, letter: &Message) -> Result<Response, Error> {
    let envelope = letter.envelope();
    // Addresses and content are ASCII, so no extension is asked for.
    connection.command(MailFrom::new(envelope.from().cloned(), Vec::new()))?;
    for recipient in envelope.to() {
        connection.command(Rcpt::new(recipient.clone(), Vec::new()))?;
    }
    connection.command(Data)?;
    // A socket that takes no time limit is a socket that is closed, and says so when it is read.
    let _ = connection.set_timeout(Some(CONTENT_LIMIT));
    let response = connection.message(&letter.formatted());
    let _ = connection.set_timeout(Some(COMMAND_LIMIT));
    response
}

/// What this host calls itself, unless that could be taken for something else than a name.
fn hello() -> ClientId {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    match ClientId::default() {
        ClientId::Domain(name) if name.is_empty() || !name.chars().all(fits) => {
            ClientId::Ipv4(std::net::Ipv4Addr::LOCALHOST)
        }
        fit => fit,
    }
}

fn tls_parameters(smtp: &Smtp) -> Result<TlsParameters, Failure> {
    let mut builder = TlsParameters::builder(smtp.host.clone());
    if let Some(path) = &smtp.ca_file {
        let no_use = |why: String| {
            Failure::Temporary(format!("`notify.smtp.ca_file` {} is of no use: {why}", path.display()))
        };
        let pem = std::fs::read(path).map_err(|error| no_use(error.to_string()))?;
        // A file without a certificate in it is an empty list to lettre.
        if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
            return Err(no_use("there is no certificate in it (PEM: BEGIN CERTIFICATE)".to_owned()));
        }
        let certificates = Certificate::from_pem(&pem).map_err(|error| no_use(error.to_string()))?;
        builder = builder.add_root_certificate(certificates);
    }
    builder.build().map_err(|error| Failure::Temporary(format!("TLS cannot be used: {error}")))
}

/// Reads the password. It never gets into a failure.
fn password(smtp: &Smtp) -> Result<String, Failure> {
    let failure = |text: String| Failure::Temporary(format!("no password for {}: {text}", name_of(smtp)));
    let read = match (&smtp.password_file, &smtp.password_credential) {
        (Some(path), _) => read_secret(path, Readers::LinkResult),
        (None, Some(name)) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
            Some(directory) => read_secret(&Path::new(&directory).join(name), Readers::SystemdKnows),
            None => Err(format!(
                "there are no systemd credentials ($CREDENTIALS_DIRECTORY); start this by wanfo-deliver.service, \
                 with LoadCredential={name}:FILE"
            )),
        },
        (None, None) => Err("the config names none".to_owned()),
    };
    read.map_err(failure)
}

enum Readers {
    LinkResult,
    /// A credential's file has an owner and a mode that systemd sees to.
    SystemdKnows,
}

fn read_secret(path: &Path, readers: Readers) -> Result<String, String> {
    let file = path.display();
    let said = |error: io::Error| format!("{file} cannot be read: {error}");
    let mut open = File::open(path).map_err(said)?;
    let mode = open.metadata().map_err(said)?.permissions().mode();
    if matches!(readers, Readers::LinkResult) && mode & 0o007 != 0 {
        return Err(format!("{file} is open to everybody on this machine; run `chmod 600 {file}`"));
    }
    let mut bytes = Vec::new();
    open.read_to_end(&mut bytes).map_err(said)?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{file} is not UTF-8 text"))?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() || secret.contains(char::is_control) {
        return Err(format!("{file} must hold the password as its one line"));
    }
    Ok(secret.to_owned())
}

/// An error as a sentence. What the relay says for good (5xx) is permanent, and nothing else: a name that is not
/// found, a certificate that is not trusted and a relay that hangs may all be a line's fault, or be mended.
fn explain(smtp: &Smtp, what: &str, error: &Error) -> Failure {
    let relay = name_of(smtp);
    if let Some(code) = error.status() {
        let said = error.source().map(|words| words.to_string()).unwrap_or_default();
        let text = format!("{relay} refuses {what}: {code} {}", one_line(&said));
        return if error.is_permanent() { Failure::Permanent(text) } else { Failure::Temporary(text) };
    }
    let cause = error.source().map_or_else(|| error.to_string(), |cause| cause.to_string());
    let kind = error.source().and_then(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    Failure::Temporary(match kind {
        // A socket's own time limit shows as EAGAIN (SO_RCVTIMEO, socket(7)).
        Some(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            format!("{relay} does not answer ({what})")
        }
        _ if cause.contains("UnknownIssuer") => format!(
            "the certificate of {relay} is signed by nobody whom this host trusts; name the certificate of its \
             authority under `notify.smtp.ca_file`"
        ),
        _ => format!("{what} to {relay} failed: {}", one_line(&cause)),
    })
}

fn words_of(response: &Response) -> String {
    format!("{} {}", response.code(), response.message().collect::<Vec<_>>().join(" "))
}

fn name_of(smtp: &Smtp) -> String {
    match smtp.host.contains(':') {
        true => format!("[{}]:{}", smtp.host, smtp.port),
        false => format!("{}:{}", smtp.host, smtp.port),
    }
}

/// Gives a mail to a sendmail program (sendmail(8): `-i`, a lone dot does not end it; `-f`, the sender).
fn feed(program: &Path, from: &str, to: &str, letter: &Message) -> Result<String, Failure> {
    let arguments = ["-i", "-f", from, "--", to].map(str::to_owned);
    // On this side of SMTP lines end as they do in files.
    let input = String::from_utf8_lossy(&letter.formatted()).replace("\r\n", "\n");
    let name = program.display();
    let finished = match process::run_with_input(program, &arguments, input.as_bytes(), SENDMAIL_LIMIT) {
        Ok(finished) => finished,
        Err(Unfinished::TimeLimit) => {
            let limit = humantime::format_duration(SENDMAIL_LIMIT);
            return Err(Failure::Temporary(format!("{name} did not end within {limit} and was killed")));
        }
        Err(Unfinished::Error(error)) => {
            return Err(Failure::Temporary(format!("{name} could not be run: {error}")));
        }
    };
    if finished.status.success() {
        return Ok(format!("{name} took it"));
    }
    let said = match finished.stderr.as_str() {
        "" => "it said nothing".to_owned(),
        text => one_line(text),
    };
    let text = format!("{name} failed ({}): {said}", finished.status);
    Err(match finished.status.code() {
        Some(code) if SENDMAIL_REFUSES.contains(&code) => Failure::Permanent(text),
        _ => Failure::Temporary(text),
    })
}
