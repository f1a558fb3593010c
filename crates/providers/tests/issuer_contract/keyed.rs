//! The stand for token APIs whose credentials are keys.

use super::last;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use secrecy::SecretSlice;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use testkit::emulator::{Call, Control, Emulator, Fault, Serving};
use testkit::offers::Offer;
use testkit::tls::CertificateAuthority;
use videotoken_api::key::ObjectKey;
use videotoken_api::provider::ProviderSpec;
use videotoken_api::provider_types::Account;
use videotoken_api::request::TokenRequest;
use videotoken_api::video_access_token::VideoAccessTokenSpec;
use videotoken_core::plan::view;
use videotoken_providers::azure_auth::AssertionSource;
use videotoken_providers::http::{Http, HttpOptions, HttpPool, Proxies};
use videotoken_providers::keyed::KeyedAccount;
use videotoken_providers::provider_setup::{
    self, Guarded, OutboundPolicy, Owner, ReferenceSource, References, Unreadable,
};
use videotoken_providers::{Class, IssueError, Issued, Issuer};

/// An account as users write it, the issuer that the operator builds from it, and the control of its emulator.
pub(crate) struct Tested {
    pub(crate) issuer: Arc<dyn Issuer>,
    pub(crate) control: Arc<Control>,
    pub(crate) secrets: Vec<String>,
    pub(crate) provider: ProviderSpec,
    pub(crate) ca_pem: String,
}

/// One failing answer; the class, reason and wait in seconds that the issuer makes of it; and the start of the message.
pub(crate) type Refusal<M> = (Fault, (Class, &'static str, Option<u64>), M);

impl Tested {
    /// `secrets` are what the references of the provider's spec lead to, in the order of its fields.
    fn new(control: Arc<Control>, ca_pem: &str, provider: ProviderSpec, secrets: Vec<String>) -> Self {
        let issuer = issuer(&provider, &secrets, ca_pem);
        Self { issuer, control, secrets, provider, ca_pem: ca_pem.to_owned() }
    }

    /// Returns the account of a row, with these keys in its Secret.
    pub(crate) fn of(offer: &Offer, keys: &Value) -> Self {
        let provider: ProviderSpec = serde_json::from_value(json!({offer.type_: offer.account})).unwrap();
        if offer.type_ == "http" {
            let issuer = declared(&provider, keys, offer.ca_pem());
            let (control, secrets) = (offer.control.clone(), offer.secrets());
            return Self { issuer, control, secrets, provider, ca_pem: offer.ca_pem().to_owned() };
        }
        let credentials = keyed(&provider).credentials();
        let secrets = credentials.iter().map(|(_, reference)| keys[&reference.key].as_str().unwrap().to_owned());
        let secrets = secrets.collect();
        Self::new(offer.control.clone(), offer.ca_pem(), provider, secrets)
    }

    /// The same account with other secrets.
    pub(crate) fn with(&self, secrets: &[&str]) -> Arc<dyn Issuer> {
        issuer(&self.provider, &secrets.iter().map(ToString::to_string).collect::<Vec<_>>(), &self.ca_pem)
    }

    /// What a token's spec with this scope asks for; `rest` are further members of the spec.
    pub(crate) fn request(&self, scope: &str, rest: &str) -> TokenRequest {
        let spec = format!("{{providerRef: {{name: p}}, scope: {{{scope}}}, {rest}}}");
        let spec: VideoAccessTokenSpec = serde_yaml_ng::from_str(&spec).expect("a token's spec");
        spec.request(&self.provider).expect("a request")
    }

    pub(crate) async fn issue(&self, scope: &str, rest: &str) -> Result<Issued, IssueError> {
        self.issuer.issue(&self.request(scope, rest)).await
    }

    /// Requests a token and returns the error. Panics if the error is long or contains a secret.
    pub(crate) async fn fail(&self, scope: &str) -> IssueError {
        let error = self.issue(scope, "").await.map(|issued| issued.expires_at).unwrap_err();
        let shown = format!("{error} {error:?} {error:#?}");
        for piece in self.secrets.iter().flat_map(|secret| secret.as_bytes().windows(12)) {
            let piece = std::str::from_utf8(piece).unwrap();
            assert!(!shown.contains(piece), "{piece} in {shown}");
        }
        assert!(error.message.len() < 600, "{error}");
        error
    }

    /// Plays each answer once and checks the error. Each next request must succeed.
    pub(crate) async fn refuses<M: AsRef<str>>(
        &self,
        scope: &str,
        has_request_ids: bool,
        cases: impl IntoIterator<Item = Refusal<M>>,
    ) {
        for (fault, (class, reason, wait), message) in cases {
            self.control.play_once(fault.clone());
            let error = self.fail(scope).await;
            let expected = (class, reason, wait.map(Duration::from_secs));
            assert_eq!((error.class, &*error.reason, error.retry_after), expected, "{fault:?}: {error}");
            assert!(error.message.starts_with(message.as_ref()), "{fault:?}: {error}");
            let is_answered = has_request_ids && fault != Fault::ConnectionReset;
            let request_id = is_answered.then(|| self.last().request_id.to_string());
            assert_eq!(error.request_id, request_id, "{fault:?}");
            self.issue(scope, "").await.expect("the next one succeeds");
        }
    }

    /// The last request that the emulator saw.
    pub(crate) fn last(&self) -> Arc<Call> {
        last(&self.control)
    }
}

/// [`Tested`] with its running emulator, for tests of one product.
pub(crate) struct Keyed<E: Emulator> {
    pub(crate) serving: Serving<E>,
    tested: Tested,
}

impl<E: Emulator> Keyed<E> {
    /// `provider` is a provider's spec in YAML, with ENDPOINT for where the emulator is; `secrets` are what its
    /// references lead to, in the order of its fields.
    pub(crate) async fn start(emulator: Arc<E>, provider: &str, secrets: &[&str]) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ca = Arc::new(CertificateAuthority::generate().unwrap());
        let serving = Serving::start(emulator, &ca).await.unwrap();
        let provider = serde_yaml_ng::from_str(&provider.replace("ENDPOINT", &serving.url())).unwrap();
        let secrets = secrets.iter().map(ToString::to_string).collect();
        let tested = Tested::new(serving.control().clone(), &serving.ca_pem(), provider, secrets);
        Self { serving, tested }
    }
}

impl<E: Emulator> Deref for Keyed<E> {
    type Target = Tested;

    fn deref(&self) -> &Tested {
        &self.tested
    }
}

fn keyed(provider: &ProviderSpec) -> &dyn KeyedAccount {
    match provider.account().unwrap() {
        Account::VideoIndexerClassic(account) => account,
        Account::BlendVision(account) => account,
        Account::ArcgisVideoServer(account) => account,
        Account::CognitiveServices(account) => account,
        Account::VideoIndexer(_) | Account::Http(_) | Account::Signed(_) => {
            panic!("{} has no fixed keys", provider.account().unwrap().name())
        }
    }
}

/// Returns the issuer of a declared account, built as the operator builds it. `keys` are what its Secret contains.
pub(crate) fn declared(provider: &ProviderSpec, keys: &Value, ca_pem: &str) -> Arc<dyn Issuer> {
    let reach = OutboundPolicy {
        network: Arc::default(),
        allow_insecure: false,
        timeout: Duration::from_secs(10),
        metadata_endpoint: None,
        transport: None,
    };
    let spec = ProviderSpec { ca_bundle: Some(ca_pem.to_owned()), ..provider.clone() };
    let keys = Handed(keys.clone());
    let references = References::new(&keys, Owner::Cluster, "credentials");
    let pool = HttpPool::default();
    let built = futures::executor::block_on(provider_setup::issuer(&reach, &pool, &spec, &references));
    built.unwrap_or_else(|refusal| panic!("{refusal:?}")).issuer
}

/// Keys of any Secret, as the flags of a command hand them over.
struct Handed(Value);

#[async_trait]
impl ReferenceSource for Handed {
    async fn secret(&self, _: &ObjectKey) -> Result<Option<Secret>, Unreadable> {
        Ok(None)
    }

    async fn config_map(&self, _: &ObjectKey) -> Result<Option<ConfigMap>, Unreadable> {
        Ok(None)
    }

    async fn service_account(&self, _: &ObjectKey) -> Result<Option<BTreeMap<String, String>>, Unreadable> {
        Ok(None)
    }

    fn assertions(&self, _: &ObjectKey, _: &str, _: &Guarded) -> Result<Arc<dyn AssertionSource>, view::Refusal> {
        Err(view::Refusal::new("InvalidSpec", "there are no ServiceAccounts here"))
    }

    fn override_value(&self, _: &ObjectKey, key: &str) -> Result<Option<SecretSlice<u8>>, Unreadable> {
        Ok(self.0[key].as_str().map(|value| SecretSlice::from(value.as_bytes().to_vec())))
    }
}

fn issuer(provider: &ProviderSpec, secrets: &[String], ca_pem: &str) -> Arc<dyn Issuer> {
    let account = keyed(provider);
    assert_eq!(account.credentials().len(), secrets.len());
    let options = HttpOptions {
        ca_pem: Some(ca_pem.to_owned()),
        timeout: Duration::from_secs(10),
        proxies: Proxies::Never,
        ..HttpOptions::default()
    };
    let (_, endpoint) = account.endpoint();
    let secrets = secrets.iter().map(|secret| secret.as_str().into()).collect();
    account.issuer(endpoint.parse().unwrap(), secrets, Http::new(&options).unwrap()).unwrap()
}
