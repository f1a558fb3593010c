//! The walls between crates and rooms, as CONTRIBUTING's table names them. `table` has what holds each clause of a row.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod crates;
mod imports;
mod rooms;
mod table;
