//! The decisions of the operator, shared by the operator and the tool `videotoken`. All functions are pure over `now`.
//!
//! | Module | Content |
//! |---|---|
//! | [`plan`] | decisions about one VideoAccessToken, its Secret and its status |
//! | [`budget`] | budgets: the time of the next call of each account |
//! | [`lease`] | leader election: the next action of a candidate |
//! | [`summary`] | summary of a VideoAccessToken, and the help for each reason |
//! | [`issue`] | an issued token, and a failed call with its class |
//! | [`jwt`], [`expiry`] | expiry of a token, from the token and its response |
//!
//! Not allowed here: a Kubernetes client, HTTP, files, the environment, threads, global state, clocks. The
//! dependencies of the crate and `tests/walls` enforce this rule.

pub mod budget;
pub mod clock;
pub mod expiry;
pub mod issue;
pub mod jwt;
pub mod lease;
pub mod plan;
pub mod summary;
#[cfg(test)]
mod tests;
