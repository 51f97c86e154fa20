//! One GET, and whether the answer is what it should be.

use std::net::Ipv6Addr;

use httparse::{EMPTY_HEADER, Response, Status, parse_chunk_size};

use super::{CheckError, Http};

/// How much of an answer is read, in bytes.
pub const MOST_READ: usize = 64 * 1024;

/// How many header lines are understood; a page that is meant for people has twenty or so.
const MOST_HEADERS: usize = 100;

/// The line before a chunk, with extensions that nobody uses.
const LONGEST_SIZE_LINE: usize = 1024;

/// How much is told of the host that somebody redirects to.
const MOST_TOLD: usize = 100;

/// The request, in the form of HTTP/1.1 that every server understands.
pub fn request(http: &Http) -> Vec<u8> {
    let brackets = if http.host.parse::<Ipv6Addr>().is_ok() { ("[", "]") } else { ("", "") };
    let port = if http.port == 80 { String::new() } else { format!(":{}", http.port) };
    let Http { host, path, .. } = http;
    format!(
        "GET {path} HTTP/1.1\r\nHost: {}{host}{}{port}\r\nUser-Agent: wanfo/{}\r\nConnection: close\r\n\r\n",
        brackets.0,
        brackets.1,
        env!("CARGO_PKG_VERSION")
    )
    .into_bytes()
}

/// An answer that comes in piece by piece.
pub struct Answer<'a> {
    http: &'a Http,
    /// What was read and is not understood yet.
    raw: Vec<u8>,
    /// How much was read.
    read: usize,
    /// What comes after the head, once that is there.
    framing: Option<Framing>,
    body: Vec<u8>,
}

enum Framing {
    /// So much is left of it.
    Length(u64),
    /// So much is left of this chunk; its line break comes before the next one's size.
    Chunked(u64),
    UntilItEnds,
}

impl<'a> Answer<'a> {
    pub fn to(http: &'a Http) -> Answer<'a> {
        Answer { http, raw: Vec::new(), read: 0, framing: None, body: Vec::new() }
    }

    /// Whether anything has come.
    pub fn has_begun(&self) -> bool {
        self.read > 0
    }

    /// Takes what was read next; the verdict, where there is one without hearing the rest.
    pub fn take(&mut self, bytes: &[u8]) -> Option<Result<(), CheckError>> {
        self.read += bytes.len();
        self.raw.extend_from_slice(bytes);
        self.understand().unwrap_or_else(|wrong| Some(Err(wrong))).or_else(|| {
            (self.read >= MOST_READ).then(|| match self.framing {
                None => Err(CheckError::wrong("answers with a head that has no end")),
                Some(_) => Err(self.is_missing()),
            })
        })
    }

    /// The verdict where nothing more comes, because it was hung up.
    pub fn end(&self) -> CheckError {
        match (self.has_begun(), &self.framing) {
            (false, _) => CheckError::wrong("hangs up without an answer"),
            (true, None | Some(Framing::Length(_) | Framing::Chunked(_))) => {
                CheckError::wrong("hangs up in the midst of its answer")
            }
            (true, Some(Framing::UntilItEnds)) => self.is_missing(),
        }
    }

    fn is_missing(&self) -> CheckError {
        let words = self.http.contains.as_deref().unwrap_or_default();
        CheckError::wrong(format!("answers with a page in which {words:?} does not stand"))
    }

    fn understand(&mut self) -> Result<Option<Result<(), CheckError>>, CheckError> {
        while self.framing.is_none() {
            let mut headers = [EMPTY_HEADER; MOST_HEADERS];
            let mut head = Response::new(&mut headers);
            let no_http = |_| CheckError::wrong("answers, but not in HTTP");
            let Status::Complete(length) = head.parse(&self.raw).map_err(no_http)? else { return Ok(None) };
            let status = head.code.unwrap_or_default();
            // The answer proper comes behind these (RFC 9110, section 15.2).
            let is_interim = (100..200).contains(&status) && status != 101;
            if !is_interim {
                self.judge_status(status, &head)?;
                if self.http.contains.is_none() {
                    return Ok(Some(Ok(())));
                }
                self.framing = Some(framing(&head));
            }
            self.raw.drain(..length);
        }
        let seen = self.body.len();
        let is_whole = self.unwrap_body()?;
        let words = self.http.contains.as_deref().unwrap_or_default().as_bytes();
        let fresh = &self.body[(seen + 1).saturating_sub(words.len())..];
        if fresh.windows(words.len()).any(|window| window == words) {
            return Ok(Some(Ok(())));
        }
        Ok(is_whole.then(|| Err(self.is_missing())))
    }

    fn judge_status(&self, status: u16, head: &Response) -> Result<(), CheckError> {
        if status == self.http.status {
            return Ok(());
        }
        let wanted = self.http.status;
        let location = header(head, "location").filter(|_| (300..400).contains(&status));
        Err(CheckError::wrong(match location {
            Some(location) => format!(
                "answers {status} in place of {wanted} and redirects to {} (a captive portal?)",
                host_of(location).unwrap_or_else(|| "another page of its own".to_owned())
            ),
            None => format!("answers {status} in place of {wanted}"),
        }))
    }

    /// Moves what is there of the body to its place; whether that is all of it.
    fn unwrap_body(&mut self) -> Result<bool, CheckError> {
        loop {
            let left = match &mut self.framing {
                Some(Framing::Length(left) | Framing::Chunked(left)) => left,
                Some(Framing::UntilItEnds) | None => {
                    self.body.append(&mut self.raw);
                    return Ok(false);
                }
            };
            let there = self.raw.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= there as u64;
            let is_over = *left == 0;
            self.body.extend(self.raw.drain(..there));
            match self.framing {
                Some(Framing::Length(_)) => return Ok(is_over),
                _ if !is_over => return Ok(false),
                _ => {}
            }
            // The end of the chunk before, and of none before the first.
            let end_of_chunk =
                self.raw.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count().min(2);
            match parse_chunk_size(&self.raw[end_of_chunk..]) {
                Ok(Status::Complete((_, 0))) => return Ok(true),
                Ok(Status::Complete((line, size))) => {
                    self.raw.drain(..end_of_chunk + line);
                    self.framing = Some(Framing::Chunked(size));
                }
                Ok(Status::Partial) if self.raw.len() < LONGEST_SIZE_LINE => return Ok(false),
                Ok(Status::Partial) | Err(_) => {
                    return Err(CheckError::wrong("answers with a page that is torn"));
                }
            }
        }
    }
}

fn header<'a>(head: &Response<'_, 'a>, name: &str) -> Option<&'a [u8]> {
    head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

fn framing(head: &Response) -> Framing {
    let text = |name| header(head, name).and_then(|value| str::from_utf8(value).ok()).map(str::trim);
    match (text("transfer-encoding"), text("content-length")) {
        (Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => Framing::Chunked(0),
        (None, Some(length)) => length.parse().map_or(Framing::UntilItEnds, Framing::Length),
        _ => Framing::UntilItEnds,
    }
}

/// The host of an address, with nothing in it but what an address is made of.
fn host_of(location: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(location);
    let (_, behind) = text.split_once("//")?;
    let host = behind.split(['/', '?', '#', '\\']).next()?.rsplit('@').next()?;
    let fits = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    let host: String = host.chars().take(MOST_TOLD).map(fits).collect();
    (!host.is_empty()).then_some(host)
}
