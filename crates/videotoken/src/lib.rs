//! The tool `videotoken`, which is also `kubectl videotoken`.
//!
//! | Module | Content |
//! |---|---|
//! | [`manifest`] | YAML as kubectl reads it, with the location of every field |
//! | [`check`] | validation of manifests without a cluster |
//! | [`cli`] | the subcommands |

pub mod check;
pub mod cli;
pub mod manifest;
