//! A mail on its way out: to an SMTP relay, or into a sendmail program.

/// What is said and heard.
mod conversation;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::commands::{Auth, Data, Ehlo, Mail as MailFrom, Quit, Rcpt, Rset, Starttls};
use lettre::transport::smtp::extension::{ClientId, Extension, ServerInfo};
use lettre::transport::smtp::response::{Response, Severity};
use lettre::{Address, Message};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, ClientConfig, RootCertStore};

use self::conversation::Conversation;
use super::process::{self, Unfinished};
use super::{clock, file, secret, trust};
use crate::core::config::{ByMail, Relay, Smtp, Tls};
use crate::core::spool::{Mail, one_line, quoted};

/// For all mails of one delivery: whoever hangs, or says a byte now and then, holds up the mail of the next switch. What
/// has not been sent by then is tried again.
const DELIVERY_LIMIT: Duration = Duration::from_secs(120);

/// More than any file of certificates has, in bytes.
const CA_LIMIT: u64 = 4 * 1024 * 1024;

const SENDMAIL_LIMIT: Duration = Duration::from_secs(60);

/// EX_NOUSER (sysexits.h). The other codes may pass: some programs report a relay that is out of reach as EX_NOHOST or
/// EX_UNAVAILABLE, a wrong password as EX_NOPERM, and whatever a relay refuses as EX_DATAERR (msmtp).
const SENDMAIL_REFUSES: i32 = 67;

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
    config: &'a ByMail,
    session: Session,
    deadline: Instant,
}

enum Session {
    NotYet,
    Open(Box<Conversation>),
    /// The relay itself failed, and would fail the same way again.
    Failed(Failure),
}

impl Outbox<'_> {
    pub fn new(config: &ByMail) -> Outbox<'_> {
        Outbox { config, session: Session::NotYet, deadline: Instant::now() + DELIVERY_LIMIT }
    }

    /// Sends a mail to one recipient. Returns what the relay said to it.
    pub fn send(&mut self, to: &str, mail: &Mail) -> Result<String, Failure> {
        let letter = letter(&self.config.from, to, mail).map_err(Failure::Permanent)?;
        match &self.config.relay {
            Relay::Sendmail(program) => feed(program, &self.config.from, to, &letter, self.deadline),
            Relay::Smtp(smtp) => self.send_by(smtp, &letter),
        }
    }

    /// Says goodbye to the relay.
    pub fn close(self) {
        if let Session::Open(mut conversation) = self.session {
            let _ = conversation.command(Quit);
        }
    }

    fn send_by(&mut self, smtp: &Smtp, letter: &Message) -> Result<String, Failure> {
        if let Session::NotYet = self.session {
            self.session = open(smtp, self.deadline).map_or_else(Session::Failed, Session::Open);
        }
        let conversation = match &mut self.session {
            Session::Open(conversation) => conversation,
            Session::Failed(failure) => return Err(failure.clone()),
            Session::NotYet => unreachable!("it was opened above"),
        };
        let (stage, trouble) = match transact(conversation, letter) {
            Ok(response) => return Ok(words_of(&response)),
            Err(refusal) => refusal,
        };
        let text = explain(smtp, "the mail", &trouble);
        let failure = match &trouble {
            Trouble::Said(response) if is_for_good(response, stage) => Failure::Permanent(text),
            _ => Failure::Temporary(text),
        };
        if let Trouble::Broken(_) = trouble {
            self.session = Session::Failed(failure.clone());
        } else if !conversation.command(Rset).is_ok_and(|response| is_done(&response)) {
            // It said no and hung up. Perhaps it hears the next mail.
            self.session = Session::NotYet;
        }
        Err(failure)
    }
}

/// Connects, encrypts and logs in as for a mail, within the limit, and says goodbye.
pub fn knock(smtp: &Smtp, limit: Duration) -> Result<(), Failure> {
    let _ = open(smtp, Instant::now() + limit)?.command(Quit);
    Ok(())
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
        // A router without a battery may think it is 1901, which no mail's date can say.
        .date(SystemTime::now().max(SystemTime::UNIX_EPOCH))
        // Keeps vacation programs from answering (RFC 3834, section 5).
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ))
        .singlepart(SinglePart::plain(mail.text.clone()))
        .map_err(|error| format!("no mail can be made of it: {error}"))
}

/// Connects, encrypts, logs in. Whatever is refused here is refused to this router, at the address that it has now, with
/// the password that it has now: another time it may be taken.
fn open(smtp: &Smtp, deadline: Instant) -> Result<Box<Conversation>, Failure> {
    let tls = match smtp.tls {
        Tls::None => None,
        Tls::Starttls | Tls::Tls => Some(tls_config(smtp)?),
    };
    let failed =
        |what: &'static str| move |trouble: Trouble| Failure::Temporary(explain(smtp, what, &trouble));
    let greet = |conversation: &mut Conversation| {
        let response = expect(conversation.command(Ehlo::new(hello())), is_done).map_err(failed("EHLO"))?;
        ServerInfo::from_response(&response)
            .map_err(|error| Failure::Temporary(format!("EHLO to {} failed: {error}", name_of(smtp))))
    };
    let connected = (|| {
        let mut conversation = Conversation::begin(&smtp.host, smtp.port, deadline)?;
        if let (Tls::Tls, Some(tls)) = (smtp.tls, &tls) {
            conversation.encrypt(&smtp.host, Arc::clone(tls))?;
        }
        expect(conversation.hear(), is_done)?;
        Ok(conversation)
    })();
    let mut conversation = connected.map_err(failed("the connection"))?;
    let mut server = greet(&mut conversation)?;
    if let (Tls::Starttls, Some(tls)) = (smtp.tls, tls) {
        if !server.supports_feature(Extension::StartTls) {
            return Err(Failure::Temporary(format!(
                "{} offers no STARTTLS, and nothing is sent without; see `notify.smtp.tls` and `port`",
                name_of(smtp)
            )));
        }
        let encrypted = expect(conversation.command(Starttls), is_done)
            .and_then(|_| Ok(conversation.encrypt(&smtp.host, tls)?));
        encrypted.map_err(failed("STARTTLS"))?;
        server = greet(&mut conversation)?;
    }
    if let Some(username) = &smtp.username {
        log_in(&mut conversation, smtp, username, &server)?;
    }
    Ok(Box::new(conversation))
}

fn log_in(
    conversation: &mut Conversation,
    smtp: &Smtp,
    username: &str,
    server: &ServerInfo,
) -> Result<(), Failure> {
    let Some(mechanism) = server.get_auth_mechanism(DEFAULT_MECHANISMS) else {
        return Err(Failure::Temporary(format!(
            "{} offers neither AUTH PLAIN nor LOGIN here; see `notify.smtp`",
            name_of(smtp)
        )));
    };
    let what = format!("the login as {username:?}");
    let unclear = |error| Failure::Temporary(format!("{what} to {} failed: {error}", name_of(smtp)));
    let credentials = Credentials::new(username.to_owned(), password(smtp)?);
    let mut word = Auth::new(mechanism, credentials.clone(), None).map_err(unclear)?;
    // LOGIN asks for the name and then for the password.
    for _ in 0..3 {
        let asks_on = |response: &Response| is_done(response) || response.has_code(334);
        let response = expect(conversation.command(&word), asks_on)
            .map_err(|trouble| Failure::Temporary(explain(smtp, &what, &trouble)))?;
        if is_done(&response) {
            return Ok(());
        }
        word = Auth::new_from_response(mechanism, credentials.clone(), &response).map_err(unclear)?;
    }
    Err(Failure::Temporary(format!("{} asks on and on at {what}", name_of(smtp))))
}

/// What a refusal of one mail was said to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The sender, or the wish to send at all.
    Transaction,
    Recipient,
    Content,
}

/// Why a step of the conversation failed.
enum Trouble {
    /// Not the answer that was hoped for. More can be said.
    Said(Response),
    /// The conversation is at its end.
    Broken(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Broken(error)
    }
}

/// One mail to one recipient.
fn transact(conversation: &mut Conversation, letter: &Message) -> Result<Response, (Stage, Trouble)> {
    let at = |stage| move |trouble| (stage, trouble);
    let envelope = letter.envelope();
    // Addresses and content are ASCII, so no extension is asked for.
    let sender = MailFrom::new(envelope.from().cloned(), Vec::new());
    expect(conversation.command(sender), is_done).map_err(at(Stage::Transaction))?;
    for recipient in envelope.to() {
        let recipient = Rcpt::new(recipient.clone(), Vec::new());
        expect(conversation.command(recipient), is_done).map_err(at(Stage::Recipient))?;
    }
    // To the letter: whoever mistakes one answer for another would take the mail for sent.
    expect(conversation.command(Data), |response| response.has_code(354)).map_err(at(Stage::Transaction))?;
    expect(conversation.content(&letter.formatted()), |response| response.has_code(250))
        .map_err(at(Stage::Content))
}

fn expect(outcome: io::Result<Response>, fits: impl FnOnce(&Response) -> bool) -> Result<Response, Trouble> {
    let response = outcome?;
    if fits(&response) { Ok(response) } else { Err(Trouble::Said(response)) }
}

/// 2yz: requested action completed.
fn is_done(response: &Response) -> bool {
    response.code().severity == Severity::PositiveCompletion
}

/// Whether a refusal concerns this recipient or this mail, whoever asks and whenever. What concerns us, here and now
/// (a blocklist that has the backup's address, a relay that knows only the primary's), may pass with the next switch.
///
/// The enhanced code tells (RFC 3463): X.7 is policy, X.1.7 and X.1.8 are about the sender. Without one nobody can
/// tell a blocklist's 550 at RCPT from that of a mailbox which does not exist: then it is tried on, for a mail tried in
/// vain does less harm than one lost. At the end of the content there is only the content left to refuse.
fn is_for_good(response: &Response, stage: Stage) -> bool {
    let is_mails = (550..560).contains(&u16::from(response.code()));
    is_mails
        && match (stage, enhanced_code(response)) {
            (Stage::Transaction, _) | (_, Some((7, _) | (1, 7 | 8))) => false,
            (Stage::Recipient, enhanced) => enhanced.is_some(),
            (Stage::Content, _) => true,
        }
}

/// Subject and detail of the enhanced code. Most relays begin with it; some end with it, as "(#5.7.1)".
fn enhanced_code(response: &Response) -> Option<(u16, u16)> {
    response.message().flat_map(str::split_whitespace).find_map(|word| {
        let numbers: Vec<u16> = word
            .trim_matches(|c: char| !c.is_ascii_digit())
            .split('.')
            .map(|number| number.parse().ok())
            .collect::<Option<_>>()?;
        match numbers[..] {
            [5, subject, detail] => Some((subject, detail)),
            _ => None,
        }
    })
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

/// Trusts who the system trusts, and who the config names.
fn tls_config(smtp: &Smtp) -> Result<Arc<ClientConfig>, Failure> {
    if let Some(why) = clock::is_no_use_for_tls() {
        return Err(Failure::Temporary(why));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = &smtp.ca_file {
        let no_use = |why: String| {
            Failure::Temporary(format!("`notify.smtp.ca_file` {} is of no use: {why}", path.display()))
        };
        let pem = file::read_foreign(path, CA_LIMIT).map_err(|error| no_use(error.to_string()))?;
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let added = certificate.map_err(|error| error.to_string());
            let added = added.and_then(|der| roots.add(der).map_err(|error| error.to_string()));
            added.map_err(no_use)?;
        }
        if roots.len() == before {
            return Err(no_use("there is no certificate in it (PEM: BEGIN CERTIFICATE)".to_owned()));
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::Temporary(format!("TLS cannot be used: {error}")))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Reads the password. It never gets into a failure.
fn password(smtp: &Smtp) -> Result<String, Failure> {
    let failure = |text: String| Failure::Temporary(format!("no password for {}: {text}", name_of(smtp)));
    let read = match (&smtp.password_file, &smtp.password_credential) {
        (Some(path), _) => password_in(path),
        (None, Some(name)) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
            Some(directory) => password_in(&Path::new(&directory).join(name)),
            None => Err(format!(
                "there are no systemd credentials ($CREDENTIALS_DIRECTORY); start this by wanfo-deliver.service, \
                 with LoadCredential={name}:FILE"
            )),
        },
        (None, None) => Err("the config names none".to_owned()),
    };
    read.map_err(failure)
}

/// The password that the admin keeps in a file, or why it is of no use.
pub fn password_in(path: &Path) -> Result<String, String> {
    let text = secret::read(path)?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() || password.contains(char::is_control) {
        return Err(format!("{} must hold the password as its one line", path.display()));
    }
    Ok(password.to_owned())
}

/// A trouble as a sentence.
fn explain(smtp: &Smtp, what: &str, trouble: &Trouble) -> String {
    let relay = name_of(smtp);
    let error = match trouble {
        Trouble::Said(response) => {
            let verb = if response.is_positive() { "answers out of turn to" } else { "refuses" };
            return format!("{relay} {verb} {what}: {}", words_of(response));
        }
        Trouble::Broken(error) => error,
    };
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match (error.kind(), cause) {
        // A socket's own time limit shows as EAGAIN (SO_RCVTIMEO, socket(7)).
        (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, _) => {
            format!("{relay} does not answer ({what})")
        }
        (_, Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))) => format!(
            "the certificate of {relay} is signed by nobody whom this host trusts; name the certificate of its \
             authority under `notify.smtp.ca_file`"
        ),
        _ => format!("{what} to {relay} failed: {}", quoted(&error.to_string())),
    }
}

/// An answer as one line.
fn words_of(response: &Response) -> String {
    quoted(&format!("{} {}", response.code(), response.message().collect::<Vec<_>>().join(" ")))
}

fn name_of(smtp: &Smtp) -> String {
    match smtp.host.contains(':') {
        true => format!("[{}]:{}", smtp.host, smtp.port),
        false => format!("{}:{}", smtp.host, smtp.port),
    }
}

/// Gives a mail to a sendmail program (sendmail(8): `-i`, a lone dot does not end it; `-f`, the sender).
fn feed(
    program: &Path,
    from: &str,
    to: &str,
    letter: &Message,
    deadline: Instant,
) -> Result<String, Failure> {
    let arguments = ["-i", "-f", from, "--", to].map(str::to_owned);
    // On this side of SMTP lines end as they do in files.
    let input = String::from_utf8_lossy(&letter.formatted()).replace("\r\n", "\n");
    let name = program.display();
    // One that is not there cannot be run, and that is said below.
    if program.exists()
        && let Err(refusal) = trust::refuse_if_others_can_write(program, "program")
    {
        return Err(Failure::Temporary(refusal.to_string()));
    }
    if Instant::now() >= deadline {
        return Err(Failure::Temporary(format!("no time is left for {name}; it comes next time")));
    }
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
        Some(SENDMAIL_REFUSES) => Failure::Permanent(text),
        _ => Failure::Temporary(text),
    })
}
