//! The stand of a soak: control plane, emulators, two operators, namespaces, accounts, objects.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{DynamicObject, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::chronicle::Chronicle;
use super::neighbours::Neighbours;
use super::operators::Operators;
use super::types::{self, ProviderType};
use crate::emulator::{Control, Life, Limit};
use crate::stand::controlplane::OPERATOR;
use crate::stand::wait::video_access_tokens;
use crate::stand::{ControlPlane, ControlPlaneOptions, Kubeconfig, yaml};
use crate::tls::ClientCertificate;

/// How many namespaces there are at a time.
const NAMESPACES: usize = 5;

/// The shortest and the longest life of a token, in seconds.
pub(super) const LIVES: (u32, u32) = (30, 120);

/// What an account may ask of its provider in a second; both sides know it.
pub(super) const BUDGET: u32 = 10;

/// How many of the harness's own requests are under way at once.
const AT_ONCE: usize = 16;

/// How long one of them may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A provider object and the account behind it.
#[derive(Clone, Debug)]
pub(super) struct Account {
    /// Index into the types.
    pub(super) type_: usize,
    /// None: a `ClusterTokenProvider`'s.
    pub(super) namespace: Option<String>,
    /// How often its credential was replaced.
    pub(super) generation: u32,
}

/// A `VideoAccessToken`.
#[derive(Clone, Debug)]
pub(super) struct Object {
    /// Index into the accounts.
    pub(super) account: usize,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Object {
    /// `namespace/name` of its Secret.
    pub(super) fn secret(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// What there is; nothing is ever taken out.
#[derive(Debug, Default)]
pub(super) struct Estate {
    pub(super) accounts: Vec<Account>,
    pub(super) objects: Vec<Object>,
    /// Those that aren't deleted.
    pub(super) namespaces: Vec<String>,
}

/// The stand.
pub(super) struct Stage {
    pub(super) plane: tokio::sync::Mutex<ControlPlane>,
    pub(super) login: Kubeconfig,
    pub(super) admin: Client,
    pub(super) types: Vec<Box<dyn ProviderType>>,
    pub(super) operators: Operators,
    pub(super) neighbours: Neighbours,
    pub(super) chronicle: Chronicle,
    estate: Mutex<Estate>,
    ca_pem: String,
}

/// How far the clock of each type of provider is ahead during the whole run, in minutes: no token may tell.
const CLOCKS_AHEAD: [i64; 5] = [120, -120, 0, 15, -15];

impl Stage {
    /// Starts all of it but the operators, with so many objects.
    pub(super) async fn set(objects: usize, binary: &Path, logs: Option<PathBuf>) -> Result<Self> {
        let plane = ControlPlane::start(ControlPlaneOptions::default());
        let (plane, (types, ca_pem)) = tokio::try_join!(plane, types::all())?;
        let controls = types.iter().filter_map(|one| one.control());
        for (control, ahead) in controls.zip(CLOCKS_AHEAD.into_iter().cycle()) {
            // whatever the API promises, which is an hour mostly
            control.set_life(Life::Between(LIVES.0, LIVES.1));
            control.set_clock_ahead(chrono::TimeDelta::minutes(ahead));
            control.set_limits([Limit::Window { requests: BUDGET, seconds: 1 }]);
            control.keep_requests(1_000_000);
        }
        let neighbours = Neighbours::move_in(&plane).await?;
        let hosts = types.iter().flat_map(|one| one.hosts()).chain([neighbours.host()]);
        let hosts: Vec<_> = hosts.collect();
        let operators = Operators::new(&plane.operator_kubeconfig().await?, binary, &hosts, logs)?;
        let stage = Self {
            login: plane.admin().clone(),
            admin: plane.client()?,
            plane: tokio::sync::Mutex::new(plane),
            types,
            operators,
            neighbours,
            chronicle: Chronicle::default(),
            estate: Mutex::default(),
            ca_pem,
        };
        for type_ in 0..stage.types.len() {
            stage.furnish(type_, None).await?;
        }
        stage.furnish_certified().await?;
        for number in 0..NAMESPACES {
            stage.populate(objects * (number + 1) / NAMESPACES - objects * number / NAMESPACES).await?;
        }
        Ok(stage)
    }

    /// A provider that no object names, whose credential tells its end: the metrics have a word for it.
    async fn furnish_certified(&self) -> Result<()> {
        let day = (chrono::Utc::now() + chrono::TimeDelta::days(12)).date_naive();
        let certificate = ClientCertificate::until("ends", day)?;
        let one = &self.types[0];
        self.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {
            "name": "certified", "namespace": OPERATOR, "labels": {"videotoken.dev/credentials": "true"},
            "annotations": {"videotoken.dev/allowed-hosts": one.hosts().join(",")},
        }, "stringData": {"tls.crt": certificate.certificate_pem, "tls.key": certificate.private_key_pem}}))
            .await?;
        let mut account = one.provider(0, "certified");
        let secret = account["auth"]["clientSecret"].take();
        account["auth"] = json!({"clientCertificate": {"tenantId": secret["tenantId"], "clientId": secret["clientId"],
            "secretRef": {"name": "certified"}}});
        self.apply(&json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": "ClusterTokenProvider",
            "metadata": {"name": "certified"}, "spec": {one.name(): account, "caBundle": self.ca_pem,
                "allowedNamespaces": {"selector": {}}}}))
            .await
    }

    /// The types that call someone, by their index, each with its emulator's control.
    pub(super) fn callers(&self) -> impl Iterator<Item = (usize, &Arc<Control>)> {
        self.types.iter().enumerate().filter_map(|(type_, one)| Some((type_, one.control()?)))
    }

    /// What there is.
    pub(super) fn estate(&self) -> MutexGuard<'_, Estate> {
        self.estate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a namespace with a provider of each type and so many objects, half of them by these, half by the cluster's.
    pub(super) async fn populate(&self, objects: usize) -> Result<String> {
        let namespace = self.plane.lock().await.namespace("soak").await?;
        let mut own = Vec::new();
        for type_ in 0..self.types.len() {
            own.push(self.furnish(type_, Some(&namespace)).await?);
        }
        let mut bodies = Vec::new();
        {
            let mut estate = self.estate();
            for n in 0..objects {
                // of a cluster's providers, the first of each type
                let type_ = n % self.types.len();
                let account = if (n / self.types.len()).is_multiple_of(2) { own[type_] } else { type_ };
                let number = estate.objects.len();
                let object = Object { account, namespace: namespace.clone(), name: format!("token-{number}") };
                bodies.push(self.body(number, &object, &estate.accounts[account]));
                estate.objects.push(object);
            }
        }
        let api = video_access_tokens(&self.admin, &namespace);
        stream::iter(bodies).map(anyhow::Ok).try_for_each_concurrent(AT_ONCE, |body| make(&api, body)).await?;
        self.estate().namespaces.push(namespace.clone());
        Ok(namespace)
    }

    /// Opens an account of a type, with its credential's Secret and its provider. Returns its number.
    async fn furnish(&self, type_: usize, namespace: Option<&str>) -> Result<usize> {
        let account = Account { type_, namespace: namespace.map(str::to_owned), generation: 0 };
        let number = {
            let mut estate = self.estate();
            estate.accounts.push(account.clone());
            estate.accounts.len() - 1
        };
        let one = &self.types[type_];
        one.open(number);
        self.give_credential(number).await?;
        let mut spec = json!({one.name(): one.provider(number, &login(&account, one.name()))});
        if one.control().is_some() {
            spec["limits"] = json!({"windows": [{"requests": BUDGET, "period": "1s"}]});
            spec["caBundle"] = self.ca_pem.as_str().into();
        }
        let mut metadata = json!({"name": one.name().to_lowercase()});
        let kind = if let Some(namespace) = namespace {
            metadata["namespace"] = namespace.into();
            "TokenProvider"
        } else {
            spec["allowedNamespaces"] = json!({"selector": {}});
            "ClusterTokenProvider"
        };
        let provider =
            json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
        self.apply(&provider).await?;
        Ok(number)
    }

    /// Makes the account's present credential good, and puts it into its Secret.
    pub(super) async fn give_credential(&self, number: usize) -> Result<()> {
        let account = self.estate().accounts[number].clone();
        let one = &self.types[account.type_];
        let keys = one.admit(number, account.generation);
        self.apply(&json!({"apiVersion": "v1", "kind": "Secret", "stringData": keys, "metadata": {
            "name": login(&account, one.name()),
            "namespace": account.namespace.as_deref().unwrap_or(OPERATOR),
            "labels": {"videotoken.dev/credentials": "true"},
            "annotations": one.allows(),
        }}))
        .await
    }

    fn body(&self, number: usize, object: &Object, account: &Account) -> Value {
        let one = &self.types[account.type_];
        let kind = if account.namespace.is_some() { "TokenProvider" } else { "ClusterTokenProvider" };
        let mut spec = json!({
            "providerRef": {"kind": kind, "name": one.name().to_lowercase()},
            "scope": {one.name(): one.scope(object.account, number)},
        });
        if let Some(lifetime) = one.lifetime(number) {
            spec["lifetime"] = lifetime.into();
        }
        json!({
            "apiVersion": "videotoken.dev/v1alpha1",
            "kind": "VideoAccessToken",
            "metadata": {"name": object.name},
            "spec": spec,
        })
    }

    async fn apply(&self, object: &Value) -> Result<()> {
        let what = format!("apply {} {}", object["kind"], object["metadata"]["name"]);
        let text = object.to_string();
        timeout(PATIENCE, yaml::apply(&self.admin, "default", &text))
            .await
            .with_context(|| what.clone())?
            .context(what)?;
        Ok(())
    }

    /// Every `VideoAccessToken` there is.
    pub(super) async fn all_tokens(&self) -> Result<Vec<DynamicObject>> {
        let api: Api<DynamicObject> =
            Api::all_with(self.admin.clone(), &crate::stand::wait::own_kind("VideoAccessToken"));
        Ok(timeout(PATIENCE, api.list(&kube::api::ListParams::default())).await??.items)
    }

    /// How long the account's budget needs for all of its objects. One that calls nobody has no budget.
    pub(super) fn queue(&self, account: usize) -> chrono::TimeDelta {
        let estate = self.estate();
        if self.types[estate.accounts[account].type_].control().is_none() {
            return chrono::TimeDelta::zero();
        }
        let objects = estate.objects.iter().filter(|object| object.account == account).count();
        chrono::TimeDelta::milliseconds(i64::try_from(objects).unwrap_or(i64::MAX) * 1000 / i64::from(BUDGET))
    }
}

/// The name of an account's Secret.
fn login(account: &Account, type_: &str) -> String {
    let kind = if account.namespace.is_some() { "own" } else { "cluster" };
    format!("{kind}-{}", type_.to_lowercase())
}

async fn make(api: &Api<DynamicObject>, body: Value) -> Result<()> {
    let object = serde_json::from_value(body)?;
    api.create(&PostParams::default(), &object).await.context("make a VideoAccessToken")?;
    Ok(())
}
