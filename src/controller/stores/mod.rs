//! Stores that the watches fill, slim: they keep only the facts that a decision or a status needs. The operator also
//! stores its own writes in them.
//!
//! This module sends no requests and makes no decisions.

pub(crate) mod index;
pub(crate) mod meta;
pub(crate) mod namespaces;
pub(crate) mod provider_key;
pub(crate) mod provider_objects;
pub(crate) mod relist;
pub(crate) mod scopes;
pub(crate) mod secrets;
pub(crate) mod token;
pub(crate) mod tokens;
pub(crate) mod weights;

use namespaces::Namespaces;
use provider_objects::ProviderObjects;
use scopes::Scopes;
use secrets::Secrets;
use tokens::Tokens;

/// Stores of all watched kinds.
#[derive(Default)]
pub(crate) struct Stores {
    pub(crate) tokens: Tokens,
    pub(crate) secrets: Secrets,
    pub(crate) namespaces: Namespaces,
    pub(crate) provider_objects: ProviderObjects,
    /// Progress of the lists.
    pub(crate) scopes: Scopes,
}
