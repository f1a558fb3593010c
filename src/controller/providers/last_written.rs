//! Last written status of each provider object, and the time of the next write.

use crate::controller::stores::provider_key::ProviderKey;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use videotoken_api::provider_status::ProviderStatus;
use videotoken_core::plan::provider_status::{LAST_RETRY, retry_after};
use videotoken_providers::clock::Timestamp;

/// Last written status by provider object.
#[derive(Default)]
pub(crate) struct LastWritten(Mutex<HashMap<ProviderKey, OfOne>>);

#[derive(Default)]
struct OfOne {
    /// Hash of the last written status, so that two operators with different facts don't keep overwriting each other's
    /// status.
    hash: Option<u64>,
    /// This operator's part of the last status that it merged with those of other operators, and the start of the
    /// leadership in which it did.
    part: Option<(Timestamp, Box<ProviderStatus>)>,
    /// Consecutive failed writes.
    failures: u32,
    /// Earliest time of the next write.
    next: Option<Timestamp>,
    /// Lock held while a status of this object is written, because two concurrent writes would conflict.
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl LastWritten {
    /// Waits until no other task writes a status of this object.
    pub(crate) async fn alone(&self, key: &ProviderKey) -> tokio::sync::OwnedMutexGuard<()> {
        let writing = self.change(key, |one| one.writing.clone());
        writing.lock_owned().await
    }

    /// Returns true if the last write failed and its back-off has not ended. A retry time too far in the future was
    /// recorded before the clock was set back, and is ignored.
    pub(crate) fn waits(&self, key: &ProviderKey, now: Timestamp) -> bool {
        let waits = |one: &OfOne| one.next.is_some_and(|next| now < next && next - now <= LAST_RETRY);
        self.0.lock().get(key).is_some_and(waits)
    }

    /// Returns true if the last written status has this hash.
    pub(crate) fn is_same(&self, key: &ProviderKey, hash: u64) -> bool {
        self.0.lock().get(key).is_some_and(|one| one.hash == Some(hash))
    }

    /// Returns this operator's part of the last merged status, if it was merged since this start of its leadership.
    pub(crate) fn part(&self, key: &ProviderKey, leads_since: Timestamp) -> Option<ProviderStatus> {
        let all = self.0.lock();
        let (since, part) = all.get(key)?.part.as_ref()?;
        (*since == leads_since).then(|| (**part).clone())
    }

    /// Records this operator's part of a merged status.
    pub(crate) fn merged(&self, key: &ProviderKey, leads_since: Timestamp, part: ProviderStatus) {
        self.change(key, |one| (one.part, one.failures, one.next) = (Some((leads_since, Box::new(part))), 0, None));
    }

    /// Records a written status.
    pub(crate) fn wrote(&self, key: &ProviderKey, hash: u64) {
        self.change(key, |one| (one.hash, one.failures, one.next) = (Some(hash), 0, None));
    }

    /// Forgets a deleted object.
    pub(crate) fn forget(&self, key: &ProviderKey) {
        self.0.lock().remove(key);
    }

    fn change<T>(&self, key: &ProviderKey, change: impl FnOnce(&mut OfOne) -> T) -> T {
        change(self.0.lock().entry(key.clone()).or_default())
    }

    /// Records a failed write.
    pub(crate) fn failed(&self, key: &ProviderKey, now: Timestamp) {
        self.change(key, |one| {
            one.next = Some(now + retry_after(one.failures));
            one.failures = one.failures.saturating_add(1);
        });
    }
}
