//! Manifests: YAML as kubectl reads it, with the location of every field.
//!
//! | File | Content |
//! |---|---|
//! | `scalar` | types of plain scalars: `yes` is true, `0777` is a number |
//! | `json` | consecutive JSON objects |
//! | `read` | parses a text into objects with the location of each field |
//! | `unquoted` | what to write for a template without quotes |
//! | `path` | path of a field |
//! | `files` | reads a file, a directory or standard input |
//!
//! May not enter: what a field means.

mod files;
mod json;
mod path;
mod read;
mod scalar;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
mod unquoted;

pub use files::{Text, Unread, read_files};
pub use path::{Path, Step};
pub use read::{Manifest, Object, ReadError, SourceLocation, read};
