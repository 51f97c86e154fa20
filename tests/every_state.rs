//! Every state that two or three links can get into, as far as a decision can tell them apart: reached by playing the real
//! run over all that can happen next, and held against what must never be.
//!
//! `cargo test` looks at the first few hundred. `WANFO_EVERY_STATE=1 cargo test --release --test every_state -- --nocapture` goes
//! on until nothing new comes, and prints how many there are: with two links (`two`) for a minute, with three for half an hour.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Write;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use model_router::{Condition, Router, Run};
use wanfo::core::config;
use wanfo::core::decide::Outcome;
use wanfo::core::health::{Probed, Verdict};
use wanfo::core::hold::{Hold, Stay};
use wanfo::core::script::Ending;
use wanfo::core::state::{LinkState, State};
use wanfo::core::switch::{Cause, Request, Switch};

#[allow(dead_code, reason = "nothing is forwarded in here")]
#[path = "fixtures/model_kernel.rs"]
mod model_kernel;
#[allow(dead_code, reason = "the model can do more than this")]
#[path = "fixtures/model_router.rs"]
mod model_router;

/// As many as are played in a few seconds.
const SAMPLE: usize = 400;
/// Places that all processors share before what came of them is put together.
const AT_ONCE: usize = 64;
/// More relapses only make the same wait longer. With three links one stands for all, or there were millions of states.
const MOST_RELAPSES: [u32; 2] = [2, 1];
/// So many minutes without a change are more than checks and an exit script take until they are asked again.
const AT_REST: usize = 3;
/// In minutes: a relapsed link is trusted after some, a fickle one after half an hour, and nothing waits for longer.
const LONGEST_UNREST: usize = 40;
/// From any state to rest.
const MOST_SWITCHES: usize = 3;
/// After how many it says how far it is.
const TOLD_EACH: usize = 10_000;
const BEAT: Duration = Duration::from_secs(2);
const DELAY: Duration = Duration::from_secs(30);

/// What a line does until something else happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Good,
    Silent,
    /// Pings are answered, and nothing else.
    Useless,
}

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// One line changes.
    Becomes(usize, Line),
    /// Nothing but time passes, before the next run.
    Wait(Duration),
    Ask(Request),
    /// The exit script changes its mind.
    Exit(i32),
}

/// A router, the lines as they are, and how it came there.
#[derive(Clone)]
struct Place {
    router: Router,
    lines: Vec<Line>,
    exit: i32,
    way: Vec<Event>,
}

fn check_server(line: usize) -> String {
    format!("203.0.113.{}", line + 1)
}

fn place(links: usize) -> Place {
    let mut text = "probe: {silence: 3s}\nexit_script: /usr/local/bin/veto\nlinks:\n".to_owned();
    for line in 0..links {
        let (target, delay) = (10 * line + 1, DELAY.as_secs());
        writeln!(
            text,
            "  - {{name: line{line}, interface: eth{line}, targets: [198.51.100.{target}], standby_interval: 0s, \
             stable: 10s, delay: {delay}s, checks: [{{tcp: {}, port: 443}}]}}",
            check_server(line)
        )
        .unwrap();
    }
    let config = config::read::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
    let mut place =
        Place { router: Router::new(config), lines: vec![Line::Good; links], exit: 0, way: Vec::new() };
    place.check();
    place
}

impl Place {
    /// One start of `wanfo check`, and the wait for the next.
    fn check(&mut self) -> Vec<Run> {
        let start = self.router.now;
        let runs = self.router.check();
        let left = BEAT.saturating_sub(self.router.now.since(start).unwrap_or_default());
        self.router.wait(left);
        // It would be copied with every place.
        self.router.forget_what_was_told();
        runs
    }

    fn happens(&mut self, event: Event) -> Vec<Run> {
        self.way.push(event);
        match event {
            Event::Becomes(line, like) => {
                self.lines[line] = like;
                let condition = match like {
                    Line::Good => Condition::Good,
                    Line::Silent => Condition::Silent,
                    Line::Useless => Condition::Fails(vec![check_server(line).parse().unwrap()]),
                };
                self.router.set(&format!("eth{line}"), condition);
                self.check()
            }
            Event::Wait(time) => {
                self.router.wait(time);
                self.check()
            }
            Event::Exit(code) => {
                self.exit = code;
                self.router.exit_script = Ending::Exit(code);
                self.check()
            }
            Event::Ask(request) => {
                let request = match request {
                    Request::Failover { to, hold: Hold::Until(_) } => {
                        Request::Failover { to, hold: Hold::Until(self.router.now.plus(2 * DELAY)) }
                    }
                    other => other,
                };
                let run = self.router.run(request);
                self.router.wait(BEAT);
                self.router.forget_what_was_told();
                vec![run]
            }
        }
    }

    fn state(&self) -> State {
        let text = self.router.disk.state.as_ref().expect("a run has written it");
        serde_json::from_str(text).expect("a state")
    }

    /// All that a decision depends on, each time as what it means now.
    fn key(&self) -> String {
        let (state, now) = (self.state(), self.router.now);
        let mut key = String::new();
        for (line, link) in self.lines.iter().zip(&state.links) {
            let (law, health) = (link.law, &link.health);
            write!(
                key,
                "{line:?} {} silent:{} recovering:{} relapses:{} useless:{}; ",
                health.verdict,
                health.silent_for(law, now) >= law.silence,
                health.stable_in(law, now).is_some(),
                health.relapses.min(MOST_RELAPSES[state.links.len() - 2]),
                link.services.useless,
            )
            .unwrap();
        }
        let stay = match state.stay(DELAY, now) {
            Stay::Free => "free",
            Stay::For(_) => "delay",
            Stay::UntilFailback => "hold",
        };
        let veto = state.standing_veto(now).is_some();
        write!(key, "on {} {stay} forced:{} veto:{veto} exit:{}", state.active, state.forced, self.exit)
            .unwrap();
        key
    }

    /// No time that is still to come changes what the next runs find.
    fn waits_for_nothing(&self) -> bool {
        let (state, now) = (self.state(), self.router.now);
        let recovers = |link: &LinkState| link.health.stable_in(link.law, now).is_some();
        !matches!(state.stay(DELAY, now), Stay::For(_))
            // A script that goes on saying no is asked again for ever.
            && (self.exit != 0 || state.standing_veto(now).is_none())
            && !state.links.iter().any(recovers)
    }

    fn index_of_active(&self) -> usize {
        self.state().active_in(&self.router.config).expect("it is in the config")
    }
}

/// What can happen in a place.
fn events(place: &Place) -> Vec<Event> {
    let mut events = Vec::new();
    for (line, now) in place.lines.iter().enumerate() {
        for next in [Line::Good, Line::Silent, Line::Useless] {
            if next != *now {
                events.push(Event::Becomes(line, next));
            }
        }
    }
    // A beat; until a delay is over; until a relapse is none any more.
    events.extend([Duration::ZERO, DELAY, Duration::from_secs(11 * 60)].map(Event::Wait));
    for hold in [Hold::No, Hold::UntilFailback, Hold::Until(place.router.now)] {
        events.push(Event::Ask(Request::Failover { to: None, hold }));
    }
    events.extend([false, true].map(|now| Event::Ask(Request::Failback { now })));
    events.push(Event::Exit(1 - place.exit));
    events
}

/// What must never be, of the switch that a run has made.
fn judge_switch(run: &Run, switch: &Switch, lines: &[Line]) -> Result<(), String> {
    let by_itself = matches!(switch.cause, Cause::LinkDown | Cause::Preferred);
    let entered = &run.results[switch.to];
    if entered.probed != Probed::Answered || lines[switch.to] == Line::Silent {
        return Err(format!("a switch to {}, which does not answer", switch.to));
    }
    if by_itself && (!entered.serves || entered.health.verdict == Verdict::Down) {
        return Err(format!("a switch by itself to {}, which is no good", switch.to));
    }
    let before = run.before.as_ref().expect("there was a run before");
    let left = run.results.iter().zip(&before.links).find(|(_, link)| link.name == before.active);
    let (left, _) = left.expect("the active link is in the config");
    // It is decided at the end of a run, which may have stayed for a while.
    let decided = run.after.switched_at.expect("it has switched");
    if by_itself && left.health.verdict == Verdict::Up && !before.stay(DELAY, decided).is_free() {
        return Err("a switch away from a link that works, before its delay or hold was over".to_owned());
    }
    Ok(())
}

/// How far from rest a state is whose lines stay as they are.
#[derive(Debug, Clone, Copy, Default)]
struct Rest {
    /// Minutes, as runs that are so far apart.
    minutes: usize,
    switches: usize,
}

/// What is known of rest already, by the states' keys: most ways there go through states from which another has led.
type Rests = Mutex<HashMap<String, Rest>>;

/// With lines that stay as they are, one of them good: the traffic comes to rest on a good one.
fn judge_rest(place: &Place, rests: &Rests) -> Result<(), String> {
    let mut place = place.clone();
    let known = |key: &String| rests.lock().unwrap().get(key).copied();
    // Each state on the way, and how many switches had been made when it was reached.
    let mut way = vec![(place.key(), 0)];
    let (mut switches, mut same) = (0, 0);
    let end = loop {
        let (key, _) = way.last().expect("it begins with one");
        if let Some(rest) = known(key) {
            break rest;
        }
        let runs = place.happens(Event::Wait(Duration::from_secs(60)));
        switches += runs.iter().filter(|run| matches!(run.outcome, Outcome::Switch(_))).count();
        same = if *key == place.key() { same + 1 } else { 0 };
        way.push((place.key(), switches));
        if same == AT_REST && place.waits_for_nothing() {
            judge_place_of_rest(&place)?;
            break Rest::default();
        }
        if way.len() > LONGEST_UNREST {
            return Err(format!("no rest: after {LONGEST_UNREST} minutes still on the way {way:#?}"));
        }
    };
    let (minutes, switches) = (way.len() - 1 + end.minutes, switches + end.switches);
    if minutes > LONGEST_UNREST || switches > MOST_SWITCHES {
        return Err(format!("no rest: {switches} switches in {minutes} minutes, by {way:#?}"));
    }
    let mut rests = rests.lock().unwrap();
    for (passed, (key, before)) in way.into_iter().enumerate() {
        rests.entry(key).or_insert(Rest { minutes: minutes - passed, switches: switches - before });
    }
    Ok(())
}

fn judge_place_of_rest(place: &Place) -> Result<(), String> {
    let active = place.index_of_active();
    if place.lines[active] != Line::Good {
        return Err(format!("it rests on line {active}, which is no good"));
    }
    let best = place.lines.iter().position(|line| *line == Line::Good);
    let is_kept = place.state().hold == Hold::UntilFailback || place.exit != 0;
    if !is_kept && best != Some(active) {
        return Err(format!("it rests on line {active}, though {best:?} is good"));
    }
    Ok(())
}

/// What can come of a place, each with its key.
fn look_at(here: &Place, rests: &Rests) -> Vec<(String, Place)> {
    if here.lines.contains(&Line::Good) {
        judge_rest(here, rests)
            .unwrap_or_else(|wrong| panic!("{wrong}\nin {}\nafter {:?}", here.key(), here.way));
    }
    let comes = |event| {
        let mut next = here.clone();
        let runs = next.happens(event);
        for run in &runs {
            if let Outcome::Switch(switch) = &run.outcome {
                judge_switch(run, switch, &next.lines)
                    .unwrap_or_else(|wrong| panic!("{wrong}\nafter {:?}", next.way));
            }
        }
        (next.key(), next)
    };
    events(here).into_iter().map(comes).collect()
}

/// The same of several, on all processors, in their order.
fn look_at_all(places: &[Place], threads: usize, rests: &Rests) -> Vec<(String, Place)> {
    thread::scope(|scope| {
        let of_one = |places| {
            move || -> Vec<_> { <[Place]>::iter(places).flat_map(|place| look_at(place, rests)).collect() }
        };
        let parts = places.chunks(places.len().div_ceil(threads));
        let threads: Vec<_> = parts.map(|part| scope.spawn(of_one(part))).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

fn explore(links: usize) {
    let enough = if std::env::var_os("WANFO_EVERY_STATE").is_some() { usize::MAX } else { SAMPLE };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let first = place(links);
    let mut seen = HashSet::from([first.key()]);
    let mut open = VecDeque::from([first]);
    let rests = Rests::default();
    let (mut looked_at, mut steps, mut whole) = (0, 0, true);
    while !open.is_empty() {
        let places: Vec<_> = open.drain(..open.len().min(AT_ONCE)).collect();
        for (key, next) in look_at_all(&places, threads, &rests) {
            steps += 1;
            if seen.len() >= enough {
                whole = false;
            } else if seen.insert(key) {
                open.push_back(next);
            }
        }
        let told = looked_at / TOLD_EACH;
        looked_at += places.len();
        if looked_at / TOLD_EACH > told {
            println!(
                "{links} links: {} states so far, of which {looked_at} have been looked at.",
                seen.len()
            );
        }
    }
    let how_many = if whole { "all there are" } else { "the first there are" };
    println!("{links} links: {} states ({how_many}), {steps} steps between them.", seen.len());
    assert!(seen.len() >= SAMPLE, "{}", seen.len());
}

#[test]
fn with_two_links_no_state_is_a_trap_and_no_step_goes_to_a_link_that_is_no_good() {
    explore(2);
}

#[test]
fn with_three_links_no_state_is_a_trap_and_no_step_goes_to_a_link_that_is_no_good() {
    explore(3);
}
