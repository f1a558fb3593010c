//! ArcGIS Video Server from YAML to Secret to the player that uses the token, and how servers differ.

use crate::OPERATOR;
use serde_json::{Value, json};
use std::sync::Arc;
use testkit::emulator::{ArcgisManners, ArcgisVideoServer, Emulator as _, Serving, arcgis_example as example};
use testkit::scene::{Scene, condition};

const REFERER: &str = "https://lobby.contoso.example/player";

/// A namespace with the example's user in a provider named `cameras`; `extra` goes over the provider's type.
async fn scene(prefix: &str, extra: &Value) -> (Scene, Serving<ArcgisVideoServer>) {
    let mut scene = Scene::bare(prefix, OPERATOR).await.unwrap();
    let serving = Serving::start(ArcgisVideoServer::furnished(), &Arc::clone(scene.azure.ca())).await.unwrap();
    scene.allow(&serving);
    let login = json!({"username": example::USERNAME, "password": example::PASSWORD});
    scene.apply(&scene.keys("video-server-login", &serving.host(), &login)).await.unwrap();
    let mut server = json!({"url": format!("{}{}", serving.url(), example::ADMIN_ROOT),
        "usernameRef": {"name": "video-server-login", "key": "username"},
        "passwordRef": {"name": "video-server-login", "key": "password"}});
    for (name, value) in extra.as_object().into_iter().flatten() {
        server[name] = value.clone();
    }
    let provider = scene.provider_of("cameras", &serving.ca_pem(), &json!({"arcgisVideoServer": server}));
    scene.apply(&provider).await.unwrap();
    (scene, serving)
}

/// A token that the lobby's player uses.
fn token(scene: &Scene, name: &str) -> Value {
    scene.token_of(name, "cameras", &json!({"arcgisVideoServer": {"referer": REFERER}}), &json!({}))
}

/// What the server tells a player that sends this Referer.
async fn services(scene: &Scene, serving: &Serving<ArcgisVideoServer>, token: &str, referer: &str) -> Value {
    let url = format!("{}{}?f=json&token={token}", serving.url(), example::SERVICES);
    let client = scene.azure.client().unwrap();
    client.get(url).header("referer", referer).send().await.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_differs_in_every_way_is_served_too() {
    let extra = json!({"extraParameters": {"user": "$(username)", "username": ""}});
    let (scene, serving) = scene("arcgis-user", &extra).await;
    serving.speak(ArcgisManners { wants_user: true, flat_errors: true, texts: true, ..ArcgisManners::default() });
    let _operator = scene.operator().await.unwrap();
    let mut token = token(&scene, "lobby");
    token["spec"]["scope"] = json!({"arcgisVideoServer": {"requestIp": {}}});
    token["spec"]["lifetime"] = "90m".into();
    let object = scene.ready(&token).await.unwrap();
    assert_eq!(condition(&object, "Ready")["reason"], "TokenIssued");
    let held = scene.settled_at(serving.control(), "lobby").await.unwrap();
    let known = serving.control().knows(&held).unwrap();
    assert_eq!((known.expires_at - known.issued_at).num_minutes(), 90);
    let found = services(&scene, &serving, &held, "").await;
    assert_eq!(found["services"][0]["serviceName"], "lobby", "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_sites_administrator_is_told_and_can_be_refused() {
    let (scene, serving) = scene("arcgis-psa", &json!({})).await;
    serving.speak(ArcgisManners { administrator: true, ..ArcgisManners::default() });
    let mut operator = scene.operator().await.unwrap();
    scene.ready(&token(&scene, "lobby")).await.unwrap();
    let told = |object: &Value| condition(object, "Overprivileged")["reason"] == "SiteAdministrator";
    let object = scene.until_that("lobby", "tells of its rights", told).await.unwrap();
    assert_eq!(condition(&object, "Overprivileged")["status"], "True");
    let event = ("Warning".to_owned(), "SiteAdministrator".to_owned(), 1);
    scene.until_events("lobby", |told| told.contains(&event)).await;
    // a restart forgets nothing
    operator.terminate().await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.touch("lobby").await.unwrap();
    scene.settled_at(serving.control(), "lobby").await.unwrap();
    scene.until_that("lobby", "still tells", told).await.unwrap();

    let refuse = json!({"spec": {"arcgisVideoServer": {"refuseSiteAdministrator": true}}});
    scene.patch_provider("cameras", &refuse).await.unwrap();
    let is_read = |provider: &Value| provider["status"]["observedGeneration"] == provider["metadata"]["generation"];
    scene.until_provider("cameras", "is read", is_read).await.unwrap();
    scene.apply(&token(&scene, "garage")).await.unwrap();
    let refused = |object: &Value| condition(object, "Stalled")["reason"] == "SiteAdministrator";
    scene.until_that("garage", "is refused", refused).await.unwrap();

    // another user's rights end the warning with the next token
    serving.speak(ArcgisManners::default());
    scene.force_renewal("lobby").await.unwrap();
    let plain = |object: &Value| object["status"]["issuances"] == 2 && condition(object, "Overprivileged").is_null();
    scene.until_that("lobby", "has no such rights", plain).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_with_its_operation_and_a_token_that_is_sent_along_are_served() {
    let (scene, serving) = scene("arcgis-portal", &json!({})).await;
    let keys = scene.keys("along", &serving.host(), &json!({"token": "a-token-of-the-servers"}));
    scene.apply(&keys).await.unwrap();
    let url = format!("{}{}/generateToken", serving.url(), example::ADMIN_ROOT);
    let token_ref = json!({"name": "along", "key": "token"});
    let change = json!({"spec": {"arcgisVideoServer": {"url": url, "tokenRef": token_ref}}});
    scene.patch_provider("cameras", &change).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.ready(&token(&scene, "lobby")).await.unwrap();
    let requests = serving.control().requests();
    assert_eq!(requests[0].call.form("token").as_deref(), Some("a-token-of-the-servers"));

    // as the workload uses it
    let held = scene.settled_at(serving.control(), "lobby").await.unwrap();
    let found = services(&scene, &serving, &held, REFERER).await;
    assert_eq!(found["services"][0]["serviceName"], "lobby", "{found}");
    let refused = services(&scene, &serving, &held, "https://elsewhere.example").await;
    assert_eq!(refused["error"]["code"], 498, "{refused}");
    assert_eq!(serving.failed_logins(example::USERNAME), []);
}
