//! Every order of events in the small worlds.

#![allow(clippy::print_stdout)] // the numbers of states, and the paths

use model::check::{run, small};
use model::lease::{Election, ONE_LEADER};
use stateright::{Checker, Model};
use std::time::Duration;

#[test]
fn p04_p07_p09_p10_p17_no_order_of_events_breaks_a_promise() {
    for (name, config) in small() {
        let report = run(config, false, Duration::from_mins(10));
        println!("{}", report.line(name));
        assert_eq!(report.broken, [], "{name}");
        assert!(report.complete, "{name}: {report:?}");
    }
}

/// The rule of the election: a leader stops before another may start, measured from before its renewal was sent.
#[test]
fn p10_two_leaders_never_act_at_the_same_time() {
    let sound = Election::default();
    for (election, holds) in [
        (sound, true),
        (Election { deadline: 4, ..sound }, false),
        (Election { counts_from_sending: false, ..sound }, false),
        (Election { guarded: false, ..sound }, false),
    ] {
        let checker = election.checker().spawn_bfs().join();
        println!("{election:?}: {} states, depth {}", checker.unique_state_count(), checker.max_depth());
        let found = checker.discovery(ONE_LEADER).map(|path| format!("{:?}", path.into_actions()));
        assert_eq!(found.is_none(), holds, "{election:?}: {found:?}");
    }
}
