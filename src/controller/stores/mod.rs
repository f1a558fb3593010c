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

use chrono::TimeDelta;
use namespaces::Namespaces;
use provider_objects::ProviderObjects;
use scopes::Scopes;
use secrets::Secrets;
use tokens::Tokens;
use videotoken_providers::clock::Timestamp;

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

impl Stores {
    /// Returns for how many seconds Secrets contained expired tokens between the two times, as the sum over all tokens.
    pub(crate) fn expired_between(&self, from: Timestamp, to: Timestamp) -> f64 {
        let mut sum = TimeDelta::zero();
        self.tokens.each(|token| {
            if let Some(expires_at) = token.status.expires_at.time() {
                sum += (to - expires_at.max(from)).max(TimeDelta::zero());
            }
        });
        sum.as_seconds_f64()
    }
}
