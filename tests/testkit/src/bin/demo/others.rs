//! The four other token APIs, each from its example under deploy/examples: what it changes is where the provider is and
//! what the credential Secret holds.

use anyhow::{Context as _, Result, ensure};
use chrono::Utc;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use testkit::emulator::{
    Access, ArcgisVideoServer, BlendVision, CognitiveServices, Control, Emulator, Serving, VideoIndexerClassic,
    arcgis_example, classic_example, cognitive_example,
};
use testkit::stand::controlplane::repository;
use testkit::stand::wait::{condition, own_kind, poll};
use testkit::tls::CertificateAuthority;

use crate::screen::Screen;
use crate::stand::Stand;

const SOON: Duration = Duration::from_secs(30);

/// The emulators of the four, and what their examples need.
pub(crate) struct Others {
    all: Vec<Other>,
    ca_pem: String,
    /// Kept running.
    _servings:
        (Serving<VideoIndexerClassic>, Serving<CognitiveServices>, Serving<BlendVision>, Serving<ArcgisVideoServer>),
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
    host: String,
    control: Arc<Control>,
}

impl Others {
    /// Starts the emulators.
    pub(crate) async fn start(ca: &Arc<CertificateAuthority>) -> Result<Self> {
        let classic = Serving::start(trial_account()?, ca).await?;
        let cognitive = Serving::start(CognitiveServices::furnished()?, ca).await?;
        let (blend_vision, api_token) = BlendVision::furnished()?;
        let blend_vision = Serving::start(blend_vision, ca).await?;
        let arcgis = Serving::start(ArcgisVideoServer::furnished(), ca).await?;
        let all = vec![
            Other {
                product: "Video Indexer's classic API",
                example: "video-indexer-classic.yaml",
                kind: "TokenProvider",
                spec: json!({"videoIndexerClassic": {"endpoint": classic.url()}}),
                keys: json!({"subscription-key": classic_example::OWNERS_KEY}),
                host: classic.host(),
                control: classic.control().clone(),
            },
            Other {
                product: "Cognitive Services",
                example: "cognitive-services.yaml",
                kind: "TokenProvider",
                spec: json!({"cognitiveServices": {"endpoint": cognitive.url()}}),
                keys: json!({"face": cognitive_example::KEY, "speech": cognitive_example::KEY}),
                host: cognitive.host(),
                control: cognitive.control().clone(),
            },
            Other {
                product: "BlendVision One",
                example: "blend-vision.yaml",
                kind: "TokenProvider",
                spec: json!({"blendVision": {"endpoint": blend_vision.url()}}),
                keys: json!({"api-token": api_token}),
                host: blend_vision.host(),
                control: blend_vision.control().clone(),
            },
            Other {
                product: "ArcGIS Video Server",
                example: "arcgis-video-server.yaml",
                kind: "ClusterTokenProvider",
                spec: json!({"caBundleRef": null,
                    "arcgisVideoServer": {"url": format!("{}{}", arcgis.url(), arcgis_example::ADMIN_ROOT)}}),
                keys: json!({"username": arcgis_example::USERNAME, "password": arcgis_example::PASSWORD}),
                host: arcgis.host(),
                control: arcgis.control().clone(),
            },
        ];
        Ok(Self { all, ca_pem: ca.ca_pem(), _servings: (classic, cognitive, blend_vision, arcgis) })
    }

    /// Where they are, as `--allowed-endpoint` names them.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = String> {
        self.all.iter().map(|other| other.host.clone())
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

/// Applies the four examples; in the end, all five providers and their tokens in one table each.
pub(crate) async fn table(screen: &mut Screen, stand: &Stand) -> Result<()> {
    screen.step("The four other token APIs, each from its example");
    for other in &stand.others.all {
        screen.note(format_args!("{}, at https://{}:", other.product, other.host));
        let overlay = overlay(stand, other)?;
        stand.kubectl.show(screen, &format!("apply --kustomize {}", overlay.display())).await?;
        screen.gap();
    }
    screen.step("Five providers in one table");
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
    screen.note(format_args!("Each of the {} tokens is known to its provider and good.", tokens.len()));
    Ok(())
}

/// The example as it is, with a patch of its providers and one of its credential Secret.
fn overlay(stand: &Stand, other: &Other) -> Result<std::path::PathBuf> {
    let path = repository().join("deploy/examples").join(other.example);
    let example = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let mut spec = other.spec.clone();
    spec["caBundle"] = stand.others.ca_pem.as_str().into();
    let meta = json!({"name": "any"});
    let allowed = json!({"name": "any", "annotations": {"videotoken.dev/allowed-hosts": other.host}});
    let provider = json!({"apiVersion": "v1", "kind": "Patch", "metadata": meta, "spec": spec});
    let secret = json!({"apiVersion": "v1", "kind": "Patch", "metadata": allowed, "stringData": other.keys});
    let onto = |kind: &str, patch: &Value| json!({"target": {"kind": kind}, "patch": patch.to_string()});
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [other.example],
        "patches": [onto(other.kind, &provider), onto("Secret", &secret)],
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

/// The token in the object's Secret is one that some provider issued, and good.
async fn issued(stand: &Stand, object: &DynamicObject) -> Result<()> {
    let namespace = object.namespace().context("no namespace")?;
    let name = object.data["status"]["secretName"].as_str().context("no Secret")?.to_owned();
    let secrets: Api<Secret> = Api::namespaced(stand.plane.client()?, &namespace);
    let token = secrets.get(&name).await?.data.unwrap_or_default().remove("token").context("no token")?;
    let token = String::from_utf8(token.0)?;
    let controls = stand.others.all.iter().map(|other| &other.control);
    let known = controls.chain([stand.azure.video_indexer.control()]).find_map(|control| control.knows(&token));
    let known = known.context("nobody issued it")?;
    ensure!(known.is_good(Utc::now()), "it expired at {}", known.expires_at);
    Ok(())
}
