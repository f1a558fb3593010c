//! P07: where failed logins lock a user, no number of objects, provider objects, restarts and leaders locks it.

use crate::OPERATOR;
use chrono::{DateTime, TimeDelta, Utc};
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use serde_json::{Value, json};
use testkit::emulator::{ArcgisVideoServer, Emulator as _, Fault, Serving, arcgis_example as example};
use testkit::scene::{SOON, Scene, condition};
use testkit::stand::wait::own_kind;
use testkit::stand::{Failure, Matcher, Operator, eventually, yaml};

/// As many failed logins as may be seen in any quarter of an hour.
const MOST: usize = 3;

/// A server on the premises, and a namespace with an operator that may call it.
struct Premises {
    scene: Scene,
    server: Serving<ArcgisVideoServer>,
}

impl Premises {
    async fn new(prefix: &str) -> Self {
        let mut scene = Scene::new(prefix, OPERATOR).await.unwrap();
        let server = Serving::start(ArcgisVideoServer::furnished(), scene.azure.ca()).await.unwrap();
        scene.allow(&server);
        Self { scene, server }
    }

    /// A `TokenProvider` and its credential Secret, both of this name.
    fn provider(&self, name: &str, password: &str) -> [Value; 2] {
        self.provider_at(name, password, &format!("{}{}", self.server.url(), example::ADMIN_ROOT))
    }

    fn provider_at(&self, name: &str, password: &str, url: &str) -> [Value; 2] {
        let host = url.trim_start_matches("https://").split('/').next().unwrap_or_default();
        let keys = json!({"username": example::USERNAME, "password": password});
        let key = |key: &str| json!({"name": name, "key": key});
        let spec = json!({"arcgisVideoServer": {"url": url, "usernameRef": key("username"),
            "passwordRef": key("password")}});
        [self.scene.keys(name, host, &keys), self.scene.provider_of(name, &self.server.ca_pem(), &spec)]
    }

    async fn apply(&self, objects: impl IntoIterator<Item = Value>) {
        for object in objects {
            self.scene.apply(&object).await.unwrap();
        }
    }

    fn token(&self, name: &str, provider: &str) -> Value {
        let scope = json!({"arcgisVideoServer": {"referer": "https://lobby.example"}});
        self.scene.token_of(name, provider, &scope, &json!({}))
    }

    /// Waits until a provider object says that it isn't ready, and why.
    async fn refused(&self, provider: &str, reason: &str) -> Value {
        let told = |object: &Value| condition(object, "Ready")["reason"] == reason;
        self.scene.until_provider(provider, &format!("says {reason}"), told).await.unwrap()
    }

    async fn has_issued(&self, provider: &str) {
        let told = |object: &Value| object["status"]["credentials"]["accepted"] == true;
        self.scene.until_provider(provider, "has issued", told).await.unwrap();
    }

    fn failed_logins(&self) -> usize {
        self.server.failed_logins(example::USERNAME).len()
    }

    /// Kills it and starts another, which has had time for all that is there.
    async fn replaced(&self, mut operator: Operator) -> Operator {
        operator.kill9();
        let operator = self.scene.operator().await.unwrap();
        self.scene.fence().await.unwrap();
        operator
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_fifty_objects_with_a_wrong_password_make_one_login_and_are_healed_at_once_by_the_right_one() {
    const OBJECTS: usize = 50;
    let premises = Premises::new("wrong-password").await;
    let Premises { scene, server } = &premises;
    premises.apply(premises.provider("premises", "not this one")).await;
    let mut operator = scene.operator().await.unwrap();
    let name = |n: usize| format!("camera-{n}");
    for n in 0..OBJECTS {
        scene.apply(&premises.token(&name(n), "premises")).await.unwrap();
    }
    premises.refused("premises", "CredentialRejected").await;
    for _ in 0..2 {
        operator = premises.replaced(operator).await;
    }
    assert_eq!(premises.failed_logins(), 1, "one tried for all, whatever restarts");

    scene.patch_secret("premises", &json!({"stringData": {"password": example::PASSWORD}})).await.unwrap();
    for n in 0..OBJECTS {
        scene.settled_at(server.control(), &name(n)).await.unwrap();
    }
    assert_eq!((premises.failed_logins(), server.is_locked(example::USERNAME)), (1, false));
    assert!(operator.exited().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_wrong_passwords_of_many_namespaces_make_three_logins_whatever_restarts_and_leads() {
    const PROVIDERS: usize = 6;
    let mut premises = Premises::new("many-wrong").await;
    let lease = ["--lease-duration=12s", "--lease-renew-deadline=10s", "--lease-retry-period=1s"];
    premises.scene.options.leader_elect = true;
    premises.scene.options.args.extend(lease.map(str::to_owned));
    let other = premises.scene.plane.namespace("many-wrong-too").await.unwrap();
    premises.scene.options.watch_namespaces.push(other.clone());
    let scene = &premises.scene;
    let name = |n: usize| format!("premises-{n}");
    for n in 0..PROVIDERS {
        let mut objects = premises.provider(&name(n), &format!("wrong, the {n}th time")).to_vec();
        objects.extend((0..5).map(|m| premises.token(&format!("camera-{n}-{m}"), &name(n))));
        for mut object in objects {
            if n % 2 == 1 {
                object["metadata"]["namespace"] = other.as_str().into();
            }
            let namespace = object["metadata"]["namespace"].as_str().unwrap();
            yaml::apply(&scene.client, namespace, &object.to_string()).await.unwrap();
        }
    }
    let mut operator = scene.operator().await.unwrap();
    eventually(SOON, "three logins", async || match premises.failed_logins() {
        MOST => Ok(()),
        n => Err(format!("{n}")),
    })
    .await;
    eventually(SOON, "the others say that they wait", async || {
        let mut reasons = Vec::new();
        for namespace in [&scene.namespace, &other] {
            let kind = own_kind("TokenProvider");
            let api: Api<DynamicObject> = Api::namespaced_with(scene.client.clone(), namespace, &kind);
            let all = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            reasons.extend(all.iter().map(|object| condition(&object.data, "Ready")["reason"].clone()));
        }
        let waiting = reasons.iter().filter(|reason| *reason == "LoginsUsedUp").count();
        if waiting == PROVIDERS - MOST { Ok(()) } else { Err(format!("{reasons:?}")) }
    })
    .await;

    operator = premises.replaced(operator).await;
    // a spare takes over
    let spare = scene.operator().await.unwrap();
    operator.kill9();
    scene.fence().await.unwrap();
    let _last = premises.replaced(spare).await;
    let failed = premises.failed_logins();
    assert_eq!((failed, premises.server.is_locked(example::USERNAME)), (MOST, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_a_credential_that_has_worked_is_not_frozen_by_the_wrong_ones_of_others() {
    let premises = Premises::new("worked").await;
    let Premises { scene, server } = &premises;
    premises.apply(premises.provider("right", example::PASSWORD)).await;
    let mut operator = scene.operator().await.unwrap();
    scene.ready(&premises.token("lobby", "right")).await.unwrap();
    premises.has_issued("right").await;
    for n in 0..4 {
        let name = format!("wrong-{n}");
        premises.apply(premises.provider(&name, &format!("wrong, the {n}th time"))).await;
        premises.apply([premises.token(&format!("camera-{n}"), &name)]).await;
    }
    eventually(SOON, "three logins", async || match premises.failed_logins() {
        MOST => Ok(()),
        n => Err(format!("{n}")),
    })
    .await;
    for issuances in [2, 3] {
        scene.force_renewal("lobby").await.unwrap();
        scene.until_that("lobby", "renewed", |object| object["status"]["issuances"] == issuances).await.unwrap();
        operator = premises.replaced(operator).await;
    }
    assert_eq!((premises.failed_logins(), server.is_locked(example::USERNAME)), (MOST, false));
    assert!(operator.exited().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_a_password_that_is_changed_at_the_server_costs_one_login_of_all_objects() {
    const OBJECTS: usize = 10;
    let premises = Premises::new("changed-password").await;
    let Premises { scene, server } = &premises;
    premises.apply(premises.provider("premises", example::PASSWORD)).await;
    let _operator = scene.operator().await.unwrap();
    let name = |n: usize| format!("camera-{n}");
    for n in 0..OBJECTS {
        scene.ready(&premises.token(&name(n), "premises")).await.unwrap();
    }
    premises.has_issued("premises").await;
    server.set_user(example::USERNAME, "another");
    for n in 0..OBJECTS {
        scene.force_renewal(&name(n)).await.unwrap();
    }
    let told = premises.refused("premises", "CredentialRejected").await;
    assert_eq!(told["status"]["loginAttempts"].as_array().map(Vec::len), Some(1), "it counts: {}", told["status"]);
    scene.patch_secret("premises", &json!({"stringData": {"password": "another"}})).await.unwrap();
    for n in 0..OBJECTS {
        scene.until_that(&name(n), "renewed", |object| object["status"]["issuances"] == 2).await.unwrap();
    }
    assert_eq!((premises.failed_logins(), server.is_locked(example::USERNAME)), (1, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_a_login_that_cant_be_written_down_isnt_made() {
    let premises = Premises::new("unwritten").await;
    let Premises { scene, server } = &premises;
    premises.apply(premises.provider("premises", example::PASSWORD)).await;
    let refused = scene.proxy.fail(Matcher::patch("tokenproviders/status"), Failure::Status(500));
    let _operator = scene.operator().await.unwrap();
    scene.apply(&premises.token("lobby", "premises")).await.unwrap();
    eventually(SOON, "the operator has tried to write it down", async || match refused.hits() {
        hits if hits >= 3 => Ok(()),
        hits => Err(hits.to_string()),
    })
    .await;
    assert_eq!(server.control().requests().len(), 0, "no login before it is written down");
    drop(refused);
    scene.settled_at(server.control(), "lobby").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_logins_whose_answer_is_lost_count() {
    let premises = Premises::new("lost-answers").await;
    let Premises { scene, server } = &premises;
    premises.apply(premises.provider("premises", example::PASSWORD)).await;
    server.control().play(Fault::ConnectionReset);
    let mut operator = scene.operator().await.unwrap();
    scene.apply(&premises.token("lobby", "premises")).await.unwrap();
    let told = premises.refused("premises", "LoginsUsedUp").await;
    assert_eq!(told["status"]["loginAttempts"].as_array().map(Vec::len), Some(MOST), "{}", told["status"]);
    let said = condition(&told, "Ready")["message"].as_str().unwrap().to_owned();
    // the token tells when
    let held = |object: &Value| object["status"]["heldUntil"].is_string();
    let lobby = scene.until_that("lobby", "says when the next login is made", held).await.unwrap();
    let until = lobby["status"]["heldUntil"].as_str().unwrap();
    assert!(said.ends_with(&format!("makes the next login at {until}.")), "{said} {until}");
    let wait = until.parse::<DateTime<Utc>>().unwrap() - Utc::now();
    assert!((TimeDelta::minutes(14)..=TimeDelta::minutes(16)).contains(&wait), "{until}");
    assert_eq!(condition(&lobby, "Issuing")["reason"], "LoginsUsedUp");

    scene.force_renewal("lobby").await.unwrap();
    operator = premises.replaced(operator).await;
    assert_eq!(server.control().requests().len(), MOST, "whatever is asked for, and whoever restarts");
    assert!(operator.exited().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_windows_authentication_before_the_server_costs_no_login() {
    let premises = Premises::new("windows").await;
    let Premises { scene, server } = &premises;
    premises.apply(premises.provider("premises", example::PASSWORD)).await;
    let headers = [("www-authenticate", "Negotiate"), ("content-type", "text/html")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    server.control().play(Fault::Status { code: 401, body: "<html>401 - Unauthorized</html>".to_owned(), headers });
    let _operator = scene.operator().await.unwrap();
    scene.apply(&premises.token("lobby", "premises")).await.unwrap();
    let lobby = scene.until("lobby", "Stalled", "True", "WindowsAuthentication").await.unwrap();
    let said = condition(&lobby, "Stalled")["message"].as_str().unwrap().to_owned();
    assert!(said.contains("asks for Windows authentication") && said.contains("spec.arcgisVideoServer.url"), "{said}");
    for _ in 0..MOST {
        let before = server.control().requests().len();
        scene.touch("lobby").await.unwrap();
        eventually(SOON, "another try", async || match server.control().requests().len() {
            after if after > before => Ok(()),
            after => Err(after.to_string()),
        })
        .await;
    }
    server.control().clear_faults();
    scene.touch("lobby").await.unwrap();
    scene.settled_at(server.control(), "lobby").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_logins_that_reach_nobody_dont_count() {
    let premises = Premises::new("nobody").await;
    let Premises { scene, server } = &premises;
    let gone = Serving::start(ArcgisVideoServer::furnished(), scene.azure.ca()).await.unwrap();
    let nobody = format!("{}{}", gone.url(), example::ADMIN_ROOT);
    let mut options = scene.options.clone();
    options.allowed_endpoints.push(gone.host());
    drop(gone);
    premises.apply(premises.provider_at("premises", example::PASSWORD, &nobody)).await;
    let _operator = Operator::start(&options).await.unwrap();
    scene.apply(&premises.token("lobby", "premises")).await.unwrap();
    let tried = |object: &Value| object["status"]["failedAttempts"].as_u64() > Some(MOST as u64);
    let lobby = scene.until_that("lobby", "tried more often than logins may fail", tried).await.unwrap();
    assert_eq!(lobby["status"]["lastFailure"]["reason"], "ConnectFailed");
    // the right address is called at once
    premises.apply(premises.provider("premises", example::PASSWORD)).await;
    scene.settled_at(server.control(), "lobby").await.unwrap();
    assert_eq!(premises.failed_logins(), 0);
}
