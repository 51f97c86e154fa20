//! Flows that the kernel tracks (netfilter), deleted by running `conntrack` (conntrack-tools).

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use super::process::{self, Finished, Unfinished};

const PROGRAM: &str = "conntrack";

/// For all that one `flush` does. A table of 100,000 flows takes a tenth of a second.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// conntrack lists the flows and deletes one after the other. One that ended in between, as on a busy router some always do,
/// ends conntrack too, and the others stay: it is started again, and finds fewer each time.
const MOST_TRIES: usize = 100;

/// Where a flow may carry an address of ours (conntrack(8)): the router's own flows, those from outside to it
/// (port forwards among them), and those of the LAN behind SNAT or masquerade, whose answers come to it.
const PLACES_IN_A_FLOW: [&str; 3] = ["--orig-src", "--orig-dst", "--reply-dst"];

pub fn is_installed() -> bool {
    process::program(PROGRAM).is_some()
}

/// Deletes the flows that use one of these addresses of ours, whichever end began them, and no other. Returns
/// how many there were.
///
/// To be done when the new route is in the kernel: a flow that sends in between would be tracked again as
/// before.
///
/// # Errors
/// At the first command that fails; the flows deleted until then stay so.
pub fn flush(addresses: &[IpAddr]) -> Result<u32, String> {
    let program = process::program(PROGRAM)
        .ok_or("there is no program conntrack on this machine; install conntrack (conntrack-tools)")?;
    if addresses.is_empty() {
        let why = "the old link has no address any more, so its flows cannot be told from others, and none was deleted";
        return Err(why.to_owned());
    }
    // An unspecified address would be a filter that every flow passes.
    let of_no_link = |a: &&IpAddr| a.is_unspecified() || a.is_loopback() || a.is_multicast();
    if let Some(address) = addresses.iter().find(of_no_link) {
        return Err(format!("{address} is no link's address: no flow was deleted"));
    }
    let deadline = Instant::now() + TIME_LIMIT;
    let mut flows = 0u32;
    for address in addresses {
        for place in PLACES_IN_A_FLOW {
            flows = flows.saturating_add(delete(&program, place, *address, deadline)?);
        }
    }
    Ok(flows)
}

fn delete(program: &Path, place: &str, address: IpAddr, deadline: Instant) -> Result<u32, String> {
    let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
    let arguments = ["-D", "-f", family, place, &address.to_string()].map(str::to_owned);
    let command = format!("conntrack {}", arguments.join(" "));
    let mut complaint = String::new();
    for _ in 0..MOST_TRIES {
        let left = deadline.saturating_duration_since(Instant::now());
        let finished = process::run(program, &arguments, left).map_err(|unfinished| match unfinished {
            Unfinished::TimeLimit => format!(
                "`{command}` and those before it did not end within {} and were given up; flows that still use \
                 the old link end by themselves",
                humantime::format_duration(TIME_LIMIT)
            ),
            Unfinished::Error(error) => {
                format!("`{command}` could not be run ({}): {error}", program.display())
            }
        })?;
        // Having found none it says so, and ends with exit code 1.
        if let Some(flows) = deleted(&finished.stderr) {
            return Ok(flows);
        }
        complaint = complaint_of(&command, &finished);
    }
    Err(complaint)
}

fn complaint_of(command: &str, finished: &Finished) -> String {
    let said = match finished.stderr.lines().last() {
        Some(line) => line.chars().filter(|c| !c.is_control()).take(300).collect(),
        None => "it said nothing".to_owned(),
    };
    let advice = match said.contains("Operation not permitted") {
        true => "; deleting flows needs root (CAP_NET_ADMIN)",
        false => "",
    };
    format!("`{command}` failed ({}): {said}{advice}", finished.status)
}

/// The number in "conntrack v1.4.7 (conntrack-tools): 2 flow entries have been deleted."
fn deleted(said: &str) -> Option<u32> {
    let before = said.lines().find_map(|line| line.split_once(" flow entries have been deleted"))?.0;
    before.split_whitespace().last()?.parse().ok()
}
