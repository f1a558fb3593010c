//! P17 and P18: restored etcd, stalled lists, silent watches, stale views, namespaces without a Role.

use crate::OPERATOR;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use serde_json::{Value, json};
use std::time::Duration;
use testkit::emulator::{HoldPoint, example};
use testkit::scene::{SOON, Scene, client_secret, condition};
use testkit::stand::wait::{own_kind, throughout};
use testkit::stand::{ApiProxy, Failure, Matcher, eventually};
use tokio::time::{Instant, timeout};

/// Within this an operator has nothing more to do (P18).
const QUIET_WITHIN: Duration = Duration::from_mins(1);

/// A silent watch is noticed after 90 s.
const SILENCE: Duration = Duration::from_mins(3);

/// How many requests were no watches and no Lease.
fn requests(proxy: &ApiProxy) -> u64 {
    let of = |matcher: Matcher| proxy.count(&matcher);
    of(Matcher::any()) - of(Matcher::any().verb("watch")) - of(Matcher::any().resource("leases"))
}

/// Waits until nothing was asked for 15 s.
async fn quiet(proxy: &ApiProxy) {
    let (mut last, mut since) = (requests(proxy), Instant::now());
    eventually(QUIET_WITHIN, "no request but watches", async || {
        let now = requests(proxy);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        if since.elapsed() > Duration::from_secs(15) { Ok(()) } else { Err(format!("{:?}", proxy.counts())) }
    })
    .await;
}

/// Lets the watch of a kind end and begin anew with a list.
fn relist(proxy: &ApiProxy, resource: &str) -> impl Drop + use<> {
    let rule = proxy.fail(Matcher::watch(resource).first(1), Failure::Status(500));
    proxy.cut_watches();
    rule
}

fn in_namespace(mut object: Value, namespace: &str) -> Value {
    object["metadata"]["namespace"] = namespace.into();
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_a_restored_etcd_is_settled_within_a_minute_and_then_quiet() {
    let mut scene = Scene::private("restored", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    scene.ready_token("hall", &json!({})).await.unwrap();
    for name in ["lobby", "hall"] {
        scene.settled(name).await.unwrap();
    }
    let snapshot = scene.plane_mut().unwrap().snapshot().await.unwrap();
    // all of this is undone
    scene.force_renewal("lobby").await.unwrap();
    scene.until_that("lobby", "renewed", |object| object["status"]["issuances"] == 2).await.unwrap();
    scene.patch("hall", &json!({"spec": {"secret": {"name": "entrance"}}})).await.unwrap();
    scene.until_that("hall", "moved", |object| object["status"]["secretName"] == "entrance").await.unwrap();
    scene.ready_token("late", &json!({})).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(scene.client.clone(), &scene.namespace);
    for n in 0..300 {
        let metadata = ObjectMeta { name: Some(format!("m{n}")), ..ObjectMeta::default() };
        maps.create(&PostParams::default(), &ConfigMap { metadata, ..ConfigMap::default() }).await.unwrap();
    }
    scene.plane_mut().unwrap().restore(&snapshot).await.unwrap();
    scene.proxy.reset_counts();
    let restored = Instant::now();
    // what is done now is seen, though its resourceVersions are lower than what was seen before
    scene.patch("hall", &json!({"spec": {"secret": {"name": "exit"}}})).await.unwrap();
    scene.until_that("hall", "moved again", |object| object["status"]["secretName"] == "exit").await.unwrap();
    for name in ["lobby", "hall"] {
        scene.settled(name).await.unwrap();
    }
    for name in ["late", "entrance"] {
        assert!(scene.secrets().get_opt(name).await.unwrap().is_none(), "{name}: no object ever named it");
    }
    assert!(restored.elapsed() < QUIET_WITHIN, "{:?}", restored.elapsed());
    quiet(&scene.proxy).await;
    let writes = scene.proxy.count(&Matcher::patch("secrets"));
    assert!(writes <= 4, "{writes} writes of Secrets, {:?}", scene.proxy.counts());
    assert!(scene.issued() <= 4 + 1, "{} issued", scene.issued());
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_a_list_whose_body_stops_half_way_is_made_again() {
    let scene = Scene::new("stalled", OPERATOR).await.unwrap();
    let operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    let stalled = scene.proxy.fail(Matcher::list("videoaccesstokens").first(1), Failure::StalledBody(20));
    let _again = relist(&scene.proxy, "videoaccesstokens");
    eventually(SOON, "the list stalls", async || if stalled.hits() > 0 { Ok(()) } else { Err("not listed") }).await;
    scene.apply(&scene.token("late", &json!({}))).await.unwrap();
    scene
        .until_within(Duration::from_secs(90), "late", "is served", |object| {
            condition(object, "Ready")["status"] == "True"
        })
        .await
        .unwrap();
    assert!(operator.logs().contains("nothing came for 30 s"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_a_watch_that_is_silent_is_begun_anew_and_says_so() {
    let scene = Scene::new("silent", OPERATOR).await.unwrap();
    let operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    let _frozen = scene.proxy.freeze(Matcher::any().resource("videoaccesstokens"));
    scene.apply(&scene.token("late", &json!({}))).await.unwrap();
    let ready = |object: &Value| condition(object, "Ready")["status"] == "True";
    scene.until_within(SILENCE, "late", "is served", ready).await.unwrap();
    let logs = operator.logs();
    let line = logs.lines().find(|line| line.contains("nothing came for 90 s")).expect("a line of the log");
    assert!(line.contains("VideoAccessToken"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_a_namespace_that_cant_be_listed_holds_up_no_other_and_begins_when_it_can() {
    let mut scene = Scene::new("roles", OPERATOR).await.unwrap();
    let other = scene.plane.namespace("roleless").await.unwrap();
    scene.options.watch_namespaces.push(other.clone());
    scene.options.watch_namespaces.push(format!("{other}-not-yet"));
    let refused = scene.proxy.fail(Matcher::list("secrets").namespace(&other), Failure::Status(403));
    for object in [
        scene.credentials("azure-login", example::CLIENT_SECRET),
        scene.provider("indexer", &client_secret("azure-login")),
        scene.token("theirs", &json!({})),
    ] {
        scene.apply(&in_namespace(object, &other)).await.unwrap();
    }
    let operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    eventually(SOON, "the metric tells", async || {
        match operator.metrics().await.unwrap().count("videotoken_unlisted_namespaces", &[]) {
            1.0 => Ok(()),
            n => Err(n.to_string()),
        }
    })
    .await;
    let theirs: Api<_> = testkit::stand::wait::video_access_tokens(&scene.client, &other);
    let seen = theirs.get("theirs").await.unwrap();
    assert!(seen.data["status"]["conditions"].is_null(), "nothing is decided without its Secrets: {}", seen.data);
    let told = operator.logs().lines().filter(|line| line.contains("can't be listed or watched: tried")).count();
    assert!(told <= 2, "{told} lines for two watches of Secrets");
    // the Role comes
    drop(refused);
    testkit::stand::wait::is_ready(&theirs, "theirs", Duration::from_secs(90)).await;
    eventually(SOON, "the metric falls", async || {
        match operator.metrics().await.unwrap().count("videotoken_unlisted_namespaces", &[]) {
            0.0 => Ok(()),
            n => Err(n.to_string()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_a_first_list_that_stalls_in_one_namespace_holds_up_no_other() {
    let mut scene = Scene::new("first-list", OPERATOR).await.unwrap();
    let other = scene.plane.namespace("stalls").await.unwrap();
    scene.options.watch_namespaces.push(other.clone());
    let _stalled = scene.proxy.fail(Matcher::list("videoaccesstokens").namespace(&other), Failure::StalledBody(5));
    let mut operator = testkit::stand::Operator::spawn(&scene.options).unwrap();
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    let ready = |object: &Value| condition(object, "Ready")["status"] == "True";
    scene.until_within(Duration::from_secs(25), "lobby", "is served", ready).await.unwrap();
    // once it is known that the list can't be had, the operator is ready for the others
    eventually(QUIET_WITHIN, "the operator is ready", async || operator.ready().await.map_err(|e| e.to_string())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_a_credential_that_comes_while_it_is_looked_for_is_seen() {
    let scene = Scene::bare("race", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let held = scene.proxy.hold_answer(Matcher::get("secrets").name("azure-login").first(1));
    scene.apply(&scene.provider("indexer", &client_secret("azure-login"))).await.unwrap();
    held.wait().await;
    scene.apply(&scene.credentials("azure-login", example::CLIENT_SECRET)).await.unwrap();
    // long enough for its event to come before the answer; if it comes later, all is well in any case
    throughout(Duration::from_secs(2), "held", async || if held.is_empty() { Err("gone") } else { Ok(()) }).await;
    held.release();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    // and one that is replaced during a later resolve
    let held = scene.proxy.hold_answer(Matcher::get("secrets").name("azure-login").first(1));
    scene.apply(&scene.credentials("azure-login", "wrong")).await.unwrap();
    held.wait().await;
    scene.apply(&scene.credentials("azure-login", example::CLIENT_SECRET)).await.unwrap();
    throughout(Duration::from_secs(2), "held", async || if held.is_empty() { Err("gone") } else { Ok(()) }).await;
    held.release();
    scene.ready_token("hall", &json!({})).await.unwrap();
}

/// The object is deleted and its watch doesn't tell, while that of the Secrets does.
async fn deleted_unseen(policy: &str, first: bool) {
    let scene = Scene::new("unseen", OPERATOR).await.unwrap();
    let operator = scene.operator().await.unwrap();
    let changes = json!({"secret": {"deletionPolicy": policy}});
    let call = if first {
        let call = scene.azure.video_indexer.control().hold(HoldPoint::Answer, None);
        scene.apply(&scene.token("lobby", &changes)).await.unwrap();
        timeout(SOON, call.reached()).await.unwrap();
        Some(call)
    } else {
        scene.ready_token("lobby", &changes).await.unwrap();
        scene.settled("lobby").await.unwrap();
        None
    };
    let _frozen = scene.proxy.freeze(Matcher::any().resource("videoaccesstokens"));
    scene.delete_token("lobby").await.unwrap();
    if let Some(call) = call {
        call.release();
    } else if policy == "Retain" {
        scene.secrets().delete("lobby", &DeleteParams::default()).await.unwrap();
    }
    let asked = Matcher::get("videoaccesstokens").name("lobby");
    eventually(SOON, "it is asked whether the object is there", async || {
        if scene.proxy.count(&asked) > 0 { Ok(()) } else { Err("not asked") }
    })
    .await;
    eventually(SOON, "no Secret is left", async || match scene.secrets().get_opt("lobby").await.unwrap() {
        None => Ok(()),
        Some(_) => Err("a Secret for an object that is gone"),
    })
    .await;
    throughout(Duration::from_secs(5), "no Secret comes", async || {
        match scene.secrets().get_opt("lobby").await.unwrap() {
            None => Ok(()),
            Some(_) => Err("a Secret for an object that is gone"),
        }
    })
    .await;
    assert!(scene.issued() <= 2, "{} issued", scene.issued());
    if policy == "Retain" {
        assert_eq!(scene.secret_writes("lobby"), u64::from(!first), "{}", operator.logs());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p15_an_object_that_is_gone_unseen_gets_no_secret_that_is_retained() {
    deleted_unseen("Retain", false).await;
    deleted_unseen("Retain", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p15_an_object_that_is_gone_unseen_leaves_no_secret_that_goes_with_it() {
    deleted_unseen("Delete", false).await;
    deleted_unseen("Delete", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p09_a_secret_that_is_deleted_before_the_answer_to_its_write_came_is_repaired() {
    let scene = Scene::new("ghost", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let held = scene.proxy.hold_answer(Matcher::patch("secrets").name("lobby").first(1));
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    held.wait().await;
    let fence = scene.fence().await.unwrap();
    scene.secrets().delete("lobby", &DeleteParams::default()).await.unwrap();
    // the deletion has been seen when a later change in the same watch has been
    scene.secrets().delete(&fence, &DeleteParams::default()).await.unwrap();
    held.release();
    scene.settled("lobby").await.unwrap();
    quiet(&scene.proxy).await;
    scene.settled("lobby").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p15_a_list_that_spans_a_deletion_and_a_creation_passes_no_token_on() {
    let scene = Scene::new("successor", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    // a token is at hand that can't be stored
    let refused = scene.proxy.fail(Matcher::patch("secrets").name("lobby"), Failure::Status(422));
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    eventually(SOON, "it is tried", async || if refused.hits() > 0 { Ok(()) } else { Err("not tried") }).await;
    let frozen = scene.proxy.freeze(Matcher::any().resource("videoaccesstokens"));
    let first = scene.tokens().get("lobby").await.unwrap().metadata.uid;
    scene.delete_token("lobby").await.unwrap();
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    assert_ne!(scene.tokens().get("lobby").await.unwrap().metadata.uid, first);
    let _again = relist(&scene.proxy, "videoaccesstokens");
    drop(refused);
    drop(frozen);
    scene.settled("lobby").await.unwrap();
    assert_eq!(scene.issued(), 2, "the second object's token is its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_of_many_that_wait_for_a_secret_only_the_next_is_told() {
    const WAITING: u64 = 40;
    let scene = Scene::new("queue", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let shared = json!({"secret": {"name": "shared"}});
    scene.ready_token("holder", &shared).await.unwrap();
    for n in 0..WAITING {
        scene.apply(&scene.token(&format!("waiting-{n}"), &shared)).await.unwrap();
    }
    for n in 0..WAITING {
        scene.until(&format!("waiting-{n}"), "Stalled", "True", "SecretClaimed").await.unwrap();
    }
    quiet(&scene.proxy).await;
    scene.proxy.reset_counts();
    scene.patch("holder", &json!({"spec": {"secret": {"name": "own"}}})).await.unwrap();
    let tokens: Api<kube::core::DynamicObject> =
        Api::namespaced_with(scene.client.clone(), &scene.namespace, &own_kind("VideoAccessToken"));
    eventually(SOON, "the next has it", async || {
        let all = tokens.list(&kube::api::ListParams::default()).await.map_err(|error| error.to_string())?;
        let ready =
            all.iter().filter(|object| condition(&serde_json::to_value(object).unwrap(), "Ready")["status"] == "True");
        match ready.count() {
            2 => Ok(()),
            n => Err(format!("{n} are ready")),
        }
    })
    .await;
    quiet(&scene.proxy).await;
    let told = scene.proxy.count(&Matcher::patch("videoaccesstokens/status"));
    assert!(told <= 6, "{told} statuses were written: {:?}", scene.proxy.counts());
}
