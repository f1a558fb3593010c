//! The table of provider types: how each one's account, credential, provider and scope look.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::promise::Life;
use super::signed::Signed;

use crate::emulator::{
    Access, ApiToken, ArcgisVideoServer, Azure, BlendVision, CognitiveServices, Control, Emulator as _, Operations,
    Platforms, Privacy, Serving, VideoIndexerClassic, arcgis_example, classic_example, example,
};
use crate::scene;

/// A token of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// The object's number.
    pub(super) object: usize,
    pub(super) life: Life,
    /// The number of the call that it answered; none, if it was signed.
    pub(super) call: Option<u64>,
    /// How often its account's key had been replaced, if it was signed; else 0.
    pub(super) key: u32,
}

/// One type of provider, and its emulator. Accounts and objects are numbered over all types.
pub(super) trait ProviderType: Send + Sync {
    /// As a spec names it.
    fn name(&self) -> &'static str;

    /// The emulator's; none, if tokens of this type come from no call.
    fn control(&self) -> Option<&Arc<Control>>;

    /// When a token of this type expires. `None`: nobody issued it.
    fn knows(&self, token: &str) -> Option<DateTime<Utc>> {
        self.control()?.knows(token).map(|token| token.expires_at)
    }

    /// Every token that is known to have been issued, oldest first.
    fn tokens(&self) -> Vec<Token> {
        let issued = self.control().map(|control| control.tokens()).unwrap_or_default();
        let token = issued.iter().filter_map(|token| {
            let life = Life { issued_at: token.issued_at, expires_at: token.expires_at };
            Some(Token { object: object_of(&token.request)?, life, call: Some(token.call), key: 0 })
        });
        token.collect()
    }

    /// Tokens that must not exist, in words.
    fn wrong(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whom the credential may be sent to.
    fn hosts(&self) -> Vec<String>;

    /// What the emulator calls an account, or a part of that which no other account has.
    fn account(&self, account: usize) -> String;

    /// Opens an account, without a credential yet.
    fn open(&self, account: usize);

    /// What the credential's Secret allows, as annotations.
    fn allows(&self) -> Value {
        json!({"videotoken.dev/allowed-hosts": self.hosts().join(",")})
    }

    /// Makes a credential good. Returns the keys of its Secret.
    fn admit(&self, account: usize, generation: u32) -> Value;

    /// Withdraws it, and what was issued to the operator by it.
    fn revoke(&self, account: usize, generation: u32);

    /// The provider's member of that name, with its credential in the Secret `login`.
    fn provider(&self, account: usize, login: &str) -> Value;

    /// The scope's member of that name, of an object; what it asks for comes into being.
    fn scope(&self, account: usize, object: usize) -> Value;

    /// The lifetime that an object asks for, if it does.
    fn lifetime(&self, _object: usize) -> Option<String> {
        None
    }
}

/// All types, each with its emulator started.
pub(super) async fn all() -> Result<(Vec<Box<dyn ProviderType>>, String)> {
    let azure = Azure::start().await?;
    let (ca, ca_pem) = (Arc::clone(azure.ca()), azure.ca_pem());
    let classic = Serving::start(VideoIndexerClassic::new()?, &ca).await?;
    let arcgis = Serving::start(ArcgisVideoServer::new(), &ca).await?;
    let cognitive = Serving::start(CognitiveServices::new()?, &ca).await?;
    let blend_vision = Served { serving: Serving::start(BlendVision::new()?, &ca).await?, tokens: Mutex::default() };
    let platforms = Serving::start(Platforms::furnished()?, &ca).await?;
    let types: Vec<Box<dyn ProviderType>> = vec![
        Box::new(azure),
        Box::new(classic),
        Box::new(blend_vision),
        Box::new(cognitive),
        Box::new(arcgis),
        Box::new(platforms),
        Box::new(Signed::default()),
    ];
    Ok((types, ca_pem))
}

/// The number of the object that a request was for, by the mark that every scope here carries.
pub(super) fn object_of(request: &str) -> Option<usize> {
    let (_, after) = request.split_once("object")?;
    after.get(..6)?.parse().ok()
}

pub(super) fn mark(object: usize) -> String {
    format!("object{object:06}")
}

/// A name for an account. One of another number is no part of it.
pub(super) fn tag(account: usize) -> String {
    format!("account{account:04}")
}

/// A GUID, likewise.
fn guid(account: usize) -> String {
    format!("00000000-0000-4000-8000-{account:012x}")
}

/// A credential, in the form of a key.
pub(super) fn key(account: usize, generation: u32) -> String {
    format!("5d3e9c1f{account:012x}{generation:012x}")
}

/// A reference to a key of the account's Secret.
pub(super) fn reference(login: &str, key: &str) -> Value {
    json!({"name": login, "key": key})
}

fn vi_account(account: usize) -> String {
    format!("{}/providers/Microsoft.VideoIndexer/accounts/{}", example::resource_group_id(), tag(account))
}

impl ProviderType for Azure {
    fn name(&self) -> &'static str {
        "videoIndexer"
    }

    fn control(&self) -> Option<&Arc<Control>> {
        Some(self.video_indexer.control())
    }

    fn hosts(&self) -> Vec<String> {
        scene::hosts(self)
    }

    fn account(&self, account: usize) -> String {
        tag(account)
    }

    fn open(&self, account: usize) {
        let (id, client_id) = (vi_account(account), guid(account));
        self.video_indexer.add_account(&id);
        self.video_indexer.add_extension(&id, example::EXTENSION_ID);
        self.entra.register_application(example::TENANT_ID, &client_id);
        self.video_indexer.assign_role(&client_id, &id, Operations::All);
    }

    fn admit(&self, account: usize, generation: u32) -> Value {
        let secret = key(account, generation);
        self.entra.add_secret(&guid(account), &secret);
        json!({"client-secret": secret})
    }

    fn revoke(&self, account: usize, generation: u32) {
        self.entra.revoke_secret(&guid(account), &key(account, generation));
        self.entra.control().revoke_all(&guid(account));
    }

    fn provider(&self, account: usize, login: &str) -> Value {
        json!({
            "subscriptionId": example::SUBSCRIPTION_ID,
            "resourceGroup": example::RESOURCE_GROUP,
            "accountName": tag(account),
            "endpoints": {"resourceManager": self.resource_manager_url(), "authority": self.authority_url()},
            "auth": {"clientSecret": {
                "tenantId": example::TENANT_ID,
                "clientId": guid(account),
                "secretRef": reference(login, "client-secret"),
            }},
        })
    }

    fn scope(&self, _account: usize, object: usize) -> Value {
        json!({
            "permission": "RestrictedViewer",
            "mediaScope": "Video",
            "videoId": mark(object),
            "extensionId": example::EXTENSION_ID,
        })
    }
}

impl ProviderType for Serving<VideoIndexerClassic> {
    fn name(&self) -> &'static str {
        "videoIndexerClassic"
    }

    fn control(&self) -> Option<&Arc<Control>> {
        Some((**self).control())
    }

    fn hosts(&self) -> Vec<String> {
        vec![self.host()]
    }

    fn account(&self, account: usize) -> String {
        guid(account)
    }

    fn open(&self, account: usize) {
        self.add_account(classic_example::LOCATION, &guid(account));
        self.add_member(&guid(account), &tag(account), Access::Read);
    }

    fn admit(&self, account: usize, generation: u32) -> Value {
        self.gateway().add_key(&key(account, generation), &tag(account));
        json!({"subscription-key": key(account, generation)})
    }

    fn revoke(&self, account: usize, generation: u32) {
        self.gateway().remove_key(&key(account, generation));
    }

    fn provider(&self, account: usize, login: &str) -> Value {
        json!({
            "endpoint": self.url(),
            "location": classic_example::LOCATION,
            "accountId": guid(account),
            "subscriptionKeyRef": reference(login, "subscription-key"),
        })
    }

    fn scope(&self, account: usize, object: usize) -> Value {
        self.add_video(&guid(account), &mark(object));
        json!({"video": {"videoId": mark(object)}})
    }
}

impl ProviderType for Serving<ArcgisVideoServer> {
    fn name(&self) -> &'static str {
        "arcgisVideoServer"
    }

    fn control(&self) -> Option<&Arc<Control>> {
        Some((**self).control())
    }

    fn hosts(&self) -> Vec<String> {
        vec![self.host()]
    }

    fn account(&self, account: usize) -> String {
        tag(account)
    }

    fn open(&self, _account: usize) {}

    fn admit(&self, account: usize, generation: u32) -> Value {
        self.set_user(&tag(account), &key(account, generation));
        json!({"username": tag(account), "password": key(account, generation)})
    }

    fn revoke(&self, account: usize, generation: u32) {
        self.set_user(&tag(account), &format!("not {}", key(account, generation)));
    }

    fn provider(&self, _account: usize, login: &str) -> Value {
        json!({
            "url": format!("{}{}", self.url(), arcgis_example::ADMIN_ROOT),
            "usernameRef": reference(login, "username"),
            "passwordRef": reference(login, "password"),
        })
    }

    fn scope(&self, _account: usize, object: usize) -> Value {
        json!({"referer": format!("https://{}.example/player", mark(object))})
    }
}

/// BlendVision, and the API tokens that it has given out, by account and generation: it makes them up.
struct Served {
    serving: Serving<BlendVision>,
    tokens: Mutex<HashMap<(usize, u32), String>>,
}

impl Served {
    fn tokens(&self) -> MutexGuard<'_, HashMap<(usize, u32), String>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProviderType for Served {
    fn name(&self) -> &'static str {
        "blendVision"
    }

    fn control(&self) -> Option<&Arc<Control>> {
        Some((*self.serving).control())
    }

    fn hosts(&self) -> Vec<String> {
        vec![self.serving.host()]
    }

    fn account(&self, account: usize) -> String {
        tag(account)
    }

    fn open(&self, _account: usize) {}

    fn admit(&self, account: usize, generation: u32) -> Value {
        let make = || self.serving.add_api_token(&ApiToken::of(&tag(account)));
        json!({"api-token": self.tokens().entry((account, generation)).or_insert_with(make)})
    }

    fn revoke(&self, account: usize, generation: u32) {
        if let Some(token) = self.tokens().get(&(account, generation)) {
            self.serving.revoke_api_token(token);
        }
    }

    fn provider(&self, account: usize, login: &str) -> Value {
        json!({
            "endpoint": self.serving.url(),
            "organization": tag(account),
            "apiTokenRef": reference(login, "api-token"),
        })
    }

    fn scope(&self, account: usize, object: usize) -> Value {
        let type_ = "RESOURCE_TYPE_VOD";
        self.serving.add_resource(&tag(account), &mark(object), type_, Privacy::Public);
        json!({"resource": {"resourceId": mark(object), "resourceType": type_}})
    }
}

/// The one feature that is asked for.
const FEATURE: &str = "Face.Identification";

fn issuer(account: usize) -> String {
    format!("{}/providers/Microsoft.CognitiveServices/accounts/{}", example::resource_group_id(), tag(account))
}

impl ProviderType for Serving<CognitiveServices> {
    fn name(&self) -> &'static str {
        "cognitiveServices"
    }

    fn control(&self) -> Option<&Arc<Control>> {
        Some((**self).control())
    }

    fn hosts(&self) -> Vec<String> {
        vec![self.host()]
    }

    fn account(&self, account: usize) -> String {
        tag(account)
    }

    fn open(&self, account: usize) {
        self.grant_feature(&issuer(account), FEATURE);
    }

    fn admit(&self, account: usize, generation: u32) -> Value {
        self.gateway().add_key(&key(account, generation), &issuer(account));
        json!({"key": key(account, generation)})
    }

    fn revoke(&self, account: usize, generation: u32) {
        self.gateway().remove_key(&key(account, generation));
    }

    fn provider(&self, _account: usize, login: &str) -> Value {
        json!({"endpoint": self.url(), "keyRef": reference(login, "key")})
    }

    fn scope(&self, _account: usize, object: usize) -> Value {
        let target = format!(
            "/subscriptions/{}/resourceGroups/client-rg/providers/Microsoft.CognitiveServices/accounts/{}",
            example::SUBSCRIPTION_ID,
            mark(object)
        );
        json!({"limitedAccess": {"targetAzureResourceId": target, "featureFlags": [FEATURE]}})
    }
}

/// A declared API.
impl ProviderType for Serving<Platforms> {
    fn name(&self) -> &'static str {
        "http"
    }

    fn control(&self) -> Option<&Arc<Control>> {
        Some((**self).control())
    }

    fn hosts(&self) -> Vec<String> {
        vec![self.host()]
    }

    fn account(&self, account: usize) -> String {
        tag(account)
    }

    fn open(&self, _account: usize) {}

    fn admit(&self, account: usize, generation: u32) -> Value {
        self.add_key(&key(account, generation), &tag(account));
        json!({"key": key(account, generation)})
    }

    fn revoke(&self, account: usize, generation: u32) {
        self.remove_key(&key(account, generation));
    }

    fn provider(&self, account: usize, login: &str) -> Value {
        json!({
            "url": self.url(),
            "auth": {"bearer": reference(login, "key")},
            "parameters": {"room": {}},
            "request": {
                "path": format!("/v1/projects/{}/rooms/{{{{ room }}}}/tokens", tag(account)),
                "json": {"role": "viewer"},
            },
            "response": {"token": {"json": "$.token"}, "expires": {"seconds": "$.expiresIn"}},
        })
    }

    fn scope(&self, _account: usize, object: usize) -> Value {
        json!({"parameters": {"room": mark(object)}})
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::hostile::schema::provider_types;
    use std::collections::BTreeSet;

    #[tokio::test]
    async fn each_provider_type_takes_part() {
        let (types, _) = all().await.unwrap();
        let names: BTreeSet<_> = types.iter().map(|type_| type_.name().to_owned()).collect();
        assert_eq!(names, BTreeSet::from_iter(provider_types().unwrap()));
    }

    #[test]
    fn an_object_is_found_by_what_it_asked_for() {
        assert_eq!(object_of(&format!("referer https://{}.example/player", mark(42))), Some(42));
        assert_eq!(object_of("generateAccessToken Reader Account"), None);
    }
}
