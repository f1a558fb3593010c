//! Recovery: what follows from a state when nothing goes wrong any more.

use crate::step::see;
use crate::world::{Attempt, Data, Queue, World};
use crate::{Config, Outcome};
use std::sync::atomic::{AtomicUsize, Ordering};
use videotoken_core::plan::contest::CONTESTED;

/// Rounds within which every object is served or stalled.
const ROUNDS: usize = 24;
/// Rounds after which a lookup or a conflict has ended.
const LONG: usize = 8;

/// The most rounds that any state took.
pub(crate) static LONGEST: AtomicUsize = AtomicUsize::new(0);

/// Lets every operator take its steps in turn: events arrive, waits end, calls are granted. Returns true if each object
/// is served, or stalled for a reason that holds.
pub(crate) fn recovers(config: Config, from: &World) -> bool {
    let mut world = from.clone();
    for round in 0..ROUNDS {
        if is_well(config, &world) {
            LONGEST.fetch_max(round, Ordering::Relaxed);
            return true;
        }
        for operator in 0..config.operators {
            while !world.operators[operator].inbox.is_empty() {
                world.operators[operator].receive();
            }
            for index in 0..config.objects {
                let memory = &mut world.operators[operator].memory[index];
                memory.trouble = None;
                if matches!(memory.attempt, Attempt::Failed | Attempt::Rejected) {
                    memory.attempt = Attempt::None;
                }
                if round % LONG == LONG - 1 {
                    (memory.lookup, memory.contest, memory.spare) = (None, None, None);
                }
                if memory.queue == Queue::Waiting {
                    memory.queue = Queue::Granted;
                }
                config.step(&mut world, operator, index, Outcome::Served);
            }
        }
        world.renumber();
    }
    false
}

fn is_well(config: Config, world: &World) -> bool {
    (0..config.objects).all(|index| {
        let (object, owner) = (world.objects[index], u8::try_from(index).unwrap_or_default() + 1);
        let there = world.secrets[usize::from(object.name)];
        let is_served = there
            .is_some_and(|there| there.serves(owner, object.request) && there.data == Data::Whole && there.labelled);
        is_served
            || (0..config.operators).all(|operator| {
                let refusal = see(world, config.rules, operator, index).decision.refusal;
                refusal.is_some_and(|refusal| match &*refusal.reason {
                    "SecretNotOwned" => there.is_some_and(|there| there.owner != owner),
                    "SecretClaimed" => world.objects.iter().filter(|other| other.name == object.name).count() > 1,
                    reason => reason == CONTESTED,
                })
            })
    })
}
