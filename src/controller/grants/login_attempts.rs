//! Login attempts that this process knows, by user.

use crate::controller::stores::provider_key::ProviderKey;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use videotoken_core::plan::login::Attempt;

/// Login attempts that this process knows, by user. They outlive their provider objects.
#[derive(Default)]
pub(crate) struct Logins {
    pub(crate) known: Mutex<HashMap<String, Vec<Attempt<ProviderKey>>>>,
    /// Provider objects with a successful login, by user.
    pub(crate) worked: Mutex<BTreeMap<String, BTreeSet<ProviderKey>>>,
    /// Locks by user, held while a login begins, so that two provider objects don't both use the last permitted login.
    beginning: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Logins {
    /// Returns the lock that a login of this user holds while it begins.
    pub(crate) fn turn(&self, login: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.beginning.lock();
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(login.to_owned()).or_default().clone()
    }
}
