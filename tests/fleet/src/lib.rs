//! Many clusters with one account at a token API, in virtual time. Each cluster has the operator's own budgets
//! ([`videotoken_core::budget`]), its renewal times and its provider status, and knows nothing of the others.
//!
//! The same scenario and seed give the same run. Nothing here reads a clock, except that the monotonic clock starts at
//! the current time.
//!
//! | File | Content |
//! |---|---|
//! | `token_api` | the provider: sliding windows over all clusters |
//! | `cluster` | one operator: budgets, tokens, clock, provider status |
//! | `run` | the events of a scenario, in order |
//! | `scenario` | the scenarios |
//! | `report` | what is measured, as a table |
//! | `picture` | a run over time, as SVG |

// numbers of calls, tokens and samples
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod cluster;
pub mod picture;
pub mod report;
mod run;
pub mod scenario;
mod token_api;

pub use run::run;
