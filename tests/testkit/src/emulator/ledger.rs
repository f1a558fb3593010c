//! Which tokens an emulator has issued. A token itself isn't kept, only its hash.

use super::locked;
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

/// Above this many, tokens long expired are forgotten.
const COMFORTABLE: usize = 1_000_000;

/// What an emulator remembers of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedToken {
    /// When it was issued, by the true clock.
    pub issued_at: DateTime<Utc>,
    /// When the emulator stops honouring it, by the true clock.
    pub expires_at: DateTime<Utc>,
    /// The account, as in [`Target`](super::Target).
    pub account: Arc<str>,
    /// What was asked for: operation and what tells one token from another, in one line.
    pub request: Arc<str>,
    /// The number of the call that it answered.
    pub call: u64,
    /// A test has withdrawn it.
    pub revoked: bool,
}

impl IssuedToken {
    /// Whether it would be honoured at `now`.
    pub fn is_good(&self, now: DateTime<Utc>) -> bool {
        !self.revoked && now < self.expires_at
    }
}

/// The first half of a SHA-256.
type Fingerprint = [u8; 16];

#[derive(Default)]
pub(super) struct Ledger {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    tokens: HashMap<Fingerprint, IssuedToken>,
    names: HashSet<Arc<str>>,
    issued: u64,
    prune_at: usize,
}

impl Ledger {
    /// Remembers a token. Equal names are kept once.
    pub(super) fn remember(&self, token: &str, issued: (DateTime<Utc>, DateTime<Utc>), names: [&str; 2], call: u64) {
        let (issued_at, expires_at) = issued;
        let fingerprint = fingerprint(token);
        let mut inner = locked(&self.inner);
        let [account, request] = names.map(|name| inner.intern(name));
        inner.issued += 1;
        inner.prune(issued_at);
        inner.tokens.insert(fingerprint, IssuedToken { issued_at, expires_at, account, request, call, revoked: false });
    }

    pub(super) fn knows(&self, token: &str) -> Option<IssuedToken> {
        let fingerprint = fingerprint(token);
        locked(&self.inner).tokens.get(&fingerprint).cloned()
    }

    pub(super) fn revoke(&self, token: &str) -> bool {
        let fingerprint = fingerprint(token);
        locked(&self.inner).tokens.get_mut(&fingerprint).map(|token| token.revoked = true).is_some()
    }

    pub(super) fn revoke_all(&self, account: &str) {
        let mut inner = locked(&self.inner);
        inner.tokens.values_mut().filter(|token| *token.account == *account).for_each(|token| token.revoked = true);
    }

    /// Oldest first.
    pub(super) fn tokens(&self) -> Vec<IssuedToken> {
        let mut tokens: Vec<_> = locked(&self.inner).tokens.values().cloned().collect();
        tokens.sort_by_key(|token| token.call);
        tokens
    }

    pub(super) fn issued(&self) -> u64 {
        locked(&self.inner).issued
    }
}

impl Inner {
    fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.names.insert(name.clone());
        name
    }

    /// Forgets what expired over an hour ago, once there is a lot.
    fn prune(&mut self, now: DateTime<Utc>) {
        if self.tokens.len() < self.prune_at.max(COMFORTABLE) {
            return;
        }
        let horizon = now - TimeDelta::hours(1);
        self.tokens.retain(|_, token| token.expires_at > horizon);
        self.prune_at = self.tokens.len() * 2;
    }
}

fn fingerprint(token: &str) -> Fingerprint {
    let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    let mut half = Fingerprint::default();
    half.copy_from_slice(&digest[..16]);
    half
}
