use std::io::ErrorKind;

use anyhow::Result;

use super::{Exit, link_named};
use crate::cli;
use crate::core::config::{Config, Pin};
use crate::core::facts::Family;
use crate::core::flow::{self, Flow, RouteAnswer};
use crate::core::gateway::View;
use crate::core::pin;
use crate::system::kernel::Kernel;
use crate::system::{machine, router, uids};

/// As env(1) and the shells have it.
const NOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Runs a command as the link's user, in place of this process. What it sends is tied to the link by the same rule as the
/// probes are; where that does not hold, nothing is run.
pub fn run(config: &Config, arguments: &cli::Exec) -> Result<Exit> {
    let Some(index) = link_named(config, &arguments.link) else { return Ok(Exit::Usage) };
    if config.probe.pin == Pin::Target {
        log::error!(
            "with `pin: target` only pings are tied to a link, and no command can be; write `pin: link` in the config"
        );
        return Ok(Exit::Failed);
    }
    let mut kernel = Kernel::open()?;
    let view = View::of(config, router::look(&mut kernel, config)?);
    if let Err(why) = pin::holds(config, &view, index, &mut |flow| kernel.way(flow)) {
        log::error!("{}: {why}", arguments.link);
        return Ok(Exit::Failed);
    }
    let uid = config.uid_of(index);
    // What runs as a user of this machine has that user's files, and may kill his processes.
    if let Some((_, user)) = view.facts.owned_uids.iter().find(|(owned, _)| *owned == uid) {
        log::error!(
            "{}: the user {user} has the uid {uid}, and the command would run with the rights of that user; set `routing.uid` in \
             the config to a range that nobody has",
            arguments.link
        );
        return Ok(Exit::Failed);
    }
    warn_of_strictness(config, &view, index, &mut kernel);
    let error = uids::exec_as(uid, &arguments.command);
    let program = arguments.command[0].to_string_lossy();
    log::error!("running {program:?} as uid {uid}: {error}");
    Ok(Exit::Code(if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_RUN }))
}

/// With strict reverse-path filtering an answer must come in by the interface that the default traffic leaves by.
fn warn_of_strictness(config: &Config, view: &View, index: usize, kernel: &mut Kernel) {
    let (link, resolved) = (&config.links[index], &view.links[index]);
    let Some(interface) = resolved.interface.as_deref().filter(|interface| machine::is_strict(interface))
    else {
        return;
    };
    let somewhere = flow::default_traffic(Family::V4, config, &view.facts).first().map(|(_, to)| *to);
    let is_active = somewhere.is_some_and(|to| {
        matches!(kernel.way(&Flow::forwarded_tcp(to)), Ok(RouteAnswer::Out { interface: out, .. }) if out == interface)
    });
    if !is_active && !link.inbound && resolved.v4.is_ok() {
        log::warn!(
            "{}: the kernel drops IPv4 answers that come in by a link that is not active (rp_filter=1 of {interface}); write \
             `inbound: true` for the link, or set net.ipv4.conf.{interface}.rp_filter=2",
            link.name
        );
    }
}
