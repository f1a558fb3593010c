//! The watches: each feeds a store in place and wakes whom its event concerns.

use super::Context;
use super::accounts::ProviderKey;
use super::relist::Relist;
use super::secrets::SecretMeta;
use super::token::Token;
use crate::api::key::ObjectKey;
use crate::api::provider::LARGEST_CA_BUNDLE;
use crate::api::{GROUP, VERSION, names};
use crate::issuer::redact::quoted;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt, watcher::Config};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A watch that isn't answered for longer than this is taken for dead; seconds.
const WATCH_SECONDS: u32 = 240;

/// Objects of one page of a list. A page that is too large in bytes is asked for anew with fewer
/// ([`crate::metrics::client`]).
const PAGE: u32 = 250;

/// Starts all watches; they run as long as the process. Resolves when each has its first list.
pub(super) async fn start(client: &Client, context: &Arc<Context>) {
    let scopes: Vec<Option<String>> = match context.settings.watch_namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    let mut ready = Vec::new();
    let mut credential_scopes = scopes.clone();
    if context.settings.cluster_providers {
        ready.push(namespaces(client, context));
        ready.push(providers(client, context, None, "ClusterTokenProvider"));
        let cluster = &context.settings.cluster_resource_namespace;
        if !scopes.contains(&None) && !scopes.contains(&Some(cluster.clone())) {
            credential_scopes.push(Some(cluster.clone()));
        }
    }
    for scope in credential_scopes {
        ready.push(credentials(client, context, scope.as_deref()));
    }
    for scope in &scopes {
        ready.push(providers(client, context, scope.clone(), "TokenProvider"));
        ready.push(secrets(client, context, scope.clone()));
        ready.push(tokens(client, context, scope.clone()));
    }
    for listed in ready {
        // a sender is dropped only when its watch ends, and none does
        let _ = listed.await;
    }
}

fn api<K>(client: &Client, scope: Option<&str>) -> Api<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
{
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn config() -> Config {
    Config::default().timeout(WATCH_SECONDS).page_size(PAGE)
}

/// Feeds each event to `take`. Resolves at the end of the first list.
fn feed<K: Send + 'static>(
    context: &Context,
    name: &'static str,
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    mut take: impl FnMut(Event<K>) + Send + 'static,
) -> oneshot::Receiver<()> {
    let (listed, ready) = oneshot::channel();
    context.tasks.lasting(name, async move {
        let mut listed = Some(listed);
        let mut events = pin!(events.default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    let done = matches!(event, Event::InitDone);
                    take(event);
                    if done && let Some(listed) = listed.take() {
                        let _ = listed.send(());
                    }
                }
                Err(error) => tracing::warn!(error = quoted(&error), "a watch broke and is taken up again"),
            }
        }
    });
    ready
}

fn watch<K>(api: Api<K>, config: Config) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher(api, config)
}

fn tokens(client: &Client, context: &Arc<Context>, scope: Option<String>) -> oneshot::Receiver<()> {
    let events = watch(api::<Token>(client, scope.as_deref()), config());
    let (watching, mut relist) = (context.clone(), Relist::default());
    let context = context.clone();
    feed(&watching, "watch of tokens", events, move |event| {
        if let Event::Delete(token) = &event {
            // what is remembered must not pass to another object of the same name
            context.forget(&token.key);
        }
        for key in context.tokens.apply(&mut relist, scope.as_deref(), event) {
            context.wake(&key);
        }
    })
}

fn secrets(client: &Client, context: &Arc<Context>, scope: Option<String>) -> oneshot::Receiver<()> {
    let ours = format!("{}={}", names::MANAGED_BY, names::OPERATOR);
    let events = watch(api::<SecretMeta>(client, scope.as_deref()), config().labels(&ours));
    let (watching, mut relist) = (context.clone(), Relist::default());
    let context = context.clone();
    feed(&watching, "watch of secrets", events, move |event| {
        for secret in context.secrets.apply(&mut relist, scope.as_deref(), &event) {
            for key in context.tokens.claimants(&secret) {
                context.wake(&key);
            }
        }
    })
}

fn credentials(client: &Client, context: &Arc<Context>, scope: Option<&str>) -> oneshot::Receiver<()> {
    let labelled = format!("{}=true", names::CREDENTIALS);
    let events = watch(api::<SecretMeta>(client, scope), config().labels(&labelled));
    let (watching, context) = (context.clone(), context.clone());
    feed(&watching, "watch of credentials", events, move |event| {
        let (Event::Apply(secret) | Event::InitApply(secret) | Event::Delete(secret)) = event else { return };
        for key in context.accounts.referring_to(&secret.key()) {
            context.resolve_soon(key);
        }
    })
}

fn namespaces(client: &Client, context: &Arc<Context>) -> oneshot::Receiver<()> {
    let events = watch(Api::<PartialObjectMeta<Namespace>>::all(client.clone()), config());
    let (watching, mut relist) = (context.clone(), Relist::default());
    let context = context.clone();
    feed(&watching, "watch of namespaces", events, move |event| {
        for namespace in context.namespaces.apply(&mut relist, event) {
            context.wake_namespace(&namespace);
        }
    })
}

/// How kube names a provider kind.
pub(super) fn provider_resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, kind))
}

fn providers(
    client: &Client,
    context: &Arc<Context>,
    scope: Option<String>,
    kind: &'static str,
) -> oneshot::Receiver<()> {
    let resource = provider_resource(kind);
    let api: Api<DynamicObject> = match &scope {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let (watching, mut relist) = (context.clone(), Relist::default());
    let context = context.clone();
    let is_cluster = kind == "ClusterTokenProvider";
    let key_of = |object: &DynamicObject| ProviderKey {
        namespace: object.metadata.namespace.clone(),
        name: object.metadata.name.clone().unwrap_or_default(),
    };
    feed(&watching, "watch of providers", watcher(api, config()), move |event| match event {
        Event::Init => {
            relist.begin();
        }
        Event::Apply(mut object) | Event::InitApply(mut object) => {
            slim(&mut object);
            let key = key_of(&object);
            relist.name(&as_object(&key));
            if context.providers.put(&key, object) {
                context.accounts.announce(&key);
                context.resolve_soon(key);
            }
        }
        Event::Delete(object) => gone(&context, key_of(&object)),
        Event::InitDone => {
            let listed = relist.end().unwrap_or_default();
            let mine = |key: &ProviderKey| match &key.namespace {
                None => is_cluster,
                Some(namespace) => !is_cluster && scope.as_ref().is_none_or(|scope| scope == namespace),
            };
            for key in context.providers.keys() {
                if mine(&key) && !listed.contains(&as_object(&key)) {
                    gone(&context, key);
                }
            }
        }
    })
}

/// Leaves out what nobody reads, and of a CA bundle that is refused for its length all but enough to refuse it.
fn slim(object: &mut DynamicObject) {
    object.metadata.managed_fields = None;
    object.metadata.annotations = None;
    object.metadata.labels = None;
    if let Some(Value::String(bundle)) = object.data.pointer_mut("/spec/caBundle")
        && bundle.len() > LARGEST_CA_BUNDLE
    {
        bundle.truncate(bundle.floor_char_boundary(LARGEST_CA_BUNDLE + 4));
        bundle.shrink_to_fit();
    }
}

fn as_object(key: &ProviderKey) -> ObjectKey {
    ObjectKey::new(key.namespace.as_deref().unwrap_or_default(), &key.name)
}

fn gone(context: &Context, key: ProviderKey) {
    if context.providers.remove(&key) {
        context.resolve_soon(key);
    }
}
