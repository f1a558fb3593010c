//! Many objects of one account: what they may not do to the provider, to each other, and to the API server.

use crate::OPERATOR;
use chrono::TimeDelta;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::Api;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::time::Duration;
use testkit::emulator::{Fault, Life, Rule, example};
use testkit::scene::{SOON, Scene, client_secret, condition};
use testkit::stand::proxy::Exchange;
use testkit::stand::{Matcher, Observer, ObserverOptions, eventually, yaml};

/// Creates tokens that differ in nothing but their names.
async fn create_all(scene: &Scene, names: &[String]) {
    let api = scene.tokens();
    let created = stream::iter(names).map(|name| {
        let token: DynamicObject = serde_json::from_value(scene.token(name, &json!({}))).unwrap();
        let api = api.clone();
        async move { api.create(&PostParams::default(), &token).await }
    });
    created.buffer_unordered(16).try_collect::<Vec<_>>().await.unwrap();
}

async fn patch_all(scene: &Scene, names: &[String], patch: &Value) {
    let api = scene.tokens();
    let patched = stream::iter(names).map(|name| {
        let api = api.clone();
        async move { api.patch_metadata(name, &PatchParams::default(), &Patch::Merge(patch)).await }
    });
    patched.buffer_unordered(16).try_collect::<Vec<_>>().await.unwrap();
}

/// Waits until each has issued so many tokens, and has nothing under way.
async fn all_at_rest(scene: &Scene, names: &[String], issuances: u64) {
    let api = scene.tokens();
    eventually(SOON * 4, &format!("all with {issuances} issued"), async || {
        let all = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let at_rest = |object: &&DynamicObject| {
            condition(&object.data, "Ready")["status"] == "True"
                && condition(&object.data, "Issuing")["status"] == "False"
                && object.data["status"]["issuances"] == issuances
                && object.metadata.name.as_ref().is_some_and(|name| names.contains(name))
        };
        let count = all.items.iter().filter(at_rest).count();
        if count == names.len() { Ok(()) } else { Err(format!("{count} are")) }
    })
    .await;
}

/// External Secrets Operator, at the same: 810 tokens for the label, 1,183 requests within the 60 s.
#[tokio::test(flavor = "multi_thread")]
async fn p06_five_hundred_objects_bear_a_label_for_nothing_and_a_throttle_with_three_requests() {
    const OBJECTS: usize = 500;
    const WAIT: u64 = 60;
    let scene = Scene::new("crowd", OPERATOR).await.unwrap();
    // the same account by another application: another budget
    let entra = &scene.azure.entra;
    assert!(entra.add_secret(example::CLIENT_ID, "a-second-secret"));
    scene.apply(&scene.credentials("second-login", "a-second-secret")).await.unwrap();
    scene.apply(&scene.provider("second", &client_secret("second-login"))).await.unwrap();
    // one at a time: what is under way when the first 429 comes can't be called back
    let mut provider = scene.provider("indexer", &client_secret("azure-login"));
    provider["spec"]["limits"]["concurrency"] = 1.into();
    scene.apply(&provider).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let names: Vec<_> = (0..OBJECTS).map(|n| format!("camera-{n:03}")).collect();
    create_all(&scene, &names).await;
    all_at_rest(&scene, &names, 1).await;
    let second = json!({"providerRef": {"name": "second"}});
    scene.ready_token("other", &second).await.unwrap();

    let issued = scene.issued();
    scene.proxy.reset_counts();
    patch_all(&scene, &names, &json!({"metadata": {"labels": {"floor": "3"}, "annotations": {"note": "seen"}}})).await;
    scene.fence().await.unwrap();
    assert_eq!(scene.issued(), issued + 1, "the fence's");
    let writes = |resource: &str| scene.proxy.count(&Matcher::patch(resource));
    assert_eq!((writes("secrets"), writes("videoaccesstokens/status")), (1, 1), "the fence's");

    // the throttle is the first account's alone: the second's tokens differ by what they ask for
    let control = scene.azure.video_indexer.control();
    let before = control.requests().len();
    control.play(Rule::new(Fault::Throttle { retry_after: Some(WAIT) }).account(&example::account_id()).times(1));
    let asked = (chrono::Utc::now() + TimeDelta::minutes(1)).to_rfc3339();
    let renew = json!({"metadata": {"annotations": {"videotoken.dev/renew-requested-at": asked}}});
    patch_all(&scene, &names, &renew).await;
    let first = eventually(SOON, "the first 429", async || {
        let requests = control.requests();
        let first = requests[before..].iter().find(|seen| seen.status == Some(429));
        first.map(|seen| seen.call.time).ok_or("none")
    })
    .await;

    // what waits is no hostage: one is deleted, one asks another account
    scene.delete_token(&names[0]).await.unwrap();
    scene.patch(&names[1], &json!({"spec": second})).await.unwrap();
    let by_the_other = |object: &Value| object["status"]["issuances"] == 2;
    scene.until_that(&names[1], "issued by the other account", by_the_other).await.unwrap();
    let end = first + TimeDelta::from_std(Duration::from_secs(WAIT)).unwrap();
    assert!(chrono::Utc::now() < end, "it had to wait");
    all_at_rest(&scene, &names[1..], 2).await;
    let requests = control.requests();
    let by_the_second = 1;
    let meanwhile = requests[before..].iter().filter(|seen| seen.call.time < end).count() - by_the_second;
    assert!(meanwhile <= 3, "{meanwhile} requests in the {WAIT} s that it asked for");
    assert_eq!(scene.issued(), issued + 1 + OBJECTS - 1, "each of the rest once, none for the one that is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn p06_a_thousand_first_issues_neither_make_renewals_late_nor_starve_another_namespace() {
    const RENEWALS: usize = 50;
    const NEW: usize = 1000;
    const LIFE: u32 = 90;
    let mut scene = Scene::new("narrow", OPERATOR).await.unwrap();
    let other = scene.plane.namespace("alone").await.unwrap();
    scene.options.watch_namespaces.push(other.clone());
    let mut narrow = scene.provider("indexer", &client_secret("azure-login"));
    narrow["spec"]["limits"] = json!({"windows": [{"requests": 5, "period": "1s"}], "concurrency": 4});
    scene.apply(&narrow).await.unwrap();
    let control = scene.azure.video_indexer.control();
    control.set_life(Life::Seconds(LIFE));
    let truth = scene.azure.video_indexer.clone();
    let truth = move |token: &str| truth.control().knows(token).map(|known| known.expires_at);
    let observer = Observer::start(scene.plane.admin(), ObserverOptions::new(&scene.namespace), truth).unwrap();
    let _operator = scene.operator().await.unwrap();
    let old: Vec<_> = (0..RENEWALS).map(|n| format!("old-{n:02}")).collect();
    create_all(&scene, &old).await;
    all_at_rest(&scene, &old, 1).await;

    // what is issued from now on lives long, so that nothing else is due; 1,000 take 200 s of this budget
    control.set_life(Life::Promised);
    let new: Vec<_> = (0..NEW).map(|n| format!("new-{n:04}")).collect();
    create_all(&scene, &new).await;
    for mut object in
        [scene.credentials("azure-login", example::CLIENT_SECRET), narrow.clone(), scene.token("alone", &json!({}))]
    {
        object["metadata"]["namespace"] = other.as_str().into();
        yaml::apply(&scene.client, &other, &object.to_string()).await.unwrap();
    }
    let before = control.counters().issued;
    let alone: Api<DynamicObject> = testkit::stand::wait::video_access_tokens(&scene.client, &other);
    eventually(SOON, "the one of the other namespace", async || {
        let object = alone.get("alone").await.map_err(|error| error.to_string())?;
        if condition(&object.data, "Ready")["status"] == "True" {
            Ok(())
        } else {
            Err(object.data["status"].to_string())
        }
    })
    .await;
    let meanwhile = usize::try_from(control.counters().issued - before).unwrap();
    assert!(meanwhile < NEW / 10, "it waited behind {meanwhile} of another's {NEW}");

    let renewed = async || {
        let all = scene.tokens().list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let ready = |prefix: &str, issuances: u64| {
            let like = |object: &&DynamicObject| {
                object.metadata.name.as_ref().is_some_and(|name| name.starts_with(prefix))
                    && object.data["status"]["issuances"].as_u64() >= Some(issuances)
            };
            all.iter().filter(like).count()
        };
        let (renewed, issued) = (ready("old-", 2), ready("new-", 1));
        if renewed == RENEWALS { Ok(issued) } else { Err(format!("{renewed} renewed, {issued} new")) }
    };
    let issued = eventually(SOON * 4, "all renewals", renewed).await;
    // a tenth of the budget is theirs whatever is urgent
    assert!((50..NEW).contains(&issued), "{issued} first issues went on beside the renewals");
    let report = observer.finish().await.unwrap();
    assert!(report.expired().is_zero(), "{report}");
}

/// How many of these requests were under way at once, at most.
fn at_once(exchanges: &[Exchange], matcher: &Matcher) -> usize {
    let spans = exchanges.iter().filter(|exchange| matcher.matches(&exchange.request));
    let spans: Vec<_> = spans.map(|of| (of.at, of.at + of.took.unwrap_or_default())).collect();
    spans
        .iter()
        .map(|(at, _)| spans.iter().filter(|(from, to)| from <= at && at < to).count())
        .max()
        .unwrap_or_default()
}

/// All at once, as after an install over many objects. The API server's priority and fairness refuses a client that has
/// some hundreds of requests waiting, the renewals of its Lease too.
#[tokio::test(flavor = "multi_thread")]
async fn p04_a_crowd_of_first_issues_costs_each_one_read_and_two_writes_a_few_at_a_time() {
    const OBJECTS: usize = 500;
    let scene = Scene::new("rush", OPERATOR).await.unwrap();
    let mut wide = scene.provider("indexer", &client_secret("azure-login"));
    wide["spec"]["limits"] = json!({"windows": [{"requests": 10_000, "period": "1s"}], "concurrency": 64});
    scene.apply(&wide).await.unwrap();
    let names: Vec<_> = (0..OBJECTS).map(|n| format!("camera-{n:03}")).collect();
    create_all(&scene, &names).await;
    let [reads, writes] = [Matcher::get("secrets"), Matcher::patch("secrets")];
    let statuses = Matcher::patch("videoaccesstokens/status");
    let _slow = [&reads, &statuses].map(|matcher| scene.proxy.delay(matcher.clone(), Duration::from_millis(100)));
    let _operator = scene.operator().await.unwrap();
    all_at_rest(&scene, &names, 1).await;
    let log = scene.proxy.log();
    assert!(!log.iter().any(|exchange| exchange.status == Some(429)), "the API server refuses some");
    let objects = OBJECTS as u64;
    // the credential is read again if its watch begins while the provider is resolved
    let credential = scene.proxy.count(&Matcher::get("secrets").name("azure-login"));
    assert!((1..=2).contains(&credential), "{credential} reads of the credential");
    let each = [&reads, &writes, &statuses].map(|matcher| scene.proxy.count(matcher));
    assert_eq!(each, [objects + credential, objects, objects], "reads, writes and statuses");
    let most = [&reads, &statuses].map(|matcher| at_once(&log, matcher));
    assert!(most.iter().all(|most| (2..=32).contains(most)), "{most:?} reads and statuses at once");

    // another shape of all of them is as large a crowd
    let _slow = scene.proxy.delay(writes.clone(), Duration::from_millis(100));
    patch_all(&scene, &names, &json!({"spec": {"secret": {"template": {"labels": {"floor": "3"}}}}})).await;
    eventually(SOON * 4, "all Secrets in the new shape", async || match scene.proxy.count(&writes) {
        count if count >= 2 * objects => Ok(()),
        count => Err(count),
    })
    .await;
    let most = at_once(&scene.proxy.log()[log.len()..], &writes);
    assert!((2..=32).contains(&most), "{most} Secrets are written at once");
    assert_eq!(scene.issued(), OBJECTS, "and no other token is issued");
}

/// A wait of more than half a minute behind hundreds of others. Before, each object that waited so long wrote a status
/// that said so, while the API server was the bottleneck.
#[tokio::test(flavor = "multi_thread")]
async fn p04_a_long_queue_is_reported_by_the_provider_and_not_by_each_object() {
    const OBJECTS: usize = 400;
    let scene = Scene::new("queue", OPERATOR).await.unwrap();
    let mut narrow = scene.provider("indexer", &client_secret("azure-login"));
    narrow["spec"]["limits"] = json!({"windows": [{"requests": 8, "period": "1s"}], "concurrency": 16});
    scene.apply(&narrow).await.unwrap();
    let names: Vec<_> = (0..OBJECTS).map(|n| format!("camera-{n:03}")).collect();
    create_all(&scene, &names).await;
    let operator = scene.operator().await.unwrap();
    let long = |object: &Value| object["status"]["queue"]["waiting"].as_u64().is_some_and(|waiting| waiting > 100);
    let provider = scene.until_provider("indexer", "reports its queue", long).await.unwrap();
    let queue = &provider["status"]["queue"];
    let served_at: chrono::DateTime<chrono::Utc> = queue["servedAt"].as_str().unwrap().parse().unwrap();
    let expected = (served_at - chrono::Utc::now()).num_seconds();
    assert!((10..120).contains(&expected), "the last is expected in {expected} s: {queue}");
    let scraped = operator.metrics().await.unwrap();
    let labels = [("kind", "TokenProvider"), ("namespace", &*scene.namespace), ("name", "indexer")];
    assert!(scraped.sum("videotoken_provider_queue_length", &labels).is_some_and(|waiting| waiting > 50.0));

    all_at_rest(&scene, &names, 1).await;
    let statuses = scene.proxy.count(&Matcher::patch("videoaccesstokens/status"));
    // the last hundred may report their own wait, where the machine is slow
    assert!((OBJECTS..=OBJECTS + 100).contains(&usize::try_from(statuses).unwrap()), "{statuses} statuses");
    assert_eq!(scene.issued(), OBJECTS);
    let empty = |object: &Value| object["status"]["queue"].is_null();
    scene.until_provider("indexer", "reports no queue", empty).await.unwrap();
}
