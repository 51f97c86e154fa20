//! The addresses behind the name of a mail relay or a webhook.
//!
//! getent(1) is asked, which answers as everything else on this machine would (hosts file, DNS, whatever nsswitch.conf(5)
//! names). A statically linked program that asks by itself loads the C library's modules of the machine that it runs on, and
//! these fit only the library that it was built with (ld, "Using 'getaddrinfo' in statically linked applications"). Where
//! there is no getent, a static one knows the hosts file and DNS all the same.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::process::{self, Heard, Task, Unfinished};

/// What is kept of the answer, in bytes; a line has less than a hundred.
const ANSWER_SIZE: usize = 16 * 1024;

/// In the order in which they should be tried; never none. An address, in brackets or not, is its own answer.
pub fn addresses(host: &str, port: u16, limit: Duration) -> io::Result<Vec<SocketAddr>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let told =
        process::program("getent").map(|getent| by_getent(&getent, host, limit)).transpose()?.flatten();
    let found = match told {
        Some(found) => found.into_iter().map(|address| SocketAddr::new(address, port)).collect(),
        None => by_ourselves(host, port, limit)?,
    };
    match found.is_empty() {
        true => Err(io::Error::new(ErrorKind::NotFound, "the name could not be looked up")),
        false => Ok(found),
    }
}

/// What it exits with where nobody knows the name, or nobody answers (getent(1)).
const NOT_FOUND: i32 = 2;

/// `None`: it is one that cannot do this, as some small ones.
fn by_getent(getent: &Path, host: &str, limit: Duration) -> io::Result<Option<Vec<IpAddr>>> {
    let mut said = Vec::new();
    // A name that begins with a dash is no option.
    let arguments = ["--", "ahosts", host].map(str::to_owned);
    let task = Task {
        program: getent,
        arguments: &arguments,
        environment: &[],
        input: &[],
        heard: Heard::StdoutAndStderr,
        limit,
        grace: Duration::ZERO,
    };
    let ended = process::follow(&task, &mut |bytes| {
        said.extend(bytes.iter().take(ANSWER_SIZE - said.len()));
    });
    match ended {
        Err(Unfinished::TimeLimit) => Err(ErrorKind::TimedOut.into()),
        Err(Unfinished::Error(error)) => Err(error),
        Ok(status) if status.success() => Ok(Some(read(&String::from_utf8_lossy(&said)))),
        Ok(status) => Ok((status.code() == Some(NOT_FOUND)).then(Vec::new)),
    }
}

/// Of `getent ahosts`: a line for each address and kind of socket, the address first.
fn read(answer: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for address in answer.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()) {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// The C library knows no time limit (getaddrinfo(3)); a thread that waits for it ends with the process.
fn by_ourselves(host: &str, port: u16, limit: Duration) -> io::Result<Vec<SocketAddr>> {
    let (tell, answer) = channel();
    let host = host.to_owned();
    thread::Builder::new().spawn(move || {
        let found = (host, port).to_socket_addrs().map(|addresses| addresses.collect());
        let _ = tell.send(found.unwrap_or_default());
    })?;
    answer.recv_timeout(limit).map_err(|_| ErrorKind::TimedOut.into())
}
