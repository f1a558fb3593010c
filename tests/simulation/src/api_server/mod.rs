//! An API server in memory.
//!
//! It serves what the operator uses: lists in pages, each of the objects as they are then, watches with bookmarks and
//! timeouts, 410 after compaction, metadata-only responses, label selectors, server-side apply, merge patches,
//! preconditions, the status subresource, immutable Secrets, and garbage collection by owner references. It has no
//! admission, no defaults of CRDs, no finalizers, and treats a list in an applied object as one value.

pub mod patch;
pub mod service;
pub mod store;
