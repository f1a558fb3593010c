//! Each property is seen to fail where its rule is broken, so that a green run says something.

#![allow(clippy::print_stdout)] // the numbers of states, and the paths

use model::check::{self, run};
use model::hand::Deed;
use model::rules::{Rules, broken};
use model::{Config, hand};
use std::time::Duration;

/// Runs a world under a broken rule until the first property fails, and returns that property.
fn found(config: Config, rules: Rules) -> Vec<&'static str> {
    let report = run(Config { rules, ..config }, true, Duration::from_mins(5));
    for (property, path) in &report.broken {
        println!("{} states: {property}\n{path}", report.states);
    }
    report.broken.into_iter().map(|(property, _)| property).collect()
}

#[test]
fn p09_a_rule_that_protects_the_secrets_of_others_is_seen_to_be_broken() {
    let one = Config { crashes: false, failures: false, ..Config::default() };
    let rename = Config { objects: 2, renames: true, deeds: &[], faults: 1, ..one };
    let previous = Config { keeps_previous: true, deeds: &[Deed::Delete, Deed::CreateForeign], ..one };
    for (config, rules, property) in [
        (Config { deeds: hand::ALL, ..one }, broken::owner(), check::FOREIGN),
        (rename, broken::adoption(), check::RIVAL),
        (previous, broken::reading(), check::FOREIGN),
        (one, broken::precondition(), check::FOREIGN),
    ] {
        let found = found(config, rules);
        assert!(found.contains(&property), "{property}: {found:?}");
    }
}

#[test]
fn p04_a_rule_that_spares_calls_is_seen_to_be_broken() {
    let one = Config { crashes: false, failures: false, ..Config::default() };
    for (config, rules, property) in [
        (one, broken::unsaved_token(), check::CALL),
        (one, broken::conflict(), check::DROPPED),
        (Config { deeds: &[], renames: true, ..one }, broken::copy(), check::DROPPED),
    ] {
        let found = found(config, rules);
        assert!(found.contains(&property), "{property}: {found:?}");
    }
}

#[test]
fn p10_a_rule_that_keeps_the_newer_token_is_seen_to_be_broken() {
    let two = Config { operators: 2, crashes: false, failures: false, deeds: &[], ..Config::default() };
    assert!(found(two, broken::discard()).contains(&check::OLDER));
}

#[test]
fn p07_a_rule_that_recovers_is_seen_to_be_broken() {
    let one = Config { crashes: false, failures: false, ..Config::default() };
    for rules in [broken::inspection(), broken::renewal()] {
        assert!(found(one, rules).contains(&check::RECOVERY));
    }
}

#[test]
fn p04_a_lookup_that_outlives_its_secret_is_seen_to_be_broken() {
    let one = Config { crashes: false, deeds: &[Deed::Unlabel, Deed::Delete], ..Config::default() };
    assert!(found(one, broken::lookup()).contains(&check::NEEDLESS));
}
