//! Scope of a token: one member per provider type.

pub use super::provider_types::Scope;
