//! Looks each second at who leads, whether the API server takes writes, and how long the tokens have left.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::chronicle::Sample;
use super::stage::Stage;
use crate::stand::Observer;
use crate::stand::controlplane::OPERATOR;
use crate::stand::wait::condition;

/// A look that takes longer has seen nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// Looks for as long as it is polled.
pub(super) async fn looks(stage: &Stage, observer: &Observer) {
    let mut ticks = interval(Duration::from_millis(500));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for n in 0_u64.. {
        ticks.tick().await;
        let (leader, writes) = tokio::join!(stage.leader(), takes_writes(stage, n));
        let now = Utc::now();
        let leader = leader.map(|(_, pod)| pod);
        let mut pages = stage.chronicle.pages();
        if pages.lease.look(now, leader.clone()) {
            let told = leader.map_or_else(|| "nobody leads".to_owned(), |pod| format!("{pod} leads"));
            pages.notes.push((now, told));
        }
        pages.api.look(now, writes.then_some(()));
        drop(pages);
        if n % 2 == 0 {
            let sample = sample(stage, observer, now);
            stage.chronicle.pages().samples.push(sample);
        }
    }
}

async fn takes_writes(stage: &Stage, n: u64) -> bool {
    let api: Api<ConfigMap> = Api::namespaced(stage.admin.clone(), OPERATOR);
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "soak"}, "data": {"n": n.to_string()}});
    let write = api.patch("soak", &PatchParams::apply("soak").force(), &Patch::Apply(map)).await;
    write.is_ok()
}

impl Stage {
    /// Seat and Pod of the operator that leads; `None`: nobody who runs and isn't cut off, or the API server is away.
    pub(super) async fn leader(&self) -> Option<(usize, String)> {
        let api: Api<Lease> = Api::namespaced(self.admin.clone(), OPERATOR);
        let lease = timeout(PATIENCE, api.get(OPERATOR)).await.ok()?.ok()?;
        self.operators.leader(&lease)
    }
}

/// How many tokens are in danger at this moment.
fn sample(stage: &Stage, observer: &Observer, at: DateTime<Utc>) -> Sample {
    let lives = lives(stage);
    let estate = stage.estate();
    let (mut in_danger, mut expired) = (0, 0);
    observer.secrets(|secret, report| {
        let Some(expires_at) = report.expires_at.filter(|_| report.present) else { return };
        let name = secret.rsplit_once("token-").and_then(|(_, number)| number.parse::<usize>().ok());
        let known = name.filter(|number| estate.objects.get(*number).is_some_and(|object| object.secret() == secret));
        let Some(life) = known.and_then(|number| lives.get(&number)) else { return };
        in_danger += u32::from(expires_at - at < *life / 10);
        expired += u32::from(expires_at <= at);
    });
    Sample { at, in_danger, expired }
}

/// How long the tokens of each object live: always the same for one object.
fn lives(stage: &Stage) -> HashMap<usize, TimeDelta> {
    stage.types.iter().flat_map(|one| one.tokens()).map(|token| (token.object, token.life.length())).collect()
}

/// How the objects are; what isn't Ready by name and reason.
#[derive(Debug, Default)]
pub(super) struct States {
    pub(super) ready: usize,
    pub(super) not_ready: Vec<String>,
    /// Not Ready as P07 promises: a user's logins are used up, which lasts for 15 min.
    pub(super) barred: Vec<String>,
    pub(super) stalled: Vec<String>,
}

/// How the objects are at this moment, save the neighbours' and those that are going.
pub(super) async fn states(stage: &Stage) -> Result<States> {
    let mut states = States::default();
    let counts = |object: &DynamicObject| {
        object.metadata.deletion_timestamp.is_none()
            && object.namespace().as_deref() != Some(stage.neighbours.namespace())
    };
    for object in stage.all_tokens().await?.into_iter().filter(counts) {
        let name = format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any());
        if let Some(told) = condition(&object, "Stalled").filter(|told| told.status == "True") {
            states.stalled.push(format!("{name}: {}: {}", told.reason, told.message));
        }
        let ready = condition(&object, "Ready");
        if ready.as_ref().is_some_and(|told| told.status == "True") {
            states.ready += 1;
            continue;
        }
        let told = ready.map_or_else(|| "no status".to_owned(), |told| format!("{}: {}", told.reason, told.message));
        let list = if told.starts_with("LoginsUsedUp") { &mut states.barred } else { &mut states.not_ready };
        list.push(format!("{name}: {told}"));
    }
    Ok(states)
}
