//! What must be true when a run is at rest, whatever was disturbed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use anyhow::Result;
use chrono::{TimeDelta, Utc};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::scenario::Scenario;
use super::stage::{Stage, objects};
use crate::scene::{Scene, condition};
use crate::stand::observer::Report;

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const OPERATOR: &str = "video-token-operator";

/// Tolerance of a window, for the time that a call takes on its way.
const ON_THE_WAY: TimeDelta = TimeDelta::milliseconds(700);

/// Returns what is not yet as it must be, if anything: of the objects that want a Secret, one is ready and the others
/// are stalled; the Secret holds that one's live token; no other Secret is the operator's.
pub(super) async fn unrest(scene: &Scene) -> Result<Option<String>> {
    let objects = objects(scene).await?;
    let secrets = scene.secrets().list(&ListParams::default()).await?.items;
    let mut ready = BTreeMap::new();
    let mut wanted = BTreeSet::new();
    for object in &objects {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let secret = object["spec"]["secret"]["name"].as_str().unwrap_or(name);
        wanted.insert(secret.to_owned());
        if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
            return Ok(Some(format!("{name}: its status is of an earlier generation: {}", object["status"])));
        }
        let is = |type_: &str| condition(object, type_)["status"] == "True";
        if is("Ready") && !is("Stalled") && !is("Issuing") {
            if let Some(other) = ready.insert(secret.to_owned(), object) {
                return Ok(Some(format!("{name} and {} are both ready", other["metadata"]["name"])));
            }
        } else if !is("Stalled") {
            return Ok(Some(format!("{name}: neither ready nor stalled: {}", object["status"])));
        }
    }
    for secret in &wanted {
        let Some(object) = ready.get(secret) else { return Ok(Some(format!("nobody is ready for Secret {secret}"))) };
        if let Some(wrong) = mismatch(scene, object, secrets.iter().find(|one| one.name_any() == *secret)) {
            return Ok(Some(format!("Secret {secret}: {wrong}")));
        }
    }
    let ours = |secret: &&Secret| secret.labels().get(MANAGED_BY).is_some_and(|by| by == OPERATOR);
    let orphan = secrets.iter().filter(ours).find(|secret| !wanted.contains(&secret.name_any()));
    Ok(orphan.map(|secret| format!("Secret {} has no object", secret.name_any())))
}

/// Returns what is wrong between an object that is ready and its Secret.
fn mismatch(scene: &Scene, object: &Value, secret: Option<&Secret>) -> Option<String> {
    let Some(secret) = secret else { return Some("is not there".to_owned()) };
    let key = secret.annotations().get("videotoken.dev/token-key").cloned().unwrap_or_default();
    let token = secret.data.as_ref().and_then(|data| data.get(&key));
    let Some(token) = token.and_then(|token| std::str::from_utf8(&token.0).ok()) else {
        return Some(format!("has no token at {key:?}"));
    };
    let wanted = object["spec"]["secret"]["keys"]["token"].as_str().unwrap_or("token");
    if key != wanted {
        return Some(format!("the token's key is {key}, not {wanted}"));
    }
    match scene.azure.video_indexer.control().knows(token) {
        None => return Some("nobody issued its token".to_owned()),
        Some(known) if !known.is_good(Utc::now()) => return Some("its token has expired".to_owned()),
        Some(_) => {}
    }
    let asked = object["metadata"]["annotations"]["videotoken.dev/renew-requested-at"].as_str();
    let served = secret.annotations().get("videotoken.dev/renew-request").map(String::as_str);
    if asked.is_some() && asked != served {
        return Some("the renewal that was asked for is not served".to_owned());
    }
    let status = &object["status"];
    if status["secretResourceVersion"] != json!(secret.metadata.resource_version) {
        return Some(format!("the status speaks of another version of it: {status}"));
    }
    if let Some(url) = object["spec"]["secret"]["template"]["data"]["url"].as_str() {
        let expected = url.replace("{{ token }}", token);
        let found = secret.data.as_ref().and_then(|data| data.get("url"));
        if found.is_none_or(|found| found.0 != expected.as_bytes()) {
            return Some("its template is rendered from something else".to_owned());
        }
    }
    None
}

/// Returns each object's status without times, counts and messages.
pub(super) async fn outlines(scene: &Scene) -> Result<Vec<Value>> {
    let outline = |object: &Value| {
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let conditions: BTreeMap<_, _> = conditions
            .iter()
            .map(|one| (one["type"].to_string(), format!("{} {}", one["status"], one["reason"])))
            .collect();
        json!({"name": object["metadata"]["name"], "conditions": conditions,
            "secretName": object["status"]["secretName"], "generation": object["status"]["observedGeneration"]})
    };
    Ok(objects(scene).await?.iter().map(outline).collect())
}

/// What a run is judged by, beside its end state.
pub(super) struct Evidence<'a> {
    pub(super) stage: &'a Stage,
    pub(super) scenario: Scenario,
    pub(super) observed: Report,
    /// The bystander's version before the story.
    pub(super) bystander: Option<String>,
    /// An operator could not reach the API server in time for a renewal.
    pub(super) may_expire: bool,
    /// More tokens that may have been issued, because of what was disturbed.
    pub(super) more: usize,
}

impl Evidence<'_> {
    /// Returns each promise that was broken.
    pub(super) async fn judge(&self) -> Result<Vec<String>> {
        let mut broken = Vec::new();
        let deaths = self.stage.deaths.load(Ordering::Relaxed);
        let causes = self.scenario.issues() + self.stage.causes.load(Ordering::Relaxed) + deaths + self.more;
        let issued = self.stage.scene.issued();
        if issued > causes {
            broken.push(format!("{issued} tokens were issued, for {causes} causes and crashes (P03, P05)"));
        }
        let logins = self.stage.scene.azure.entra.control().counters().issued;
        let most = 2 + deaths as u64;
        if logins > most {
            broken.push(format!("{logins} logins, {most} at most (P07)"));
        }
        // a credential has a budget of its own
        let budgets = if self.scenario == Scenario::CredentialRotation { 2 } else { 1 };
        broken.extend(self.windows(3 * budgets + deaths));
        let bystander = self.stage.scene.secrets().get_opt("bystander").await?;
        if bystander.and_then(|secret| secret.metadata.resource_version) != self.bystander {
            broken.push("a Secret that is not the operator's was touched (P09)".to_owned());
        }
        for (name, secret) in self.observed.faults() {
            let only_expired = secret.looks_unknown + secret.looks_malformed == 0;
            if !(self.may_expire && only_expired) {
                broken.push(format!("Secret {name} held what it should not (P01): {secret:?}"));
            }
        }
        Ok(broken)
    }

    /// Checks the provider's window, 3 calls in 3 s: `most` calls, where crashes or several budgets allow more.
    fn windows(&self, most: usize) -> Option<String> {
        let tokens = self.stage.scene.azure.video_indexer.control().tokens();
        let mut times: Vec<_> = tokens.iter().map(|token| token.issued_at).collect();
        times.sort();
        let within = TimeDelta::seconds(3) - ON_THE_WAY;
        let full = times.windows(most + 1).any(|calls| calls[most] - calls[0] < within);
        full.then(|| format!("more than {most} calls within 3 s (P06): {times:?}"))
    }
}
