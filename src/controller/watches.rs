//! Watches: each feeds a store in place and triggers the objects that its events concern.

use crate::controller::context::{Context, Known};
use crate::controller::grants::recall;
use crate::controller::stores::provider_key::ProviderKey;
use crate::controller::stores::provider_key::{as_object, provider_resource};
use crate::controller::stores::relist::Relist;
use crate::controller::stores::scopes::{Scope, Scopes, Watched};
use crate::controller::stores::secrets::SecretMeta;
use crate::controller::stores::token::ListedToken;
use crate::kube_client::SILENCE;
use crate::metrics::Metrics;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::watcher::Config;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use videotoken_api::names;
use videotoken_api::provider::LARGEST_CA_BUNDLE;
use videotoken_providers::redact::quoted;

/// Duration in seconds after which the API server is asked to end a watch.
const WATCH_SECONDS: u32 = 240;

/// Objects in one page of a list. A page that is too large in bytes is requested again with fewer objects
/// ([`crate::kube_client::client`]).
const PAGE: u32 = 250;

/// Delay before the first retry of a failed watch. Each further delay is twice as long.
const SHORTEST_WAIT: Duration = Duration::from_millis(800);

/// Maximum delay of a retry: in general, and for a watch that is forbidden.
const LONGEST_WAITS: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(1));

/// Time without a failure after which the delays start again from the first.
const FORGIVEN: Duration = Duration::from_mins(2);

/// Minimum interval between two lists after silent watches. Some API servers send no bookmarks.
const SILENT_LISTS: Duration = Duration::from_mins(10);

/// Starts all watches, which run as long as the process. Resolves as soon as the lists of any one
/// served scope (a namespace, or all of them) are complete; the others follow.
pub(crate) async fn start(client: &Client, context: &Arc<Context>) {
    let served: Vec<Option<String>> = match context.settings.watch_namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    if context.settings.cluster_providers {
        for kind in ["Namespace", "ClusterTokenProvider"] {
            context.stores.scopes.expect(&(Scope::Cluster, kind));
        }
    }
    for scope in &served {
        for kind in ["TokenProvider", "Secret", "VideoAccessToken"] {
            context.stores.scopes.expect(&(Scope::Served(scope.clone()), kind));
        }
    }
    if context.settings.cluster_providers {
        namespaces(client, context);
        providers(client, context, None, "ClusterTokenProvider");
        let cluster = Some(context.settings.cluster_resource_namespace.clone());
        if !served.contains(&None) && !served.contains(&cluster) {
            credentials(client, context, Scope::Cluster, cluster);
        }
    }
    for scope in served {
        credentials(client, context, Scope::Served(scope.clone()), scope.clone());
        providers(client, context, scope.clone(), "TokenProvider");
        secrets(client, context, scope.clone());
        tokens(client, context, scope);
    }
    context.stores.scopes.first().await;
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

/// Passes each event of a watch to `take`.
fn feed<K, S>(
    context: &Arc<Context>,
    watched: Watched,
    watch: impl Fn() -> S + Send + 'static,
    take: impl FnMut(Event<K>) + Send + 'static,
) where
    K: Send + 'static,
    S: Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
{
    context.tasks.lasting(watched.1, follow(context.clone(), watched, watch, take));
}

async fn follow<K, S>(
    context: Arc<Context>,
    watched: Watched,
    watch: impl Fn() -> S + Send + 'static,
    mut take: impl FnMut(Event<K>) + Send + 'static,
) where
    S: Stream<Item = watcher::Result<Event<K>>> + Send,
{
    let mut back_off = WatchBackOff::new(Instant::now());
    loop {
        let mut events = pin!(watch());
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    let done = matches!(event, Event::InitDone);
                    take(event);
                    if done {
                        listed(&context, &watched);
                    }
                }
                Err(error) => {
                    let relists = back_off.begins_with_list(&error, Instant::now());
                    report_fault(&context.stores.scopes, &context.output.metrics, &watched, &error, relists);
                    let wait = back_off.wait(forbidden(&error), Instant::now());
                    back_off.pass(wait, context.stores.scopes.healed()).await;
                    if relists {
                        break;
                    }
                }
            }
        }
    }
}

/// Back-off of one watch.
struct WatchBackOff {
    failures: u32,
    last_failure: Instant,
    /// True if the last failure was an answer that refuses the request.
    refused: bool,
    last_refusal_after_silence: Option<Instant>,
    last_silence: Option<Instant>,
    last_early: Option<Instant>,
}

impl WatchBackOff {
    fn new(now: Instant) -> Self {
        Self {
            failures: 0,
            last_failure: now,
            refused: true,
            last_refusal_after_silence: None,
            last_silence: None,
            last_early: None,
        }
    }

    /// Returns true if the watch must begin with a list. If a watch can't begin, for example while the API server is
    /// down, the etcd behind it may have been restored. A restored etcd counts versions from the start, and a watch from
    /// a version in the future is silent. A watch that was interrupted continues from its last version.
    fn begins_with_list(&mut self, error: &watcher::Error, now: Instant) -> bool {
        match error {
            watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code != 429,
            watcher::Error::InitialListFailed(_)
            | watcher::Error::WatchStartFailed(_)
            | watcher::Error::NoResourceVersion => true,
            watcher::Error::WatchFailed(error) => {
                let silent = error.to_string().contains(SILENCE);
                let relists = silent && self.last_silence.is_none_or(|last| now - last >= SILENT_LISTS);
                if relists {
                    self.last_silence = Some(now);
                }
                relists
            }
            watcher::Error::WatchError(_) => false,
        }
    }

    /// Waits before a retry. If another list succeeds after a failure, this watch is retried immediately, so that all
    /// stores reflect the same time. This happens only at intervals, because two kinds that can be listed but not
    /// watched would otherwise trigger each other.
    async fn pass(&mut self, wait: Duration, healed: impl Future<Output = ()>) {
        if self.last_early.is_some_and(|last| last.elapsed() < LONGEST_WAITS.0) {
            tokio::time::sleep(wait).await;
        } else if tokio::time::timeout(wait, healed).await.is_ok() {
            self.last_early = Some(Instant::now());
        }
    }

    /// Returns the wait after a failure. An API server that has just started rejects requests until it has read its
    /// roles, so the first rejection after failures without an answer is retried soon. This happens only at intervals,
    /// because an API server may start again and again.
    fn wait(&mut self, forbidden: bool, now: Instant) -> Duration {
        let is_back = forbidden && !self.refused;
        let is_first = self.last_refusal_after_silence.is_none_or(|last| now - last > FORGIVEN);
        if is_back && is_first {
            self.last_refusal_after_silence = Some(now);
        }
        if now - self.last_failure > FORGIVEN || (is_back && is_first) {
            self.failures = 0;
        }
        self.refused = forbidden;
        self.last_failure = now;
        let longest = if forbidden { LONGEST_WAITS.1 } else { LONGEST_WAITS.0 };
        let wait = SHORTEST_WAIT.saturating_mul(1 << self.failures.min(10)).min(longest);
        self.failures += 1;
        wait.mul_f64(0.75 + 0.25 * fastrand::f64())
    }
}

fn forbidden(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => (400..429).contains(&status.code),
        _ => false,
    }
}

fn place((scope, _): &Watched) -> &str {
    match scope {
        Scope::Served(Some(namespace)) => namespace,
        Scope::Served(None) | Scope::Cluster => "",
    }
}

fn report_fault(scopes: &Scopes, metrics: &Metrics, watched: &Watched, error: &watcher::Error, relists: bool) {
    let (kind, namespace) = (watched.1, place(watched));
    let said = quoted(error);
    match error {
        watcher::Error::InitialListFailed(_) | watcher::Error::WatchStartFailed(_) if relists => {
            let news = scopes.failed(watched, &said);
            metrics.set_unlisted(scopes.failing());
            if news {
                tracing::warn!(
                    kind,
                    namespace,
                    error = said,
                    "objects can't be listed or watched: tried again until they can"
                );
            } else {
                tracing::debug!(kind, namespace, error = said, "objects still can't be listed or watched");
            }
        }
        _ => tracing::warn!(kind, namespace, error = said, "a watch broke and is resumed"),
    }
}

/// Records a complete list. If it is the last list of a scope, triggers the objects of that scope.
fn listed(context: &Arc<Context>, watched: &Watched) {
    let (begins, healed) = context.stores.scopes.listed(watched);
    if healed {
        context.output.metrics.set_unlisted(context.stores.scopes.failing());
        tracing::info!(kind = watched.1, namespace = place(watched), "objects can be listed again");
    }
    if begins {
        recall::scope_begins(context.known(), &watched.0);
        match &watched.0 {
            Scope::Served(Some(namespace)) => context.trigger_namespace(namespace),
            Scope::Served(None) | Scope::Cluster => context.trigger_all(),
        }
    }
}

fn watch<K>(api: Api<K>, config: Config) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher(api, config)
}

fn tokens(client: &Client, context: &Arc<Context>, scope: Option<String>) {
    let watched = (Scope::Served(scope.clone()), "VideoAccessToken");
    let api = api::<ListedToken>(client, scope.as_deref());
    let (to, mut relist) = (context.clone(), Relist::default());
    feed(
        context,
        watched,
        move || watch(api.clone(), config()),
        move |event| {
            let event = match event {
                Event::Init => Event::Init,
                Event::InitApply(listed) => Event::InitApply(listed.token),
                Event::InitDone => Event::InitDone,
                Event::Apply(listed) => Event::Apply(listed.token),
                Event::Delete(listed) => Event::Delete(listed.token),
            };
            to.apply_changes(&to.stores.tokens.apply(&mut relist, scope.as_deref(), event));
        },
    );
}

fn secrets(client: &Client, context: &Arc<Context>, scope: Option<String>) {
    let ours = format!("{}={}", names::MANAGED_BY, names::OPERATOR);
    let watched = (Scope::Served(scope.clone()), "Secret");
    let api = api::<SecretMeta>(client, scope.as_deref());
    let (to, mut relist) = (context.clone(), Relist::default());
    feed(
        context,
        watched,
        move || watch(api.clone(), config().labels(&ours)),
        move |event| {
            for (secret, owner) in to.stores.secrets.apply(&mut relist, scope.as_deref(), &event) {
                for key in to.stores.tokens.concerned(&secret, owner) {
                    to.trigger(&key);
                }
            }
        },
    );
}

fn credentials(client: &Client, context: &Arc<Context>, scope: Scope, namespace: Option<String>) {
    let labelled = format!("{}=true", names::CREDENTIALS);
    let api = api::<SecretMeta>(client, namespace.as_deref());
    let (to, mut relist) = (context.clone(), Relist::default());
    feed(
        context,
        (scope, "credential Secret"),
        move || watch(api.clone(), config().labels(&labelled)),
        move |event| {
            for key in to.providers.registry.credential(&mut relist, namespace.as_deref(), &event) {
                to.providers.resolve_soon(&key);
            }
        },
    );
}

fn namespaces(client: &Client, context: &Arc<Context>) {
    let api = Api::<PartialObjectMeta<Namespace>>::all(client.clone());
    let (to, mut relist) = (context.clone(), Relist::default());
    feed(
        context,
        (Scope::Cluster, "Namespace"),
        move || watch(api.clone(), config()),
        move |event| {
            for namespace in to.stores.namespaces.apply(&mut relist, event) {
                to.trigger_namespace(&namespace);
            }
        },
    );
}

fn providers(client: &Client, context: &Arc<Context>, scope: Option<String>, kind: &'static str) {
    let resource = provider_resource(kind);
    let api: Api<DynamicObject> = match &scope {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let is_cluster = kind == "ClusterTokenProvider";
    let watched = (if is_cluster { Scope::Cluster } else { Scope::Served(scope.clone()) }, kind);
    let (to, mut relist) = (context.clone(), Relist::default());
    let key_of = |object: &DynamicObject| ProviderKey {
        namespace: object.metadata.namespace.clone(),
        name: object.metadata.name.clone().unwrap_or_default(),
    };
    feed(
        context,
        watched,
        move || watcher(api.clone(), config()),
        move |event| {
            let listed = matches!(event, Event::InitApply(_));
            match event {
                Event::Init => to.stores.provider_objects.relist_begins(&mut relist),
                Event::Apply(mut object) | Event::InitApply(mut object) => {
                    slim(&mut object);
                    let key = key_of(&object);
                    relist.name(&as_object(&key));
                    if to.stores.provider_objects.put(&key, object, listed.then_some(&relist)) {
                        to.providers.registry.mark_unresolved(&key);
                        to.providers.resolve_soon(&key);
                    }
                }
                Event::Delete(object) => on_deleted(to.known(), &key_of(&object)),
                Event::InitDone => {
                    let Some(listed) = relist.end() else { return };
                    let mine = |key: &ProviderKey| match &key.namespace {
                        None => is_cluster,
                        Some(namespace) => !is_cluster && scope.as_ref().is_none_or(|scope| scope == namespace),
                    };
                    for key in to.stores.provider_objects.keys() {
                        if mine(&key) && !listed.contains(&as_object(&key)) {
                            on_deleted(to.known(), &key);
                        }
                    }
                    to.stores.provider_objects.relist_ends();
                }
            }
        },
    );
}

/// Removes the fields that the operator doesn't read. Truncates a CA bundle that is too long and therefore rejected.
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

fn on_deleted(known: Known<'_>, key: &ProviderKey) {
    if known.stores.provider_objects.remove(key) {
        known.providers.resolve_soon(key);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn answered(code: u16) -> kube::Error {
        kube::Error::Api(Box::new(Status { code, ..Status::default() }))
    }

    fn silent() -> watcher::Error {
        watcher::Error::WatchFailed(kube::Error::ReadEvents(std::io::Error::other(format!("{SILENCE} 90 s"))))
    }

    #[test]
    fn p18_a_watch_that_may_have_missed_a_restore_begins_with_a_list() {
        use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
        let now = Instant::now();
        let broken = || kube::Error::ReadEvents(std::io::Error::other("reset"));
        let mut back_off = WatchBackOff::new(now);
        for (error, expected) in [
            (WatchStartFailed(answered(403)), true),
            (WatchStartFailed(answered(503)), true),
            (WatchStartFailed(answered(429)), false),
            (WatchStartFailed(broken()), true),
            (InitialListFailed(broken()), true),
            (WatchFailed(broken()), false),
            (WatchError(Box::new(Status { code: 410, ..Status::default() })), false),
        ] {
            assert_eq!(back_off.begins_with_list(&error, now), expected, "{error}");
        }
        for (after, expected) in [(0, true), (90, false), (590, false), (600, true), (690, false)] {
            assert_eq!(back_off.begins_with_list(&silent(), now + Duration::from_secs(after)), expected, "{after} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn p18_one_that_is_answered_again_brings_another_on_once() {
        let mut back_off = WatchBackOff::new(Instant::now());
        let begun = Instant::now();
        back_off.pass(Duration::from_secs(20), std::future::ready(())).await;
        assert_eq!(begun.elapsed().as_secs(), 0);
        back_off.pass(Duration::from_secs(20), std::future::ready(())).await;
        assert_eq!(begun.elapsed().as_secs(), 20);
        back_off.pass(Duration::from_secs(20), std::future::pending()).await;
        assert_eq!(begun.elapsed().as_secs(), 40);
        back_off.pass(Duration::from_secs(20), std::future::ready(())).await;
        assert_eq!(begun.elapsed().as_secs(), 40);
    }

    #[test]
    fn p18_each_wait_is_longer_up_to_a_minute() {
        let now = Instant::now();
        let mut back_off = WatchBackOff::new(now);
        let waits: Vec<_> = (0..40).map(|_| back_off.wait(true, now)).collect();
        assert!(waits[0] <= SHORTEST_WAIT && waits[0] >= SHORTEST_WAIT / 2, "{waits:?}");
        assert!(waits[39] <= Duration::from_mins(1) && waits[39] >= Duration::from_secs(45), "{waits:?}");
        assert!(back_off.wait(false, now) <= Duration::from_secs(30));
        assert!(back_off.wait(false, now + Duration::from_secs(121)) <= SHORTEST_WAIT);
    }

    /// Red with one count for both: after an outage of a minute the watch waited for up to a minute more.
    #[test]
    fn p17_a_rejection_by_an_api_server_that_is_back_is_retried_soon_and_not_again_and_again() {
        let now = Instant::now();
        let at = |seconds: u64| now + Duration::from_secs(seconds);
        let mut back_off = WatchBackOff::new(now);
        for second in 0..10 {
            back_off.wait(false, at(second * 6));
        }
        let waits: Vec<_> = (0..4).map(|_| back_off.wait(true, at(60))).collect();
        assert!(waits[0] <= SHORTEST_WAIT && waits[3] <= SHORTEST_WAIT * 8, "{waits:?}");
        assert!(waits[3] >= SHORTEST_WAIT * 4, "{waits:?}");
        // it is lost and starts again at once
        back_off.wait(false, at(61));
        assert!(back_off.wait(true, at(62)) >= SHORTEST_WAIT * 8, "each start is no new beginning");
    }
}
