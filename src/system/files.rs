//! The files that the configuration names: what would keep each from its use, on the night on which it is needed.

use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access, geteuid};

use super::{file, script, secret, smtp, trust, webhook};
use crate::core::config::{Config, Relay};
use crate::core::facts::{BadFile, Purpose};

/// A few stat calls and reads; nothing is started.
pub fn look(config: &Config) -> Vec<BadFile> {
    let mut bad = Vec::new();
    let mut add = |purpose, why: Option<String>| bad.extend(why.map(|why| BadFile { purpose, why }));
    let fault_of = |script: &Option<std::path::PathBuf>| script.as_deref().and_then(script::fault);
    add(Purpose::ActionScript, fault_of(&config.action_script));
    add(Purpose::ExitScript, fault_of(&config.exit_script));
    add(Purpose::LinkScript, fault_of(&config.link_script));
    let webhook = config.notify.as_ref().and_then(|notify| notify.webhook.as_ref());
    let webhook = webhook.filter(|webhook| may_be_judged(&webhook.url_file));
    let why = webhook.and_then(|webhook| webhook::address(webhook).err());
    add(Purpose::Webhook, why.map(|why| format!("`notify.webhook.url_file`: {why}")));
    match config.notify.as_ref().and_then(|notify| notify.mail.as_ref()).map(|mail| &mail.relay) {
        Some(Relay::Sendmail(program)) => {
            let is_refused =
                || trust::refuse_if_others_can_write(program, "program").err().map(|why| why.to_string());
            let why = script::program_fault(program).or_else(is_refused);
            add(Purpose::Mail, why.map(|why| format!("`notify.sendmail` {}: {why}", program.display())));
        }
        Some(Relay::Smtp(smtp)) => {
            let password = smtp.password_file.as_deref().filter(|path| may_be_judged(path));
            let why = password.and_then(|path| smtp::password_in(path).err());
            add(Purpose::Mail, why.map(|why| format!("`notify.smtp.password_file`: {why}")));
            let ca_file = smtp.ca_file.as_deref().filter(|path| may_be_judged(path));
            let why = ca_file.and_then(|path| Some((path, file::open_foreign(path).err()?)));
            add(
                Purpose::Mail,
                why.map(|(path, why)| format!("`notify.smtp.ca_file` {}: {why}", path.display())),
            );
        }
        None => {}
    }
    bad
}

/// Whoever is not root may be kept from files that root can read; a credential is there while `deliver` is at work.
fn may_be_judged(path: &Path) -> bool {
    let is_kept_from = !geteuid().is_root() && access(path, AccessFlags::R_OK) == Err(Errno::EACCES);
    !is_kept_from && !secret::is_credential(path)
}
