//! The worlds, and a run of the checker over one of them.

use crate::hand::Deed;
use crate::recovery::LONGEST;
use crate::step::see;
use crate::{Action, Config};
use stateright::{Checker, HasDiscoveries, Model};
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// P09: the operator changes no Secret that it doesn't manage.
pub const FOREIGN: &str = "a foreign Secret is never written";
/// P17: an object never writes the Secret of another one.
pub const RIVAL: &str = "a rival's Secret is never written or deleted";
/// P10: what is stored doesn't go back.
pub const OLDER: &str = "a token that serves is never replaced by an older one";
/// P04: each call has a cause.
pub const CALL: &str = "no token is issued without a cause";
/// P04: a single operator issues no token while the Secret contains one.
pub const NEEDLESS: &str = "a single operator issues no token while one serves";
/// P05: an issued token isn't lost.
pub const DROPPED: &str = "no token of use is dropped";
/// P07, P09: trouble that ends leaves nothing behind.
pub const RECOVERY: &str = "from every state, a live token or a reason that holds";
pub(crate) const END: &str = "end";

/// Result of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Number of different states.
    pub states: usize,
    /// Length of the longest shortest path to a state.
    pub depth: usize,
    /// Most rounds to recovery, over all runs of the process.
    pub rounds: usize,
    /// True if every state was reached.
    pub complete: bool,
    /// Time that the run took.
    pub took: Duration,
    /// Broken properties, each with its path.
    pub broken: Vec<(&'static str, String)>,
}

impl Report {
    /// Returns one line for a table.
    pub fn line(&self, name: &str) -> String {
        let Self { states, depth, rounds, took, .. } = self;
        let complete = if self.complete { "" } else { ", not complete" };
        format!("{name}: {states} states, depth {depth}, recovery in {rounds} rounds, {took:.1?}{complete}")
    }
}

/// Visits every state of a world. `stops` ends the run at the first broken property, which gives a short path.
pub fn run(config: Config, stops: bool, limit: Duration) -> Report {
    let begun = Instant::now();
    let finish = if stops { HasDiscoveries::AnyFailures } else { HasDiscoveries::All };
    let checker = config.checker().threads(1).finish_when(finish).timeout(limit).spawn_bfs().join();
    let mut broken: Vec<_> = checker
        .discoveries()
        .into_iter()
        .map(|(property, path)| {
            let mut text = String::new();
            for (world, action) in path.into_vec() {
                let decision = match &action {
                    Some(Action::Step(operator, index, _)) => {
                        format!("{:?}", see(&world, config.rules, *operator, *index).decision.step)
                    }
                    _ => String::new(),
                };
                // writing to a String can't fail
                let _ = action.map(|action| writeln!(text, "  {action:?} {decision}"));
            }
            (property, text)
        })
        .collect();
    broken.sort_by_key(|(property, _)| *property);
    let took = begun.elapsed();
    Report {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        rounds: LONGEST.load(Ordering::Relaxed),
        complete: checker.is_done() && took < limit && (broken.is_empty() || !stops),
        took,
        broken,
    }
}

/// A world with its name.
pub type Named = (&'static str, Config);

const FEW: &[Deed] = &[Deed::Delete, Deed::ChangeToken, Deed::CreateForeign];
const RESTORE: &[Deed] = &[Deed::ChangeData, Deed::Delete, Deed::RestoreOfRival];
const DELETE: &[Deed] = &[Deed::Delete, Deed::CreateForeign];
const UNLABEL: &[Deed] = &[Deed::Delete, Deed::Unlabel, Deed::RestoreOfRival];
const DAMAGE: &[Deed] = &[Deed::Delete, Deed::ChangeToken, Deed::ChangeData];

/// Returns the worlds that `make test` checks.
pub fn small() -> Vec<Named> {
    let one = Config::default();
    let calm = Config { failures: false, crashes: false, ..one };
    vec![
        ("one operator, 2 faults", one),
        ("previous token, edits, 2 faults", Config { keeps_previous: true, edits: true, ..one }),
        ("rename, 2 faults", Config { renames: true, ..one }),
        ("a contested Secret, 4 faults", Config { contests: true, faults: 4, deeds: DAMAGE, failures: false, ..one }),
        ("two objects, renames, 1 fault", Config { objects: 2, renames: true, faults: 1, deeds: UNLABEL, ..one }),
        ("two objects, a rival restored, 2 deeds", Config { objects: 2, deeds: RESTORE, ..calm }),
        ("two operators", Config { operators: 2, faults: 0, ..calm }),
    ]
}

/// Returns the worlds of `make model`.
pub fn large() -> Vec<Named> {
    let one = Config::default();
    let calm = Config { failures: false, crashes: false, ..one };
    let mut worlds = small();
    worlds.extend([
        ("one operator, 4 faults", Config { faults: 4, ..one }),
        ("rename, 3 faults", Config { renames: true, faults: 3, deeds: FEW, ..one }),
        ("two objects, renames, 2 faults", Config { objects: 2, renames: true, deeds: UNLABEL, ..one }),
        ("two objects, a rival restored, 3 deeds", Config { objects: 2, faults: 3, deeds: RESTORE, ..calm }),
        ("two operators, 1 deed", Config { operators: 2, faults: 1, ..calm }),
        (
            "previous token, edits, renames, 3 faults",
            Config { keeps_previous: true, edits: true, renames: true, faults: 3, ..one },
        ),
        ("two objects, 2 faults", Config { objects: 2, ..one }),
        (
            "two operators, endless deeds",
            Config { operators: 2, faults: 255, deeds: FEW, failures: false, crashes: false, ..one },
        ),
        (
            "two operators, two objects, 2 deeds",
            Config { operators: 2, objects: 2, deeds: DELETE, failures: false, crashes: false, ..one },
        ),
    ]);
    worlds
}
