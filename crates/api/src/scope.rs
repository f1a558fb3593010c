//! What a token may do: one member per provider type.

pub use super::Scope;
