//! What most capability tests begin with: a namespace of the shared control plane, an Azure, the operator behind a
//! proxy, and the objects as a user would write them.

use crate::emulator::{Azure, Control, Emulator, Serving, example};
use crate::stand::{
    ApiProxy, ControlPlane, ControlPlaneOptions, Matcher, Operator, OperatorOptions, eventually, shared,
    wait::own_kind, yaml,
};
use anyhow::{Context, Result, bail};
use chrono::{TimeDelta, Utc};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// Long enough for anything that should happen at once, on a machine that does other things too.
pub const SOON: Duration = Duration::from_secs(30);

/// The control plane of a scene: used as one, whoever else uses it.
pub enum Plane {
    /// All tests of this process use it; nobody may break it.
    Shared(&'static ControlPlane),
    /// The scene's own.
    Own(Box<ControlPlane>),
}

impl Deref for Plane {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        match self {
            Self::Shared(plane) => plane,
            Self::Own(plane) => plane,
        }
    }
}

/// A namespace and all around it. Each test has its own.
pub struct Scene {
    /// The control plane.
    pub plane: Plane,
    /// As cluster admin.
    pub client: Client,
    /// Entra, and Resource Manager with Video Indexer.
    pub azure: Azure,
    /// Between operator and API server.
    pub proxy: ApiProxy,
    /// The test's namespace.
    pub namespace: String,
    /// How the operator is started.
    pub options: OperatorOptions,
}

impl Scene {
    /// A fresh namespace, with nothing in it.
    pub async fn bare(prefix: &str, binary: &str) -> Result<Self> {
        Self::on(Plane::Shared(shared().await?), prefix, binary).await
    }

    async fn on(plane: Plane, prefix: &str, binary: &str) -> Result<Self> {
        let client = plane.client()?;
        let azure = Azure::start().await?;
        let login = plane.operator_kubeconfig().await?;
        let proxy = ApiProxy::start(&login)?;
        let namespace = plane.namespace(prefix).await?;
        let mut options = OperatorOptions::new(binary, login.through(proxy.url()), &namespace);
        options.allowed_endpoints = hosts(&azure);
        "info,video_token_operator=trace".clone_into(&mut options.rust_log);
        Ok(Self { plane, client, azure, proxy, namespace, options })
    }

    /// The same with a `TokenProvider` named `indexer` that uses a client secret.
    pub async fn new(prefix: &str, binary: &str) -> Result<Self> {
        Self::bare(prefix, binary).await?.furnished().await
    }

    /// As [`Self::new`], on a control plane of its own, which the test may break.
    pub async fn private(prefix: &str, binary: &str) -> Result<Self> {
        let plane = ControlPlane::start(ControlPlaneOptions::default()).await?;
        Self::on(Plane::Own(Box::new(plane)), prefix, binary).await?.furnished().await
    }

    async fn furnished(self) -> Result<Self> {
        let scene = self;
        scene.apply(&scene.credentials("azure-login", example::CLIENT_SECRET)).await?;
        scene.apply(&scene.provider("indexer", &client_secret("azure-login"))).await?;
        Ok(scene)
    }

    /// The scene's own control plane, to be broken. Errors: it is the shared one.
    pub fn plane_mut(&mut self) -> Result<&mut ControlPlane> {
        match &mut self.plane {
            Plane::Own(plane) => Ok(plane),
            Plane::Shared(_) => bail!("the shared control plane may not be broken"),
        }
    }

    /// Starts the operator and waits until it is ready.
    pub async fn operator(&self) -> Result<Operator> {
        Operator::start(&self.options).await
    }

    /// Applies one object, strictly.
    pub async fn apply(&self, object: &Value) -> Result<()> {
        yaml::apply(&self.client, &self.namespace, &object.to_string()).await.map(drop)
    }

    /// A credential Secret, labelled and for these emulators.
    pub fn credentials(&self, name: &str, secret: &str) -> Value {
        self.keys(name, &hosts(&self.azure).join(","), &json!({"client-secret": secret}))
    }

    /// A credential Secret with these keys, labelled, for these hosts.
    pub fn keys(&self, name: &str, hosts: &str, keys: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Secret", "stringData": keys, "metadata": {
            "name": name, "namespace": self.namespace, "labels": {"videotoken.dev/credentials": "true"},
            "annotations": {"videotoken.dev/allowed-hosts": hosts},
        }})
    }

    /// Lets namespaced providers call a further emulator; before the operator is started.
    pub fn allow<E: Emulator>(&mut self, serving: &Serving<E>) {
        self.options.allowed_endpoints.push(serving.host());
    }

    /// A `TokenProvider` of any type, with limits that hold nothing up; `spec` has the type's member and more.
    pub fn provider_of(&self, name: &str, ca_pem: &str, spec: &Value) -> Value {
        let mut whole = json!({"caBundle": ca_pem, "limits": {"windows": [{"requests": 1000, "period": "1s"}]}});
        merge(&mut whole, spec);
        json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": "TokenProvider", "spec": whole,
            "metadata": {"name": name, "namespace": self.namespace}})
    }

    /// A `VideoAccessToken` of any type; `changes` go over its spec.
    pub fn token_of(&self, name: &str, provider: &str, scope: &Value, changes: &Value) -> Value {
        let mut spec = json!({"providerRef": {"name": provider}, "scope": scope});
        merge(&mut spec, changes);
        json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": "VideoAccessToken", "spec": spec,
            "metadata": {"name": name, "namespace": self.namespace}})
    }

    /// A `TokenProvider` for the example account.
    pub fn provider(&self, name: &str, auth: &Value) -> Value {
        let mut spec = self.account(auth);
        spec["limits"] = json!({"windows": [{"requests": 1000, "period": "1s"}], "concurrency": 32});
        json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": "TokenProvider", "spec": spec,
            "metadata": {"name": name, "namespace": self.namespace}})
    }

    /// A `ClusterTokenProvider` for the example account, which admits these namespaces and scopes. It is the whole
    /// cluster's: let its name begin with the test's namespace.
    pub fn cluster_provider(&self, name: &str, auth: &Value, namespaces: &Value, scopes: &Value) -> Value {
        let mut provider = self.provider(name, auth);
        provider["kind"] = "ClusterTokenProvider".into();
        provider["metadata"] = json!({"name": name});
        provider["spec"]["allowedNamespaces"] = namespaces.clone();
        if !scopes.is_null() {
            provider["spec"]["allowedScopes"] = scopes.clone();
        }
        provider
    }

    /// The example account at these emulators, as a provider's spec names it.
    pub fn account(&self, auth: &Value) -> Value {
        json!({"caBundle": self.azure.ca_pem(), "videoIndexer": {
            "subscriptionId": example::SUBSCRIPTION_ID, "resourceGroup": example::RESOURCE_GROUP,
            "accountName": example::ACCOUNT_NAME, "auth": auth,
            "endpoints": {"resourceManager": self.azure.resource_manager_url(), "authority": self.azure.authority_url()},
        }})
    }

    /// A `VideoAccessToken` for a video, with the Arc extension; `changes` go over its spec.
    pub fn token(&self, name: &str, changes: &Value) -> Value {
        let scope = json!({"videoIndexer": {"permission": "RestrictedViewer", "mediaScope": "Video",
            "videoId": "07ec9e38d4", "extensionId": example::EXTENSION_ID}});
        self.token_of(name, "indexer", &scope, changes)
    }

    /// Applies such a token and waits until it is ready.
    pub async fn ready_token(&self, name: &str, changes: &Value) -> Result<Value> {
        self.ready(&self.token(name, changes)).await
    }

    /// Applies a token's object and waits until it is ready.
    pub async fn ready(&self, token: &Value) -> Result<Value> {
        self.apply(token).await?;
        self.until(token["metadata"]["name"].as_str().unwrap_or_default(), "Ready", "True", "").await
    }

    /// Waits for a condition and returns the object; an empty reason is any.
    pub async fn until(&self, name: &str, type_: &str, status: &str, reason: &str) -> Result<Value> {
        self.until_that(name, &format!("{type_}={status} {reason}"), |object| {
            let condition = condition(object, type_);
            condition["status"] == status && (reason.is_empty() || condition["reason"] == reason)
        })
        .await
    }

    /// Waits until the object is as wished, and returns it.
    pub async fn until_that(&self, name: &str, what: &str, wished: impl Fn(&Value) -> bool) -> Result<Value> {
        self.until_within(SOON, name, what, wished).await
    }

    /// The same, for what takes longer.
    pub async fn until_within(
        &self,
        limit: Duration,
        name: &str,
        what: &str,
        wished: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let api = self.tokens();
        Ok(eventually(limit, &format!("{name} {what}"), async || {
            let object = api.get(name).await.map_err(|error| error.to_string())?;
            let object = serde_json::to_value(object).map_err(|error| error.to_string())?;
            if wished(&object) { Ok(object) } else { Err(object["status"].to_string()) }
        })
        .await)
    }

    /// Waits until a `TokenProvider`'s status is as wished, and returns the object.
    pub async fn until_provider(&self, name: &str, what: &str, wished: impl Fn(&Value) -> bool) -> Result<Value> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &own_kind("TokenProvider"));
        Ok(eventually(SOON, &format!("{name} {what}"), async || {
            let object = api.get(name).await.map_err(|error| error.to_string())?;
            let object = serde_json::to_value(object).map_err(|error| error.to_string())?;
            if wished(&object) { Ok(object) } else { Err(object["status"].to_string()) }
        })
        .await)
    }

    /// The namespace's `VideoAccessToken`s.
    pub fn tokens(&self) -> Api<DynamicObject> {
        crate::stand::wait::video_access_tokens(&self.client, &self.namespace)
    }

    /// The namespace's Secrets.
    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Merges into a token's object.
    pub async fn patch(&self, name: &str, patch: &Value) -> Result<()> {
        self.tokens().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Merges into a `TokenProvider`.
    pub async fn patch_provider(&self, name: &str, patch: &Value) -> Result<()> {
        let kind = crate::stand::wait::own_kind("TokenProvider");
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &kind);
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Deletes a token's object.
    pub async fn delete_token(&self, name: &str) -> Result<()> {
        self.tokens().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Changes the spec so that nothing else is asked for: a new generation.
    pub async fn touch(&self, name: &str) -> Result<()> {
        static TOUCHES: AtomicU32 = AtomicU32::new(0);
        let share = 25 + TOUCHES.fetch_add(1, Ordering::Relaxed) % 20;
        self.patch(name, &json!({"spec": {"renewBefore": null, "renewBeforePercentage": share}})).await
    }

    /// Merges into a Secret.
    pub async fn patch_secret(&self, name: &str, patch: &Value) -> Result<()> {
        self.secrets().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Sets a label of the test's namespace; `None` takes it away.
    pub async fn label_namespace(&self, label: &str, value: Option<&str>) -> Result<()> {
        let patch = json!({"metadata": {"labels": {label: value}}});
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.patch(&self.namespace, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// The events about a token, oldest first: type, reason, and how often each was told.
    pub async fn events(&self, token: &str) -> Result<Vec<(String, String, i32)>> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut events = api.list(&ListParams::default()).await?.items;
        events.retain(|event| event.regarding.as_ref().is_some_and(|object| object.name.as_deref() == Some(token)));
        events.sort_by_key(|event| event.event_time.as_ref().map(|at| at.0));
        let told = |event: &Event| event.series.as_ref().map_or(1, |series| series.count);
        let word = |word: &Option<String>| word.clone().unwrap_or_default();
        Ok(events.iter().map(|event| (word(&event.type_), word(&event.reason), told(event))).collect())
    }

    /// Waits until the token's events are as wished: an event follows the status that it tells of.
    pub async fn until_events(&self, token: &str, wished: impl Fn(&[(String, String, i32)]) -> bool) {
        eventually(SOON, &format!("{token}: its events"), async || {
            let told = self.events(token).await.map_err(|error| error.to_string())?;
            if wished(&told) { Ok(()) } else { Err(format!("{told:?}")) }
        })
        .await;
    }

    /// A key of a Secret.
    pub async fn key_of(&self, secret: &str, key: &str) -> Result<Option<String>> {
        let secret = self.secrets().get_opt(secret).await?;
        let bytes = secret.and_then(|secret| secret.data?.remove(key));
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned()))
    }

    /// The token in a Secret that is there.
    pub async fn held(&self, secret: &str) -> Result<String> {
        self.key_of(secret, "token").await?.with_context(|| format!("no token in the Secret {secret}"))
    }

    /// Asks for a renewal by the annotation, and returns its value: another at each call.
    pub async fn force_renewal(&self, name: &str) -> Result<String> {
        // ahead, so that it is after the issue of whatever token is there
        let asked = (Utc::now() + TimeDelta::minutes(1)).to_rfc3339();
        self.patch(name, &json!({"metadata": {"annotations": {"videotoken.dev/renew-requested-at": asked}}})).await?;
        Ok(asked)
    }

    /// Waits until the object is at rest: ready, nothing under way, and its status speaks of the Secret as it is, which
    /// holds a live token of this Azure's. Returns that token.
    pub async fn settled(&self, name: &str) -> Result<String> {
        self.settled_at(self.azure.video_indexer.control(), name).await
    }

    /// The same for a token of any emulator's.
    pub async fn settled_at(&self, provider: &Control, name: &str) -> Result<String> {
        let (tokens, secrets) = (self.tokens(), self.secrets());
        let probe = async || -> Result<String> {
            let object = serde_json::to_value(tokens.get(name).await?)?;
            let status = &object["status"];
            let secret = secrets.get(status["secretName"].as_str().unwrap_or(name)).await?;
            let annotations = secret.metadata.annotations.unwrap_or_default();
            let mut data = secret.data.unwrap_or_default();
            let key = annotations.get("videotoken.dev/token-key").context("no annotation token-key")?;
            let token = String::from_utf8(data.remove(key).context("no token")?.0)?;
            let known = provider.knows(&token).context("nobody issued the token")?;
            if !known.is_good(Utc::now()) {
                bail!("the token isn't good any more");
            }
            let at_rest = condition(&object, "Ready")["status"] == "True"
                && condition(&object, "Issuing")["status"] == "False"
                && status["observedGeneration"] == object["metadata"]["generation"]
                && status["secretResourceVersion"] == json!(secret.metadata.resource_version)
                && status["expiresAt"] == json!(annotations.get("videotoken.dev/expires-at"));
            if at_rest { Ok(token) } else { bail!("{annotations:?} {status}") }
        };
        let probe = async || probe().await.map_err(|error| format!("{error:#}"));
        Ok(eventually(SOON, &format!("{name} at rest"), probe).await)
    }

    /// Waits until the operator has had time for all that was asked of it before: a new object is served last.
    pub async fn fence(&self) -> Result<String> {
        let name = format!("fence-{}", &Uuid::new_v4().simple().to_string()[..8]);
        self.apply(&self.token(&name, &json!({}))).await?;
        self.settled(&name).await?;
        Ok(name)
    }

    /// How often the operator tried to write a Secret of this name.
    pub fn secret_writes(&self, name: &str) -> u64 {
        let verbs = ["patch", "create", "update", "delete"];
        verbs.iter().map(|verb| self.proxy.count(&Matcher::any().verb(verb).resource("secrets").name(name))).sum()
    }

    /// How many tokens Video Indexer has issued.
    pub fn issued(&self) -> usize {
        self.azure.video_indexer.control().tokens().len()
    }
}

/// `auth` with a client secret.
pub fn client_secret(secret: &str) -> Value {
    json!({"clientSecret": {"tenantId": example::TENANT_ID, "clientId": example::CLIENT_ID,
        "secretRef": {"name": secret, "key": "client-secret"}}})
}

/// A condition of an object's status.
pub fn condition(object: &Value, type_: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == type_).unwrap_or_default()
}

/// The emulators' hosts, as `--allowed-endpoint` and `allowed-hosts` name them.
pub fn hosts(azure: &Azure) -> Vec<String> {
    let host = |url: &str| url.trim_start_matches("https://").trim_end_matches('/').to_owned();
    vec![host(&azure.resource_manager_url()), host(&azure.authority_url())]
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    into.remove(key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => *into = from.clone(),
    }
}
