//! The tool `videotoken`, which is also `kubectl videotoken`.
//!
//! | Module | What lives there |
//! |---|---|
//! | [`manifest`] | YAML read as kubectl reads it, with the place of every field |
//! | [`check`] | what the API server and the operator would refuse of a manifest |
//! | [`cli`] | the subcommands, from arguments to what is printed |

pub mod check;
pub mod cli;
pub mod manifest;
