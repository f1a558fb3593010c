//! What `azure_identity` does by itself with answers and credentials. Each test shows the reason for one of the mends in
//! `azure_auth`. A test that fails after an update of the library means that its mend can be deleted.

use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{AccessToken, TokenCredential};
use azure_core::http::headers::Headers;
use azure_core::http::{
    AsyncRawResponse, Body, ClientOptions, HttpClient, Request, RetryOptions, StatusCode, Transport,
};
use azure_identity::{
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use parking_lot::Mutex;
use std::sync::Arc;

const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const SCOPE: &[&str] = &["https://example.com/.default"];
const GRANTED: &str = r#"{"token_type":"Bearer","access_token":"t","expires_in":3599}"#;

/// Gives each request the same answer, and keeps the requests.
#[derive(Debug)]
struct Endpoint {
    status: StatusCode,
    body: String,
    seen: Mutex<Vec<(String, String)>>,
}

#[async_trait]
impl HttpClient for Endpoint {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let Body::Bytes(body) = request.body() else { panic!("a body of bytes") };
        self.seen.lock().push((request.url().to_string(), String::from_utf8_lossy(body).into_owned()));
        Ok(AsyncRawResponse::from_bytes(self.status, Headers::new(), self.body.clone()))
    }
}

impl Endpoint {
    fn new(status: StatusCode, body: &str) -> Arc<Self> {
        Arc::new(Self { status, body: body.to_owned(), seen: Mutex::default() })
    }

    /// The options that `azure_auth` uses, with this endpoint as the transport.
    fn options(self: &Arc<Self>) -> ClientOptions {
        let mut cloud = CustomConfiguration::default();
        "https://login.example.com".clone_into(&mut cloud.authority_host);
        ClientOptions {
            transport: Some(Transport::new(self.clone())),
            retry: RetryOptions::none(),
            cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
            ..ClientOptions::default()
        }
    }

    fn credential(self: &Arc<Self>) -> Arc<ClientSecretCredential> {
        let options = ClientSecretCredentialOptions { client_options: self.options() };
        ClientSecretCredential::new(TENANT, "client".to_owned(), "s3cret".into(), Some(options)).unwrap()
    }
}

async fn fetch(status: StatusCode, body: &str) -> azure_core::Result<AccessToken> {
    Endpoint::new(status, body).credential().get_token(SCOPE, None).await
}

async fn granted(body: &str) -> azure_core::Result<AccessToken> {
    fetch(StatusCode::Ok, body).await
}

#[tokio::test]
async fn a_life_in_a_string_is_no_answer_to_the_library() {
    assert!(granted(GRANTED).await.is_ok());
    let text = r#"{"token_type":"Bearer","access_token":"t","expires_in":"3599"}"#;
    assert!(granted(text).await.is_err(), "transport::granted needs no strings");
}

#[tokio::test]
async fn the_library_takes_a_200_without_a_usable_token_for_a_success() {
    for (body, mend) in [
        ("{}", "an empty token"),
        (r#"{"token_type":"pop","access_token":"t","expires_in":3599}"#, "another kind of token"),
        (r#"{"token_type":"Bearer","access_token":"t"}"#, "a token without a life"),
        (r#"{"token_type":"Bearer","access_token":"t","expires_in":-5}"#, "a token that has expired"),
    ] {
        assert!(granted(body).await.is_ok(), "the library rejects {mend} by itself: transport::granted need not");
    }
}

#[tokio::test]
async fn a_long_life_panics_in_the_library() {
    let body = format!(r#"{{"token_type":"Bearer","access_token":"t","expires_in":{}}}"#, i64::MAX);
    let ended = tokio::spawn(async move { granted(&body).await.map(|_| ()) }).await;
    assert!(ended.is_err_and(|error| error.is_panic()), "LONGEST_LIFETIME isn't needed for the library");
}

#[tokio::test]
async fn the_library_loses_the_status_of_a_refusal_that_it_cannot_parse() {
    let escaped =
        r#"{"error":"invalid_client","error_description":"AADSTS7000215: \u0027x\u0027","error_codes":[7000215]}"#;
    for body in ["", "<html>", escaped] {
        let error = fetch(StatusCode::Unauthorized, body).await.unwrap_err();
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        let mut told = false;
        while let Some(error) = cause {
            told |= error.downcast_ref::<azure_core::Error>().is_some_and(|error| error.http_status().is_some());
            cause = error.source();
        }
        assert!(!told, "the library keeps the status of {body:?}: transport::refused may read its error");
    }
}

#[tokio::test]
async fn the_librarys_error_quotes_the_answer() {
    let body = r#"{"error":"invalid_client","error_description":"you sent s3cret","error_codes":[7000215]}"#;
    let error = fetch(StatusCode::Unauthorized, body).await.unwrap_err();
    assert!(format!("{error} {error:?}").contains("s3cret"), "the text of the library's errors could be shown");
}

#[tokio::test]
async fn the_library_caches_a_token_that_the_api_may_have_rejected() {
    let endpoint = Endpoint::new(StatusCode::Ok, GRANTED);
    let credential = endpoint.credential();
    for _ in 0..2 {
        credential.get_token(SCOPE, None).await.unwrap();
    }
    assert_eq!(endpoint.seen.lock().len(), 1, "Entra::fetch may keep its credential");
}

#[tokio::test]
async fn the_library_calls_the_metadata_service_at_its_fixed_address_only() {
    let endpoint = Endpoint::new(StatusCode::Ok, GRANTED);
    let options = ManagedIdentityCredentialOptions { client_options: endpoint.options(), ..Default::default() };
    let credential = ManagedIdentityCredential::new(Some(options)).unwrap();
    let _ = credential.get_token(SCOPE, None).await;
    let seen = endpoint.seen.lock();
    assert!(seen.iter().all(|(url, _)| url.starts_with("http://169.254.169.254/")), "no reroute is needed: {seen:?}");
    assert!(!seen.is_empty());
}

#[tokio::test]
async fn the_library_keeps_a_projected_token_that_was_replaced_and_its_newline() {
    let file = std::env::temp_dir().join(format!("vto-projected-{}", std::process::id()));
    std::fs::write(&file, "first\n").unwrap();
    let endpoint = Endpoint::new(StatusCode::Ok, GRANTED);
    let mut options = WorkloadIdentityCredentialOptions::default();
    options.credential_options = ClientAssertionCredentialOptions { client_options: endpoint.options() };
    options.client_id = Some("client".to_owned());
    options.tenant_id = Some(TENANT.to_owned());
    options.token_file_path = Some(file.clone());
    let credential = WorkloadIdentityCredential::new(Some(options)).unwrap();
    std::fs::write(&file, "second\n").unwrap();
    let fetched = credential.get_token(SCOPE, None).await;
    std::fs::remove_file(&file).unwrap();
    fetched.unwrap();
    let body = endpoint.seen.lock()[0].1.clone();
    assert!(body.contains("client_assertion=first%0A"), "ProjectedToken may be the library's: {body}");
}
