//! Waiting on conditions, with a deadline and the reason why it was missed.

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Result, anyhow};
use chrono::{DateTime, Utc};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

const PAUSE: Duration = Duration::from_millis(50);

/// Polls until `probe` succeeds.
///
/// # Panics
/// After `deadline`, with `what` and the last reason.
///
/// ```ignore
/// let secret = eventually(Duration::from_secs(5), "the Secret", async || {
///     secrets.get_opt("lobby").await.map_err(|e| e.to_string())?.ok_or("is not there".to_owned())
/// }).await;
/// ```
pub async fn eventually<T, E: Display>(deadline: Duration, what: &str, probe: impl AsyncFnMut() -> Result<T, E>) -> T {
    match poll(deadline, what, probe).await {
        Ok(found) => found,
        Err(missed) => panic!("{missed}"),
    }
}

/// As [`eventually`], with an error in place of the panic.
pub async fn poll<T, E: Display>(
    deadline: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    let mut reason = None;
    loop {
        match timeout_at(end, probe()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(why)) => reason = Some(why.to_string()),
            Err(_) if reason.is_none() => reason = Some("no answer".to_owned()),
            Err(_) => {}
        }
        if Instant::now() + PAUSE > end {
            let reason = reason.unwrap_or_default();
            return Err(anyhow!("{what}: not within {deadline:?}; last: {reason}"));
        }
        sleep(PAUSE).await;
    }
}

/// Checks for `time` that `probe` keeps succeeding.
///
/// # Panics
/// When it does not, with `what` and the reason.
pub async fn throughout<E: Display>(time: Duration, what: &str, mut probe: impl AsyncFnMut() -> Result<(), E>) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        if let Err(why) = probe().await {
            panic!("{what}: did not hold for {time:?}: {why}");
        }
        sleep(PAUSE).await;
    }
}

/// Waits until the wall clock is past `time`, such as an expiry or a `renewAt`.
pub async fn until_past(time: DateTime<Utc>) {
    while let Ok(left) = (time - Utc::now()).to_std() {
        sleep(left.max(PAUSE)).await;
    }
}

/// A kind of the operator's own group, without its Rust types.
pub fn own_kind(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("videotoken.dev", "v1alpha1", kind))
}

/// The `VideoAccessToken`s of a namespace.
pub fn video_access_tokens(client: &kube::Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &own_kind("VideoAccessToken"))
}

/// One condition of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// A condition of an object by its type.
pub fn condition(object: &DynamicObject, kind: &str) -> Option<Condition> {
    let conditions = object.data.pointer("/status/conditions")?.as_array()?;
    let found = conditions.iter().find(|c| c["type"] == kind)?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some(Condition { status: text("status"), reason: text("reason"), message: text("message") })
}

/// Waits until the object's status speaks of its current generation and has the condition: type, status and, if
/// given, reason. Panics with all its conditions after `deadline`.
pub async fn has_condition(
    api: &Api<DynamicObject>,
    name: &str,
    (kind, status, reason): (&str, &str, Option<&str>),
    deadline: Duration,
) -> DynamicObject {
    let what = format!("{name}: {kind}={status} {}", reason.unwrap_or_default());
    eventually(deadline, &what, async || {
        let object = api.get(name).await.map_err(|error| error.to_string())?;
        let observed = object.data.pointer("/status/observedGeneration").and_then(Value::as_i64);
        let current = observed == object.metadata.generation;
        match condition(&object, kind) {
            Some(c) if current && c.status == status && reason.is_none_or(|wanted| wanted == c.reason) => Ok(object),
            _ => Err(format!("status {}", object.data["status"])),
        }
    })
    .await
}

/// Waits for `Ready=True`.
pub async fn is_ready(api: &Api<DynamicObject>, name: &str, deadline: Duration) -> DynamicObject {
    has_condition(api, name, ("Ready", "True", None), deadline).await
}

/// Waits until the object is gone.
pub async fn is_gone<K>(api: &Api<K>, name: &str, deadline: Duration)
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    eventually(deadline, &format!("{name} gone"), async || match api.get_opt(name).await {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err("is still there".to_owned()),
        Err(error) => Err(error.to_string()),
    })
    .await;
}
