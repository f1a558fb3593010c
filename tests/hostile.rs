//! P13, P17 and P21: hostile objects beside a victim. `make hostile` applies more of them.
#![allow(clippy::unwrap_used)]

use testkit::hostile::{self, Options};

#[tokio::test(flavor = "multi_thread")]
async fn p21_hostile_objects_are_refused_or_told_their_state_and_cost_a_victim_nothing() {
    let operator = Some(env!("CARGO_BIN_EXE_video-token-operator").into());
    let outcome = hostile::run(&Options { objects: 240, operator, ..Options::default() }).await.unwrap();
    assert!(outcome.failures().is_empty(), "\n{}", outcome.text());
    assert!(outcome.ready > 10 && outcome.refused > 20, "{}", outcome.text());
}
