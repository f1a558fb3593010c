//! A namespace with an account at a provider of its own: the victim is one, the attacker another.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, stream};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::emulator::{Access, Control, Emulator as _, Serving, VideoIndexerClassic, classic_example};
use crate::stand::wait::{condition, own_kind, poll};
use crate::stand::{ControlPlane, yaml};
use crate::tls::CertificateAuthority;

/// How many requests of one attack are under way at once.
const AT_ONCE: usize = 16;

/// The provider that [`Tenant::furnish`] makes.
pub(crate) const PROVIDER: &str = "indexer";

/// The user of the account's key.
const MEMBER: &str = "member";

/// A namespace, and a Video Indexer that serves nobody else.
pub(crate) struct Tenant {
    pub(crate) namespace: String,
    pub(crate) admin: Client,
    provider: Serving<VideoIndexerClassic>,
}

impl Tenant {
    /// A fresh namespace with nothing in it.
    pub(crate) async fn open(plane: &ControlPlane, ca: &Arc<CertificateAuthority>, prefix: &str) -> Result<Self> {
        let classic = VideoIndexerClassic::new()?;
        classic.add_account(classic_example::LOCATION, classic_example::ACCOUNT_ID);
        classic.add_member(classic_example::ACCOUNT_ID, MEMBER, Access::Read);
        classic.gateway().add_key(classic_example::READERS_KEY, MEMBER);
        // of a request only its number counts
        classic.control().keep_requests(16);
        let provider = Serving::start(classic, ca).await?;
        Ok(Self { namespace: plane.namespace(prefix).await?, admin: plane.client()?, provider })
    }

    /// Faults, lives and the truth about tokens.
    pub(crate) fn control(&self) -> &Arc<Control> {
        self.provider.control()
    }

    /// As `--allowed-endpoint` names the provider.
    pub(crate) fn host(&self) -> String {
        self.provider.host()
    }

    /// Gives the namespace its credential and a provider without limits that would hold an attack up.
    pub(crate) async fn furnish(&self) -> Result<()> {
        self.apply(&self.credentials("login")).await?;
        self.apply(&self.token_provider(PROVIDER, &json!({}))).await
    }

    /// The account's key in a Secret that the operator may read.
    pub(crate) fn credentials(&self, name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Secret",
            "stringData": {"subscription-key": classic_example::READERS_KEY},
            "metadata": {"name": name, "namespace": self.namespace,
                "labels": {"videotoken.dev/credentials": "true"},
                "annotations": {"videotoken.dev/allowed-hosts": self.host()}}})
    }

    /// A provider for the account; `changes` are members of its spec.
    pub(crate) fn token_provider(&self, name: &str, changes: &Value) -> Value {
        let mut spec = json!({
            "videoIndexerClassic": {"endpoint": self.provider.url(), "location": classic_example::LOCATION,
                "accountId": classic_example::ACCOUNT_ID,
                "subscriptionKeyRef": {"name": "login", "key": "subscription-key"}},
            "limits": {"windows": [{"requests": 1000, "period": "1s"}], "concurrency": 64},
            "caBundle": self.provider.ca_pem(),
        });
        replace_members(&mut spec, changes);
        json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": "TokenProvider", "spec": spec,
            "metadata": {"name": name, "namespace": self.namespace}})
    }

    /// A token for a video of its own; `changes` are members of its spec.
    pub(crate) fn token(&self, name: &str, changes: &Value) -> Value {
        // as the provider names videos
        let video: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        self.provider.add_video(classic_example::ACCOUNT_ID, &video);
        let mut spec = json!({"providerRef": {"name": PROVIDER},
            "scope": {"videoIndexerClassic": {"video": {"videoId": video}}}});
        replace_members(&mut spec, changes);
        json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": "VideoAccessToken", "spec": spec,
            "metadata": {"name": name, "namespace": self.namespace}})
    }

    /// Applies one object.
    pub(crate) async fn apply(&self, object: &Value) -> Result<()> {
        yaml::apply(&self.admin, &self.namespace, &object.to_string()).await.map(drop)
    }

    /// Objects of a kind of the operator's own.
    pub(crate) fn api(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.admin.clone(), &self.namespace, &own_kind(kind))
    }

    /// Makes tokens with these names, `changes` in the spec of each.
    pub(crate) async fn make_tokens(&self, names: impl IntoIterator<Item = String>, changes: &Value) -> Result<()> {
        let tokens = names.into_iter().map(|name| self.token(&name, changes)).collect::<Vec<_>>();
        self.make(&self.api("VideoAccessToken"), tokens).await
    }

    /// Makes objects that aren't there yet, several at a time. Errors: the first that isn't taken.
    pub(crate) async fn make<K>(&self, api: &Api<K>, objects: Vec<Value>) -> Result<()>
    where
        K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
    {
        let mut made = stream::iter(objects)
            .map(|object| async move {
                let name = object["metadata"]["name"].to_string();
                let object: K = serde_json::from_value(object)?;
                match api.create(&PostParams::default(), &object).await {
                    // made before
                    Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                    made => made.map(drop).with_context(|| format!("make {name}")),
                }
            })
            .buffer_unordered(AT_ONCE);
        while let Some(one) = made.next().await {
            one?;
        }
        Ok(())
    }

    /// Merges into an object; what the API server says of it is none of an attack's business.
    pub(crate) async fn press(&self, kind: &str, name: &str, patch: &Value) {
        let _ = self.api(kind).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
    }

    /// Waits until so many tokens of the namespace are Ready.
    pub(crate) async fn ready(&self, count: usize, patience: Duration) -> Result<()> {
        let api = self.api("VideoAccessToken");
        poll(patience, &format!("{count} tokens of {} are Ready", self.namespace), async || {
            let all = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let ready = |object: &&DynamicObject| condition(object, "Ready").is_some_and(|told| told.status == "True");
            let found = all.items.iter().filter(ready).count();
            if found >= count { Ok(()) } else { Err(format!("{found} are")) }
        })
        .await
    }
}

/// Members of `from` take the place of those of the same name.
fn replace_members(into: &mut Value, from: &Value) {
    let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) else { return };
    for (name, value) in from {
        if value.is_null() {
            into.remove(name);
        } else {
            into.insert(name.clone(), value.clone());
        }
    }
}
