//! P10: two operators at once corrupt nothing; with election, one works at a time, and a spare takes over.

use crate::OPERATOR;
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::json;
use std::time::{Duration, Instant};
use testkit::emulator::Life;
use testkit::scene::{SOON, Scene};
use testkit::stand::wait::{throughout, until_past};
use testkit::stand::{Observer, ObserverOptions, Operator, OperatorOptions, Traffic, eventually};

const TOKENS: usize = 8;

/// Short, with room for a call and its write within the renew deadline.
pub(crate) const LEASE: [&str; 3] = ["--lease-duration=12s", "--lease-renew-deadline=10s", "--lease-retry-period=1s"];
const LEASE_DURATION: Duration = Duration::from_secs(12);
const RENEW_DEADLINE: TimeDelta = TimeDelta::seconds(10);

/// What a machine that does other things too may add to any time.
const SLACK: Duration = Duration::from_secs(5);

async fn issue_all(scene: &Scene) -> Vec<String> {
    let names: Vec<_> = (0..TOKENS).map(|n| format!("camera-{n}")).collect();
    for name in &names {
        scene.apply(&scene.token(name, &json!({}))).await.unwrap();
    }
    for name in &names {
        scene.settled(name).await.unwrap();
    }
    names
}

/// Waits until each Secret holds another token than it did.
async fn all_replaced(scene: &Scene, names: &[String], old: &[String]) {
    eventually(SOON * 2, "other tokens", async || {
        let now = join_all(names.iter().map(|name| scene.held(name))).await;
        let kept = now.iter().zip(old).filter(|(now, old)| now.as_ref().is_ok_and(|now| now == *old)).count();
        if kept == 0 { Ok(()) } else { Err(format!("{kept} are the old ones")) }
    })
    .await;
}

async fn held(scene: &Scene, names: &[String]) -> Vec<String> {
    join_all(names.iter().map(|name| async { scene.held(name).await.unwrap() })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_two_operators_without_election_corrupt_nothing_and_issue_twice_at_most() {
    let scene = Scene::new("both", OPERATOR).await.unwrap();
    let control = scene.azure.video_indexer.clone();
    let truth = move |token: &str| control.control().knows(token).map(|token| token.expires_at);
    let observer = Observer::start(scene.plane.admin(), ObserverOptions::new(&scene.namespace), truth).unwrap();
    let (_first, _second) = tokio::try_join!(scene.operator(), scene.operator()).unwrap();
    let names = issue_all(&scene).await;
    let mut most = 2 * TOKENS;
    assert!(scene.issued() <= most, "{} issued", scene.issued());
    for _ in 0..3 {
        let old = held(&scene, &names).await;
        join_all(names.iter().map(|name| async { scene.force_renewal(name).await.unwrap() })).await;
        all_replaced(&scene, &names, &old).await;
        for name in &names {
            scene.settled(name).await.unwrap();
        }
        most += 2 * TOKENS;
        assert!(scene.issued() <= most, "{} issued", scene.issued());
    }
    let before = held(&scene, &names).await;
    scene.fence().await.unwrap();
    assert_eq!(held(&scene, &names).await, before, "they don't undo each other's writes");
    let report = observer.finish().await.unwrap();
    assert!(report.faults().is_empty(), "{report}");
}

/// A scene with an elected operator and one that waits for its turn, which reaches the API server by itself.
async fn elected(prefix: &str, flags: &[&str]) -> (Scene, Operator, Operator) {
    let mut scene = Scene::new(prefix, OPERATOR).await.unwrap();
    scene.options.leader_elect = true;
    scene.options.args.extend(flags.iter().map(|flag| (*flag).to_owned()));
    let leader = scene.operator().await.unwrap();
    holder(&scene).await;
    let spare = Operator::start(&directly(&scene).await).await.unwrap();
    (scene, leader, spare)
}

pub(crate) async fn directly(scene: &Scene) -> OperatorOptions {
    OperatorOptions { kubeconfig: scene.plane.operator_kubeconfig().await.unwrap(), ..scene.options.clone() }
}

/// Waits until somebody holds the Lease.
pub(crate) async fn holder(scene: &Scene) -> String {
    let leases: Api<Lease> = Api::namespaced(scene.client.clone(), &scene.options.lease_namespace);
    eventually(SOON, "a holder", async || {
        let lease = leases.get(&scene.options.lease_name).await.map_err(|error| error.to_string())?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity).filter(|holder| !holder.is_empty());
        holder.ok_or_else(|| "nobody".to_owned())
    })
    .await
}

/// Waits until another than this holds the Lease, and returns how long that took.
async fn taken_over(scene: &Scene, from: &str) -> Duration {
    let begun = Instant::now();
    eventually(SOON * 2, "the spare leads", async || match holder(scene).await {
        holder if holder == from => Err(holder),
        _ => Ok(()),
    })
    .await;
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_spare_takes_over_at_once_from_one_that_stops_and_issues_nothing_again() {
    // with the lease's own defaults
    let (scene, mut leader, _spare) = elected("stops", &[]).await;
    let names = issue_all(&scene).await;
    assert_eq!(scene.issued(), TOKENS, "only one works");
    let (before, first) = (held(&scene, &names).await, holder(&scene).await);
    assert!(leader.terminate().await.unwrap().status.success());
    let took = taken_over(&scene, &first).await;
    // the second that docs/explanation/high-availability.md states, and what a busy machine adds
    assert!(took < Duration::from_secs(1) + SLACK, "{took:?}");
    scene.fence().await.unwrap();
    assert_eq!(scene.issued(), TOKENS + 1, "with the fence's");
    assert_eq!(held(&scene, &names).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_spare_takes_over_from_one_that_was_killed_when_the_lease_has_run_out() {
    let (scene, mut leader, _spare) = elected("killed", &LEASE).await;
    let names = issue_all(&scene).await;
    let (before, first) = (held(&scene, &names).await, holder(&scene).await);
    leader.kill9();
    let took = taken_over(&scene, &first).await;
    // docs/explanation/high-availability.md: the duration and one read of the Lease
    assert!(took < LEASE_DURATION + SLACK, "{took:?}");
    scene.fence().await.unwrap();
    assert_eq!(scene.issued(), TOKENS + 1, "with the fence's");
    assert_eq!(held(&scene, &names).await, before);
}

/// Waits until every token of the operator's is due, and returns when the first is.
async fn due(scene: &Scene, names: &[String]) -> DateTime<Utc> {
    let mut all = Vec::new();
    for name in names {
        let object = scene.tokens().get(name).await.unwrap();
        let at = DateTime::parse_from_rfc3339(object.data["status"]["renewAt"].as_str().unwrap()).unwrap();
        all.push(at.to_utc());
    }
    all.sort();
    until_past(*all.last().unwrap()).await;
    all[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_leader_that_is_cut_off_calls_nobody_when_its_lease_has_run_out() {
    let mut scene = Scene::new("cut-off", OPERATOR).await.unwrap();
    scene.options.leader_elect = true;
    scene.options.args.extend(LEASE.map(str::to_owned));
    let _leader = scene.operator().await.unwrap();
    // due after the lease has run out, on a slow machine too
    scene.azure.video_indexer.control().set_life(Life::Seconds(60));
    let names = issue_all(&scene).await;
    scene.proxy.set_traffic(Traffic::Silent);
    let cut = Utc::now();
    let due = due(&scene, &names).await;
    assert!(due - cut > RENEW_DEADLINE, "due before the lease has run out");
    throughout(Duration::from_secs(3), "no call", async || {
        if scene.issued() == TOKENS { Ok(()) } else { Err(format!("{} issued", scene.issued())) }
    })
    .await;

    let old = held(&scene, &names).await;
    scene.azure.video_indexer.control().set_life(Life::Promised);
    // the spare, which is not cut off, renews each once
    let _spare = Operator::start(&directly(&scene).await).await.unwrap();
    all_replaced(&scene, &names, &old).await;
    scene.proxy.set_traffic(Traffic::Open);
    scene.fence().await.unwrap();
    for name in &names {
        scene.settled(name).await.unwrap();
    }
    assert_eq!(scene.issued(), 2 * TOKENS + 1, "each renewed once, and the fence's");
}
