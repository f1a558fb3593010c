//! BlendVision from YAML to Secret to the player's session: playback tokens, tokens without an end or with a fixed one,
//! and an API token that ends.

use crate::OPERATOR;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use testkit::emulator::{ApiToken, BlendVision, Emulator as _, Serving, blend_vision_example as example};
use testkit::scene::{SOON, Scene, condition};

/// A namespace with the example's organization in a provider named `studio`, and an API token that works.
async fn scene(prefix: &str) -> (Scene, Serving<BlendVision>) {
    let mut scene = Scene::bare(prefix, OPERATOR).await.unwrap();
    let (blend_vision, api_token) = BlendVision::furnished().unwrap();
    let serving = Serving::start(blend_vision, scene.azure.ca()).await.unwrap();
    scene.allow(&serving);
    let account = json!({"endpoint": serving.url(), "organization": example::ORGANIZATION,
        "apiTokenRef": {"name": "blend-vision", "key": "api-token"}});
    scene.apply(&scene.keys("blend-vision", &serving.host(), &json!({"api-token": api_token}))).await.unwrap();
    let provider = scene.provider_of("studio", &serving.ca_pem(), &json!({"blendVision": account}));
    scene.apply(&provider).await.unwrap();
    (scene, serving)
}

/// A token of this kind for the example's video; `changes` go over the token's spec.
fn token(scene: &Scene, name: &str, kind: &str, more: &Value, changes: &Value) -> Value {
    let mut asked = json!({"resourceId": example::VOD_ID, "resourceType": "RESOURCE_TYPE_VOD"});
    for (member, value) in more.as_object().into_iter().flatten() {
        asked[member] = value.clone();
    }
    scene.token_of(name, "studio", &json!({"blendVision": {kind: asked}}), changes)
}

fn resource(scene: &Scene, name: &str) -> Value {
    token(scene, name, "resource", &json!({}), &json!({}))
}

/// What a player gets that starts a session with this token.
async fn session(scene: &Scene, serving: &Serving<BlendVision>, token: &str) -> Value {
    let url = format!("{}/bv/playback/v1/sessions/device-1:start", serving.url());
    let client = scene.azure.client().unwrap();
    client.post(url).header("authorization", token).send().await.unwrap().json().await.unwrap()
}

fn life(object: &Value) -> TimeDelta {
    let time = |member: &str| object["status"][member].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    time("expiresAt") - time("issuedAt")
}

#[tokio::test(flavor = "multi_thread")]
async fn p13_a_playback_token_tells_no_end_and_lives_as_long_as_was_asked() {
    let (scene, serving) = scene("blend-player").await;
    let _operator = scene.operator().await.unwrap();
    let viewer = json!({"customerId": "viewer-1"});
    let object = token(&scene, "player", "playback", &viewer, &json!({"lifetime": "30s"}));
    scene.apply(&object).await.unwrap();
    let object = scene.until("player", "Ready", "True", "ExpiryAssumed").await.unwrap();
    assert_eq!(life(&object), TimeDelta::seconds(30));
    let first = scene.held("player").await.unwrap();
    assert_eq!(session(&scene, &serving, &first).await["resource_id"], example::VOD_ID);
    scene.until_that("player", "renewed", |object| object["status"]["issuances"] == 2).await.unwrap();
    let second = scene.settled_at(serving.control(), "player").await.unwrap();
    assert_ne!(second, first);
    assert_eq!(session(&scene, &serving, &second).await["resource_id"], example::VOD_ID);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_token_is_issued_only_where_never_expires_asks_for_it() {
    let (scene, serving) = scene("blend-endless").await;
    let _operator = scene.operator().await.unwrap();
    let endless = token(&scene, "archive", "resource", &json!({"neverExpires": true}), &json!({}));
    let object = scene.ready(&endless).await.unwrap();
    assert_eq!(life(&object), TimeDelta::days(36_500));
    assert_eq!(condition(&object, "Ready")["reason"], "TokenIssued");
    scene.settled_at(serving.control(), "archive").await.unwrap();

    let object = scene.ready(&resource(&scene, "trailer")).await.unwrap();
    assert_eq!(life(&object), TimeDelta::hours(1));
    let requests = serving.control().requests();
    let asked = |n: usize| requests[n].call.json().unwrap()["expires_in"].clone();
    assert_eq!((requests.len(), asked(0), asked(1)), (2, Value::Null, json!("3600s")));

    // asked for an end after all, it is issued anew
    scene.apply(&resource(&scene, "archive")).await.unwrap();
    // of two tokens within a second the later has the next second's issued-at
    let hour = |life: TimeDelta| (3599..=3600).contains(&life.num_seconds());
    let shorter = |object: &Value| object["status"]["issuances"] == 2 && hour(life(object));
    scene.until_that("archive", "has an end", shorter).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_token_that_ends_is_told_of_refused_once_and_heals_when_it_is_replaced() {
    let (scene, serving) = scene("blend-401").await;
    let control = serving.control();
    let ended = DateTime::from_timestamp(Utc::now().timestamp() - 60, 0);
    let ended = serving.add_api_token(&ApiToken { expires_at: ended, ..ApiToken::of(example::ORGANIZATION) });
    scene.patch_secret("blend-vision", &json!({"stringData": {"api-token": ended}})).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.apply(&resource(&scene, "trailer")).await.unwrap();
    let refused = |object: &Value| object["status"]["lastFailure"]["reason"] == "Unauthorized";
    let object = scene.until_that("trailer", "is refused", refused).await.unwrap();
    let failure = &object["status"]["lastFailure"];
    assert!(failure["message"].as_str().unwrap().ends_with(": create another"), "{failure}");
    let end = DateTime::from_timestamp(Utc::now().timestamp() + 7 * 24 * 3_600, 0);
    let fresh = serving.add_api_token(&ApiToken { expires_at: end, ..ApiToken::of(example::ORGANIZATION) });
    scene.patch_secret("blend-vision", &json!({"stringData": {"api-token": fresh}})).await.unwrap();
    scene.settled_at(control, "trailer").await.unwrap();
    assert_eq!(control.counters().requests, 2, "the one that ended was tried once");
    let told = |object: &Value| object["status"]["credentialsExpireAt"].is_string();
    let provider = scene.until_provider("studio", "tells when its API token ends", told).await.unwrap();
    let told: DateTime<Utc> = provider["status"]["credentialsExpireAt"].as_str().unwrap().parse().unwrap();
    assert_eq!(Some(told), end);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_a_fixed_end_is_issued_once_and_is_done_at_its_end() {
    let (scene, serving) = scene("blend-until").await;
    let _operator = scene.operator().await.unwrap();
    let end = Utc::now() + TimeDelta::seconds(20);
    let until = |end: DateTime<Utc>| json!({"expiredAt": end.format("%FT%TZ").to_string()});
    let object = scene.ready(&token(&scene, "premiere", "resource", &until(end), &json!({}))).await.unwrap();
    let expires: DateTime<Utc> = object["status"]["expiresAt"].as_str().unwrap().parse().unwrap();
    // the emulator counts in whole seconds, and a life counts from the sending
    assert!(expires <= end && end - expires < TimeDelta::seconds(15), "{expires} {end}");
    let asked = serving.control().requests()[0].call.json().unwrap();
    assert_eq!((&asked["expired_at"], &asked["expires_in"]), (&until(end)["expiredAt"], &Value::Null));
    let done = |object: &Value| condition(object, "Ready")["reason"] == "Ended";
    let object = scene.until_within(SOON * 2, "premiere", "is done", done).await.unwrap();
    assert!(Utc::now() >= expires, "done at its end, not before");
    let message = condition(&object, "Stalled")["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("spec.scope.blendVision.resource.expiredAt: has passed"), "{message}");
    assert_eq!(object["status"]["expiresAt"], Value::Null, "nothing waits for its end");
    let event = ("Normal".to_owned(), "Ended".to_owned(), 1);
    scene.until_events("premiere", |told| told.contains(&event)).await;
    assert_eq!(serving.control().counters().requests, 1, "one for its whole life");

    // a later end asks for another
    let later = Utc::now() + TimeDelta::hours(1);
    scene.apply(&token(&scene, "premiere", "resource", &until(later), &json!({}))).await.unwrap();
    scene.until_that("premiere", "goes on", |object| object["status"]["issuances"] == 2).await.unwrap();
    scene.settled_at(serving.control(), "premiere").await.unwrap();
}
