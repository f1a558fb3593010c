//! What everything is measured on: control plane, emulators, the provider, and the objects.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use super::arrivals::Arrivals;
use super::counts::Requests;
use super::{Options, identity, say};
use crate::emulator::{Azure, example};
use crate::stand::controlplane::OPERATOR;
use crate::stand::operator::{self, Operator, OperatorOptions};
use crate::stand::process::Scratch;
use crate::stand::scrape::Metrics;
use crate::stand::wait::own_kind;
use crate::stand::{ControlPlane, ControlPlaneOptions, Kubeconfig, yaml};

const PROVIDER: &str = "bench";

/// How many requests of this program's own, which aren't measured, are under way at once.
const PREPARING: usize = 16;

/// The stand, and who acts on it.
pub struct Stage {
    pub(super) options: Options,
    pub(super) azure: Azure,
    pub(super) admin: Client,
    /// The operator's own login.
    pub(super) login: Kubeconfig,
    /// Where the operator's objects are.
    pub(super) namespace: String,
    /// Where the bare client's are.
    pub(super) raw_namespace: String,
    /// Where single objects are applied beside a crowd.
    pub(super) singles_namespace: String,
    pub(super) arrivals: Arrivals,
    scratch: Scratch,
    http: reqwest::Client,
    pub(super) binary: PathBuf,
    pub(super) plane: ControlPlane,
}

/// An object that was made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) name: String,
    pub(super) uid: String,
}

impl Stage {
    /// Starts all of it but the operator.
    pub async fn set(options: &Options) -> Result<Self> {
        let binary = if options.only_raw && options.skip_status {
            PathBuf::new()
        } else {
            std::path::absolute(program(options)?)?
        };
        say("starting the control plane and the emulators");
        let plane =
            ControlPlane::start(ControlPlaneOptions { controllers: Vec::new(), ..ControlPlaneOptions::default() });
        let (plane, azure) = tokio::try_join!(plane, Azure::start())?;
        // of a request only its number is needed, and each kept one costs memory
        azure.video_indexer.control().keep_requests(16);
        let admin = plane.client()?;
        let scratch = Scratch::new("vto-bench-")?;
        identity::federate(&azure, &scratch.file("assertion"))?;
        yaml::apply(&admin, "default", &provider(&azure)).await.context("apply the provider")?;
        let stage = Self {
            options: options.clone(),
            login: plane.operator_kubeconfig().await?,
            namespace: plane.namespace("tokens").await?,
            raw_namespace: plane.namespace("raw").await?,
            singles_namespace: plane.namespace("singles").await?,
            arrivals: Arrivals::watch(admin.clone()),
            http: reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?,
            scratch,
            azure,
            admin,
            binary,
            plane,
        };
        say(&format!("the control plane was up in {:.1} s", stage.plane.startup().as_secs_f64()));
        Ok(stage)
    }

    /// Starts the operator as it is installed: over all namespaces, with its Lease and its own permissions, straight at
    /// the API server. It isn't ready yet.
    pub(super) fn operator(&self) -> Result<Running> {
        let assertion = self.scratch.file("assertion").to_string_lossy().into_owned();
        let env = [
            ("AZURE_FEDERATED_TOKEN_FILE", assertion.as_str()),
            ("AZURE_CLIENT_ID", example::CLIENT_ID),
            ("AZURE_TENANT_ID", example::TENANT_ID),
        ];
        let options = OperatorOptions {
            watch_namespaces: Vec::new(),
            leader_elect: true,
            lease_name: OPERATOR.to_owned(),
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            args: self.operator_args(),
            ..OperatorOptions::new(&self.binary, self.login.clone(), OPERATOR)
        };
        let operator = Operator::spawn(&options)?;
        Ok(Running { operator, http: self.http.clone(), logs: self.options.logs.clone() })
    }

    fn operator_args(&self) -> Vec<String> {
        let in_flight = format!("--max-in-flight={}", self.options.in_flight);
        [in_flight, "--status-page".to_owned()].into_iter().chain(self.options.operator_args.iter().cloned()).collect()
    }

    /// Makes so many objects, named `prefix-0` and so on; each asks for a token of a video of its own, from an Arc
    /// extension.
    pub(super) async fn make(&self, namespace: &str, prefix: &str, count: usize) -> Result<Vec<Made>> {
        let api = self.tokens(namespace);
        let made = stream::iter(0..count).map(|n| {
            let (api, object) = (api.clone(), object(&format!("{prefix}-{n}"), n));
            async move {
                let made = api.create(&PostParams::default(), &object?).await.context("make a VideoAccessToken")?;
                anyhow::Ok(Made { name: made.name_any(), uid: made.uid().unwrap_or_default() })
            }
        });
        made.buffer_unordered(PREPARING).try_collect().await
    }

    /// Deletes every object and every Secret of a namespace.
    pub(super) async fn clear(&self, namespace: &str) -> Result<()> {
        let secrets: Api<Secret> = Api::namespaced(self.admin.clone(), namespace);
        let tokens = self.tokens(namespace);
        let (delete, all, one) = (DeleteParams::background(), ListParams::default(), ListParams::default().limit(1));
        // a collection that takes the API server over a minute is only begun: the rest goes with the next try
        for _ in 0..20 {
            let _ = tokio::join!(tokens.delete_collection(&delete, &all), secrets.delete_collection(&delete, &all));
            if tokens.list_metadata(&one).await?.items.is_empty() && secrets.list_metadata(&one).await?.items.is_empty()
            {
                return Ok(());
            }
        }
        bail!("the namespace {namespace} can't be emptied")
    }

    /// Deletes the objects `token-N` of these numbers and their Secrets.
    pub(super) async fn delete_tokens(&self, namespace: &str, numbers: Range<usize>) -> Result<()> {
        let secrets: Api<Secret> = Api::namespaced(self.admin.clone(), namespace);
        let tokens = self.tokens(namespace);
        let deleted = stream::iter(numbers).map(|n| {
            let (tokens, secrets, name) = (tokens.clone(), secrets.clone(), format!("token-{n}"));
            async move {
                tokens.delete(&name, &DeleteParams::background()).await?;
                secrets.delete(&name, &DeleteParams::background()).await?;
                anyhow::Ok(())
            }
        });
        deleted.buffer_unordered(PREPARING).try_collect::<Vec<_>>().await?;
        Ok(())
    }

    /// The `VideoAccessToken`s of a namespace.
    pub(super) fn tokens(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.admin.clone(), namespace, &own_kind("VideoAccessToken"))
    }

    /// How many tokens the emulator has issued.
    pub(super) fn issued(&self) -> u64 {
        self.azure.video_indexer.control().counters().issued
    }

    /// Waits for the next token request that the emulator answers.
    pub(super) async fn next_call(&self, patience: Duration) -> Result<()> {
        let control = self.azure.video_indexer.control();
        let answered: u64 = control.counters().statuses.values().sum();
        let next = control.answered(answered + 1);
        tokio::time::timeout(patience, next).await.with_context(|| format!("no token request within {patience:?}"))
    }
}

/// A running operator, and what is asked of it.
pub(super) struct Running {
    operator: Operator,
    http: reqwest::Client,
    logs: Option<PathBuf>,
}

impl Running {
    /// Waits until /readyz says so.
    pub(super) async fn ready(&mut self) -> Result<()> {
        for _ in 0..3_000 {
            if let Some(status) = self.operator.exited() {
                bail!("the operator ended ({status}): {}", self.log_tail());
            }
            let answer = self.http.get(self.operator.url("/readyz")).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("the operator isn't ready: {}", self.log_tail())
    }

    /// What its own server answers.
    pub(super) async fn get(&self, path: &str) -> Result<String> {
        Ok(self.http.get(self.operator.url(path)).send().await?.error_for_status()?.text().await?)
    }

    /// Scrapes /metrics.
    pub(super) async fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics::parse(&self.get("/metrics").await?))
    }

    /// What it has asked of the API server so far.
    pub(super) async fn requests(&self) -> Result<Requests> {
        Ok(Requests::of_operator(&self.metrics().await?))
    }

    /// Waits until it has asked nothing of the API server for `quiet`, the Lease aside; returns what it had asked.
    pub(super) async fn settled(&self, quiet: Duration) -> Result<Requests> {
        let (mut before, mut since) = (self.requests().await?, tokio::time::Instant::now());
        let begun = since;
        while since.elapsed() < quiet {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = self.requests().await?;
            if now != before {
                (before, since) = (now, tokio::time::Instant::now());
            }
            if begun.elapsed() > Duration::from_mins(3) {
                bail!("the operator doesn't settle: {now}; {}", self.log_tail());
            }
        }
        Ok(before)
    }

    /// Its resident anonymous memory, in bytes: the median of five looks in as many seconds.
    pub(super) async fn rss(&self) -> Result<u64> {
        let mut looks = Vec::new();
        for _ in 0..5 {
            looks.push(self.operator.rss_bytes()?);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        looks.sort_unstable();
        Ok(looks[looks.len() / 2])
    }

    /// Stops it where it stands.
    pub(super) fn pause(&mut self) -> Result<()> {
        self.operator.pause()
    }

    /// Lets it go on.
    pub(super) fn resume(&mut self) -> Result<()> {
        self.operator.resume()
    }

    /// Ends it as a cluster would (SIGTERM).
    pub(super) async fn stop(mut self) -> Result<()> {
        let stopped = self.operator.terminate().await?;
        if !stopped.status.success() {
            bail!("the operator ended with {}: {}", stopped.status, self.log_tail());
        }
        Ok(())
    }

    /// The last lines of its log, for an error.
    pub(super) fn log_tail(&self) -> String {
        let log = self.operator.logs();
        let lines: Vec<_> = log.lines().collect();
        format!("its log ends with\n{}", lines[lines.len().saturating_sub(20)..].join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(directory) = &self.logs else { return };
        let copy = directory.join(format!("operator-{}.log", self.operator.pid()));
        // whoever asked for the logs sees that they are not there
        let _ = fs::create_dir_all(directory).and_then(|()| fs::copy(self.operator.log_path(), copy));
    }
}

fn program(options: &Options) -> Result<PathBuf> {
    let path = options.operator.clone().map_or_else(operator::binary, Ok)?;
    if !Path::new(&path).is_file() {
        bail!("{} is no file: build the operator with cargo build --release", path.display());
    }
    Ok(path)
}

/// A provider whose limits are far above what any stand can do.
fn provider(azure: &Azure) -> String {
    let provider = json!({
        "apiVersion": "videotoken.dev/v1alpha1",
        "kind": "ClusterTokenProvider",
        "metadata": {"name": PROVIDER},
        "spec": {
            "videoIndexer": {
                "subscriptionId": example::SUBSCRIPTION_ID,
                "resourceGroup": example::RESOURCE_GROUP,
                "accountName": example::ACCOUNT_NAME,
                "endpoints": {"resourceManager": azure.resource_manager_url(), "authority": azure.authority_url()},
                "auth": {"workloadIdentity": {}},
            },
            "limits": {"windows": [{"requests": 1_000_000, "period": "1s"}], "concurrency": 64},
            "caBundle": azure.ca_pem(),
            "allowedNamespaces": {"selector": {}},
        },
    });
    provider.to_string()
}

fn object(name: &str, video: usize) -> Result<DynamicObject> {
    let object = json!({
        "apiVersion": "videotoken.dev/v1alpha1",
        "kind": "VideoAccessToken",
        "metadata": {"name": name},
        "spec": {
            "providerRef": {"kind": "ClusterTokenProvider", "name": PROVIDER},
            "scope": {"videoIndexer": {
                "permission": "RestrictedViewer",
                "mediaScope": "Video",
                "videoId": format!("{video:010x}"),
                "extensionId": example::EXTENSION_ID,
            }},
        },
    });
    Ok(serde_json::from_value(object)?)
}
