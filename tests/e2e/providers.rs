//! The five token APIs on the node's bridge, under names that only the cluster's DNS knows, and the objects of a namespace
//! that uses all of them.

use crate::hosts::{CAMERAS, HOSTS, Host, service};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use testkit::dns::ZONE;
use testkit::emulator::{
    ArcgisVideoServer, Azure, AzureOptions, BlendVision, CognitiveServices, Control, Emulator, Life, Serving,
    VideoIndexerClassic, arcgis_example, blend_vision_example, classic_example, cognitive_example, example,
};
use testkit::node::Network;
use testkit::scene::condition;
use testkit::stand::{eventually, wait, yaml};

/// Where the tokens are used.
pub(crate) const NAMESPACE: &str = "analytics";

/// One provider as this namespace uses it.
struct Member {
    name: &'static str,
    hosts: Vec<String>,
    keys: Value,
    spec: Value,
    scope: Value,
    control: Arc<Control>,
}

pub(crate) struct Providers {
    members: Vec<Member>,
    zone: Vec<(String, Vec<IpAddr>)>,
    service: [Value; 2],
    ca_pem: String,
    // what serves, as long as this lives
    _azure: Azure,
    _others:
        (Serving<VideoIndexerClassic>, Serving<CognitiveServices>, Serving<BlendVision>, Serving<ArcgisVideoServer>),
}

fn reference(name: &str, key: &str) -> Value {
    json!({"name": name, "key": key})
}

/// The namespace's tokens.
pub(crate) fn tokens(client: &Client) -> Api<DynamicObject> {
    wait::video_access_tokens(client, NAMESPACE)
}

impl Providers {
    pub(crate) async fn start(network: Network) -> Self {
        let hosts: BTreeMap<_, _> = HOSTS.iter().map(|(name, host)| (*name, host.within(network))).collect();
        let at = |name: &str| hosts[name].listens();
        let options = AzureOptions { authority: at("login"), resource_manager: at("management"), ca: None };
        let azure = Azure::start_with(options).await.unwrap();
        let ca = azure.ca().clone();
        let classic = VideoIndexerClassic::furnished().unwrap();
        let classic = Serving::start_on(at("classic"), classic, &ca).await.unwrap();
        let cognitive = CognitiveServices::furnished().unwrap();
        let cognitive = Serving::start_on(at("speech"), cognitive, &ca).await.unwrap();
        let (blend_vision, api_token) = BlendVision::furnished().unwrap();
        let blend_vision = Serving::start_on(at("studio"), blend_vision, &ca).await.unwrap();
        let cameras = Host::Ipv4.within(network);
        let arcgis = Serving::start_on(cameras.listens(), ArcgisVideoServer::furnished(), &ca).await.unwrap();
        let port = |url: String| url.rsplit_once(':').unwrap().1.trim_end_matches('/').parse::<u16>().unwrap();
        let named = |name: &str, url: String| format!("{name}.{ZONE}:{}", port(url));
        let login = named("login", azure.authority_url());
        let management = named("management", azure.resource_manager_url());
        azure.entra.add_resource(&format!("https://{management}"));
        azure.video_indexer.add_audience(&format!("https://{management}"));
        let (classic_host, speech) = (named("classic", classic.url()), named("speech", cognitive.url()));
        let studio = named("studio", blend_vision.url());
        let cameras_port = port(arcgis.url());
        let cameras_host = format!("{CAMERAS}:{cameras_port}");
        let members = vec![
            Member {
                name: "indexer",
                hosts: vec![management.clone(), login.clone()],
                keys: json!({"client-secret": example::CLIENT_SECRET}),
                spec: json!({"videoIndexer": {"subscriptionId": example::SUBSCRIPTION_ID,
                    "resourceGroup": example::RESOURCE_GROUP, "accountName": example::ACCOUNT_NAME,
                    "auth": {"clientSecret": {"tenantId": example::TENANT_ID, "clientId": example::CLIENT_ID,
                        "secretRef": reference("indexer", "client-secret")}},
                    "endpoints": {"resourceManager": format!("https://{management}"),
                        "authority": format!("https://{login}")}}}),
                scope: json!({"videoIndexer": {"permission": "RestrictedViewer", "mediaScope": "Video",
                    "videoId": "07ec9e38d4", "extensionId": example::EXTENSION_ID}}),
                control: azure.video_indexer.control().clone(),
            },
            Member {
                name: "classic",
                hosts: vec![classic_host.clone()],
                keys: json!({"subscription-key": classic_example::OWNERS_KEY}),
                spec: json!({"videoIndexerClassic": {"endpoint": format!("https://{classic_host}"), "location": classic_example::LOCATION,
                    "accountId": classic_example::ACCOUNT_ID,
                    "subscriptionKeyRef": reference("classic", "subscription-key")}}),
                scope: json!({"videoIndexerClassic": {"video": {"videoId": classic_example::VIDEO_ID}}}),
                control: classic.control().clone(),
            },
            Member {
                name: "speech",
                hosts: vec![speech.clone()],
                keys: json!({"key": cognitive_example::KEY}),
                spec: json!({"cognitiveServices": {"endpoint": format!("https://{speech}"), "keyRef": reference("speech", "key")}}),
                scope: json!({"cognitiveServices": {"service": {}}}),
                control: cognitive.control().clone(),
            },
            Member {
                name: "studio",
                hosts: vec![studio.clone()],
                keys: json!({"api-token": api_token}),
                spec: json!({"blendVision": {"endpoint": format!("https://{studio}"),
                    "organization": blend_vision_example::ORGANIZATION,
                    "apiTokenRef": reference("studio", "api-token")}}),
                scope: json!({"blendVision": {"resource": {"resourceId": blend_vision_example::VOD_ID,
                    "resourceType": "RESOURCE_TYPE_VOD"}}}),
                control: blend_vision.control().clone(),
            },
            Member {
                name: "cameras",
                hosts: vec![cameras_host.clone()],
                keys: json!({"username": arcgis_example::USERNAME, "password": arcgis_example::PASSWORD}),
                spec: json!({"arcgisVideoServer": {"url": format!("https://{cameras_host}{}", arcgis_example::ADMIN_ROOT),
                    "usernameRef": reference("cameras", "username"),
                    "passwordRef": reference("cameras", "password")}}),
                scope: json!({"arcgisVideoServer": {"referer": "https://lobby.example"}}),
                control: arcgis.control().clone(),
            },
        ];
        let ca_pem = azure.ca_pem();
        let zone = hosts.into_iter().map(|(name, host)| (name.to_owned(), host.addresses())).collect();
        let service = service(cameras.addresses()[0], cameras_port);
        Self { members, zone, service, ca_pem, _azure: azure, _others: (classic, cognitive, blend_vision, arcgis) }
    }

    /// The chart's values: what it logs, whom namespaced providers may call, and `ndots` as the kubelet sets it.
    pub(crate) fn values(&self) -> Value {
        let hosts: Vec<_> = self.members.iter().flat_map(|member| member.hosts.clone()).collect();
        json!({"log": {"level": "info,video_token_operator=trace"}, "config": {"allowedEndpoints": hosts},
            "dnsConfig": {"options": [{"name": "ndots", "value": "5"}]}})
    }

    /// The names of the zone and their addresses.
    pub(crate) fn zone(&self) -> &[(String, Vec<IpAddr>)] {
        &self.zone
    }

    /// The names that the operator looks up: each host of a provider, absolute, in the cluster's domain if it is a
    /// Service.
    pub(crate) fn looked_up(&self) -> BTreeSet<String> {
        let zone = self.zone.iter().map(|(name, _)| format!("{name}.{ZONE}."));
        zone.chain([format!("{CAMERAS}.cluster.local.")]).collect()
    }

    /// A namespace, and for each provider a credential, a `TokenProvider` and a token.
    fn objects(&self) -> Vec<Value> {
        let mut objects = vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})];
        objects.extend(self.service.clone());
        for member in &self.members {
            let name = member.name;
            objects.push(json!({"apiVersion": "v1", "kind": "Secret", "stringData": member.keys,
                "metadata": {"name": name, "labels": {"videotoken.dev/credentials": "true"},
                    "annotations": {"videotoken.dev/allowed-hosts": member.hosts.join(",")}}}));
            let mut spec = member.spec.clone();
            spec["caBundle"] = self.ca_pem.as_str().into();
            objects.push(json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": "TokenProvider",
                "metadata": {"name": name}, "spec": spec}));
            objects.push(json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": "VideoAccessToken",
                "metadata": {"name": name}, "spec": {"providerRef": {"name": name}, "scope": member.scope,
                    "secret": {"name": format!("{name}-token")}}}));
        }
        objects
    }

    /// Applies the objects.
    pub(crate) async fn apply(&self, client: &Client) {
        for object in self.objects() {
            yaml::apply(client, NAMESPACE, &object.to_string()).await.unwrap();
        }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.members.iter().map(|member| member.name)
    }

    pub(crate) fn control(&self, name: &str) -> Option<Arc<Control>> {
        self.members.iter().find(|member| member.name == name).map(|member| member.control.clone())
    }

    pub(crate) fn set_life(&self, life: Life) {
        self.members.iter().for_each(|member| member.control.set_life(life));
    }

    /// How many tokens were issued, by all.
    pub(crate) fn issued(&self) -> usize {
        self.members.iter().map(|member| member.control.tokens().len()).sum()
    }

    pub(crate) async fn all_ready(&self, client: &Client) {
        let tokens = tokens(client);
        eventually(Duration::from_mins(2), "all tokens are ready and at rest", async || {
            let all = tokens.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
            let restless: Vec<_> = all
                .iter()
                .filter_map(|object| serde_json::to_value(object).ok())
                .filter(|object| {
                    condition(object, "Ready")["status"] != "True" || condition(object, "Issuing")["status"] != "False"
                })
                .map(|object| object["status"].to_string())
                .collect();
            if restless.is_empty() && all.len() == self.members.len() { Ok(()) } else { Err(restless.join("\n")) }
        })
        .await;
    }

    /// Asks for a renewal.
    pub(crate) async fn ask_for_renewal(client: &Client, name: &str) {
        // ahead, so that it is after the issue of whatever token is there
        let asked = (chrono::Utc::now() + chrono::TimeDelta::minutes(1)).to_rfc3339();
        let patch = json!({"metadata": {"annotations": {"videotoken.dev/renew-requested-at": asked}}});
        tokens(client).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Asks for a renewal of the first, and waits until it is there.
    pub(crate) async fn renew_one(&self, client: &Client) {
        let member = &self.members[0];
        let before = member.control.tokens().len();
        Self::ask_for_renewal(client, member.name).await;
        eventually(Duration::from_mins(2), "a renewal by whoever leads now", async || {
            if member.control.tokens().len() > before { Ok(()) } else { Err("not yet") }
        })
        .await;
        self.all_ready(client).await;
    }
}
