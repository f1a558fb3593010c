//! The decisions of the operator, checked in every order of events of a small world.
//!
//! | File | Contents |
//! |---|---|
//! | `world` | the state: Secrets, objects, what each operator knows; in ranks and ages, so that it is finite |
//! | `real` | between ranks and the operator's own types |
//! | `step` | one step of one operator, by the functions of `videotoken_core::plan` |
//! | `hand` | what another client does to a Secret |
//! | `recovery` | what follows when nothing goes wrong any more |
//! | `rules` | the operator's functions as values, and ways to break them |
//! | `lease` | the leader election, by the functions of `videotoken_core::lease` |
//! | `check` | the worlds, and a run of the checker |
//!
//! Operators act whether or not they hold the lease: that is the worst that the election may allow (P10). Time is an
//! action: a third of a token's lifetime passes, or a wait ends, at any point of any order.

#![allow(clippy::struct_excessive_bools)] // flags of a configuration and of a verdict
#![allow(clippy::option_option)] // what is known: nothing, that nothing exists, or a value

pub mod check;
pub mod hand;
pub mod lease;
mod real;
mod recovery;
pub mod rules;
mod step;
pub mod world;

pub use step::Outcome;

use hand::Deed;
use rules::Rules;
use stateright::{Model, Property};
use step::Step;
use world::{Attempt, EXPIRED, Memory, NAMES, Object, Operator, Queue, Violations, World};

/// A small world, and what may go wrong in it.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Number of operators.
    pub operators: usize,
    /// Number of VideoAccessTokens.
    pub objects: usize,
    /// Number of events that a watch may hold back.
    pub capacity: usize,
    /// Number of faults, deeds and edits in all; 255 is without end.
    pub faults: u8,
    /// Deeds of the other hand.
    pub deeds: &'static [Deed],
    /// True if an operator may crash.
    pub crashes: bool,
    /// True if requests to the API server may fail or lose their answer.
    pub failures: bool,
    /// True if a renewal keeps the previous token.
    pub keeps_previous: bool,
    /// True if the token request may be edited.
    pub edits: bool,
    /// True if the name of the Secret may be edited.
    pub renames: bool,
    /// True if the steps of an operator can follow each other within a minute, so that conflicts with another client
    /// slow down its repairs.
    pub contests: bool,
    /// The rules of the operator.
    pub rules: Rules,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            operators: 1,
            objects: 1,
            capacity: 1,
            faults: 2,
            deeds: hand::ALL,
            crashes: true,
            failures: true,
            keeps_previous: false,
            edits: false,
            renames: false,
            contests: false,
            rules: Rules::default(),
        }
    }
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// An operator takes its next step for an object.
    Step(usize, usize, Outcome),
    /// The wait after a failed request to the API server ends.
    WriteWaitEnds(usize, usize),
    /// The wait after a failed call ends.
    CallWaitEnds(usize, usize),
    /// A lookup becomes too old.
    LookupEnds(usize, usize),
    /// A conflict with another client is over.
    ContestEnds(usize, usize),
    /// The queue grants a call.
    Grant(usize, usize),
    /// An operator receives an event of its watch.
    Receive(usize),
    /// A third of a token's lifetime passes.
    Third,
    /// An operator crashes and starts again.
    Crash(usize),
    /// Another client acts.
    Deed(Deed, u8),
    /// The token request is edited.
    Edit(usize),
    /// The name of the Secret is edited.
    Rename(usize),
}

impl Config {
    fn start(self) -> World {
        let operator = Operator::started(&[None; NAMES], self.objects);
        World {
            secrets: [None; NAMES],
            objects: vec![Object::default(); self.objects],
            operators: vec![operator; self.operators],
            faults: self.faults,
            broken: Violations::default(),
        }
    }

    fn step(self, world: &mut World, operator: usize, index: usize, outcome: Outcome) -> bool {
        let Self { rules, capacity, keeps_previous, .. } = self;
        let done = Step { world, rules, capacity, keeps_previous, operator, index, outcome }.run();
        if !self.contests {
            // more than a conflict's time passes
            let memory = &mut world.operators[operator].memory[index];
            (memory.contest, memory.spare, memory.failures) = (None, None, 0);
        }
        done
    }
}

fn memory_actions(operator: usize, index: usize, memory: &Memory) -> impl Iterator<Item = Action> {
    let waits = matches!(memory.attempt, Attempt::Failed | Attempt::Rejected);
    [
        (memory.trouble.is_some(), Action::WriteWaitEnds(operator, index)),
        (waits, Action::CallWaitEnds(operator, index)),
        (memory.lookup.is_some(), Action::LookupEnds(operator, index)),
        (memory.contest.is_some(), Action::ContestEnds(operator, index)),
        (memory.queue == Queue::Waiting, Action::Grant(operator, index)),
    ]
    .into_iter()
    .filter_map(|(on, action)| on.then_some(action))
}

/// Forgets what belongs to a state of the spec before an edit.
fn forget_before_edit(world: &mut World, index: usize) {
    for memory in world.operators.iter_mut().map(|operator| &mut operator.memory[index]) {
        (memory.lookup, memory.trouble, memory.contest) = (None, None, None);
        if matches!(memory.attempt, Attempt::Failed | Attempt::Rejected) {
            memory.attempt = Attempt::None;
        }
    }
}

impl Model for Config {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.start()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.broken.any() {
            return;
        }
        let may_fail = world.faults > 0;
        for (operator, at) in world.operators.iter().enumerate() {
            for (index, memory) in at.memory.iter().enumerate() {
                actions.push(Action::Step(operator, index, Outcome::Served));
                if may_fail && (self.failures || memory.queue == Queue::Granted) {
                    actions.push(Action::Step(operator, index, Outcome::Failed));
                    actions.push(Action::Step(operator, index, Outcome::Lost));
                }
                actions.extend(memory_actions(operator, index, memory));
            }
            if !at.inbox.is_empty() {
                actions.push(Action::Receive(operator));
            }
            if self.crashes && may_fail {
                actions.push(Action::Crash(operator));
            }
        }
        actions.push(Action::Third);
        if !may_fail {
            return;
        }
        for name in 0..if self.renames { 2 } else { 1 } {
            let there = world.secrets[usize::from(name)];
            let deeds = self.deeds.iter().filter(|deed| deed.applies(there));
            actions.extend(deeds.map(|deed| Action::Deed(*deed, name)));
        }
        for index in 0..self.objects {
            actions.extend(self.edits.then_some(Action::Edit(index)));
            actions.extend(self.renames.then_some(Action::Rename(index)));
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        let memory = |world: &mut World, operator: usize, index: usize, change: fn(&mut Memory)| {
            change(&mut world.operators[operator].memory[index]);
        };
        match action {
            Action::Step(operator, index, outcome) => {
                if !self.step(&mut world, operator, index, outcome) {
                    return None;
                }
                if outcome != Outcome::Served {
                    world.spend();
                }
            }
            Action::WriteWaitEnds(operator, index) => memory(&mut world, operator, index, |it| it.trouble = None),
            Action::CallWaitEnds(operator, index) => {
                memory(&mut world, operator, index, |it| it.attempt = Attempt::None);
            }
            Action::LookupEnds(operator, index) => memory(&mut world, operator, index, |it| it.lookup = None),
            Action::ContestEnds(operator, index) => {
                memory(&mut world, operator, index, |it| (it.contest, it.spare) = (None, None));
            }
            Action::Grant(operator, index) => memory(&mut world, operator, index, |it| it.queue = Queue::Granted),
            Action::Receive(operator) => world.operators[operator].receive(),
            Action::Third => pass_a_third(&mut world),
            Action::Crash(operator) => {
                world.operators[operator] = Operator::started(&world.secrets, self.objects);
                world.spend();
            }
            Action::Deed(deed, name) => {
                deed.act(&mut world, name, self.capacity);
                world.spend();
            }
            Action::Edit(index) => {
                world.objects[index].request ^= 1;
                forget_before_edit(&mut world, index);
                world.spend();
            }
            Action::Rename(index) => {
                world.objects[index].name ^= 1;
                forget_before_edit(&mut world, index);
                world.spend();
            }
        }
        world.renumber();
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(check::FOREIGN, |_, world: &World| !world.broken.foreign),
            Property::always(check::RIVAL, |_, world: &World| !world.broken.rival),
            Property::always(check::OLDER, |_, world: &World| !world.broken.older),
            Property::always(check::CALL, |_, world: &World| !world.broken.call),
            Property::always(check::NEEDLESS, |_, world: &World| !world.broken.needless),
            Property::always(check::DROPPED, |_, world: &World| !world.broken.dropped),
            Property::always(check::RECOVERY, |config: &Self, world: &World| {
                world.broken.any() || recovery::recovers(*config, world)
            }),
            // Never true, so that the checker doesn't end when each other property has a counterexample.
            Property::sometimes(check::END, |_, _| false),
        ]
    }
}

/// Tokens grow older, and every wait for a retry, a lookup or a conflict ends.
fn pass_a_third(world: &mut World) {
    world.each_token(&mut |token| token.age = (token.age + 1).min(EXPIRED));
    for status in world.objects.iter_mut().map(|object| &mut object.status) {
        status.age = status.age.map(|age| (age + 1).min(EXPIRED));
    }
    for memory in world.operators.iter_mut().flat_map(|operator| &mut operator.memory) {
        (memory.lookup, memory.trouble, memory.contest, memory.spare) = (None, None, None, None);
        if matches!(memory.attempt, Attempt::Failed | Attempt::Rejected) {
            memory.attempt = Attempt::None;
        }
    }
}
