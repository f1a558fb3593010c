//! BlendVision One: what its bodies may hold, and what a token opens.

use super::serve;
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use testkit::emulator::{BlendVision, Emulator as _, Serving, blend_vision_example as example};

struct Client {
    blend_vision: Serving<BlendVision>,
    http: reqwest::Client,
    api_token: String,
}

impl Client {
    async fn start() -> Self {
        let (blend_vision, api_token) = BlendVision::furnished().unwrap();
        let (blend_vision, http) = serve(blend_vision).await;
        Self { blend_vision, http, api_token }
    }

    async fn post(&self, path: &str, organization: &str, body: &Value) -> (u16, Value) {
        let request = self.http.post(format!("{}{path}", self.blend_vision.url())).bearer_auth(&self.api_token);
        let answer = request.header("x-bv-org-id", organization).json(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// What is answered for the example's video, with these fields over it; null takes a field away.
    async fn create(&self, operation: &str, fields: &Value) -> (u16, Value) {
        let mut body = json!({"resource_id": example::VOD_ID, "resource_type": "RESOURCE_TYPE_VOD"});
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.post(&format!("/bv/cms/v1/{operation}"), example::ORGANIZATION, &body).await
    }
}

#[tokio::test]
async fn lives_are_asked_for_as_the_reference_says() {
    let client = Client::start().await;
    let ahead = (Utc::now() + TimeDelta::minutes(10)).to_rfc3339();
    let viewer = json!({"customer_id": "v"});
    let hundred_years = 36_500 * 24 * 3_600;
    let cases = [
        ("resources/tokens", json!({"expires_in": "60s"}), 60, true),
        ("resources/tokens:admin", json!({"expires_in": "60s"}), 60, true),
        ("resources/tokens", json!({"expired_at": ahead}), 600, true),
        ("resources/tokens", json!({}), hundred_years, false),
        ("tokens", json!({"customer_id": "v", "expires_in": "60s"}), 60, false),
        ("tokens", viewer, 24 * 3_600, false),
    ];
    for (operation, fields, life, told) in cases {
        let (status, answer) = client.create(operation, &fields).await;
        assert_eq!((status, answer["expired_at"].is_string()), (200, told), "{operation} {fields}: {answer}");
        let known = client.blend_vision.control().knows(answer["token"].as_str().unwrap()).unwrap();
        let lives = (known.expires_at - known.issued_at).num_seconds();
        assert!((life - 2..=life).contains(&lives), "{operation} {fields}: {lives}");
        if told {
            assert_eq!(answer["expired_at"].as_str().unwrap().parse(), Ok(known.expires_at));
        }
    }
}

#[tokio::test]
async fn what_is_wrong_is_refused_as_grpc_gateway_does_it() {
    let client = Client::start().await;
    let past = "2025-11-17T15:15:44Z";
    let private = json!({"resource_id": example::LIVE_ID, "resource_type": "RESOURCE_TYPE_LIVE"});
    let cases = [
        ("resources/tokens", json!({"expires_in": 60}), 400, 3, "expires_in"),
        ("resources/tokens", json!({"expires_in": "60"}), 400, 3, "expires_in"),
        ("resources/tokens", json!({"expires_in": "0s"}), 400, 3, "expires_in"),
        ("resources/tokens", json!({"expires_in": "60s", "expired_at": past}), 400, 3, "expires_in"),
        ("resources/tokens", json!({"expired_at": past}), 400, 3, "expired_at"),
        ("resources/tokens", json!({"resource_id": null}), 400, 3, "resource_id"),
        ("resources/tokens", private, 400, 3, "customer_id"),
        ("tokens", json!({}), 400, 3, "customer_id"),
        ("resources/tokens", json!({"resource_type": "RESOURCE_TYPE_LIVE"}), 404, 5, ""),
        ("resources/other", json!({}), 404, 5, ""),
    ];
    for (operation, fields, status, code, field) in cases {
        let (got, answer) = client.create(operation, &fields).await;
        assert_eq!((got, &answer["code"]), (status, &json!(code)), "{operation} {fields}: {answer}");
        assert!(answer["details"][0]["@type"].as_str().unwrap().starts_with("type.googleapis.com/google.rpc."));
        if !field.is_empty() {
            assert_eq!(answer["details"][0]["fieldViolations"][0]["field"], field, "{answer}");
        }
    }
    for (organization, status) in [("", 400), ("another", 403)] {
        assert_eq!(client.post("/bv/cms/v1/tokens", organization, &json!({})).await.0, status);
    }
    client.blend_vision.revoke_api_token(&client.api_token);
    assert_eq!(client.create("resources/tokens", &json!({})).await.0, 401);
    let got = client.http.get(format!("{}/bv/cms/v1/tokens", client.blend_vision.url())).send().await.unwrap();
    assert_eq!(got.status().as_u16(), 501);
}

#[tokio::test]
async fn a_token_opens_a_session_as_long_as_it_is_good() {
    let client = Client::start().await;
    let (_, answer) = client.create("tokens", &json!({"customer_id": "v"})).await;
    let token = answer["token"].as_str().unwrap();
    let start = async |authorization: &str| {
        let url = format!("{}/bv/playback/v1/sessions/screen-1:start", client.blend_vision.url());
        let answer = client.http.post(url).header("authorization", authorization).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["resource_id"].clone())
    };
    for authorization in [token.to_owned(), format!("Bearer {token}")] {
        assert_eq!(start(&authorization).await, (200, json!(example::VOD_ID)));
    }
    assert_eq!(start("another").await.0, 401);
    client.blend_vision.control().revoke(token);
    assert_eq!(start(token).await.0, 401);
}
