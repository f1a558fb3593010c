//! Entra and Video Indexer as a plain client sees them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod control;
mod entra;
mod throughput;
mod video_indexer;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use testkit::emulator::{Azure, example};

/// A client of a fresh Azure, with a good Entra token in hand.
struct Client {
    azure: Azure,
    http: reqwest::Client,
    bearer: String,
}

impl Client {
    async fn start() -> Self {
        let azure = Azure::start().await.unwrap();
        let http = azure.client().unwrap();
        let mut client = Self { azure, http, bearer: String::new() };
        client.bearer = client.entra_token().await;
        client
    }

    /// Asks Entra with these fields instead of, or beside, the usual ones; an empty value leaves a field out.
    async fn entra(&self, tenant: &str, fields: &[(&str, &str)]) -> Response {
        let scope = format!("{}/.default", self.azure.resource_manager_url());
        let usual = [("grant_type", "client_credentials"), ("client_id", example::CLIENT_ID), ("scope", &scope)];
        let mut form = form_urlencoded::Serializer::new(String::new());
        let kept = usual.iter().filter(|(name, _)| fields.iter().all(|(other, _)| other != name));
        form.extend_pairs(kept.chain(fields).filter(|(_, value)| !value.is_empty()));
        let url = format!("{}/{tenant}/oauth2/v2.0/token", self.azure.authority_url());
        let request = self.http.post(url).header("content-type", "application/x-www-form-urlencoded");
        request.body(form.finish()).send().await.unwrap()
    }

    async fn entra_token(&self) -> String {
        let answer = self.entra(example::TENANT_ID, &[("client_secret", example::CLIENT_SECRET)]).await;
        json_of(answer).await["access_token"].as_str().unwrap().to_owned()
    }

    fn request(&self, operation: &str, body: &Value) -> reqwest::RequestBuilder {
        let (arm, account) = (self.azure.resource_manager_url(), example::account_id());
        let request = self.http.post(format!("{arm}{account}/{operation}?api-version=2025-04-01"));
        request.bearer_auth(&self.bearer).json(body)
    }

    async fn generate(&self, operation: &str, body: Value) -> (StatusCode, Value) {
        let answer = self.request(operation, &body).send().await.unwrap();
        (answer.status(), json_of(answer).await)
    }

    /// The simplest token.
    async fn token(&self) -> String {
        let (_, answer) = self.generate("generateAccessToken", simplest()).await;
        answer["accessToken"].as_str().unwrap().to_owned()
    }
}

fn simplest() -> Value {
    json!({"permissionType": "Reader", "scope": "Account"})
}

async fn json_of(answer: Response) -> Value {
    answer.json().await.unwrap()
}
