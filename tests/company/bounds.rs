//! P21: hostile templates, objects at the bounds of the schema, crowds of scrapers. Memory is held against the chart's
//! limit, whatever anybody makes.

use crate::OPERATOR;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use testkit::scene::{SOON, Scene, client_secret, condition};
use testkit::stand::controlplane::repository;
use testkit::stand::operator::rss_bytes;
use testkit::stand::wait::own_kind;
use testkit::stand::{Operator, eventually};
use testkit::tls::CertificateAuthority;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const MIB: u64 = 1024 * 1024;

/// The memory limit of the chart's container, in bytes.
fn limit() -> u64 {
    let values = std::fs::read_to_string(repository().join("charts/video-token-operator/values.yaml")).unwrap();
    let resources = values.split("\nresources:").nth(1).unwrap();
    let limits = resources.split("limits:").nth(1).unwrap();
    let memory = limits.split("memory:").nth(1).unwrap().lines().next().unwrap().trim();
    memory.strip_suffix("Mi").unwrap().parse::<u64>().unwrap() * MIB
}

/// The most anonymous memory that a process had while this was there, looked at all the time.
struct Peak {
    seen: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
}

impl Peak {
    fn of(operator: &Operator) -> Self {
        let (seen, done): (Arc<AtomicU64>, Arc<AtomicBool>) = Default::default();
        let (pid, seeing, until) = (operator.pid(), seen.clone(), done.clone());
        std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                seeing.fetch_max(rss_bytes(pid).unwrap_or_default(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self { seen, done }
    }

    /// Under the chart's limit. The figure goes to the test's output.
    #[allow(clippy::print_stderr)] // the figure is what someone who runs this test wants to see
    fn holds(&self, what: &str) {
        let (seen, limit) = (self.seen.load(Ordering::Relaxed), limit());
        eprintln!("{what}: {} MiB at most, of {} MiB", seen / MIB, limit / MIB);
        assert!(seen < limit, "{what}: {} MiB, and the chart's limit is {} MiB", seen / MIB, limit / MIB);
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

/// Creates them all, some at a time.
async fn create_all<K>(api: &Api<K>, objects: Vec<Value>)
where
    K: Clone + Debug + DeserializeOwned + serde::Serialize,
{
    let created = stream::iter(objects).map(|object| {
        let api = api.clone();
        async move { api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.map(drop) }
    });
    created.buffer_unordered(8).try_collect::<Vec<_>>().await.unwrap();
}

fn crds(client: &Client) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    Api::all_with(client.clone(), &ApiResource::from_gvk(&gvk))
}

/// Takes whatever there is, as a CRD of before did. Returns the schema.
async fn loosen(client: &Client, crd: &str) -> Value {
    let strict = crds(client).get(crd).await.unwrap().data["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
    set_schema(client, crd, &json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})).await;
    strict
}

async fn set_schema(client: &Client, crd: &str, schema: &Value) {
    let patch = json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": schema}]);
    let patch: Patch<()> = Patch::Json(serde_json::from_value(patch).unwrap());
    crds(client).patch(crd, &PatchParams::default(), &patch).await.unwrap();
}

fn templated(scene: &Scene, name: &str, data: &Value) -> Value {
    scene.token(name, &json!({"secret": {"template": {"data": data}}}))
}

/// As many keys, each with a template of so many bytes.
fn texts(count: usize, length: usize) -> Value {
    (0..count).map(|n| (format!("key-{n}"), Value::from("x".repeat(length)))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn p21_no_template_ends_the_operator_or_holds_up_a_neighbour() {
    let scene = Scene::new("templates", OPERATOR).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    let peak = Peak::of(&operator);
    let hostile = [
        "{{ expires_at | date('%c' * 3000000) | length }}",
        "{{ ([1] * 100000000) | tojson | length }}",
        "{{ ([1] * 100000000) ~ 'x' }}",
        "{{ ([1] | batch(400000, 'x' * 1000000)) | string | length }}",
        "{{ ('a' * 1900000) | split('') | tojson | length }}",
        "{{ ('%(a)s' * 10000) | format(a='x' * 100000) | length }}",
    ];
    for (n, source) in hostile.iter().enumerate() {
        scene.apply(&templated(&scene, &format!("hostile-{n}"), &json!({"k": source}))).await.unwrap();
    }
    // each within its own bounds, and together more than anybody may compute
    let heavy: Value =
        (0..32).map(|n| (format!("k{n}"), json!("{{ ('x' * 150000) | b64encode | length }}".repeat(2)))).collect();
    scene.apply(&templated(&scene, "hostile-all", &heavy)).await.unwrap();
    scene
        .ready_token("victim", &json!({"secret": {"template": {"data": {"k": "{{ token | tojson }}"}}}}))
        .await
        .unwrap();
    for name in (0..hostile.len()).map(|n| format!("hostile-{n}")).chain(["hostile-all".to_owned()]) {
        let object = scene.until(&name, "Stalled", "True", "InvalidSpec").await.unwrap();
        let message = condition(&object, "Stalled")["message"].to_string();
        assert!(message.contains("spec.secret.template.data"), "{name}: {message}");
    }
    scene.force_renewal("victim").await.unwrap();
    scene.until_that("victim", "renewed", |object| object["status"]["issuances"] == 2).await.unwrap();
    assert_eq!(scene.issued(), 2, "no hostile one asked for a token");
    assert!(operator.exited().is_none());
    peak.holds("hostile templates");
}

#[tokio::test(flavor = "multi_thread")]
async fn p21_the_api_server_refuses_what_the_operator_would_not_render() {
    let scene = Scene::new("sums", OPERATOR).await.unwrap();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let wide = |count: usize, length: usize| -> Value {
        (0..count).map(|n| (format!("key-{n}"), Value::from("字".repeat(length)))).collect()
    };
    let cases = [
        (json!({"data": texts(4, 16_384)}), None),
        (json!({"data": texts(32, 2_048)}), None),
        (json!({"data": texts(32, 2_049)}), Some("all templates together are longer than 64 KiB")),
        (json!({"data": texts(32, 16_384)}), Some("all templates together are longer than 64 KiB")),
        (json!({"data": wide(1, 5_461)}), None),
        (json!({"data": wide(1, 5_462)}), Some("a template is longer than 16 KiB")),
        (json!({"annotations": texts(32, 4_096)}), None),
        (json!({"annotations": wide(32, 4_096)}), Some("all annotations together are longer than 252 KiB")),
    ];
    for (n, (template, refused)) in cases.into_iter().enumerate() {
        let object = scene.token(&format!("case-{n}"), &json!({"secret": {"template": template}}));
        let answer = scene.tokens().create(&dry, &serde_json::from_value(object).unwrap()).await;
        match (refused, answer.map(drop).map_err(|error| error.to_string())) {
            (None, Ok(())) => {}
            (Some(words), Err(error)) => assert!(error.contains(words), "case {n}: {error}"),
            (_, answer) => panic!("case {n}: {answer:?}"),
        }
    }
    let mut provider = scene.provider("large", &client_secret("azure-login"));
    provider["spec"]["caBundle"] = "x".repeat(16_385).into();
    let error = scene.apply(&provider).await.unwrap_err();
    assert!(format!("{error:#}").contains("spec.caBundle"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p21_oversized_specs_of_an_older_schema_are_told_and_take_no_memory() {
    let scene = Scene::private("oversized", OPERATOR).await.unwrap();
    let crd = "videoaccesstokens.videotoken.dev";
    let strict = loosen(&scene.client, crd).await;
    let large = texts(32, 16_384);
    let first = templated(&scene, "large-000", &large);
    eventually(SOON, "the loose schema is in force", async || {
        let object = serde_json::from_value(first.clone()).unwrap();
        scene.tokens().create(&PostParams::default(), &object).await
    })
    .await;
    create_all(&scene.tokens(), (1..200).map(|n| templated(&scene, &format!("large-{n:03}"), &large)).collect()).await;
    set_schema(&scene.client, crd, &strict).await;

    let operator = Operator::spawn(&scene.options).unwrap();
    let peak = Peak::of(&operator);
    let mut operator = operator;
    operator.ready().await.unwrap();
    scene.ready_token("victim", &json!({})).await.unwrap();
    let api = scene.tokens();
    eventually(SOON * 4, "each is told", async || {
        let all = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let told = |object: &&DynamicObject| {
            let stalled = condition(&object.data, "Stalled");
            stalled["reason"] == "InvalidSpec"
                && stalled["message"].as_str().is_some_and(|text| text.starts_with("spec.secret.template.data: all"))
        };
        let count = all.items.iter().filter(told).count();
        if count == 200 { Ok(()) } else { Err(format!("{count} are")) }
    })
    .await;
    peak.holds("200 tokens with 512 KiB of templates each");
}

#[tokio::test(flavor = "multi_thread")]
async fn p21_strangers_secrets_with_our_label_take_no_memory() {
    let scene = Scene::private("strangers", OPERATOR).await.unwrap();
    let annotation = "y".repeat(250_000);
    let strangers = (0..450).map(|n| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("stranger-{n:03}"),
            "labels": {"app.kubernetes.io/managed-by": "video-token-operator", "videotoken.dev/credentials": "true"},
            "annotations": {"note": annotation}}})
    });
    create_all(&scene.secrets(), strangers.collect()).await;
    let mut operator = Operator::spawn(&scene.options).unwrap();
    let peak = Peak::of(&operator);
    operator.ready().await.unwrap();
    scene.ready_token("victim", &json!({})).await.unwrap();
    // all of it once more: what was seen is seen again from a list
    let api: Api<Secret> = scene.secrets();
    let patch = json!({"metadata": {"annotations": {"note": "y".repeat(249_000)}}});
    let touched =
        stream::iter(0..450).map(|n| {
            let (api, patch) = (api.clone(), patch.clone());
            async move {
                api.patch(&format!("stranger-{n:03}"), &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
            }
        });
    touched.buffer_unordered(8).try_collect::<Vec<_>>().await.unwrap();
    scene.fence().await.unwrap();
    peak.holds("450 Secrets of strangers with 250 KB of annotations each");
}

#[tokio::test(flavor = "multi_thread")]
async fn p21_providers_with_ca_bundles_of_their_own_take_no_memory() {
    /// Some of the thousand that may be: each more takes what its bundle takes, and no client.
    const LEGAL: usize = 400;
    let scene = Scene::private("bundles", OPERATOR).await.unwrap();
    let crd = "tokenproviders.videotoken.dev";
    let strict = loosen(&scene.client, crd).await;
    let providers: Api<DynamicObject> =
        Api::namespaced_with(scene.client.clone(), &scene.namespace, &own_kind("TokenProvider"));
    let ca = CertificateAuthority::generate().unwrap().ca_pem();
    let with = |name: &str, bundle: &str| {
        let mut provider = scene.provider(name, &client_secret("azure-login"));
        provider["spec"]["caBundle"] = format!("{}# {name}\n{bundle}", scene.azure.ca_pem()).into();
        provider
    };
    let large = ca.repeat(120_000 / ca.len());
    let first = with("large-000", &large);
    eventually(SOON, "the loose schema is in force", async || {
        providers.create(&PostParams::default(), &serde_json::from_value(first.clone()).unwrap()).await
    })
    .await;
    create_all(&providers, (1..200).map(|n| with(&format!("large-{n:03}"), &large)).collect()).await;
    set_schema(&scene.client, crd, &strict).await;
    // as large as may be, each with a client of its own
    let legal = ca.repeat(14_000 / ca.len());
    let probe = with("legal-000", &legal);
    eventually(SOON, "the strict schema is in force", async || {
        // of a new name: what is stored may stay as it is
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        match providers.create(&dry, &serde_json::from_value(with("probe", &large)).unwrap()).await {
            Ok(_) => Err("it isn't".to_owned()),
            Err(_) => scene.apply(&probe).await.map_err(|error| error.to_string()),
        }
    })
    .await;
    create_all(&providers, (1..LEGAL).map(|n| with(&format!("legal-{n:03}"), &legal)).collect()).await;

    let mut operator = Operator::spawn(&scene.options).unwrap();
    let peak = Peak::of(&operator);
    operator.ready().await.unwrap();
    scene.apply(&scene.token("victim", &json!({"providerRef": {"name": "legal-399"}}))).await.unwrap();
    let ready = |object: &Value| condition(object, "Ready")["status"] == "True";
    scene.until_within(SOON * 6, "victim", "is ready", ready).await.unwrap();
    let refused =
        scene.until_provider("large-199", "refused", |object| condition(object, "Stalled")["status"] == "True");
    let refused = condition(&refused.await.unwrap(), "Stalled")["message"].to_string();
    assert!(refused.contains("spec.caBundle: is longer than 16 KiB"), "{refused}");
    let ready = |object: &DynamicObject| condition(&object.data, "Ready")["status"] == "True";
    eventually(SOON * 6, "the legal ones are ready", async || {
        let all = providers.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let count = all.items.iter().filter(|object| ready(object)).count();
        if count == LEGAL + 1 { Ok(()) } else { Err(format!("{count} are")) }
    })
    .await;
    peak.holds("400 providers with 14 KB of CAs each, and 200 with 120 KB");
}

#[tokio::test(flavor = "multi_thread")]
async fn p21_sixty_four_large_secrets_at_once_stay_within_the_budget() {
    let scene = Scene::new("large", OPERATOR).await.unwrap();
    let operator = scene.operator().await.unwrap();
    let peak = Peak::of(&operator);
    // four keys of 225 KiB
    let key = "{{ 'x' * 4096 }}".repeat(56);
    let data: Value = (0..4).map(|n| (format!("k{n}"), Value::from(key.clone()))).collect();
    let changes = json!({"secret": {"template": {"data": data}}});
    create_all(&scene.tokens(), (0..64).map(|n| scene.token(&format!("large-{n:02}"), &changes)).collect()).await;
    let issued = async |issuances: u64| {
        let api = scene.tokens();
        eventually(SOON * 6, &format!("all with {issuances} issued"), async || {
            let all = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let there = |object: &&DynamicObject| {
                condition(&object.data, "Ready")["status"] == "True" && object.data["status"]["issuances"] == issuances
            };
            let count = all.items.iter().filter(there).count();
            if count == 64 { Ok(()) } else { Err(format!("{count} are")) }
        })
        .await;
    };
    issued(1).await;
    for n in 0..64 {
        scene.force_renewal(&format!("large-{n:02}")).await.unwrap();
    }
    issued(2).await;
    // and each read whole, since another hand has changed it
    for n in 0..64 {
        scene
            .patch_secret(
                &format!("large-{n:02}"),
                &json!({"metadata": {"labels": {"seen": "yes"}},
            "stringData": {"k0": "z"}}),
            )
            .await
            .unwrap();
    }
    eventually(SOON * 4, "all repaired", async || {
        for n in 0..64 {
            let there = scene.key_of(&format!("large-{n:02}"), "k0").await.map_err(|error| error.to_string())?;
            if there.is_none_or(|text| text.len() < 1000) {
                return Err(format!("large-{n:02} isn't"));
            }
        }
        Ok(())
    })
    .await;
    peak.holds("64 Secrets of 900 KiB, renewed and repaired at once");
}

/// A request of a raw connection, whole.
async fn ask(operator: &Operator, path: &str, host: &str) -> String {
    let mut stream = connect(operator).await;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn connect(operator: &Operator) -> TcpStream {
    let url = operator.url("");
    TcpStream::connect(url.trim_start_matches("http://").trim_end_matches('/')).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn p21_a_crowd_on_the_metrics_port_takes_little_and_probes_are_answered() {
    let mut scene = Scene::new("scrapers", OPERATOR).await.unwrap();
    scene.options.args.push("--status-page".to_owned());
    // tokens that make an exposition of hundreds of kilobytes, without a provider
    let tokens = (0..1_000).map(|n| scene.token(&format!("camera-{n:04}"), &json!({"suspend": true})));
    create_all(&scene.tokens(), tokens.collect()).await;
    let mut operator = scene.operator().await.unwrap();
    scene.fence().await.unwrap();
    let before = operator.rss_bytes().unwrap();
    let peak = Peak::of(&operator);
    let mut crowd = Vec::new();
    for n in 0..1_000 {
        let mut stream = connect(&operator).await;
        let path = if n % 2 == 0 { "/metrics" } else { "/" };
        // one that was pushed out already can't be written to
        let _ = stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").as_bytes()).await;
        crowd.push(stream);
        if n % 100 == 0 {
            assert!(ask(&operator, "/livez", "here").await.ends_with("ok"), "{n}");
        }
    }
    for n in 0..4_000 {
        crowd.push(connect(&operator).await);
        if n % 500 == 0 {
            assert!(ask(&operator, "/readyz", "here").await.ends_with("ok"), "{n}");
        }
    }
    eventually(SOON, "a scrape in the crowd", async || {
        let text = operator.scrape().await.map_err(|error| error.to_string())?;
        if text.contains("camera-0999") { Ok(()) } else { Err("not whole".to_owned()) }
    })
    .await;
    let open = std::fs::read_dir(format!("/proc/{}/fd", operator.pid())).unwrap().count();
    assert!(open < 300, "{open} files are open");
    let grown = peak.seen.load(Ordering::Relaxed).saturating_sub(before);
    assert!(grown < 32 * MIB, "{} MiB more than before", grown / MIB);
    peak.holds("1,000 who scrape and do not read, 4,000 who say nothing");
    drop(crowd);
    assert!(operator.exited().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn p21_the_status_page_is_read_only_under_its_own_names() {
    let mut scene = Scene::bare("rebinding", OPERATOR).await.unwrap();
    scene.options.args.extend(["--status-page".to_owned(), "--status-page-host=status.corp.example".to_owned()]);
    let operator = scene.operator().await.unwrap();
    for (host, status) in [
        ("127.0.0.1:8080", "200"),
        ("localhost:8080", "200"),
        ("vto.video-token-operator.svc:8080", "200"),
        ("status.corp.example", "200"),
        ("rebound.example:8080", "421"),
    ] {
        let answer = ask(&operator, "/", host).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{host}: {answer}");
        if status == "421" {
            assert!(answer.contains("--status-page-host") && !answer.contains("<html"), "{answer}");
        }
    }
    // probes and scrapes come by any name
    assert!(ask(&operator, "/livez", "any.example").await.ends_with("ok"));
    assert!(ask(&operator, "/metrics", "any.example").await.starts_with("HTTP/1.1 200"));
}
