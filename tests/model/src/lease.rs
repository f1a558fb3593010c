//! The leader election, by the functions of [`videotoken_core::lease`]: two candidates, a Lease, writes that arrive
//! late or whose answer is lost. Time passes in units of a third of the duration.

use stateright::{Model, Property};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::time::Instant;
use videotoken_core::clock::Now;
use videotoken_core::lease::{Action as Next, Observed, acquired_spec, released, step};

/// Length of a unit of time.
const UNIT: Duration = Duration::from_secs(5);
/// Duration of the Lease.
const DURATION: Duration = Duration::from_secs(15);
/// Units for which a leader acts after its last renewal was sent: less than the duration.
const DEADLINE: u8 = 2;
/// Units after which an observation is as old as it can matter.
const OLDEST: u8 = 4;
/// Name of the property.
pub const ONE_LEADER: &str = "two leaders never act at the same time";

/// The election, and the rules that a test can break.
#[derive(Clone, Copy, Debug)]
pub struct Election {
    /// Units for which a leader acts after a renewal.
    pub deadline: u8,
    /// True if a write fails when another one came before it.
    pub guarded: bool,
    /// True if the time of a renewal is that before it was sent, not that of its answer.
    pub counts_from_sending: bool,
}

impl Default for Election {
    fn default() -> Self {
        Self { deadline: DEADLINE, guarded: true, counts_from_sending: true }
    }
}

/// The Lease: its holder (0: none) and its version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    holder: u8,
    version: u8,
}

/// A write whose answer hasn't arrived, and the units since it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    holder: u8,
    /// Version that it replaces.
    over: u8,
    age: u8,
    /// Answer that is on its way: the stored record, or `None` for a conflict.
    answer: Option<Option<Record>>,
}

/// A candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// Record that it last saw, and the units since it first saw it.
    seen: Option<(Record, u8)>,
    write: Option<Write>,
    /// Units for which it still acts.
    acts: u8,
}

/// A state of the election.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    stored: Option<Record>,
    candidates: [Candidate; 2],
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A candidate reads the Lease.
    Read(usize),
    /// A candidate decides and sends its write.
    Send(usize),
    /// The write of a candidate is served.
    Serve(usize),
    /// A candidate receives the answer.
    Answer(usize),
    /// The write or its answer is lost.
    Lose(usize),
    /// A leader stops and releases the Lease.
    Release(usize),
    /// Somebody deletes the Lease while nobody acts.
    Delete,
    /// A unit of time passes.
    Unit,
}

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

fn now() -> Now {
    Now { wall: chrono::DateTime::UNIX_EPOCH, mono: start() + UNIT * u32::from(OLDEST) }
}

fn name(candidate: usize) -> &'static str {
    ["a", "b"][candidate]
}

/// Returns what a candidate saw as the operator keeps it.
fn observed(candidate: Candidate) -> Option<Observed> {
    let (record, age) = candidate.seen?;
    let holder = ["", "a", "b"][usize::from(record.holder)];
    let next = if record.holder == 0 { Next::Renew } else { Next::Acquire };
    let mut spec = acquired_spec(holder, next, None, DURATION, now());
    if record.holder == 0 {
        spec = released(&spec, now());
    }
    Some(Observed { spec, since: now().mono - UNIT * u32::from(age) })
}

impl Election {
    fn serve(self, state: &mut State, index: usize) {
        let latest = state.versions().max().unwrap_or_default();
        let version = state.stored.map_or(0, |stored| stored.version);
        let Some(write) = &mut state.candidates[index].write else { return };
        if self.guarded && version != write.over {
            write.answer = Some(None);
            return;
        }
        let record = Record { version: latest + 1, holder: write.holder };
        write.answer = Some(Some(record));
        state.stored = Some(record);
    }

    fn answer(self, state: &mut State, index: usize) {
        let candidate = &mut state.candidates[index];
        let Some(Write { holder, age, answer: Some(Some(record)), .. }) = candidate.write.take() else { return };
        candidate.seen = Some((record, 0));
        if holder != 0 {
            let since = if self.counts_from_sending { age } else { 0 };
            candidate.acts = self.deadline.saturating_sub(since);
        }
    }
}

impl State {
    fn versions(&self) -> impl Iterator<Item = u8> {
        let seen = self.candidates.into_iter().filter_map(|candidate| candidate.seen).map(|(record, _)| record.version);
        let sent = self.candidates.into_iter().filter_map(|candidate| candidate.write);
        let sent = sent.flat_map(|write| [Some(write.over), write.answer.flatten().map(|record| record.version)]);
        let sent = sent.flatten();
        self.stored.into_iter().map(|stored| stored.version).chain(seen).chain(sent)
    }

    /// Numbers the versions anew in their order; 0 stays none.
    fn renumber(&mut self) {
        let all: std::collections::BTreeSet<u8> = self.versions().filter(|version| *version != 0).collect();
        let rank = |version: &mut u8| {
            let at = all.iter().position(|other| other == version).map_or(0, |at| at + 1);
            *version = u8::try_from(at).unwrap_or_default();
        };
        self.stored.iter_mut().for_each(|stored| rank(&mut stored.version));
        for candidate in &mut self.candidates {
            candidate.seen.iter_mut().for_each(|(record, _)| rank(&mut record.version));
            if let Some(write) = &mut candidate.write {
                rank(&mut write.over);
                write.answer.iter_mut().flatten().for_each(|record| rank(&mut record.version));
            }
        }
    }
}

impl Model for Election {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (index, candidate) in state.candidates.iter().enumerate() {
            if candidate.write.is_some() {
                let is_served = candidate.write.is_some_and(|write| write.answer.is_some());
                actions.extend([
                    if is_served { Action::Answer(index) } else { Action::Serve(index) },
                    Action::Lose(index),
                ]);
            } else {
                actions.extend([Action::Read(index), Action::Send(index), Action::Release(index)]);
            }
        }
        if state.candidates.iter().all(|candidate| candidate.acts == 0 && candidate.write.is_none()) {
            actions.push(Action::Delete);
        }
        actions.push(Action::Unit);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        match action {
            Action::Read(index) => {
                let before = state.candidates[index].seen;
                let seen = state.stored.map(|stored| match before {
                    Some((record, age)) if record == stored => (stored, age),
                    _ => (stored, 0),
                });
                state.candidates[index].seen = seen;
            }
            Action::Send(index) => {
                let candidate = state.candidates[index];
                let next = step(name(index), observed(candidate).as_ref(), DURATION, now().mono);
                if let Next::Wait(_) = next {
                    state.candidates[index].acts = 0;
                } else {
                    let over = candidate.seen.map_or(0, |(record, _)| record.version);
                    let holder = u8::try_from(index).unwrap_or_default() + 1;
                    state.candidates[index].write = Some(Write { holder, over, age: 0, answer: None });
                }
            }
            Action::Serve(index) => self.serve(&mut state, index),
            Action::Answer(index) => self.answer(&mut state, index),
            Action::Lose(index) => state.candidates[index].write = None,
            Action::Release(index) => {
                let holder = u8::try_from(index).unwrap_or_default() + 1;
                let stored = state.stored.filter(|stored| stored.holder == holder)?;
                let candidate = &mut state.candidates[index];
                candidate.acts = 0;
                candidate.write = Some(Write { holder: 0, over: stored.version, age: 0, answer: None });
            }
            Action::Delete => state.stored = None,
            Action::Unit => {
                for candidate in &mut state.candidates {
                    candidate.acts = candidate.acts.saturating_sub(1);
                    candidate.seen.iter_mut().for_each(|(_, age)| *age = (*age + 1).min(OLDEST));
                    candidate.write.iter_mut().for_each(|write| write.age = (write.age + 1).min(OLDEST));
                }
            }
        }
        state.renumber();
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_LEADER, |_, state: &State| {
                state.candidates.iter().filter(|candidate| candidate.acts > 0).count() < 2
            }),
            // Never true, so that every state is visited.
            Property::sometimes("end", |_, _: &State| false),
        ]
    }
}
