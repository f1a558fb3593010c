//! The logins that this process knows of, by user.

use crate::controller::stores::provider_key::ProviderKey;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use videotoken_core::plan::login::Attempt;

/// The attempts that this process knows of, by who logs in. They outlive their provider objects.
#[derive(Default)]
pub(crate) struct Logins {
    pub(crate) known: Mutex<HashMap<String, Vec<Attempt<ProviderKey>>>>,
    /// The provider objects whose logins have worked, by who logs in.
    pub(crate) worked: Mutex<BTreeMap<String, BTreeSet<ProviderKey>>>,
    /// Locks by user, held while a login begins: two provider objects must not both take the last one.
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
