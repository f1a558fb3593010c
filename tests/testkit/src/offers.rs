//! What users of each token API whose credentials are keys would write, at its emulator: one row for each API, for
//! whatever must hold of all of them.

use crate::emulator::{
    ArcgisVideoServer, BlendVision, CognitiveServices, Control, Emulator, Serving, VideoIndexerClassic, arcgis_example,
    blend_vision_example, classic_example, cognitive_example,
};
use crate::scene::Scene;
use crate::tls::CertificateAuthority;
use anyhow::Result;
use serde_json::{Value, json};
use std::{any::Any, sync::Arc};

/// One API at its emulator, and an account of it.
pub struct Offer {
    /// The type, as the API names it.
    pub type_: &'static str,
    /// The account, as a provider's spec names it; its credentials are in the Secret of [`Offer::secret_name`].
    pub account: Value,
    /// What that Secret holds: each value is what nobody else may see.
    pub keys: Value,
    /// The scope of a token.
    pub scope: Value,
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

    /// Its credential Secret and its `TokenProvider`, in the scene's namespace.
    pub fn provider(&self, scene: &Scene) -> [Value; 2] {
        let spec = json!({self.type_: self.account});
        [
            scene.keys(&self.secret_name(), &self.host, &self.keys),
            scene.provider_of(&self.provider_name(), &self.ca_pem, &spec),
        ]
    }

    /// A token of it; `changes` go over its spec.
    pub fn token(&self, scene: &Scene, name: &str, changes: &Value) -> Value {
        scene.token_of(name, &self.provider_name(), &json!({self.type_: self.scope}), changes)
    }

    fn new<E: Emulator>(serving: Serving<E>, type_: &'static str, [account, keys, scope]: [Value; 3]) -> Self {
        Self {
            type_,
            account,
            keys,
            scope,
            host: serving.host(),
            control: serving.control().clone(),
            ca_pem: serving.ca_pem(),
            _serving: Box::new(serving),
        }
    }
}

/// Starts an emulator of each.
pub async fn offers(ca: &Arc<CertificateAuthority>) -> Result<Vec<Offer>> {
    let key = |type_: &str, key: &str| json!({"name": format!("{}-keys", type_.to_lowercase()), "key": key});
    let mut offers = Vec::new();

    let (type_, serving) = ("videoIndexerClassic", Serving::start(VideoIndexerClassic::furnished()?, ca).await?);
    let account = json!({"endpoint": serving.url(), "location": classic_example::LOCATION,
        "accountId": classic_example::ACCOUNT_ID, "subscriptionKeyRef": key(type_, "key")});
    let keys = json!({"key": classic_example::OWNERS_KEY});
    offers.push(Offer::new(serving, type_, [account, keys, json!({"account": {}})]));

    let (type_, serving) = ("cognitiveServices", Serving::start(CognitiveServices::furnished()?, ca).await?);
    let account = json!({"endpoint": serving.url(), "keyRef": key(type_, "key")});
    let keys = json!({"key": cognitive_example::KEY});
    let scope = json!({"limitedAccess": {"targetAzureResourceId": cognitive_example::TARGET,
        "featureFlags": cognitive_example::FEATURES}});
    offers.push(Offer::new(serving, type_, [account, keys, scope]));

    let (blend_vision, api_token) = BlendVision::furnished()?;
    let (type_, serving) = ("blendVision", Serving::start(blend_vision, ca).await?);
    let account = json!({"endpoint": serving.url(), "organization": blend_vision_example::ORGANIZATION,
        "apiTokenRef": key(type_, "api-token")});
    let keys = json!({"api-token": api_token});
    let scope = json!({"resource": {"resourceId": blend_vision_example::VOD_ID, "resourceType": "RESOURCE_TYPE_VOD"}});
    offers.push(Offer::new(serving, type_, [account, keys, scope]));

    let (type_, serving) = ("arcgisVideoServer", Serving::start(ArcgisVideoServer::furnished(), ca).await?);
    let account = json!({"url": format!("{}{}", serving.url(), arcgis_example::ADMIN_ROOT),
        "usernameRef": key(type_, "username"), "passwordRef": key(type_, "password")});
    let keys = json!({"username": arcgis_example::USERNAME, "password": arcgis_example::PASSWORD});
    offers.push(Offer::new(serving, type_, [account, keys, json!({"referer": "https://lobby.example"})]));
    Ok(offers)
}
