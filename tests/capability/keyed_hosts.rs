//! Where a key may be sent: to its product's own hosts as it is, to any other only if the operator's admin and the
//! Secret name it. Providers tell before anything is called.

use crate::OPERATOR;
use kube::Api;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use testkit::emulator::{CognitiveServices, Emulator as _, Serving, cognitive_example as example};
use testkit::scene::{SOON, Scene, condition};
use testkit::stand::eventually;
use testkit::stand::wait::own_kind;

async fn until_provider(scene: &Scene, name: &str, reason: &str) -> Value {
    let api: Api<DynamicObject> =
        Api::namespaced_with(scene.client.clone(), &scene.namespace, &own_kind("TokenProvider"));
    eventually(SOON, &format!("{name} says {reason}"), async || {
        let object = api.get(name).await.map_err(|error| error.to_string())?;
        let object = serde_json::to_value(object).map_err(|error| error.to_string())?;
        let ready = condition(&object, "Ready");
        if ready["reason"] == reason { Ok(ready) } else { Err(object["status"].to_string()) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_goes_to_its_products_own_hosts_and_where_admin_and_secret_let_it() {
    let mut scene = Scene::bare("hosts", OPERATOR).await.unwrap();
    let services = CognitiveServices::furnished().unwrap();
    let serving = Serving::start(services, scene.azure.ca()).await.unwrap();
    scene.allow(&serving);
    let _operator = scene.operator().await.unwrap();
    let mut key = scene.keys("key", "", &json!({"key": example::KEY}));
    key["metadata"].as_object_mut().unwrap().remove("annotations");
    scene.apply(&key).await.unwrap();
    let reference = json!({"name": "key", "key": "key"});
    let face = |endpoint: &str| json!({"cognitiveServices": {"endpoint": endpoint, "keyRef": reference}});
    let classic = |endpoint: &str| {
        json!({"videoIndexerClassic": {"endpoint": endpoint, "location": "trial", "subscriptionKeyRef": reference,
            "accountId": "4f1c2d7e-93b4-4a58-8c1b-6a0e2d9f7b35"}})
    };
    let blend = |endpoint: &str| json!({"blendVision": {"endpoint": endpoint, "organization": "contoso", "apiTokenRef": reference}});
    // a server on the premises has no host that is its product's own
    let arcgis =
        |url: &str| json!({"arcgisVideoServer": {"url": url, "usernameRef": reference, "passwordRef": reference}});
    let cases = [
        ("own", face("https://contoso-face.cognitiveservices.azure.com/"), "Configured"),
        ("regional", face("https://virginia.api.cognitive.microsoft.us"), "Configured"),
        ("classic", classic("https://api.videoindexer.ai"), "Configured"),
        ("allowed", face(&serving.url()), "CredentialsHostNotAllowed"),
        ("classic-allowed", classic(&serving.url()), "CredentialsHostNotAllowed"),
        ("lookalike", face("https://cognitiveservices.azure.com.example"), "HostNotAllowed"),
        ("classic-other", classic("https://api.videoindexer.ai.example"), "HostNotAllowed"),
        ("blend", blend("https://api.one.blendvision.com"), "Configured"),
        ("blend-allowed", blend(&serving.url()), "CredentialsHostNotAllowed"),
        ("blend-other", blend("https://one.blendvision.com"), "HostNotAllowed"),
        ("arcgis-allowed", arcgis(&format!("{}/arcgis/admin", serving.url())), "CredentialsHostNotAllowed"),
        ("arcgis-other", arcgis("https://video.contoso.example:21443/arcgis/admin"), "HostNotAllowed"),
        ("plain", face("http://westus.api.cognitive.microsoft.com"), "Configured"),
    ];
    for (name, spec, _) in &cases {
        let mut provider = scene.provider_of(name, &serving.ca_pem(), spec);
        // with a CA of the namespace's own no host is its product's
        if !spec.to_string().contains(&serving.host()) {
            provider["spec"].as_object_mut().unwrap().remove("caBundle");
        }
        scene.apply(&provider).await.unwrap();
    }
    for (name, _, reason) in &cases {
        let ready = until_provider(&scene, name, reason).await;
        let message = ready["message"].as_str().unwrap();
        match *reason {
            "HostNotAllowed" => assert!(message.contains(": a namespaced provider may not call"), "{message}"),
            "CredentialsHostNotAllowed" => {
                assert!(message.contains("Ref: "), "{message}");
                assert!(message.contains(&format!("videotoken.dev/allowed-hosts={}", serving.host())), "{message}");
            }
            _ => {}
        }
    }
    // plain http is found out before the key is sent
    let scope = json!({"cognitiveServices": {"service": {}}});
    scene.apply(&scene.token_of("plain", "plain", &scope, &json!({}))).await.unwrap();
    scene.until("plain", "Stalled", "True", "InsecureEndpoint").await.unwrap();

    assert_eq!(serving.control().counters().requests, 0);
    scene.apply(&scene.token_of("speech", "allowed", &scope, &json!({}))).await.unwrap();
    scene.until("speech", "Stalled", "True", "CredentialsHostNotAllowed").await.unwrap();
    scene.apply(&scene.keys("key", &serving.host(), &json!({"key": example::KEY}))).await.unwrap();
    scene.settled_at(serving.control(), "speech").await.unwrap();
}
