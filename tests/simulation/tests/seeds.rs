//! Runs in virtual time, each in a process of its own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::{Command, Output};

fn simulate(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simulate")).args(arguments.split(' ')).output().expect("the program starts")
}

fn passes(arguments: &str) -> String {
    let output = simulate(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments}\n{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// With two operators, every kind of fault, and the actions of users.
#[test]
fn p01_no_token_expires_in_some_hours_of_faults() {
    for seed in 1..=2 {
        passes(&format!("--seed {seed} --minutes 240 --tokens 12 --operators 2"));
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let arguments = "--seed 7 --minutes 120 --tokens 8 --operators 2";
    assert_eq!(passes(arguments), passes(arguments));
    assert_ne!(passes(arguments), passes("--seed 8 --minutes 120 --tokens 8 --operators 2"));
}

#[test]
fn p05_a_crash_at_any_request_loses_nothing_that_was_stored() {
    passes("--minutes 5 --tokens 2 --operators 1 --faults none --sweep --strike crash-before --strike crash-after");
}

/// Without faults by chance, each delay needs a reason.
#[test]
fn p17_a_fault_that_lasts_delays_nobody_else() {
    passes("--seed 4 --minutes 240 --tokens 24 --operators 1 --faults users,crashes,episodes");
}

/// The memory of a Secret's earlier name doesn't end with the process that wrote it.
#[test]
fn p05_a_crash_between_two_renames_leaves_no_secret_behind() {
    let story = "--seed 1 --minutes 8 --tokens 1 --operators 1 --faults none --story rename-often";
    passes(&format!("{story} --sweep --strike crash-after"));
}

/// Each call of an object that is deleted meanwhile counts.
#[test]
fn p06_no_churn_of_an_object_gives_calls_back() {
    passes("--seed 2 --minutes 30 --tokens 8 --operators 2 --faults none --story churn");
}

/// A provider and its credential are created at once, and an answer is late.
#[test]
fn p07_a_credential_that_appears_while_it_is_read_is_used() {
    passes("--seed 2 --minutes 8 --tokens 4 --operators 1 --faults none --story join --sweep --strike late-7s");
}

/// The calls of the token API take 9 seconds when the operators are restarted.
#[test]
fn p15_a_rollout_loses_no_slow_call() {
    passes("--seed 4 --minutes 30 --tokens 8 --operators 1 --faults none --story rollout --episode slow-provider");
}

/// The watch of the objects is stale, and a write of a status fails.
#[test]
fn p15_no_secret_is_created_for_an_object_that_is_gone() {
    let story = "--seed 4 --minutes 8 --tokens 4 --operators 1 --faults none --story abandon --episode stale-tokens";
    passes(&format!("{story} --sweep --strike 503"));
}

/// The Lease lapses for less than a second, in which objects are edited.
#[test]
fn p14_no_edit_is_lost_in_a_short_lapse_of_the_lease() {
    passes("--seed 5 --minutes 12 --tokens 8 --operators 1 --faults none --story recreate --episode lease-hangs");
}

/// The leader is killed while the narrow account's window is full.
#[test]
fn p20_a_new_leader_keeps_to_a_full_window() {
    passes("--seed 2 --minutes 30 --tokens 20 --operators 2 --faults none --story force --episode forbidden");
}
