//! The status as one page for a browser: the lines, the last day, what happened. It needs nothing from anywhere else, and runs
//! no script.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::overall::{Detail, Overall, elsewhere, overall};
use super::page::{Line, Tone};
use super::{history, text};
use crate::core::account::{Account, Standing};
use crate::core::proofs::Proofs;
use crate::core::state::State;
use crate::core::time::Moment;

/// How many parts the last day is drawn in: five minutes each.
const PARTS: usize = 288;

/// How often a browser fetches it again, in seconds.
const REFRESH: u32 = 30;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--faint:#667;--up:#1a7f37;--active:#0969da;--down:#cf222e;--unknown:#8c959f;--warn:#9a6700}\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--paper:#0d1117;--faint:#9aa4af;--up:#3fb950;--active:#58a6ff;--down:#ff6b61;--unknown:#6e7681;--warn:#d29922}}\
body{margin:0 auto;padding:1rem;max-width:60rem;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}\
h1{font-size:1.3rem;margin-bottom:0}.when{margin-top:0;color:var(--faint);font-size:.85rem}h2{font-size:1.05rem;margin-top:1.6rem}pre{overflow-x:auto;font:13px/1.45 ui-monospace,monospace;white-space:pre}\
.status{font:13px/1.45 ui-monospace,monospace}.status div{white-space:pre-wrap;overflow-wrap:anywhere;min-height:1.45em}.status .bar{font-size:min(13px,2.2vw);overflow-wrap:normal}\
@media(max-width:40rem){.status div{white-space:normal}}.good{color:var(--up)}.warning{color:var(--warn)}.bad{color:var(--down);font-weight:bold}\
svg{width:100%;height:1.6rem;display:block}figure{margin:.6rem 0}figcaption{font-size:.9rem}\
.up{fill:var(--up)}.active{fill:var(--active)}.down{fill:var(--down)}.unknown{fill:var(--unknown)}\
footer{margin-top:2rem;color:var(--faint);font-size:.85rem}.key span{margin-right:1em}.key i{display:inline-block;width:.8em;height:.8em;margin-right:.3em}";

/// The page. `day` is the account of the last day; `None`: nothing was recorded yet.
pub fn render(
    state: Option<&State>,
    proofs: &Proofs,
    day: Option<&Account>,
    now: Moment,
    zone: &TimeZone,
) -> String {
    page(state, proofs, day, now, zone).expect("writing to a string does not fail")
}

fn page(
    state: Option<&State>,
    proofs: &Proofs,
    day: Option<&Account>,
    now: Moment,
    zone: &TimeZone,
) -> Result<String, std::fmt::Error> {
    let lines = text::render(state, proofs, now, zone, Detail::Full);
    let title = match overall(state, now, false) {
        Overall::OnPrimary => "on the primary",
        Overall::OnBackup if state.and_then(elsewhere).is_some() => "the traffic goes elsewhere",
        Overall::OnBackup => "on a backup",
        Overall::NoLinkUp => "no link is up",
        Overall::Unknown => "unknown",
    };
    let written = now.wall.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string();
    let mut page = String::new();
    write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>wanfo: {title}</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"refresh\" content=\"{REFRESH}\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <style>{STYLE}</style></head><body>\n<h1>WAN failover: {title}</h1>\n<p class=\"when\">As of {written}</p>\n<section class=\"status\">"
    )?;
    lines.iter().try_for_each(|line| write_line(&mut page, line))?;
    writeln!(page, "</section>")?;
    if let Some(day) = day {
        write_day(&mut page, day, zone)?;
        writeln!(page, "<h2>What happened</h2>\n<details open><summary>The last day</summary><pre>")?;
        writeln!(page, "{}</pre></details>", escaped(&history::text(Some(day), zone)))?;
    }
    writeln!(page, "<footer>Written by wanfo {}.</footer></body></html>", env!("CARGO_PKG_VERSION"))?;
    Ok(page)
}

fn write_line(page: &mut String, line: &Line) -> std::fmt::Result {
    let class = match line.tone {
        Tone::Plain => "plain",
        Tone::Bar => "bar",
        Tone::Good => "good",
        Tone::Warning => "warning",
        Tone::Bad => "bad",
    };
    // The browser breaks the lines, and indents what goes on. On a phone it has no room for columns.
    let row = line.rows(usize::MAX).join(" ");
    let text = row.trim_start();
    let begin = row.len() - text.len();
    let indent = line.indent.max(begin + 2);
    let (outdent, text) = (indent - begin, escaped(text));
    writeln!(
        page,
        "<div class=\"{class}\" style=\"padding-left:{indent}ch;text-indent:-{outdent}ch\">{text}</div>"
    )
}

fn write_day(page: &mut String, day: &Account, zone: &TimeZone) -> std::fmt::Result {
    let clock = |at: Timestamp| at.to_zoned_datetime(zone.clone()).strftime("%a %H:%M").to_string();
    let border = |part: usize| clock(day.from + day.to.duration_since(day.from) * part as i32 / PARTS as i32);
    writeln!(page, "<h2>{} to {}</h2>\n<p class=\"key\">", clock(day.from), clock(day.to))?;
    for standing in [Standing::Active, Standing::Up, Standing::Down, Standing::Unknown] {
        let (class, meaning) = told(standing);
        writeln!(page, "<span><i style=\"background:var(--{class})\"></i>{meaning}</span>")?;
    }
    writeln!(page, "</p>")?;
    for link in &day.links {
        let name = escaped(link.link);
        write!(
            page,
            "<figure><figcaption>{name}</figcaption><svg viewBox=\"0 0 {PARTS} 10\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"{name}\">"
        )?;
        // One rectangle for parts that are alike.
        let mut begin = 0;
        for run in day.strip(link.link, PARTS).chunk_by(|one, other| one == other) {
            let (class, meaning) = told(run[0]);
            // A colour is not the only sign.
            let (top, height) = if run[0] == Standing::Up { (4, 6) } else { (0, 10) };
            let width = run.len();
            write!(
                page,
                "<rect class=\"{class}\" x=\"{begin}\" y=\"{top}\" width=\"{width}\" height=\"{height}\">\
                 <title>{meaning}, {} to {}</title></rect>",
                border(begin),
                border(begin + width)
            )?;
            begin += width;
        }
        writeln!(page, "</svg></figure>")?;
    }
    Ok(())
}

/// Its name in the style, and what people read.
fn told(standing: Standing) -> (&'static str, &'static str) {
    match standing {
        Standing::Active => ("active", "carries the traffic"),
        Standing::Up => ("up", "up"),
        Standing::Down => ("down", "down"),
        Standing::Unknown => ("unknown", "not watched"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
