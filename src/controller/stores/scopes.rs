//! Scopes of the watches: each namespace of `--watch-namespaces`, or all namespaces. Each scope begins when its own
//! lists are complete, so that a failing list delays no other scope.

use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::Notify;

/// Scope of a watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Cluster-scoped kinds that a `ClusterTokenProvider` needs.
    Cluster,
    /// A served namespace; `None` for all namespaces.
    Served(Option<String>),
}

impl Scope {
    /// Returns true if objects of this namespace belong to the scope.
    pub(crate) fn holds(&self, namespace: &str) -> bool {
        matches!(self, Self::Served(served) if served.as_ref().is_none_or(|served| served == namespace))
    }
}

/// Scope and kind of a watch.
pub(crate) type Watched = (Scope, &'static str);

/// Lists that are complete, and lists that fail.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    state: Mutex<State>,
    changed: Notify,
    healed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Lists that each scope waits for before it begins.
    missing: BTreeMap<Scope, BTreeSet<&'static str>>,
    /// Error of each failing list, as last reported.
    failing: BTreeMap<Watched, String>,
}

impl Scopes {
    /// Adds a list that the scope waits for.
    pub(crate) fn expect(&self, (scope, kind): &Watched) {
        self.state.lock().missing.entry(scope.clone()).or_default().insert(kind);
    }

    /// Records a complete list. Returns two flags: whether it was the last list that its scope waited for, and whether
    /// it failed before.
    pub(crate) fn listed(&self, watched: &Watched) -> (bool, bool) {
        let mut state = self.state.lock();
        let healed = state.failing.remove(watched).is_some();
        let begins = state.missing.get_mut(&watched.0).is_some_and(|kinds| kinds.remove(watched.1) && kinds.is_empty());
        drop(state);
        self.changed.notify_waiters();
        if healed {
            self.healed.notify_waiters();
        }
        (begins, healed)
    }

    /// Waits until a list that failed is complete.
    pub(crate) async fn healed(&self) {
        self.healed.notified().await;
    }

    /// Records that a list or watch fails. Returns true if the error differs from the last one.
    pub(crate) fn failed(&self, watched: &Watched, why: &str) -> bool {
        let before = self.state.lock().failing.insert(watched.clone(), why.to_owned());
        self.changed.notify_waiters();
        before.as_deref() != Some(why)
    }

    /// Returns true if the objects of this namespace can be decided.
    pub(crate) fn has_listed(&self, namespace: &str) -> bool {
        let state = self.state.lock();
        state.missing.iter().any(|(scope, kinds)| kinds.is_empty() && scope.holds(namespace))
    }

    /// Returns true if the lists that `ClusterTokenProvider`s need are complete.
    pub(crate) fn knows_cluster(&self) -> bool {
        self.state.lock().missing.get(&Scope::Cluster).is_none_or(BTreeSet::is_empty)
    }

    /// Returns the number of scopes with a failing list or watch.
    pub(crate) fn failing(&self) -> usize {
        self.state.lock().failing.keys().map(|(scope, _)| scope).collect::<BTreeSet<_>>().len()
    }

    /// Returns true if a scope has begun and each other scope has begun or fails.
    pub(crate) fn is_settled(&self) -> bool {
        self.state.lock().settled()
    }

    /// Waits until a scope has begun.
    pub(crate) async fn first(&self) {
        self.until(State::begun).await;
    }

    /// Waits for [`Self::is_settled`].
    pub(crate) async fn settled(&self) {
        self.until(State::settled).await;
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            if holds(&self.state.lock()) {
                return;
            }
            changed.await;
        }
    }
}

impl State {
    fn settled(&self) -> bool {
        let settled = |(scope, kinds): (&Scope, &BTreeSet<_>)| {
            kinds.is_empty() || self.failing.keys().any(|(failing, _)| failing == scope)
        };
        self.begun() && self.missing.iter().all(settled)
    }

    fn begun(&self) -> bool {
        self.missing.iter().any(|(scope, kinds)| *scope != Scope::Cluster && kinds.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn p17_a_scope_begins_with_its_own_lists_and_waits_for_no_other() {
        let scopes = Scopes::default();
        let served = |namespace: &str| Scope::Served(Some(namespace.to_owned()));
        let all: Vec<Watched> = ["a", "b"].iter().flat_map(|n| ["x", "y"].map(|kind| (served(n), kind))).collect();
        for watched in all.iter().chain([&(Scope::Cluster, "c")]) {
            scopes.expect(watched);
        }
        assert!(scopes.failed(&all[2], "403") && !scopes.failed(&all[2], "403") && scopes.failed(&all[2], "404"));
        assert_eq!(scopes.listed(&all[0]), (false, false));
        assert!(scopes.first().now_or_never().is_none());
        assert_eq!(scopes.listed(&all[1]), (true, false));
        assert!(scopes.first().now_or_never().is_some() && scopes.settled().now_or_never().is_none());
        assert_eq!((scopes.has_listed("a"), scopes.has_listed("b"), scopes.knows_cluster()), (true, false, false));
        assert_eq!(scopes.listed(&(Scope::Cluster, "c")), (true, false));
        assert!(scopes.settled().now_or_never().is_some() && scopes.knows_cluster());
        assert_eq!(scopes.failing(), 1);
        assert_eq!(scopes.listed(&all[3]), (false, false));
        assert_eq!(scopes.listed(&all[2]), (true, true), "the Role came");
        assert_eq!(scopes.listed(&all[2]), (false, false), "a relist");
        assert_eq!((scopes.has_listed("b"), scopes.failing()), (true, 0));
    }
}
