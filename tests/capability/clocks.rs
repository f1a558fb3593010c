//! Providers whose clocks are wrong, and providers that tell an end that can't be: four of the five APIs (P19).

use crate::OPERATOR;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use std::sync::Arc;
use testkit::emulator::{
    ArcgisVideoServer, BlendVision, CognitiveServices, Control, Emulator as _, Fault, Serving, arcgis_example,
    blend_vision_example, cognitive_example,
};
use testkit::scene::{Scene, client_secret, condition};

/// A namespace with a provider of each kind.
struct Stand {
    scene: Scene,
    arcgis: Serving<ArcgisVideoServer>,
    blend_vision: Serving<BlendVision>,
    cognitive: Serving<CognitiveServices>,
}

const TYPES: [&str; 4] = ["arcgis", "blend", "speech", "indexer"];

impl Stand {
    async fn start(prefix: &str) -> Self {
        let mut scene = Scene::bare(prefix, OPERATOR).await.unwrap();
        let ca = scene.azure.ca().clone();
        let arcgis = Serving::start(ArcgisVideoServer::furnished(), &ca).await.unwrap();
        let (blend_vision, api_token) = BlendVision::furnished().unwrap();
        let blend_vision = Serving::start(blend_vision, &ca).await.unwrap();
        let cognitive = Serving::start(CognitiveServices::furnished().unwrap(), &ca).await.unwrap();
        scene.allow(&arcgis);
        scene.allow(&blend_vision);
        scene.allow(&cognitive);
        let hosts = [arcgis.host(), blend_vision.host(), cognitive.host()].join(",");
        let keys = json!({"username": arcgis_example::USERNAME, "password": arcgis_example::PASSWORD,
            "api-token": api_token, "key": cognitive_example::KEY});
        scene.apply(&scene.keys("keys", &hosts, &keys)).await.unwrap();
        let key = |name: &str| json!({"name": "keys", "key": name});
        let root = format!("{}{}", arcgis.url(), arcgis_example::ADMIN_ROOT);
        for (name, spec) in [
            (
                "arcgis",
                json!({"arcgisVideoServer": {"url": root, "usernameRef": key("username"),
                "passwordRef": key("password")}}),
            ),
            (
                "blend",
                json!({"blendVision": {"endpoint": blend_vision.url(),
                "organization": blend_vision_example::ORGANIZATION, "apiTokenRef": key("api-token")}}),
            ),
            ("speech", json!({"cognitiveServices": {"endpoint": cognitive.url(), "keyRef": key("key")}})),
        ] {
            scene.apply(&scene.provider_of(name, &arcgis.ca_pem(), &spec)).await.unwrap();
        }
        scene.apply(&scene.credentials("azure-login", testkit::emulator::example::CLIENT_SECRET)).await.unwrap();
        scene.apply(&scene.provider("indexer", &client_secret("azure-login"))).await.unwrap();
        Self { scene, arcgis, blend_vision, cognitive }
    }

    fn control(&self, type_: &str) -> &Arc<Control> {
        match type_ {
            "arcgis" => self.arcgis.control(),
            "blend" => self.blend_vision.control(),
            "speech" => self.cognitive.control(),
            _ => self.scene.azure.video_indexer.control(),
        }
    }

    /// A token of this type: of an hour, or of the ten minutes that a service token has.
    fn token(&self, type_: &str, name: &str) -> Value {
        let hour = json!({"lifetime": "1h"});
        let resource = json!({"resourceId": blend_vision_example::VOD_ID, "resourceType": "RESOURCE_TYPE_VOD"});
        match type_ {
            "arcgis" => {
                let scope = json!({"arcgisVideoServer": {"referer": "https://lobby.example"}});
                self.scene.token_of(name, "arcgis", &scope, &hour)
            }
            "blend" => self.scene.token_of(name, "blend", &json!({"blendVision": {"resource": resource}}), &hour),
            "speech" => self.scene.token_of(name, "speech", &json!({"cognitiveServices": {"service": {}}}), &json!({})),
            _ => self.scene.token(name, &json!({})),
        }
    }

    fn issued(&self) -> Vec<usize> {
        TYPES.iter().map(|type_| self.control(type_).tokens().len()).collect()
    }
}

fn time(object: &Value, member: &str) -> DateTime<Utc> {
    object["status"][member].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn p19_no_skew_of_a_providers_clock_shortens_a_token_keeps_it_dead_or_discards_it() {
    let stand = Stand::start("clocks").await;
    let scene = &stand.scene;
    let mut operator = scene.operator().await.unwrap();
    let skews = [("a", 2 * 60), ("b", -2 * 60), ("c", 15), ("d", -15)];
    for (name, minutes) in skews {
        for type_ in TYPES {
            stand.control(type_).set_clock_ahead(TimeDelta::minutes(minutes));
            scene.apply(&stand.token(type_, &format!("{type_}-{name}"))).await.unwrap();
        }
        for type_ in TYPES {
            let name = format!("{type_}-{name}");
            let token = scene.settled_at(stand.control(type_), &name).await.unwrap();
            let right = stand.control(type_).knows(&token).unwrap().expires_at;
            let object = scene.until(&name, "Ready", "True", "TokenIssued").await.unwrap();
            let off = time(&object, "expiresAt") - right;
            assert!(off.num_seconds().abs() <= 3, "{name}: {minutes} min ahead: off by {off}");
            let (issued, renewed) = (time(&object, "issuedAt"), time(&object, "renewAt"));
            assert!(renewed > issued + (right - issued) / 2 && renewed < right, "{name}: renewed at {renewed}");
        }
        if minutes == -120 {
            for type_ in TYPES {
                let skewed = |object: &Value| condition(object, "ClockSkewed")["status"] == "True";
                let provider = scene.until_provider(type_, "tells the skew", skewed).await.unwrap();
                let message = condition(&provider, "ClockSkewed")["message"].as_str().unwrap().to_owned();
                assert!(
                    message.starts_with("The clock of the provider is 120 minutes behind the operator's"),
                    "{message}"
                );
            }
        }
    }
    assert_eq!(stand.issued(), [skews.len(); 4], "one for each object");

    // whoever takes over believes the Secrets, whatever the tokens in them say by their own clocks
    operator.terminate().await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.apply(&stand.token("arcgis", "fence")).await.unwrap();
    scene.settled_at(stand.control("arcgis"), "fence").await.unwrap();
    for (name, type_) in skews.iter().flat_map(|(name, _)| TYPES.map(|type_| (name, type_))) {
        scene.settled_at(stand.control(type_), &format!("{type_}-{name}")).await.unwrap();
    }
    assert_eq!(stand.issued(), [skews.len() + 1, skews.len(), skews.len(), skews.len()], "none is issued again");
}

#[tokio::test(flavor = "multi_thread")]
async fn p19_an_end_beyond_what_was_asked_for_is_not_believed_and_issues_no_loop() {
    let stand = Stand::start("far-ends").await;
    let scene = &stand.scene;
    let _operator = scene.operator().await.unwrap();
    // microseconds where milliseconds are meant, seconds where milliseconds, and .NET's last moment
    let ends = [("micro", 1_790_000_000_000), ("max", 253_402_300_799)];
    for (name, end) in ends {
        for type_ in ["arcgis", "blend", "indexer"] {
            stand.control(type_).play(Fault::TellsExpiry(end));
            scene.apply(&stand.token(type_, &format!("{type_}-{name}"))).await.unwrap();
        }
        for type_ in ["arcgis", "blend", "indexer"] {
            let name = format!("{type_}-{name}");
            let object = scene.until(&name, "Ready", "True", "ExpiryAssumed").await.unwrap();
            scene.settled_at(stand.control(type_), &name).await.unwrap();
            assert_eq!(time(&object, "expiresAt") - time(&object, "issuedAt"), TimeDelta::hours(1), "{name}");
            stand.control(type_).clear_faults();
        }
    }
    for type_ in ["arcgis", "blend", "indexer"] {
        assert_eq!(stand.control(type_).tokens().len(), ends.len(), "{type_}: one for each object");
    }
}
