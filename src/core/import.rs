//! A configuration made of another program's settings: AstLinux's shell variables, or mwan3's and OpenWrt's UCI files.
//!
//! The way of a file: `shell` or `uci` reads it as data, `astlinux` or `mwan3` says what it means, into a `draft`; and what
//! is handed out has been through the very reader that `wanfo check` has.

pub mod astlinux;
/// The configuration in the making.
pub mod draft;
mod mwan3;
mod shell;
mod uci;

use draft::{Fault, File};

use super::config::read;

/// What came of it.
pub struct Imported {
    /// A whole configuration, with a comment on where each line came from.
    pub yaml: String,
    /// What has no equal, or is to be looked at, each in a sentence. They stand in the YAML too.
    pub notes: Vec<String>,
}

/// `script`: where AstLinux's action script is, if it is there.
///
/// # Errors
/// Everything that keeps a configuration from being made, with file and line.
pub fn import(files: &[File], script: Option<&str>) -> Result<Imported, Vec<Fault>> {
    let (uci, shell): (Vec<&File>, Vec<&File>) = files.iter().partition(|file| uci::is_uci(file.text));
    let draft = match (&uci[..], &shell[..]) {
        ([one, ..], [other, ..]) => {
            let text = format!(
                "{} is an OpenWrt file and {} is not; give the files of one router",
                one.name, other.name
            );
            return Err(vec![Fault::of_all(text)]);
        }
        ([_, ..], []) => {
            let mut sections = Vec::new();
            uci.iter().try_for_each(|file| uci::read(file, &mut sections)).map_err(|fault| vec![fault])?;
            mwan3::draft(&sections)?
        }
        _ => {
            let mut variables = shell::Variables::default();
            shell.iter().try_for_each(|file| variables.read(file)).map_err(|fault| vec![fault])?;
            if !astlinux::is_astlinux(&variables) {
                let text = "no settings of AstLinux's WAN Failover and none of mwan3 are in these files; give rc.conf, \
                            gui.failover.conf and user.conf, or /etc/config/mwan3 and /etc/config/network";
                return Err(vec![Fault::of_all(text)]);
            }
            astlinux::draft(&variables, script)?
        }
    };
    let yaml = draft.yaml();
    read::parse(&yaml).map_err(|problems| {
        problems.iter().map(|problem| draft.fault_of(problem.line, &problem.text)).collect::<Vec<_>>()
    })?;
    let names: Vec<&str> = files.iter().map(|file| file.name).collect();
    let mut notes = String::new();
    for note in draft.notes() {
        notes += &format!("# - {note}\n");
    }
    let head = draft::comment(&format!(
        "Made by `wanfo import` of {}. Beside each line: where it came from.",
        names.join(", ")
    ));
    let notes =
        if notes.is_empty() { notes } else { format!("\n# What has no equal, or wants a look:\n{notes}") };
    Ok(Imported { yaml: format!("{head}{yaml}{notes}"), notes: draft.notes().to_vec() })
}
