//! Token APIs that a spec declares: the request, its credential and the reading of the answer.
//!
//! | File | Content |
//! |---|---|
//! | `auth`, `oauth2` | credential of the calls, and access tokens that precede them |
//! | `path` | JSON paths that lead to one value |
//! | `reader` | token and further values of an answer |
//! | `verdict` | success and failure, and the class of a failure |
//! | `expiry` | expiry in the declared form |

mod auth;
mod expiry;
mod oauth2;
mod path;
mod reader;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod verdict;

pub use reader::Reader;
