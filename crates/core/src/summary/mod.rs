//! How the state of a token reads at a glance: one row of `kubectl videotoken status` and of the status page.
//!
//! | File | What lives there |
//! |---|---|
//! | `outlook` | why it is in its state, and what happens next |
//! | `reasons` | what each reason means, and the way out |
//! | `row` | a row: its state at a time, its urgency, the share of its token's life that is left |
//! | `waits` | when an account that may not be called is called again |
//! | `text` | times as a person reads them: `3h12m`, `5m ago` |
//!
//! Pure over `now`. May not enter: IO, clocks, terminals, HTML.

pub mod outlook;
pub mod reasons;
pub mod row;
pub mod text;
pub mod waits;

pub use row::{ConditionSummary, Row, Shown, State, StatusSummary};
