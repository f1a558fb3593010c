//! Without a cluster: `check` says what the API server says, `issue` gives what the operator writes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod archive;
#[path = "../../../../tests/bad_input/cases.rs"]
mod cases;
mod check;
mod docs;
mod files;
mod issue;
mod leaks;
mod mutation;
mod refusals;
mod sentences;
mod shapes;
mod signed;
mod stand;
mod trial;
mod version;
mod watch;

/// The program under test.
const TOOL: &str = env!("CARGO_BIN_EXE_videotoken");
