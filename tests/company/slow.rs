//! P17: webhooks, events, statuses, writes and lists that hang or fail in one namespace.

use crate::OPERATOR;
use crate::victim::Victim;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use std::time::Duration;
use testkit::emulator::Fault;
use testkit::scene::{SOON, Scene, client_secret};
use testkit::stand::wait::throughout;
use testkit::stand::webhook::{Manner, Webhook};
use testkit::stand::{Failure, Matcher, eventually};
use tokio::net::TcpListener;
use tokio::time::timeout;

/// A webhook for Secrets of one namespace that never answers, and may be ignored after `seconds`.
struct HangingWebhook {
    api: Api<ValidatingWebhookConfiguration>,
    name: String,
    silence: tokio::task::JoinHandle<()>,
}

impl HangingWebhook {
    async fn on_secrets(scene: &Scene, seconds: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let silence = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                open.push(connection);
            }
        });
        let name = format!("hangs-{}", scene.namespace);
        let webhook: ValidatingWebhookConfiguration = serde_json::from_value(json!({
            "metadata": {"name": name},
            "webhooks": [{
                "name": "secrets.policy.example", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "failurePolicy": "Ignore", "timeoutSeconds": seconds,
                "clientConfig": {"url": format!("https://127.0.0.1:{port}/validate")},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": scene.namespace}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                    "resources": ["secrets"]}],
            }],
        }))
        .unwrap();
        let api: Api<ValidatingWebhookConfiguration> = Api::all(scene.client.clone());
        api.create(&PostParams::default(), &webhook).await.unwrap();
        Self { api, name, silence }
    }

    async fn remove(self) {
        self.api.delete(&self.name, &DeleteParams::default()).await.unwrap();
        self.silence.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p01_a_secret_behind_a_webhook_that_hangs_and_is_ignored_is_stored_and_renewed_once() {
    let mut scene = Scene::new("hook", OPERATOR).await.unwrap();
    let victim = Victim::beside(&mut scene).await;
    let operator = scene.operator().await.unwrap();
    victim.ready().await;
    let webhook = HangingWebhook::on_secrets(&scene, 8).await;
    // the API server takes a while to know of it
    eventually(SOON, "the webhook hangs", async || {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "probe", "namespace": scene.namespace,
            "annotations": {"n": uuid::Uuid::new_v4().to_string()}}});
        match timeout(Duration::from_secs(3), scene.apply(&secret)).await {
            Ok(_) => Err("it doesn't yet"),
            Err(_) => Ok(()),
        }
    })
    .await;
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    scene.until_within(SOON * 2, "lobby", "ready", |object| object["status"]["issuances"] == 1).await.unwrap();
    scene.force_renewal("lobby").await.unwrap();
    scene.until_within(SOON * 2, "lobby", "renewed", |object| object["status"]["issuances"] == 2).await.unwrap();
    assert_eq!(scene.issued(), 2, "each token is issued once and stored");
    victim.is_renewed_in_time(1).await;
    assert!(!operator.logs().contains("a request to the API server failed"), "no write is given up");
    webhook.remove().await;
}

/// A webhook that denies each Secret of one namespace. The API server passes on its code, whatever the code means elsewhere.
struct DenyingWebhook {
    api: Api<ValidatingWebhookConfiguration>,
    name: String,
    _webhook: Webhook,
}

impl DenyingWebhook {
    const WORDS: &str = "no cost centre";

    async fn by(code: u16, scene: &Scene) -> Self {
        let webhook = Webhook::start(Manner::Denies(code, Self::WORDS)).await.unwrap();
        let name = format!("denies-{}", scene.namespace);
        scene.apply(&webhook.configuration(&name, &scene.namespace, "Fail", 5)).await.unwrap();
        eventually(SOON, "the webhook denies", async || {
            let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "probe", "namespace": scene.namespace,
                "annotations": {"n": uuid::Uuid::new_v4().to_string()}}});
            match timeout(Duration::from_secs(3), scene.apply(&secret)).await {
                Ok(Ok(())) => Err("it doesn't yet"),
                _ => Ok(()),
            }
        })
        .await;
        Self { api: Api::all(scene.client.clone()), name, _webhook: webhook }
    }

    /// Returns true if the object's conditions have this reason and the webhook's words.
    fn is_told(object: &Value, reason: &str) -> bool {
        let conditions = object["status"]["conditions"].to_string();
        conditions.contains(Self::WORDS) && conditions.contains(reason)
    }

    async fn remove(self) {
        self.api.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }
}

/// 404 says nothing about the namespace: the tokens are kept.
#[tokio::test(flavor = "multi_thread")]
async fn p18_a_webhook_that_denies_by_404_costs_one_call_for_each_token() {
    const DENIED: usize = 20;
    let scene = Scene::new("denies", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let webhook = DenyingWebhook::by(404, &scene).await;
    for n in 0..DENIED {
        scene.apply(&scene.token(&format!("camera-{n}"), &json!({}))).await.unwrap();
    }
    let told = |object: &Value| DenyingWebhook::is_told(object, "SecretRefused");
    scene.until_that("camera-0", "told", told).await.unwrap();
    // longer than the minute after which a refused write is repeated
    throughout(Duration::from_secs(70), "one call each", async || match scene.issued() {
        0..=DENIED => Ok(()),
        calls => Err(format!("{calls} calls")),
    })
    .await;
    webhook.remove().await;
    let ready = |object: &Value| object["status"]["issuances"] == 1;
    scene.until_within(Duration::from_secs(90), "camera-0", "ready", ready).await.unwrap();
    assert!(scene.issued() <= DENIED, "the tokens are kept until they can be stored: {}", scene.issued());
}

/// 503 says nothing about the API server: a namespace whose Secrets are written again and again holds up no other.
#[tokio::test(flavor = "multi_thread")]
async fn p17_a_webhook_that_denies_by_503_delays_no_other_namespace() {
    const DENIED: usize = 300;
    let mut scene = Scene::new("denies", OPERATOR).await.unwrap();
    let victim = Victim::beside(&mut scene).await;
    let _operator = scene.operator().await.unwrap();
    let names: Vec<_> = (0..DENIED).map(|n| format!("camera-{n}")).collect();
    for name in &names {
        scene.apply(&scene.token(name, &json!({}))).await.unwrap();
    }
    for name in &names {
        let ready = |object: &Value| object["status"]["issuances"] == 1;
        scene.until_within(Duration::from_mins(3), name, "ready", ready).await.unwrap();
    }
    victim.ready().await;
    let webhook = DenyingWebhook::by(503, &scene).await;
    for name in &names {
        scene.patch(name, &json!({"spec": {"secret": {"template": {"labels": {"a": "b"}}}}})).await.unwrap();
    }
    let told = |object: &Value| DenyingWebhook::is_told(object, "SecretWriteFailed");
    scene.until_that("camera-0", "told", told).await.unwrap();
    victim.is_renewed_in_time(4).await;
    webhook.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_provider_statuses_that_hang_delay_no_renewal_and_fail_no_probe() {
    const PROVIDERS: usize = 50;
    /// Longer than the operator's tick may be silent before `/livez` fails, one minute.
    const LONG: Duration = Duration::from_secs(75);
    let mut scene = Scene::new("statuses", OPERATOR).await.unwrap();
    let victim = Victim::beside(&mut scene).await;
    let operator = scene.operator().await.unwrap();
    victim.ready().await;
    let hanging = scene.proxy.hold(Matcher::patch("tokenproviders/status").namespace(&scene.namespace));
    for n in 0..PROVIDERS {
        scene.apply(&scene.provider(&format!("p-{n}"), &client_secret("azure-login"))).await.unwrap();
    }
    let live = operator.url("/livez");
    let watched = throughout(LONG, "/livez says ok", async || {
        let answer = reqwest::get(&live).await.map_err(|error| error.to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(answer.status().to_string()) }
    });
    tokio::join!(victim.is_renewed_in_time(3), watched);
    assert!(hanging.len() >= 4, "{} statuses hang", hanging.len());
    hanging.release();
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_events_that_hang_delay_no_renewal() {
    const FAILING: usize = 150;
    let mut scene = Scene::new("events", OPERATOR).await.unwrap();
    let victim = Victim::beside(&mut scene).await;
    let _operator = scene.operator().await.unwrap();
    victim.ready().await;
    let hanging = scene.proxy.hold(Matcher::create("events"));
    let refusal = r#"{"error":{"code":"BadRequest","message":"no"}}"#.to_owned();
    scene.azure.video_indexer.control().play(Fault::Status { code: 400, body: refusal, headers: Vec::new() });
    for n in 0..FAILING {
        scene.apply(&scene.token(&format!("camera-{n}"), &json!({}))).await.unwrap();
    }
    victim.is_renewed_in_time(2).await;
    assert!(!hanging.is_empty(), "events hang");
    hanging.release();
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_writes_that_fail_in_one_namespace_delay_no_renewal_of_another() {
    const FAILING: usize = 100;
    let mut scene = Scene::new("refuses", OPERATOR).await.unwrap();
    let victim = Victim::beside(&mut scene).await;
    let _operator = scene.operator().await.unwrap();
    victim.ready().await;
    // as a webhook would that is down
    let failing = scene.proxy.fail(Matcher::patch("secrets").namespace(&scene.namespace), Failure::Status(500));
    for n in 0..FAILING {
        scene.apply(&scene.token(&format!("camera-{n}"), &json!({}))).await.unwrap();
    }
    victim.is_renewed_in_time(2).await;
    assert!(failing.hits() > 3, "{} writes failed", failing.hits());
    assert!(scene.issued() < FAILING, "where nothing can be stored, few tokens are issued: {}", scene.issued());
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_writes_that_hang_in_one_namespace_delay_no_renewal_of_another() {
    const HANGING: usize = 100;
    let mut scene = Scene::new("hangs", OPERATOR).await.unwrap();
    let victim = Victim::beside(&mut scene).await;
    let _operator = scene.operator().await.unwrap();
    victim.ready().await;
    let all = |resource: &str| Matcher::patch(resource).namespace(&scene.namespace);
    let hanging = [scene.proxy.hold(all("secrets")), scene.proxy.hold(all("videoaccesstokens/status"))];
    for n in 0..HANGING {
        scene.apply(&scene.token(&format!("camera-{n}"), &json!({}))).await.unwrap();
    }
    victim.is_renewed_in_time(2).await;
    assert!(hanging.iter().any(|held| held.len() >= 4), "requests hang");
    for held in hanging {
        held.release();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_edits_of_a_provider_leave_one_timer_and_one_resolve_each() {
    const EDITS: usize = 30;
    let scene = Scene::new("edits", OPERATOR).await.unwrap();
    // what can't be read is looked at again after 10 s
    let reads = Matcher::get("configmaps").namespace(&scene.namespace);
    let _failing = scene.proxy.fail(reads.clone(), Failure::Status(500));
    let mut provider = scene.provider("indexer", &client_secret("azure-login"));
    provider["spec"].as_object_mut().unwrap().remove("caBundle");
    provider["spec"]["caBundleRef"] = json!({"kind": "ConfigMap", "name": "corporate-ca", "key": "ca.crt"});
    scene.apply(&provider).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    for n in 0..EDITS {
        provider["spec"]["limits"]["concurrency"] = json!(1 + n);
        scene.apply(&provider).await.unwrap();
    }
    let resolved = |object: &Value| object["status"]["observedGeneration"] == object["metadata"]["generation"];
    scene.until_provider("indexer", "resolved", resolved).await.unwrap();
    let before = scene.proxy.count(&reads);
    assert!(before <= 1 + EDITS as u64, "{before} reads for {EDITS} edits");
    let timed = || scene.proxy.count(&reads) - before;
    throughout(Duration::from_secs(25), "one timer of 10 s", async || match timed() {
        0..=3 => Ok(()),
        timed => Err(format!("{timed} reads")),
    })
    .await;
    assert!(timed() >= 1, "it is looked at again");
}

/// The operator is asked to stop during a call that takes this long, and stores its token.
async fn stores_a_call_after_the_signal(takes: Duration, args: &[&str], within: Duration) {
    let mut scene = Scene::new("late", OPERATOR).await.unwrap();
    scene.options.args.extend(args.iter().map(|arg| (*arg).to_owned()));
    let mut operator = scene.operator().await.unwrap();
    let control = scene.azure.video_indexer.control();
    control.play_once(Fault::Stall(takes));
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    eventually(SOON, "under way", async || match control.counters().in_flight {
        0 => Err("no call"),
        _ => Ok(()),
    })
    .await;
    let stopped = operator.terminate().await.unwrap();
    assert!(stopped.status.success() && stopped.took < within, "{stopped:?}");
    let token = scene.held("lobby").await.unwrap();
    assert!(control.knows(&token).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn p15_a_call_of_nine_seconds_is_stored_after_the_signal() {
    stores_a_call_after_the_signal(Duration::from_secs(9), &[], Duration::from_secs(20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p15_a_call_as_long_as_the_longest_timeout_allows_is_stored_after_the_signal() {
    let longest = ["--provider-timeout=20s"];
    stores_a_call_after_the_signal(Duration::from_secs(18), &longest, Duration::from_secs(30)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p05_a_write_whose_answer_is_lost_is_looked_at_before_it_is_repeated() {
    let scene = Scene::new("lost", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    // so that the watch does not tell either
    let watching = scene.proxy.fail(Matcher::any().verb("watch").resource("secrets"), Failure::Closed);
    scene.proxy.cut_watches();
    let lost = scene.proxy.fail(Matcher::patch("secrets").name("lobby").first(1), Failure::LostAnswer);
    scene.force_renewal("lobby").await.unwrap();
    scene.until_that("lobby", "renewed", |object| object["status"]["issuances"] == 2).await.unwrap();
    assert_eq!(lost.hits(), 1);
    assert_eq!(scene.proxy.count(&Matcher::patch("secrets").name("lobby")), 2, "the first issue's and the renewal's");
    assert_eq!(scene.issued(), 2);
    drop(watching);
}

/// A `ConfigMap` that appears is used: the provider that waits for it is looked at again.
#[tokio::test(flavor = "multi_thread")]
async fn p18_a_ca_bundle_that_appears_late_is_used() {
    let scene = Scene::new("late-ca", OPERATOR).await.unwrap();
    let mut provider = scene.provider("indexer", &client_secret("azure-login"));
    provider["spec"].as_object_mut().unwrap().remove("caBundle");
    provider["spec"]["caBundleRef"] = json!({"kind": "ConfigMap", "name": "corporate-ca", "key": "ca.crt"});
    scene.apply(&provider).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    scene.until("lobby", "Stalled", "True", "CaBundleMissing").await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let map =
        serde_json::from_value(json!({"metadata": {"name": "corporate-ca"}, "data": {"ca.crt": scene.azure.ca_pem()}}));
    maps.create(&PostParams::default(), &map.unwrap()).await.unwrap();
    scene
        .until_within(Duration::from_secs(80), "lobby", "ready", |object| object["status"]["issuances"] == 1)
        .await
        .unwrap();
}
