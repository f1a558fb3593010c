//! A token API whose credentials are keys, at its emulator: what the tests of all of them share.

use super::last;
use std::sync::Arc;
use std::time::Duration;
use testkit::emulator::{Call, Emulator, Serving};
use testkit::tls::CertificateAuthority;
use videotoken_api::provider::ProviderSpec;
use videotoken_api::request::TokenRequest;
use videotoken_api::token_api::Account;
use videotoken_api::video_access_token::VideoAccessTokenSpec;
use videotoken_providers::http::{Http, HttpOptions, Proxies};
use videotoken_providers::keyed::KeyedAccount;
use videotoken_providers::{IssueError, Issued, Issuer};

/// One account at a running emulator, as its users write it, and the issuer that the operator builds from that.
pub(crate) struct Keyed<E: Emulator> {
    pub(crate) serving: Serving<E>,
    pub(crate) issuer: Arc<dyn Issuer>,
    provider: ProviderSpec,
    secrets: Vec<String>,
}

impl<E: Emulator> Keyed<E> {
    /// `provider` is a provider's spec in YAML, with ENDPOINT for where the emulator is; `secrets` are what its
    /// references lead to, in the order of its fields.
    pub(crate) async fn start(emulator: Arc<E>, provider: &str, secrets: &[&str]) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ca = Arc::new(CertificateAuthority::generate().unwrap());
        let serving = Serving::start(emulator, &ca).await.unwrap();
        let provider: ProviderSpec =
            serde_yaml_ng::from_str(&provider.replace("ENDPOINT", &serving.url())).expect("a provider's spec");
        let issuer = issuer(&provider, secrets, &serving.ca_pem());
        Self { serving, issuer, provider, secrets: secrets.iter().map(ToString::to_string).collect() }
    }

    /// The same account with other secrets.
    pub(crate) fn with(&self, secrets: &[&str]) -> Arc<dyn Issuer> {
        issuer(&self.provider, secrets, &self.serving.ca_pem())
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

    /// Asks in vain. What it says holds none of the secrets.
    pub(crate) async fn fail(&self, scope: &str) -> IssueError {
        let error = self.issue(scope, "").await.map(|issued| issued.expires_at).unwrap_err();
        let shown = format!("{error} {error:?} {error:#?}");
        for piece in self.secrets.iter().flat_map(|secret| secret.as_bytes().windows(12)) {
            let piece = std::str::from_utf8(piece).unwrap();
            assert!(!shown.contains(piece), "{piece} in {shown}");
        }
        error
    }

    /// The last request that the emulator saw.
    pub(crate) fn last(&self) -> Arc<Call> {
        last(self.serving.control())
    }
}

fn issuer(provider: &ProviderSpec, secrets: &[&str], ca_pem: &str) -> Arc<dyn Issuer> {
    let account: &dyn KeyedAccount = match provider.account().unwrap() {
        Account::VideoIndexerClassic(account) => account,
        Account::BlendVision(account) => account,
        Account::ArcgisVideoServer(account) => account,
        Account::CognitiveServices(account) => account,
        Account::VideoIndexer(_) => panic!("videoIndexer has no keys"),
    };
    assert_eq!(account.credentials().len(), secrets.len());
    let options = HttpOptions {
        ca_pem: Some(ca_pem.to_owned()),
        timeout: Duration::from_secs(10),
        proxies: Proxies::Never,
        ..HttpOptions::default()
    };
    let (_, endpoint) = account.endpoint();
    let secrets = secrets.iter().map(|secret| (*secret).into()).collect();
    account.issuer(endpoint.parse().unwrap(), secrets, Http::new(&options).unwrap()).unwrap()
}
