//! Manifests: YAML read as kubectl reads it, with the place of every field.
//!
//! | File | What lives there |
//! |---|---|
//! | `scalar` | what a plain word of YAML is: `yes` is true, `0777` is a number |
//! | `json` | JSON objects one after the other |
//! | `encrypted` | values that only a key can read |
//! | `read` | from text to objects, with the place of each field |
//! | `path` | names a field of an object |
//! | `files` | FILE, folder or `-`, to text |
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

pub use files::{Text, Unread, read_files};
pub use path::{Path, Step};
pub use read::{Fault, Manifest, Object, Place, read};
