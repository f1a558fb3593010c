//! The six other provider types, each from its example under deploy/examples: what it changes is where the provider is
//! and what the credential Secret holds.

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::{Value, json};
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;
use testkit::emulator::{
    Access, ArcgisVideoServer, BlendVision, CognitiveServices, Control, Emulator, Platforms, Serving,
    VideoIndexerClassic, arcgis_example, classic_example, cognitive_example, platform_example,
};
use testkit::stand::controlplane::repository;
use testkit::stand::wait::{condition, own_kind, poll};
use testkit::tls::CertificateAuthority;

use crate::screen::Screen;
use crate::stand::Stand;

const SOON: Duration = Duration::from_secs(30);

/// Key of the tokens that the operator signs.
const SIGNING_KEY: &str = "kfQ2mZ7vT9xWb4Rc8sLpNd3HgYj6UaEo";

/// The emulators, and what the examples need.
pub(crate) struct Others {
    all: Vec<Other>,
    ca_pem: String,
    /// Kept running.
    _servings: Vec<Box<dyn Any + Send + Sync>>,
}

struct Other {
    /// Its product, for people.
    product: &'static str,
    /// The file of its example.
    example: &'static str,
    /// The kind of its provider object.
    kind: &'static str,
    /// What of the provider's spec is another: where it is.
    spec: Value,
    /// What its credential Secret holds.
    keys: Value,
    /// Its host and its control. `None`: the operator signs the tokens and calls nobody.
    emulator: Option<(String, Arc<Control>)>,
}

impl Others {
    /// Starts the emulators.
    pub(crate) async fn start(ca: &Arc<CertificateAuthority>) -> Result<Self> {
        let classic = Serving::start(trial_account()?, ca).await?;
        let cognitive = Serving::start(CognitiveServices::furnished()?, ca).await?;
        let (blend_vision, api_token) = BlendVision::furnished()?;
        let blend_vision = Serving::start(blend_vision, ca).await?;
        let arcgis = Serving::start(ArcgisVideoServer::furnished(), ca).await?;
        let platforms = Serving::start(Platforms::furnished()?, ca).await?;
        let all = vec![
            Other {
                product: "Video Indexer's classic API",
                example: "video-indexer-classic.yaml",
                kind: "TokenProvider",
                spec: json!({"videoIndexerClassic": {"endpoint": classic.url()}}),
                keys: json!({"subscription-key": classic_example::OWNERS_KEY}),
                emulator: Some((classic.host(), classic.control().clone())),
            },
            Other {
                product: "Cognitive Services",
                example: "cognitive-services.yaml",
                kind: "TokenProvider",
                spec: json!({"cognitiveServices": {"endpoint": cognitive.url()}}),
                keys: json!({"face": cognitive_example::KEY, "speech": cognitive_example::KEY}),
                emulator: Some((cognitive.host(), cognitive.control().clone())),
            },
            Other {
                product: "BlendVision One",
                example: "blend-vision.yaml",
                kind: "TokenProvider",
                spec: json!({"blendVision": {"endpoint": blend_vision.url()}}),
                keys: json!({"api-token": api_token}),
                emulator: Some((blend_vision.host(), blend_vision.control().clone())),
            },
            Other {
                product: "ArcGIS Video Server",
                example: "arcgis-video-server.yaml",
                kind: "ClusterTokenProvider",
                spec: json!({"caBundleRef": null,
                    "arcgisVideoServer": {"url": format!("{}{}", arcgis.url(), arcgis_example::ADMIN_ROOT)}}),
                keys: json!({"username": arcgis_example::USERNAME, "password": arcgis_example::PASSWORD}),
                emulator: Some((arcgis.host(), arcgis.control().clone())),
            },
            Other {
                product: "Cloudflare Stream, declared in YAML",
                example: "http.yaml",
                kind: "ClusterTokenProvider",
                spec: json!({"http": {"url": platforms.url()}}),
                keys: json!({"api-token": platform_example::API_TOKEN}),
                emulator: Some((platforms.host(), platforms.control().clone())),
            },
            Other {
                product: "LiveKit, signed by the operator",
                example: "signed.yaml",
                kind: "TokenProvider",
                spec: Value::Null,
                keys: json!({"api-secret": SIGNING_KEY}),
                emulator: None,
            },
        ];
        let servings: Vec<Box<dyn Any + Send + Sync>> =
            vec![Box::new(classic), Box::new(cognitive), Box::new(blend_vision), Box::new(arcgis), Box::new(platforms)];
        Ok(Self { all, ca_pem: ca.ca_pem(), _servings: servings })
    }

    /// Where they are, as `--allowed-endpoint` names them.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = String> {
        self.all.iter().filter_map(|other| other.emulator.as_ref()).map(|(host, _)| host.clone())
    }
}

/// The account that the example names.
fn trial_account() -> Result<Arc<VideoIndexerClassic>> {
    let classic = VideoIndexerClassic::new()?;
    classic.gateway().add_key(classic_example::OWNERS_KEY, "owner");
    classic.add_account("trial", classic_example::ACCOUNT_ID);
    classic.add_member(classic_example::ACCOUNT_ID, "owner", Access::Own);
    classic.add_video(classic_example::ACCOUNT_ID, classic_example::VIDEO_ID);
    Ok(classic)
}

/// Applies the six examples; in the end, all seven providers and their tokens in one table each.
pub(crate) async fn table(screen: &mut Screen, stand: &Stand) -> Result<()> {
    screen.step("The six other provider types, each from its example");
    for other in &stand.others.all {
        match &other.emulator {
            Some((host, _)) => screen.note(format_args!("{}, at https://{host}:", other.product)),
            None => screen.note(format_args!("{}, without any call:", other.product)),
        }
        let overlay = overlay(stand, other)?;
        stand.kubectl.show(screen, &format!("apply --kustomize {}", overlay.display())).await?;
        screen.gap();
    }
    screen.step("Seven providers in one table");
    let ready = async || all_ready(stand).await;
    let tokens = poll(SOON, "every token is ready", ready).await?;
    for object in &tokens {
        issued(stand, object).await.with_context(|| format!("VideoAccessToken {}", object.name_any()))?;
    }
    // what a provider tells of its tokens is counted now and then
    poll(SOON, "every provider tells of its tokens", async || all_counted(stand).await).await?;
    stand.kubectl.show(screen, "get cvtp,vtp --all-namespaces").await?;
    screen.gap();
    stand.kubectl.show(screen, "get vat --all-namespaces").await?;
    screen.gap();
    stand.kubectl.show(screen, "videotoken status --all-namespaces").await?;
    screen.note(format_args!(
        "Each of the {} tokens is good: its provider knows it, or the key has signed it.",
        tokens.len()
    ));
    Ok(())
}

/// The example as it is, with a patch of its providers and one of its credential Secret.
fn overlay(stand: &Stand, other: &Other) -> Result<std::path::PathBuf> {
    let path = repository().join("deploy/examples").join(other.example);
    let example = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let mut meta = json!({"name": "any"});
    let onto = |kind: &str, patch: &Value| json!({"target": {"kind": kind}, "patch": patch.to_string()});
    let mut patches = Vec::new();
    if let Some((host, _)) = &other.emulator {
        let mut spec = other.spec.clone();
        spec["caBundle"] = stand.others.ca_pem.as_str().into();
        patches.push(onto(other.kind, &json!({"apiVersion": "v1", "kind": "Patch", "metadata": meta, "spec": spec})));
        meta["annotations"] = json!({"videotoken.dev/allowed-hosts": host});
    }
    let secret = json!({"apiVersion": "v1", "kind": "Patch", "metadata": meta, "stringData": other.keys});
    patches.push(onto("Secret", &secret));
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [other.example],
        "patches": patches,
    });
    let overlay = stand.scratch.file(other.example.trim_end_matches(".yaml"));
    std::fs::create_dir(&overlay)?;
    std::fs::write(overlay.join(other.example), example)?;
    std::fs::write(overlay.join("kustomization.yaml"), serde_yaml_ng::to_string(&kustomization)?)?;
    Ok(overlay)
}

async fn all_ready(stand: &Stand) -> Result<Vec<DynamicObject>> {
    let all: Api<DynamicObject> = Api::all_with(stand.plane.client()?, &own_kind("VideoAccessToken"));
    let tokens = all.list(&ListParams::default()).await?.items;
    for object in &tokens {
        let is_ready = condition(object, "Ready").is_some_and(|ready| ready.status == "True");
        ensure!(is_ready, "{}: {}", object.name_any(), object.data["status"]);
    }
    Ok(tokens)
}

async fn all_counted(stand: &Stand) -> Result<()> {
    for kind in ["ClusterTokenProvider", "TokenProvider"] {
        let all: Api<DynamicObject> = Api::all_with(stand.plane.client()?, &own_kind(kind));
        for object in all.list(&ListParams::default()).await?.items {
            let tokens = object.data["status"]["tokens"].as_u64();
            ensure!(tokens >= Some(1), "{}: {}", object.name_any(), object.data["status"]);
        }
    }
    Ok(())
}

/// The token in the object's Secret is one that some provider issued or that the key has signed, and good.
async fn issued(stand: &Stand, object: &DynamicObject) -> Result<()> {
    let namespace = object.namespace().context("no namespace")?;
    let name = object.data["status"]["secretName"].as_str().context("no Secret")?.to_owned();
    let secrets: Api<Secret> = Api::namespaced(stand.plane.client()?, &namespace);
    let token = secrets.get(&name).await?.data.unwrap_or_default().remove("token").context("no token")?;
    let token = String::from_utf8(token.0)?;
    let controls = stand.others.all.iter().filter_map(|other| other.emulator.as_ref()).map(|(_, control)| control);
    let known = controls.chain([stand.azure.video_indexer.control()]).find_map(|control| control.knows(&token));
    let Some(known) = known else { return signed(&token) };
    ensure!(known.is_good(Utc::now()), "it expired at {}", known.expires_at);
    Ok(())
}

/// The token is a JWT that the key has signed, and good.
fn signed(token: &str) -> Result<()> {
    let (text, signature) = token.rsplit_once('.').context("nobody issued it")?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, SIGNING_KEY.as_bytes());
    let verified = hmac::verify(&key, text.as_bytes(), &URL_SAFE_NO_PAD.decode(signature)?);
    ensure!(verified.is_ok(), "nobody issued it, and another key has signed it");
    let (_, claims) = text.split_once('.').context("no claims")?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
    ensure!(claims["exp"].as_i64() > Some(Utc::now().timestamp()), "it expired at {}", claims["exp"]);
    Ok(())
}
