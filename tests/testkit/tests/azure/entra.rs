//! The token endpoint and the instance metadata service.

use super::{Client, json_of};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{self, KeyPair as _},
};
use axum::{
    Json, Router,
    http::{HeaderMap, StatusCode},
    response::IntoResponse as _,
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use testkit::{
    emulator::{BearerError, Federation, KeySource, example},
    tls::{ClientCertificate, serve},
};

type Fields<'a> = &'a [(&'a str, &'a str)];

const ISSUER: &str = "https://kubernetes.default.svc";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn sign(key: &signature::RsaKeyPair, header: &Value, claims: &Value) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let message = format!("{}.{}", encode(header), encode(claims));
    let padding: &'static dyn signature::RsaEncoding =
        if header["alg"] == "PS256" { &signature::RSA_PSS_SHA256 } else { &signature::RSA_PKCS1_SHA256 };
    let mut tag = vec![0; key.public_modulus_len()];
    key.sign(padding, &SystemRandom::new(), message.as_bytes(), &mut tag).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// `base` with these fields changed; null takes one away.
fn with(base: &Value, changes: &Value) -> Value {
    let mut object = base.clone();
    for (name, value) in changes.as_object().unwrap() {
        object[name] = value.clone();
    }
    object
}

/// The AADSTS number of a refusal whose whole form is right; 0 for a token.
async fn verdict(answer: reqwest::Response) -> (u16, u64) {
    let status = answer.status().as_u16();
    assert!(answer.headers().contains_key("x-ms-request-id"));
    let body = json_of(answer).await;
    if status == 200 {
        assert_eq!((body["token_type"].as_str(), body["expires_in"].as_i64()), (Some("Bearer"), Some(3_599)));
        assert!(body["access_token"].as_str().is_some_and(|token| token.len() > 100));
        return (200, 0);
    }
    let code = body["error_codes"][0].as_u64().unwrap();
    assert!(body["error_description"].as_str().unwrap().starts_with(&format!("AADSTS{code}: ")));
    for field in ["error", "trace_id", "correlation_id", "timestamp", "error_uri"] {
        assert!(body[field].is_string(), "{field}");
    }
    (status, code)
}

#[tokio::test]
async fn a_client_secret_is_taken_and_everything_else_refused_by_its_own_number() {
    let client = Client::start().await;
    let secret = ("client_secret", example::CLIENT_SECRET);
    let tenant = example::TENANT_ID;
    let cases: [(&str, Fields<'_>, (u16, u64)); 10] = [
        (tenant, &[secret], (200, 0)),
        (tenant, &[("client_secret", "wrong")], (401, 7_000_215)),
        ("another-tenant", &[secret], (400, 90_002)),
        (tenant, &[secret, ("client_id", "unknown")], (400, 700_016)),
        (tenant, &[secret, ("grant_type", "password")], (400, 70_003)),
        (tenant, &[secret, ("grant_type", "")], (400, 900_144)),
        (tenant, &[secret, ("scope", "https://management.azure.com/user")], (400, 1_002_012)),
        (tenant, &[secret, ("scope", "https://elsewhere.example/.default")], (400, 500_011)),
        (tenant, &[], (401, 7_000_216)),
        (tenant, &[("client_assertion", "x.y.z"), ("client_assertion_type", ASSERTION_TYPE)], (400, 50_027)),
    ];
    for (tenant, fields, expected) in cases {
        assert_eq!(verdict(client.entra(tenant, fields).await).await, expected, "{fields:?}");
    }
    client.azure.entra.revoke_secret(example::CLIENT_ID, example::CLIENT_SECRET);
    assert_eq!(verdict(client.entra(tenant, &[secret]).await).await, (401, 7_000_215));
}

#[tokio::test]
async fn a_certificate_proves_its_application_with_either_padding() {
    let client = Client::start().await;
    let (own, stranger) = (ClientCertificate::generate("own").unwrap(), ClientCertificate::generate("other").unwrap());
    client.azure.entra.add_certificate(example::CLIENT_ID, &own.certificate_pem).unwrap();
    let key = |certificate: &ClientCertificate| {
        let der = PrivatePkcs8KeyDer::from_pem_slice(certificate.private_key_pem.as_bytes()).unwrap();
        signature::RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap()
    };
    let (own_key, strange_key) = (key(&own), key(&stranger));
    let now = chrono::Utc::now().timestamp();
    let url = format!("{}/{}/oauth2/v2.0/token", client.azure.authority_url(), example::TENANT_ID);
    let header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": own.thumbprint});
    let claims = json!({"aud": url, "iss": example::CLIENT_ID, "sub": example::CLIENT_ID, "jti": "1",
        "nbf": now, "exp": now + 300});
    let cases = [
        (&own_key, json!({}), json!({}), (200, 0)),
        (&own_key, json!({"alg": "RS256"}), json!({}), (200, 0)),
        (&strange_key, json!({}), json!({}), (401, 700_027)),
        (&strange_key, json!({"x5t#S256": stranger.thumbprint}), json!({}), (401, 700_027)),
        (&own_key, json!({"alg": "none"}), json!({}), (401, 700_027)),
        (&own_key, json!({}), json!({"exp": now - 1}), (401, 700_024)),
        (&own_key, json!({}), json!({"exp": null}), (401, 700_024)),
        (&own_key, json!({}), json!({"aud": "https://elsewhere.example"}), (401, 700_023)),
        (&own_key, json!({}), json!({"sub": "another"}), (401, 700_213)),
    ];
    for (key, header_change, claims_change, expected) in cases {
        let assertion = sign(key, &with(&header, &header_change), &with(&claims, &claims_change));
        let fields = [("client_assertion", &*assertion), ("client_assertion_type", ASSERTION_TYPE)];
        let answer = client.entra(example::TENANT_ID, &fields).await;
        assert_eq!(verdict(answer).await, expected, "{header_change} {claims_change}");
    }
}

/// Publishes keys as an API server does: to those who may read them.
fn key_server(jwks: Value) -> Router {
    let keys = async move |headers: HeaderMap| {
        let may_read = headers.get("authorization").is_some_and(|value| value == "Bearer reader");
        if may_read { Json(jwks).into_response() } else { StatusCode::FORBIDDEN.into_response() }
    };
    Router::new().route("/openid/v1/jwks", get(keys))
}

#[tokio::test]
async fn a_service_account_proves_a_federated_application_by_its_issuers_keys() {
    let client = Client::start().await;
    let entra = &client.azure.entra;
    let key = signature::RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let modulus = URL_SAFE_NO_PAD.encode(key.public_key().modulus().big_endian_without_leading_zero());
    let jwks = json!({"keys": [{"kty": "RSA", "kid": "k1", "alg": "RS256", "use": "sig", "n": modulus, "e": "AQAB"}]});
    let header = json!({"alg": "RS256", "kid": "k1"});
    let now = chrono::Utc::now().timestamp();
    let claims = json!({"iss": ISSUER, "sub": "system:serviceaccount:media:player", "nbf": now, "exp": now + 600,
        "aud": ["api://AzureADTokenExchange"]});
    let ask = async |header_change: Value, claims_change: Value| {
        let assertion = sign(&key, &with(&header, &header_change), &with(&claims, &claims_change));
        let fields = [("client_assertion", &*assertion), ("client_assertion_type", ASSERTION_TYPE)];
        verdict(client.entra(example::TENANT_ID, &fields).await).await
    };
    assert_eq!(ask(json!({}), json!({})).await, (400, 70_021));
    entra.add_federation(example::CLIENT_ID, Federation::service_account(ISSUER, "media", "player"));
    assert_eq!(ask(json!({}), json!({})).await, (400, 90_061), "nothing is known of the issuer's keys yet");
    let keys = serve(key_server(jwks), client.azure.ca()).await.unwrap();
    let url = format!("{}/openid/v1/jwks", keys.url());
    entra.set_issuer_keys(ISSUER, KeySource::url(client.http.clone(), &url, Some("reader")));
    let cases = [
        (json!({}), json!({}), (200, 0)),
        (json!({}), json!({"iss": "https://another.example"}), (401, 700_211)),
        (json!({}), json!({"sub": "system:serviceaccount:media:Player"}), (401, 700_213)),
        (json!({}), json!({"aud": ["https://kubernetes.default.svc"]}), (401, 700_212)),
        (json!({}), json!({"exp": now - 1}), (401, 700_024)),
        (json!({"kid": "k2"}), json!({}), (401, 700_027)),
        (json!({"alg": "PS256"}), json!({}), (401, 700_027)),
    ];
    for (header_change, claims_change, expected) in cases {
        assert_eq!(ask(header_change.clone(), claims_change.clone()).await, expected, "{header_change}{claims_change}");
    }
}

#[tokio::test]
async fn the_metadata_service_gives_the_machines_identity_a_token() {
    let client = Client::start().await;
    let resource = client.azure.resource_manager_url();
    let base = format!("{}/metadata/identity/oauth2/token", client.azure.authority_url());
    let full = format!("api-version=2018-02-01&resource={resource}");
    let cases = [
        (full.clone(), "true", 200),
        (format!("{full}&client_id={}", example::MANAGED_IDENTITY_CLIENT_ID), "true", 200),
        (format!("{full}&client_id=unknown"), "true", 400),
        (full.clone(), "", 400),
        ("api-version=2018-02-01".to_owned(), "true", 400),
    ];
    for (query, metadata, expected) in cases {
        let answer = client.http.get(format!("{base}?{query}")).header("metadata", metadata).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{query} {metadata}");
        let body = json_of(answer).await;
        if expected == 200 {
            assert_eq!(body["expires_in"], "86400");
            let principal = client.azure.entra.verify(body["access_token"].as_str().unwrap()).unwrap();
            assert_eq!(principal.client_id, example::MANAGED_IDENTITY_CLIENT_ID);
            assert_eq!(principal.audience, resource);
        } else {
            assert_eq!(body["error"], "invalid_request");
        }
    }
}

#[tokio::test]
async fn a_token_is_honoured_until_it_is_revoked() {
    let client = Client::start().await;
    let entra = &client.azure.entra;
    assert_eq!(entra.verify("x"), Err(BearerError::Unknown));
    assert_eq!(entra.verify(&client.bearer).unwrap().client_id, example::CLIENT_ID);
    assert!(entra.control().revoke(&client.bearer));
    assert_eq!(entra.verify(&client.bearer), Err(BearerError::Revoked));
}
