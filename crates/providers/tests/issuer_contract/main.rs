//! The token APIs as the emulators speak them: what each request says, and what becomes of each answer.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api_management;
mod arcgis_video_server;
mod azure_identity;
mod blend_vision;
mod cognitive_services;
mod contract;
mod credentials;
mod declared;
mod entra;
mod gallery;
mod keyed;
mod video_indexer;
mod video_indexer_classic;

use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use testkit::emulator::{Azure, Call, Control, OPERATIONS, example};
use videotoken_api::request::TokenRequest;
use videotoken_providers::azure_auth::{AzureCredential, EntraTokenOptions, EntraTokenSource};
use videotoken_providers::http::{Http, HttpOptions, Proxies};
use videotoken_providers::video_indexer::{VideoIndexer, VideoIndexerResource};
use videotoken_providers::{IssueError, Issued, Issuer};

/// One account of a fresh Azure, and an issuer for it.
struct Stand {
    azure: Azure,
    issuer: VideoIndexer,
}

impl Stand {
    /// With the example's client secret.
    async fn start() -> Self {
        Self::with(secret(example::CLIENT_SECRET)).await
    }

    async fn with(credential: AzureCredential) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let azure = Azure::start().await.unwrap();
        let issuer = issuer(&azure, credential, Duration::from_secs(10));
        Self { azure, issuer }
    }

    /// Asks for the simplest token.
    async fn issue(&self) -> Result<Issued, IssueError> {
        self.issuer.issue(&simplest()).await
    }

    /// Asks for it in vain.
    async fn fail(&self) -> IssueError {
        let error = self.issue().await.map(|issued| issued.expires_at).unwrap_err();
        assert_no_secret(&self.azure, &error);
        error
    }

    /// The last request that Video Indexer saw.
    fn last(&self) -> Arc<Call> {
        last(self.azure.video_indexer.control())
    }

    /// The last request that Entra saw.
    fn last_of_entra(&self) -> Arc<Call> {
        last(self.azure.entra.control())
    }

    /// How many requests Entra and Video Indexer have seen.
    fn seen(&self) -> (u64, u64) {
        let [entra, video_indexer] = self.azure.controls().map(|control| control.counters().requests);
        (entra, video_indexer)
    }
}

fn last(control: &Control) -> Arc<Call> {
    control.requests().last().unwrap().call.clone()
}

fn secret(secret: &str) -> AzureCredential {
    AzureCredential::ClientSecret {
        tenant_id: example::TENANT_ID.to_owned(),
        client_id: example::CLIENT_ID.to_owned(),
        secret: secret.into(),
    }
}

fn http(azure: &Azure, timeout: Duration) -> Http {
    let options =
        HttpOptions { ca_pem: Some(azure.ca_pem()), timeout, proxies: Proxies::Never, ..HttpOptions::default() };
    Http::new(&options).unwrap()
}

fn auth(azure: &Azure, credential: AzureCredential, timeout: Duration) -> EntraTokenSource {
    let options = EntraTokenOptions {
        field: "spec.videoIndexer".into(),
        authority: azure.authority_url().parse().unwrap(),
        scope: account(azure).entra_scope(),
        http: http(azure, timeout),
        metadata_endpoint: Some(azure.authority_url().parse().unwrap()),
    };
    EntraTokenSource::new(credential, options).unwrap()
}

fn issuer(azure: &Azure, credential: AzureCredential, timeout: Duration) -> VideoIndexer {
    let auth = Arc::new(auth(azure, credential, timeout));
    VideoIndexer::new(account(azure), auth, http(azure, timeout)).unwrap()
}

fn account(azure: &Azure) -> VideoIndexerResource {
    VideoIndexerResource {
        resource_manager: azure.resource_manager_url().parse().unwrap(),
        api_version: "2025-04-01".to_owned(),
        subscription_id: example::SUBSCRIPTION_ID.to_owned(),
        resource_group: example::RESOURCE_GROUP.to_owned(),
        account_name: example::ACCOUNT_NAME.to_owned(),
    }
}

fn request(operation: &'static str, fields: Value, life: Duration) -> TokenRequest {
    let Value::Object(fields) = fields else { panic!("no object") };
    TokenRequest {
        account: example::account_id().to_lowercase(),
        operation: operation.into(),
        fields,
        promised_lifetime: life,
        ends_at: None,
    }
}

fn simplest() -> TokenRequest {
    request(OPERATIONS[0], json!({"permissionType": "Reader", "scope": "Account"}), Duration::from_hours(1))
}

/// Lets so much time pass for everything that waits.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// No credential and no token that was used shows in an error.
fn assert_no_secret(azure: &Azure, error: &IssueError) {
    let shown = format!("{error} {error:?} {error:#?}");
    let used = azure.controls().into_iter().flat_map(|control| control.requests()).flat_map(|seen| {
        let of = |text: Option<String>| text.into_iter().filter(|text| text.len() >= 12);
        let bearer = of(seen.call.bearer().map(str::to_owned));
        bearer.chain(of(seen.call.form("client_secret"))).chain(of(seen.call.form("client_assertion")))
    });
    for secret in used.collect::<Vec<_>>() {
        for piece in secret.as_bytes().windows(12) {
            let piece = std::str::from_utf8(piece).unwrap();
            assert!(!shown.contains(piece), "{piece} in {shown}");
        }
    }
}
