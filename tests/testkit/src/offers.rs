//! One row for each provider type whose credentials are keys in Secrets: its emulator, what its users write, and how the API
//! refuses. Tests that hold for every such API take their cases from here.

use crate::emulator::{
    ArcgisVideoServer, BlendVision, CognitiveServices, Control, Emulator, Fault, Platforms, Serving,
    VideoIndexerClassic, arcgis_example, blend_vision_example, classic_example, cognitive_example, platform_example,
};
use crate::scene::Scene;
use crate::tls::CertificateAuthority;
use anyhow::Result;
use serde_json::{Value, json};
use std::{
    any::Any,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

/// Wait in seconds that each answer of [`Offer::throttles`] asks for.
pub const THROTTLED_FOR: u64 = 12;

/// One token API at its emulator, and an account there.
pub struct Offer {
    /// The type, as the API names it.
    pub type_: &'static str,
    /// The account, as a provider's spec names it; its credentials are in the Secret of [`Offer::secret_name`].
    pub account: Value,
    /// What that Secret holds: each value is what nobody else may see.
    pub keys: Value,
    /// The scope of a token.
    pub scope: Value,
    /// Keys that the API refuses, to merge over `keys`.
    pub wrong_keys: Value,
    /// Part of the API's answer to `wrong_keys`.
    pub refusal: &'static str,
    /// Each answer contains a request ID.
    pub has_request_ids: bool,
    /// Answers of the API to too many calls. Each asks for [`THROTTLED_FOR`].
    pub throttles: Vec<Fault>,
    /// Successes of the API in another form than its own, which the operator refuses for this type: an API that issues
    /// JWTs issues nothing else.
    pub refuses: Vec<Fault>,
    /// Where the emulator is, as `--allowed-endpoint` names it.
    pub host: String,
    /// The emulator's control.
    pub control: Arc<Control>,
    ca_pem: String,
    /// Keeps it running.
    _serving: Box<dyn Any + Send + Sync>,
}

impl Offer {
    /// The name of its provider object: the type's, as names are written.
    pub fn provider_name(&self) -> String {
        self.type_.to_lowercase()
    }

    /// The name of its credential Secret.
    pub fn secret_name(&self) -> String {
        format!("{}-keys", self.provider_name())
    }

    /// Returns the values of all credentials.
    pub fn secrets(&self) -> Vec<String> {
        let keys = self.keys.as_object().into_iter().flat_map(|keys| keys.values());
        keys.filter_map(|key| key.as_str().map(str::to_owned)).collect()
    }

    /// Its credential Secret and its `TokenProvider`, in the scene's namespace.
    pub fn provider(&self, scene: &Scene) -> [Value; 2] {
        let spec = json!({self.type_: self.account});
        [
            scene.keys(&self.secret_name(), &self.host, &self.keys),
            scene.provider_of(&self.provider_name(), &self.ca_pem, &spec),
        ]
    }

    /// Returns the CA that clients of the emulator must trust, in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// A token of it; `changes` go over its spec.
    pub fn token(&self, scene: &Scene, name: &str, changes: &Value) -> Value {
        scene.token_of(name, &self.provider_name(), &json!({self.type_: self.scope}), changes)
    }

    /// Returns a row without request IDs and with the API's own 429 as its only throttle.
    fn new<E: Emulator>(
        serving: Serving<E>,
        type_: &'static str,
        [account, keys, scope]: [Value; 3],
        (wrong_keys, refusal): (Value, &'static str),
    ) -> Self {
        Self {
            type_,
            account,
            keys,
            scope,
            wrong_keys,
            refusal,
            has_request_ids: false,
            throttles: vec![Fault::Throttle { retry_after: Some(THROTTLED_FOR) }],
            refuses: Vec::new(),
            host: serving.host(),
            control: serving.control().clone(),
            ca_pem: serving.ca_pem(),
            _serving: Box::new(serving),
        }
    }
}

/// Key of another subscription.
const OTHERS_KEY: &str = "0123456789abcdef0123456789abcdef";

/// Starts each emulator on a free port and returns all rows.
pub async fn offers(ca: &Arc<CertificateAuthority>) -> Result<Vec<Offer>> {
    offers_from(0, ca).await
}

/// Starts the emulators on consecutive ports from `first`; 0 selects free ports. Errors: a port is in use.
pub async fn offers_from(first: u16, ca: &Arc<CertificateAuthority>) -> Result<Vec<Offer>> {
    let at = |row: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, if first == 0 { 0 } else { first + row }));
    Ok(vec![
        video_indexer_classic(at(0), ca).await?,
        cognitive_services(at(1), ca).await?,
        blend_vision(at(2), ca).await?,
        arcgis_video_server(at(3), ca).await?,
        http(at(4), ca).await?,
    ])
}

/// Returns a reference to a key of the type's credential Secret.
fn key(type_: &str, key: &str) -> Value {
    json!({"name": format!("{}-keys", type_.to_lowercase()), "key": key})
}

async fn video_indexer_classic(at: SocketAddr, ca: &Arc<CertificateAuthority>) -> Result<Offer> {
    let serving = Serving::start_on(at, VideoIndexerClassic::furnished()?, ca).await?;
    let type_ = "videoIndexerClassic";
    let account = json!({"endpoint": serving.url(), "location": classic_example::LOCATION,
        "accountId": classic_example::ACCOUNT_ID, "subscriptionKeyRef": key(type_, "key")});
    let keys = json!({"key": classic_example::OWNERS_KEY});
    let refused = (json!({"key": OTHERS_KEY}), "invalid subscription key");
    let offer = Offer::new(serving, type_, [account, keys, json!({"account": {}})], refused);
    Ok(Offer { has_request_ids: true, refuses: vec![Fault::OpaqueToken], ..offer })
}

async fn cognitive_services(at: SocketAddr, ca: &Arc<CertificateAuthority>) -> Result<Offer> {
    let serving = Serving::start_on(at, CognitiveServices::furnished()?, ca).await?;
    let type_ = "cognitiveServices";
    let account = json!({"endpoint": serving.url(), "keyRef": key(type_, "key")});
    let keys = json!({"key": cognitive_example::KEY});
    let scope = json!({"limitedAccess": {"targetAzureResourceId": cognitive_example::TARGET,
        "featureFlags": cognitive_example::FEATURES}});
    let refused = (json!({"key": OTHERS_KEY}), "wrong API endpoint");
    let mut offer = Offer::new(serving, type_, [account, keys, scope], refused);
    // a used-up quota is a throttle too; only its message contains the wait
    let quota = "Out of call volume quota. Quota will be replenished in 00:00:12.";
    let body = json!({"error": {"code": "403", "message": quota}}).to_string();
    offer.throttles.push(Fault::status(403, body, &[]));
    Ok(Offer { has_request_ids: true, refuses: vec![Fault::OpaqueToken], ..offer })
}

async fn blend_vision(at: SocketAddr, ca: &Arc<CertificateAuthority>) -> Result<Offer> {
    let (emulator, api_token) = BlendVision::furnished()?;
    let serving = Serving::start_on(at, emulator, ca).await?;
    let type_ = "blendVision";
    let account = json!({"endpoint": serving.url(), "organization": blend_vision_example::ORGANIZATION,
        "apiTokenRef": key(type_, "api-token")});
    let keys = json!({"api-token": api_token});
    let scope = json!({"resource": {"resourceId": blend_vision_example::VOD_ID, "resourceType": "RESOURCE_TYPE_VOD"}});
    let refused = (json!({"api-token": "an-api-token-of-nobody"}), "the token is missing, unknown or expired");
    Ok(Offer::new(serving, type_, [account, keys, scope], refused))
}

async fn arcgis_video_server(at: SocketAddr, ca: &Arc<CertificateAuthority>) -> Result<Offer> {
    let serving = Serving::start_on(at, ArcgisVideoServer::furnished(), ca).await?;
    let type_ = "arcgisVideoServer";
    let account = json!({"url": format!("{}{}", serving.url(), arcgis_example::ADMIN_ROOT),
        "usernameRef": key(type_, "username"), "passwordRef": key(type_, "password")});
    let keys = json!({"username": arcgis_example::USERNAME, "password": arcgis_example::PASSWORD});
    let refused = (json!({"password": "last year's password"}), "Invalid username or password.");
    Ok(Offer::new(serving, type_, [account, keys, json!({"referer": "https://lobby.example"})], refused))
}

/// Cloudflare Stream, declared as docs/providers/http.md declares it.
async fn http(at: SocketAddr, ca: &Arc<CertificateAuthority>) -> Result<Offer> {
    let serving = Serving::start_on(at, Platforms::furnished()?, ca).await?;
    let type_ = "http";
    let account = json!({
        "url": serving.url(),
        "auth": {"bearer": key(type_, "api-token")},
        "parameters": {"video": {"pattern": "[0-9a-f]{32}"}},
        "request": {
            "path": format!("/client/v4/accounts/{}/stream/{{{{ video }}}}/token", platform_example::ACCOUNT),
            "json": {"exp": "{{ expires_at | unix }}"},
        },
        "response": {
            "token": {"json": "$.result.token"},
            "expires": {"jwt": {}},
            "success": {"json": "$.success", "equals": true},
            "failures": [{"status": [403], "json": "$.errors[0].code", "equals": 10000, "class": "Credential"}],
        },
        "lifetime": {"min": "1m", "max": "24h", "default": "1h"},
    });
    let keys = json!({"api-token": platform_example::API_TOKEN});
    let scope = json!({"parameters": {"video": platform_example::VIDEO}});
    let refused = (json!({"api-token": "a-token-of-nobody-at-all"}), "Authentication error");
    let offer = Offer::new(serving, type_, [account, keys, scope], refused);
    // the declared expiry is the JWT's
    Ok(Offer { refuses: vec![Fault::OpaqueToken, Fault::NotJwt, Fault::NoExpiry], ..offer })
}
