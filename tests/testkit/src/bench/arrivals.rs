//! Sees the tokens that the objects' status reports, as a user's `kubectl get --watch` would.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures::StreamExt as _;
use kube::core::{NotUsed, Object};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::stand::wait::own_kind;

/// Prefix of the objects that are applied for the latency. They don't count.
pub(super) const SINGLE: &str = "single-";

/// What is read of an object; the rest is skipped, so that looking on costs little.
type Seen = Object<NotUsed, Status>;

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    issued_at: Option<String>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

/// How many tokens have arrived since the last [`Arrivals::reset`], and when the last did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    pub(super) count: usize,
    pub(super) last: Instant,
}

/// A watch over all `VideoAccessToken`s. A token has arrived when its object is Ready with an `issuedAt` not seen yet.
pub(super) struct Arrivals {
    tally: Arc<watch::Sender<Tally>>,
    task: tokio::task::JoinHandle<()>,
}

impl Arrivals {
    /// Begins to look on.
    pub(super) fn watch(client: Client) -> Self {
        let tally = Arc::new(watch::Sender::new(Tally { count: 0, last: Instant::now() }));
        let api: Api<Seen> = Api::all_with(client, &own_kind("VideoAccessToken"));
        let task = tokio::spawn(look_on(api, tally.clone()));
        Self { tally, task }
    }

    /// Counts from zero again.
    pub(super) fn reset(&self) {
        self.tally.send_modify(|tally| tally.count = 0);
    }

    /// How far it is.
    pub(super) fn tally(&self) -> Tally {
        *self.tally.borrow()
    }

    /// Waits until `count` have arrived, as long as at least one does every `patience`.
    pub(super) async fn all(&self, count: usize, patience: Duration) -> Result<Tally> {
        let mut tally = self.tally.subscribe();
        loop {
            let now = *tally.borrow_and_update();
            if now.count >= count {
                return Ok(now);
            }
            match tokio::time::timeout(patience, tally.changed()).await {
                Ok(changed) => changed.context("the watch has ended")?,
                Err(_) => {
                    return Err(anyhow!("{} of {count} tokens arrived, then none for {patience:?}", now.count));
                }
            }
        }
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn look_on(api: Api<Seen>, tally: Arc<watch::Sender<Tally>>) {
    let mut known: HashMap<String, String> = HashMap::new();
    let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(seen) | Event::InitApply(seen)) => {
                if seen.metadata.name.as_ref().is_some_and(|name| name.starts_with(SINGLE)) {
                    continue;
                }
                let Some(issued_at) = issued_at(&seen) else { continue };
                let uid = seen.metadata.uid.unwrap_or_default();
                if known.insert(uid, issued_at.clone()).is_none_or(|before| before != issued_at) {
                    tally.send_modify(|tally| *tally = Tally { count: tally.count + 1, last: Instant::now() });
                }
            }
            Ok(Event::Delete(seen)) => {
                known.remove(&seen.metadata.uid.unwrap_or_default());
            }
            Ok(Event::Init | Event::InitDone) => {}
            Err(error) => tracing::debug!("the watch is taken up again: {error}"),
        }
    }
}

fn issued_at(seen: &Seen) -> Option<String> {
    let status = seen.status.as_ref()?;
    let ready = status.conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True");
    status.issued_at.clone().filter(|_| ready)
}
