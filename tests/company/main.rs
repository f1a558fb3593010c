//! The operator in company: hostile objects, slow neighbours, other writers, a slow API server (P17–P22). One file per
//! kind of company. Each test has a victim whose token must not suffer, or a bound that must hold.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bounds;
mod budgets;
mod fights;
mod panics;
mod reach;
mod slow;
mod stores;
mod victim;

/// The operator's program.
const OPERATOR: &str = env!("CARGO_BIN_EXE_video-token-operator");
