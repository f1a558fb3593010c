//! The walls between crates and rooms, as CONTRIBUTING's table names them. `table` has the check of each clause.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod crates;
mod imports;
mod rooms;
mod table;
