//! The proxy in front of the API server: what it counts, holds, fails and cuts is exactly what was asked for.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ListParams, ObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use testkit::stand::{ApiProxy, Failure, Matcher, Traffic, eventually, shared};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);
const A_WHILE: Duration = Duration::from_millis(500);

struct Through {
    proxy: ApiProxy,
    /// Through the proxy, without retries.
    maps: Api<ConfigMap>,
    /// Past it.
    direct: Api<ConfigMap>,
}

async fn through() -> Through {
    let plane = shared().await.unwrap();
    let namespace = plane.namespace("proxy").await.unwrap();
    let proxy = ApiProxy::start(plane.admin()).unwrap();
    let mut config = plane.admin().through(proxy.url()).config().unwrap();
    config.default_retry = false;
    let maps = Api::namespaced(Client::try_from(config).unwrap(), &namespace);
    Through { proxy, maps, direct: Api::namespaced(plane.client().unwrap(), &namespace) }
}

fn map(name: &str) -> ConfigMap {
    ConfigMap { metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() }, ..ConfigMap::default() }
}

async fn apply(maps: Api<ConfigMap>, name: &'static str) -> kube::Result<ConfigMap> {
    let patch = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    maps.patch(name, &PatchParams::apply("test"), &Patch::Apply(&patch)).await
}

#[tokio::test]
async fn requests_are_counted_by_what_they_ask() {
    let Through { proxy, maps, .. } = through().await;
    maps.create(&PostParams::default(), &map("a")).await.unwrap();
    maps.get("a").await.unwrap();
    maps.get_metadata("a").await.unwrap();
    maps.list(&ListParams::default()).await.unwrap();
    maps.list_metadata(&ListParams::default()).await.unwrap();
    let mut events = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    assert!(matches!(events.try_next().await.unwrap(), Some(WatchEvent::Added(_))));
    let counts = proxy.counts();
    let once = ["create", "get", "list", "watch"].map(|verb| format!("{verb} configmaps"));
    let metadata = ["get", "list"].map(|verb| format!("{verb} configmaps (metadata)"));
    assert_eq!(counts.keys().cloned().collect::<Vec<_>>().len(), 6, "{counts:?}");
    assert!(once.iter().chain(&metadata).all(|what| counts[what] == 1), "{counts:?}");
    assert_eq!(proxy.count(&Matcher::get("configmaps").name("a")), 2);
    assert_eq!(proxy.count(&Matcher::get("configmaps").name("a").metadata_only(true)), 1);
    assert_eq!(proxy.count(&Matcher::create("configmaps").name("a")), 1);
    let log = proxy.log();
    assert_eq!(
        log.iter().map(|exchange| exchange.status).collect::<Vec<_>>(),
        [Some(201), Some(200), Some(200), Some(200), Some(200), Some(200)]
    );
    proxy.reset_counts();
    assert_eq!(proxy.count(&Matcher::any()), 0);
}

#[tokio::test]
async fn a_watch_streams_event_by_event_and_can_be_cut() {
    let Through { proxy, maps, direct } = through().await;
    let version = direct.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut events = maps.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    for name in ["a", "b"] {
        direct.create(&PostParams::default(), &map(name)).await.unwrap();
        let event = timeout(SOON, events.try_next()).await.unwrap().unwrap();
        assert!(matches!(event, Some(WatchEvent::Added(found)) if found.metadata.name.as_deref() == Some(name)));
    }
    proxy.cut_watches();
    assert!(matches!(timeout(SOON, events.next()).await.unwrap(), None | Some(Err(_))));
    maps.get("a").await.unwrap();
}

#[tokio::test]
async fn a_request_held_before_the_api_server_reaches_it_only_when_released() {
    let Through { proxy, maps, direct } = through().await;
    let held = proxy.hold(Matcher::patch("configmaps"));
    let write = tokio::spawn(apply(maps.clone(), "dropped"));
    assert_eq!(held.wait().await.name, "dropped");
    held.drop_all();
    assert!(write.await.unwrap().is_err());
    assert!(direct.get_opt("dropped").await.unwrap().is_none());

    let held = proxy.hold(Matcher::patch("configmaps"));
    let write = tokio::spawn(apply(maps.clone(), "orphan"));
    held.wait().await;
    write.abort(); // as if its writer was killed
    let other = tokio::spawn(apply(maps.clone(), "second"));
    assert_eq!(held.wait().await.name, "second");
    assert_eq!(held.len(), 2);
    assert!(direct.get_opt("orphan").await.unwrap().is_none());
    assert!(held.release_one());
    eventually(SOON, "a late write", async || direct.get("orphan").await.map(|_| ())).await;
    held.release();
    other.await.unwrap().unwrap();
    apply(maps, "free").await.unwrap();
}

#[tokio::test]
async fn a_held_answer_is_to_a_request_that_was_served() {
    let Through { proxy, maps, direct } = through().await;
    let held = proxy.hold_answer(Matcher::patch("configmaps").first(1));
    let write = tokio::spawn(apply(maps.clone(), "served"));
    held.wait().await;
    direct.get("served").await.unwrap();
    assert!(!write.is_finished());
    apply(maps.clone(), "other").await.unwrap();
    held.drop_all();
    assert!(write.await.unwrap().is_err());
}

#[tokio::test]
async fn requests_fail_as_told_and_no_others() {
    let Through { proxy, maps, direct } = through().await;
    let rule = proxy.fail(Matcher::patch("configmaps").first(2), Failure::Status(503));
    for _ in 0..2 {
        match apply(maps.clone(), "a").await {
            Err(kube::Error::Api(status)) => {
                assert_eq!((status.code, status.reason.as_str()), (503, "ServiceUnavailable"));
            }
            other => panic!("{other:?}"),
        }
    }
    apply(maps.clone(), "a").await.unwrap();
    assert_eq!(rule.hits(), 2);

    let rule = proxy.fail(Matcher::patch("configmaps").name("b"), Failure::Closed);
    assert!(!matches!(apply(maps.clone(), "b").await, Ok(_) | Err(kube::Error::Api(_))));
    assert!(direct.get_opt("b").await.unwrap().is_none());
    apply(maps.clone(), "c").await.unwrap();
    drop(rule);
    apply(maps.clone(), "b").await.unwrap();

    let _rule = proxy.fail(Matcher::patch("configmaps").name("d"), Failure::LostAnswer);
    assert!(apply(maps, "d").await.is_err());
    direct.get("d").await.unwrap();
}

#[tokio::test]
async fn traffic_can_be_slow_silent_or_closed_and_flows_again() {
    let Through { proxy, maps, direct } = through().await;
    apply(maps.clone(), "a").await.unwrap();
    let version = direct.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut events = maps.watch(&WatchParams::default(), &version).await.unwrap().boxed();

    proxy.set_traffic(Traffic::Silent);
    let get = tokio::spawn({
        let maps = maps.clone();
        async move { maps.get("a").await }
    });
    direct.create(&PostParams::default(), &map("b")).await.unwrap();
    assert!(timeout(A_WHILE, events.try_next()).await.is_err());
    assert!(!get.is_finished());
    proxy.set_traffic(Traffic::Open);
    get.await.unwrap().unwrap();
    assert!(matches!(timeout(SOON, events.try_next()).await.unwrap().unwrap(), Some(WatchEvent::Added(_))));

    proxy.set_traffic(Traffic::Closed);
    assert!(matches!(timeout(SOON, events.next()).await.unwrap(), None | Some(Err(_))));
    assert!(maps.get("a").await.is_err());
    proxy.set_traffic(Traffic::Open);
    maps.get("a").await.unwrap();

    proxy.set_latency(A_WHILE);
    let begun = Instant::now();
    maps.get("a").await.unwrap();
    assert!(begun.elapsed() >= A_WHILE);
}

#[tokio::test]
async fn a_body_stalls_half_way_and_its_connection_stays() {
    let Through { proxy, maps, .. } = through().await;
    apply(maps.clone(), "a").await.unwrap();
    let rule = proxy.fail(Matcher::list("configmaps").first(1), Failure::StalledBody(20));
    assert!(timeout(A_WHILE, maps.list(&ListParams::default())).await.is_err());
    assert_eq!(rule.hits(), 1);
    maps.list(&ListParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_frozen_view_is_silent_or_old_and_then_tells_all() {
    let Through { proxy, maps, direct } = through().await;
    apply(maps.clone(), "a").await.unwrap();
    let version = direct.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut open = maps.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    let frozen = proxy.freeze_at(Matcher::any().resource("configmaps"), version.parse().unwrap());
    let mut later = maps.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    direct.create(&PostParams::default(), &map("b")).await.unwrap();
    assert!(timeout(A_WHILE, open.try_next()).await.is_err());
    assert!(timeout(A_WHILE, later.try_next()).await.is_err());
    assert_eq!(maps.list(&ListParams::default()).await.unwrap().items.len(), 1);
    maps.get("b").await.unwrap();
    drop(frozen);
    for events in [&mut open, &mut later] {
        let event = timeout(SOON, events.try_next()).await.unwrap().unwrap();
        assert!(matches!(event, Some(WatchEvent::Added(found)) if found.metadata.name.as_deref() == Some("b")));
    }
    assert_eq!(maps.list(&ListParams::default()).await.unwrap().items.len(), 2);
    let _frozen = proxy.freeze(Matcher::any().resource("configmaps"));
    direct.create(&PostParams::default(), &map("c")).await.unwrap();
    assert!(timeout(A_WHILE, open.try_next()).await.is_err());
    assert_eq!(maps.list(&ListParams::default()).await.unwrap().items.len(), 3);
}
