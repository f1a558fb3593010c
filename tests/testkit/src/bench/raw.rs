//! The raw limit: the two writes of a token by a bare client, under the operator's own login.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{SecondsFormat, Utc};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PartialObjectMeta, Patch, PatchParams};
use kube::core::{DynamicObject, Request};
use kube::{Client, Resource as _};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

use super::cpu::{BARE_CLIENT, Cost, Cpu};
use super::report::Figures;
use super::stage::{Made, Stage};
use super::{per_second, say, while_saying};
use crate::stand::wait::own_kind;

/// As long as a real token of Video Indexer.
const TOKEN_LENGTH: usize = 1_260;

/// So many tokens take a fresh API server past its first, slow requests.
const WARM_UP: usize = 200;

const METADATA_ONLY: http::HeaderValue =
    http::HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");

/// What the bare client takes for new objects, and for the same objects again as a renewal does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    /// Tokens a second for new objects.
    pub(super) rate: f64,
    pub(super) first: Cost,
    pub(super) renewal: Cost,
}

/// Requests that aren't counted.
pub(super) async fn warm_up(stage: &Stage) -> Result<()> {
    let made = stage.make(&stage.raw_namespace, "warm-up", WARM_UP.min(stage.options.n)).await?;
    let client = BareClient::new()?;
    client.write(stage, made.into()).await?;
    client.end();
    stage.clear(&stage.raw_namespace).await
}

/// Fresh objects, half as many as the operator gets, and their tokens written twice as fast as it goes: as first tokens
/// and as renewals. They stay.
pub(super) async fn round(stage: &Stage, figures: &mut Figures, when: &str) -> Result<Round> {
    let n = stage.options.n.div_ceil(2);
    say(&format!("bare client, {when} the operator: making {n} objects"));
    let made: Arc<[Made]> = stage.make(&stage.raw_namespace, "raw", n).await?.into();
    let client = BareClient::new()?;
    let mut costs = Vec::new();
    for what in ["first tokens", "renewals"] {
        let cpu = Cpu::now()?;
        let took = client.write(stage, made.clone()).await?;
        let (rate, cost) = (per_second(n, took), Cpu::now()?.per_token(cpu, n));
        say(&format!("bare client, {when} the operator: {what} {rate:.1} tokens/s"));
        figures.note(format!("bare client, {when} the operator: {what} {rate:.1} tokens/s; CPU a token {cost}"));
        costs.push((rate, cost));
    }
    client.end();
    let [(rate, first), (_, renewal)] = costs[..] else { bail!("two passes have two costs") };
    Ok(Round { rate, first, renewal })
}

/// The bare client. It runs on threads of its own, so that its CPU time is told from that of the emulators.
struct BareClient(Runtime);

impl BareClient {
    fn new() -> Result<Self> {
        Ok(Self(Builder::new_multi_thread().thread_name(BARE_CLIENT).enable_all().build()?))
    }

    /// Writes a token for each object, so many at a time, each pair a task of its own so that all cores take part.
    async fn write(&self, stage: &Stage, made: Arc<[Made]>) -> Result<Duration> {
        let login = stage.login.clone();
        // its connections belong to the runtime that opens them
        let client = self.0.spawn(async move { login.client() }).await??;
        let next = Arc::new(AtomicUsize::new(0));
        let begun = Instant::now();
        let workers = (0..stage.options.in_flight).map(|_| {
            let (client, namespace) = (client.clone(), stage.raw_namespace.clone());
            let (made, next) = (made.clone(), next.clone());
            self.0.spawn(async move {
                while let Some(object) = made.get(next.fetch_add(1, Ordering::Relaxed)) {
                    pair(&client, &namespace, object).await?;
                }
                anyhow::Ok(())
            })
        });
        let progress = || format!("{} of {} tokens", next.load(Ordering::Relaxed).min(made.len()), made.len());
        for written in while_saying("bare client", progress, try_join_all(workers)).await? {
            written?;
        }
        Ok(begun.elapsed())
    }

    /// Ends its threads; their CPU time can't be read any more.
    fn end(self) {
        self.0.shutdown_background();
    }
}

/// One token: its Secret, then its object's status, both by server-side apply; of the answers, only the metadata.
async fn pair(client: &Client, namespace: &str, object: &Made) -> Result<()> {
    let params = PatchParams::apply("video-token-operator").force();
    let secrets: Api<PartialObjectMeta<Secret>> = Api::namespaced(client.clone(), namespace);
    let secret = Patch::Apply(secret(namespace, object));
    let stored = secrets.patch(&object.name, &params, &secret).await.context("apply a Secret")?;
    let version = stored.metadata.resource_version.unwrap_or_default();
    let url = DynamicObject::url_path(&own_kind("VideoAccessToken"), Some(namespace));
    let status = Patch::Apply(status(namespace, object, &version));
    let mut request = Request::new(url).patch_subresource("status", &object.name, &params, &status)?;
    request.headers_mut().insert(http::header::ACCEPT, METADATA_ONLY);
    let _: PartialObjectMeta<DynamicObject> = client.request(request).await.context("apply a status")?;
    Ok(())
}

/// The Secret as the operator writes it.
fn secret(namespace: &str, object: &Made) -> Value {
    let seed: String = (0..=TOKEN_LENGTH / 32).map(|_| Uuid::new_v4().simple().to_string()).collect();
    let (issued_at, expires_at) = (in_seconds(0), in_seconds(3_600));
    let hash = |n: usize| seed[n..n + 64].to_owned();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": object.name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "video-token-operator"},
            "annotations": {
                "videotoken.dev/owner-uid": object.uid,
                "videotoken.dev/issued-at": issued_at,
                "videotoken.dev/expires-at": expires_at,
                "videotoken.dev/token-key": "token",
                "videotoken.dev/request-hash": format!("v1:{}", hash(0)),
                "videotoken.dev/render-hash": hash(64),
                "videotoken.dev/content-hash": hash(128),
            },
            "ownerReferences": [{
                "apiVersion": "videotoken.dev/v1alpha1", "kind": "VideoAccessToken", "name": object.name,
                "uid": object.uid, "controller": true, "blockOwnerDeletion": false,
            }],
        },
        "type": "Opaque",
        "data": {"token": STANDARD.encode(&seed[..TOKEN_LENGTH]), "expires-at": STANDARD.encode(&expires_at)},
    })
}

/// The status as the operator writes it.
fn status(namespace: &str, object: &Made, secret_version: &str) -> Value {
    let now = in_seconds(0);
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now,
            "observedGeneration": 1})
    };
    json!({
        "apiVersion": "videotoken.dev/v1alpha1",
        "kind": "VideoAccessToken",
        "metadata": {"name": object.name, "namespace": namespace, "uid": object.uid},
        "status": {
            "observedGeneration": 1,
            "conditions": [
                condition("Ready", "True", "TokenIssued", "The Secret contains a valid token."),
                condition("Issuing", "False", "UpToDate", "No token is due."),
                condition("Stalled", "False", "AsExpected", "No change is required."),
            ],
            "provider": "ClusterTokenProvider/bench",
            "secretName": object.name,
            "secretResourceVersion": secret_version,
            "issuedAt": now,
            "expiresAt": in_seconds(3_600),
            "renewAt": in_seconds(2_400),
            "issuances": 1,
            "failedAttempts": 0,
        },
    })
}

fn in_seconds(seconds: i64) -> String {
    (Utc::now() + chrono::TimeDelta::seconds(seconds)).to_rfc3339_opts(SecondsFormat::Secs, true)
}
