//! What is said to an SMTP relay, and what is heard (RFC 5321). lettre knows the words. Its own transport reads a line to
//! its end, wherever that is, sets a time limit on each byte only, and believes after TLS what it had read before.

use std::fmt::Display;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lettre::transport::smtp::response::Response;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::system::resolver;

/// For the connection, and for every answer of the relay but one.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// For the answer to a whole mail, which the relay may scan first: to give up early would be to send it twice
/// (RFC 5321, section 4.5.3.2.6, says ten minutes). Once it begins it has no more time than any other.
const CONTENT_LIMIT: Duration = Duration::from_secs(300);

/// No answer has more bytes: a hundred lines of the longest (RFC 5321, section 4.5.3.1.5).
const ANSWER_SIZE: u64 = 100 * 512;

pub struct Conversation {
    stream: BufReader<Stream>,
    deadline: Instant,
}

enum Stream {
    Plain(Wire),
    Encrypted(Box<StreamOwned<ClientConnection, Wire>>),
}

/// A socket that is read and written until a moment, however little comes at a time.
struct Wire {
    socket: TcpStream,
    until: Instant,
}

impl Conversation {
    /// Connects. Nothing goes on beyond `deadline`, but that the answer to a whole mail is waited for.
    pub fn begin(host: &str, port: u16, deadline: Instant) -> io::Result<Conversation> {
        let until = deadline.min(Instant::now() + ANSWER_LIMIT);
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for address in resolver::addresses(host, port, left(until)?)? {
            match TcpStream::connect_timeout(&address, left(until)?) {
                Ok(socket) => {
                    let stream = BufReader::new(Stream::Plain(Wire { socket, until }));
                    return Ok(Conversation { stream, deadline });
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Goes on encrypted.
    pub fn encrypt(&mut self, host: &str, config: Arc<ClientConfig>) -> io::Result<()> {
        let Stream::Plain(wire) = self.stream.get_ref() else { return Ok(()) };
        if !self.stream.buffer().is_empty() {
            // Somebody on the way would have us take it for the relay's own.
            return Err(invalid("it went on talking unencrypted after its answer to STARTTLS".to_owned()));
        }
        let mut wire = Wire { socket: wire.socket.try_clone()?, until: self.next_limit(ANSWER_LIMIT) };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let mut connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        connection.complete_io(&mut wire)?;
        self.stream = BufReader::new(Stream::Encrypted(Box::new(StreamOwned::new(connection, wire))));
        Ok(())
    }

    /// Says a command, which has its end of line, and hears the answer.
    pub fn command(&mut self, command: impl Display) -> io::Result<Response> {
        let until = self.next_limit(ANSWER_LIMIT);
        self.say(command.to_string().as_bytes(), until)?;
        self.hear()
    }

    /// Says the lines of a mail and hears whether it is taken. Lines of a lone dot are no end of it.
    pub fn content(&mut self, mail: &[u8]) -> io::Result<Response> {
        let mut text = Vec::with_capacity(mail.len() + 1024);
        for line in mail.split_inclusive(|byte| *byte == b'\n') {
            if line.starts_with(b".") {
                text.push(b'.');
            }
            text.extend_from_slice(line);
        }
        text.extend_from_slice(if text.ends_with(b"\r\n") { b".\r\n" } else { b"\r\n.\r\n" });
        self.say(&text, self.deadline)?;
        self.limit(Instant::now() + CONTENT_LIMIT);
        self.stream.fill_buf()?;
        self.limit(Instant::now() + ANSWER_LIMIT);
        self.hear()
    }

    /// Hears an answer, of one line or several. The relay's greeting is the first.
    pub fn hear(&mut self) -> io::Result<Response> {
        let mut text = Vec::new();
        loop {
            let start = text.len();
            (&mut self.stream).take(ANSWER_SIZE - start as u64).read_until(b'\n', &mut text)?;
            if text.len() as u64 >= ANSWER_SIZE {
                return Err(invalid("its answer has no end".to_owned()));
            }
            if !text.ends_with(b"\n") {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up"));
            }
            if text[start..].get(3) != Some(&b'-') {
                break;
            }
        }
        let text = String::from_utf8_lossy(&text);
        text.parse().map_err(|_| invalid(format!("this is no answer of a mail relay: {:?}", text.trim_end())))
    }

    fn say(&mut self, bytes: &[u8], until: Instant) -> io::Result<()> {
        self.limit(until);
        self.stream.get_mut().write_all(bytes)?;
        self.stream.get_mut().flush()
    }

    fn next_limit(&self, limit: Duration) -> Instant {
        self.deadline.min(Instant::now() + limit)
    }

    fn limit(&mut self, until: Instant) {
        match self.stream.get_mut() {
            Stream::Plain(wire) => wire.until = until,
            Stream::Encrypted(stream) => stream.sock.until = until,
        }
    }
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(left(self.until)?))?;
        self.socket.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(left(self.until)?))?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(wire) => wire.read(buffer),
            Stream::Encrypted(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(wire) => wire.write(bytes),
            Stream::Encrypted(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(wire) => wire.flush(),
            Stream::Encrypted(stream) => stream.flush(),
        }
    }
}
