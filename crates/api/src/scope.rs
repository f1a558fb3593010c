//! What a token permits: one member per provider type.

pub use super::Scope;
