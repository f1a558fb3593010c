//! P17, P18 and P21: a victim beside each of the attacks that fit into three minutes. `make isolation` makes all.
#![allow(clippy::unwrap_used)]

use testkit::isolation::{self, Options};

#[tokio::test(flavor = "multi_thread")]
async fn p17_a_victim_is_renewed_in_time_beside_each_attack() {
    let operator = Some(env!("CARGO_BIN_EXE_video-token-operator").into());
    let figures = isolation::run(&Options { short: true, operator, ..Options::default() }).await.unwrap();
    assert!(figures.failures().is_empty(), "\n{}", figures.table());
}
