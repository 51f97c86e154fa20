//! A POST on its way to a webhook. The address is a key to whoever has it: neither it nor a word of it gets into a
//! sentence, and so nothing of the library's own sentences does.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustls::CertificateError as Certified;
use ureq::config::Config;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE};
use ureq::http::{HeaderValue, Response, StatusCode, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Error};

use super::smtp::Failure;
use super::{clock, resolver, secret};
use crate::core::config::{Template, Webhook};
use crate::core::spool::{Mail, quoted};
use crate::core::webhook::{self, Post};

/// For all of it, however little comes at a time.
const LIMIT: Duration = Duration::from_secs(30);

/// For the words of a refusal, and how much of them is read.
const WORDS_LIMIT: Duration = Duration::from_secs(5);
const MOST_READ: u64 = 4096;

/// No answer has a larger head, in bytes.
const HEAD_SIZE: usize = 16 * 1024;

/// A piece of the address as long as this is a secret.
const SECRET_LENGTH: usize = 4;

/// What the file says.
pub struct Address {
    url: Uri,
    /// The value of that header.
    authorization: Option<HeaderValue>,
    /// Whatever in it may open a door.
    secrets: Vec<String>,
}

/// Sends the words of a mail. Returns what was said to it.
pub fn post(webhook: &Webhook, mail: &Mail) -> Result<String, Failure> {
    let address = address(webhook).map_err(Failure::Temporary)?;
    if let Some(why) = clock::is_no_use_for_tls() {
        return Err(Failure::Temporary(why));
    }
    let post = webhook::post(webhook.template, mail);
    // The library's limits are on each read of a piece of a TLS record. A thread that is late ends with the process.
    let (tell, outcome) = channel();
    let started = thread::Builder::new().spawn(move || tell.send(send(&address, &post)));
    started.map_err(|error| Failure::Temporary(format!("no thread could be started: {error}")))?;
    outcome.recv_timeout(LIMIT).unwrap_or_else(|_| Err(Failure::Temporary(NO_ANSWER.to_owned())))
}

const NO_ANSWER: &str = "it does not answer";

/// Reads the file: the address on the first line, and on a second one, where there is one, a token, or all of the header
/// Authorization (`Basic …`).
pub fn address(webhook: &Webhook) -> Result<Address, String> {
    let (text, shown) = (secret::read(&webhook.url_file)?, webhook.url_file.display());
    let no_use = |why: &str| format!("{shown} {why}");
    let mut lines = text.lines().map(str::trim_end);
    let (line, token) = (lines.next().unwrap_or_default(), lines.next().filter(|token| !token.is_empty()));
    if lines.any(|line| !line.is_empty()) {
        return Err(no_use(
            "has more than two lines; write the address, and below it a token where one is needed",
        ));
    }
    let url: Uri =
        line.parse().map_err(|_| no_use("must begin with the address, such as https://ntfy.sh/TOPIC"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none_or(str::is_empty) {
        return Err(no_use("must hold an address that begins with https:// (or http://) and a host"));
    }
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(no_use(
            "has a name or password before the host, which is not sent; write `Basic …` on a second line",
        ));
    }
    match webhook.template {
        Template::Ntfy if url.path() == "/" => {
            return Err(no_use("names no topic; write https://HOST/TOPIC"));
        }
        Template::Telegram if !url.query().is_some_and(|query| query.contains("chat_id=")) => {
            return Err(no_use(
                "names no chat; write https://api.telegram.org/botTOKEN/sendMessage?chat_id=NUMBER",
            ));
        }
        _ => {}
    }
    let header = |token: &str| match token.contains(' ') {
        true => HeaderValue::from_str(token),
        false => HeaderValue::from_str(&format!("Bearer {token}")),
    };
    let authorization = token.map(header).transpose();
    let authorization = authorization.map_err(|_| no_use("has a second line that can be no token"))?;
    let behind_the_host = [url.path(), url.query().unwrap_or_default(), token.unwrap_or_default()];
    let pieces = behind_the_host.iter().flat_map(|it| it.split(|c: char| !c.is_ascii_alphanumeric()));
    let secrets = pieces.filter(|piece| piece.len() >= SECRET_LENGTH).map(str::to_lowercase).collect();
    Ok(Address { url, authorization, secrets })
}

fn send(address: &Address, post: &Post) -> Result<String, Failure> {
    let mut request = agent().post(&address.url).header(CONTENT_TYPE, post.content_type);
    if let Some(authorization) = &address.authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    if let Some(title) = &post.title {
        // ntfy takes UTF-8 here, which is no HTTP to the letter (RFC 9110, section 5.5).
        request = request.header("Title", title.as_bytes());
    }
    let response =
        request.send(&post.body).map_err(|error| Failure::Temporary(explain(&error).to_owned()))?;
    let status = response.status();
    if status.is_success() {
        return Ok(status.to_string());
    }
    let text = match status.is_redirection() {
        // A POST that is sent on becomes a GET in most hands, and its words would go to whoever stands in between.
        true => format!("it says {status}, so the address is another by now; write that into `url_file`"),
        false => format!("it says {status}{}", words_of(response, &address.secrets)),
    };
    Err(match is_for_good(status) {
        true => Failure::Permanent(text),
        false => Failure::Temporary(text),
    })
}

/// Whether it refuses this message, or this address, whenever it comes. Too slow, too early and too many pass.
fn is_for_good(status: StatusCode) -> bool {
    status.is_client_error() && !matches!(status.as_u16(), 408 | 425 | 429)
}

/// Trusts who the system trusts, goes straight there, and follows nobody.
fn agent() -> Agent {
    let certificates = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<Certificate> =
        certificates.iter().map(|it| Certificate::from_der(it).to_owned()).collect();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::from(roots))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .max_response_header_size(HEAD_SIZE)
        .user_agent(concat!("wanfo/", env!("CARGO_PKG_VERSION")))
        .timeout_global(Some(LIMIT))
        .timeout_recv_body(Some(WORDS_LIMIT));
    Agent::with_parts(config.build(), DefaultConnector::default(), AsThisMachine)
}

/// Looks names up as this machine does.
#[derive(Debug)]
struct AsThisMachine;

impl Resolver for AsThisMachine {
    fn resolve(&self, uri: &Uri, _: &Config, limit: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().ok_or(Error::HostNotFound)?;
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let found = resolver::addresses(host, port, *limit.after)?;
        let mut addresses = self.empty();
        // As many as it takes.
        let _ = found.into_iter().try_for_each(|address| addresses.try_push(address));
        Ok(addresses)
    }
}

/// What it says beside a refusal, unless the address is in it.
fn words_of(response: Response<Body>, secrets: &[String]) -> String {
    let mut bytes = Vec::new();
    // As much as came.
    let _ = response.into_body().into_reader().take(MOST_READ).read_to_end(&mut bytes);
    let words = String::from_utf8_lossy(&bytes);
    let (told, lowercase) = (quoted(&words), words.to_lowercase());
    if told.is_empty() || secrets.iter().any(|secret| lowercase.contains(secret)) {
        return String::new();
    }
    format!(": {told}")
}

/// A trouble in words that are all ours.
fn explain(error: &Error) -> &'static str {
    let of_tls = |error: &rustls::Error| match error {
        rustls::Error::InvalidCertificate(Certified::UnknownIssuer) => {
            "its certificate is signed by nobody whom this host trusts; add that authority to the system's \
             (`update-ca-certificates`)"
        }
        rustls::Error::InvalidCertificate(Certified::Expired | Certified::ExpiredContext { .. }) => {
            "its certificate has expired, or this router's clock goes wrong"
        }
        rustls::Error::InvalidCertificate(Certified::NotValidYet | Certified::NotValidYetContext { .. }) => {
            "its certificate is not valid yet, or this router's clock goes wrong"
        }
        rustls::Error::InvalidCertificate(
            Certified::NotValidForName | Certified::NotValidForNameContext { .. },
        ) => "its certificate is for another name than that of the address",
        rustls::Error::InvalidCertificate(_) => "its certificate is of no use",
        _ => "it does not speak TLS as it should; is the port right, and https?",
    };
    match error {
        Error::Rustls(error) => of_tls(error),
        Error::Timeout(_) => NO_ANSWER,
        Error::HostNotFound => "its name has no address",
        Error::LargeResponseHeader(..) => "its answer has no end",
        Error::Protocol(_) => "its answer is no HTTP",
        Error::Io(error) => match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
            Some(cause) => of_tls(cause),
            None => of_socket(error),
        },
        _ => "the POST could not be made",
    }
}

fn of_socket(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::ConnectionRefused => "its host refuses the connection",
        ErrorKind::WouldBlock | ErrorKind::TimedOut => NO_ANSWER,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "its host cannot be reached from here",
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "it hung up",
        // getaddrinfo(3) has numbers of its own.
        _ if error.raw_os_error().is_none() => "the name of its host could not be looked up",
        _ => "the connection broke off",
    }
}
