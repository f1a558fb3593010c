//! Summary of a VideoAccessToken: one row of `kubectl videotoken status` and of the status page.
//!
//! | File | Content |
//! |---|---|
//! | `explain` | the cause of a state, and the next step |
//! | `reasons` | the meaning and the action of each reason |
//! | `row` | the summary: state at a time, urgency, remaining lifetime |
//! | `waits` | the next attempt of a blocked account |
//! | `text` | times for people: `3h12m`, `5m ago` |
//!
//! The functions are pure over `now`. Not allowed here: IO, clocks, terminals, HTML.

pub mod explain;
pub mod reasons;
pub mod row;
pub mod text;
pub mod waits;

pub use row::{ConditionSummary, State, StatusSummary, TokenSummary, TokenSummaryAt};
