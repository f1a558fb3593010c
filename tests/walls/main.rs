//! The walls between crates and rooms, as CONTRIBUTING's table names them: each is held here or by a crate's dependencies.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod crates;
mod imports;
mod rooms;
