//! What the operator decides: pure over `now`, the same for the operator and for the tool `videotoken`.
//!
//! | Module | What lives there |
//! |---|---|
//! | [`plan`] | every decision about one VideoAccessToken, its Secret and its status |
//! | [`budget`] | which account may call its token API when |
//! | [`summary`] | the state of a token as one row, and its reasons in words |
//! | [`issue`] | an issued token, and a failed call with its class |
//! | [`jwt`], [`life`] | what a token and its answer say of their expiry |
//!
//! May not enter: a Kubernetes client, HTTP, files, the environment, threads, global state, clocks. The crate's
//! dependencies and `tests/walls` hold that.

pub mod budget;
pub mod clock;
pub mod issue;
pub mod jwt;
pub mod life;
pub mod plan;
pub mod summary;
