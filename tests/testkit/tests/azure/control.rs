//! What a test can do to an emulator, and what it can learn from it.

use super::{Client, json_of, simplest};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use std::{net::Ipv4Addr, time::Duration};
use testkit::emulator::{Fault, HoldPoint, IssuedToken, Life, Limit, Rule, claims, control_router};
use uuid::Uuid;

/// What a client makes of one answer.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// Status, body.
    Answer(u16, String),
    /// The body didn't come in full.
    BrokenBody,
    /// There was no answer.
    NoAnswer,
}

type Check = fn(&Client, &Outcome) -> bool;

async fn outcome(client: &Client) -> Outcome {
    let Ok(answer) = client.request("generateAccessToken", &simplest()).send().await else { return Outcome::NoAnswer };
    let status = answer.status().as_u16();
    answer.text().await.map_or(Outcome::BrokenBody, |body| Outcome::Answer(status, body))
}

/// The token of an answer in full, and what the emulator knows of it.
fn token(client: &Client, outcome: &Outcome) -> Option<(String, IssuedToken)> {
    let Outcome::Answer(200, body) = outcome else { return None };
    let token = serde_json::from_str::<Value>(body).ok()?["accessToken"].as_str()?.to_owned();
    let known = client.azure.video_indexer.control().knows(&token)?;
    Some((token, known))
}

async fn none_in_hand(client: &Client) {
    let control = client.azure.video_indexer.control();
    testkit::stand::eventually(Duration::from_secs(5), "none in hand", async || match control.counters().in_flight {
        0 => Ok(()),
        requests => Err(format!("{requests} are")),
    })
    .await;
}

#[tokio::test]
async fn each_fault_is_seen_once_over_http_1_and_2_and_then_all_is_well() {
    let mut client = Client::start().await;
    let control = client.azure.video_indexer.control().clone();
    let status = Fault::Status { code: 409, body: "{}".into(), headers: vec![] };
    let cases: [(Fault, Check); 14] = [
        (status, |_, seen| *seen == Outcome::Answer(409, "{}".into())),
        (Fault::Throttle { retry_after: Some(7) }, |_, seen| matches!(seen, Outcome::Answer(429, _))),
        (Fault::CutBody, |_, seen| *seen == Outcome::BrokenBody),
        (Fault::HalfJson, |_, seen| matches!(seen, Outcome::Answer(200, body) if !body.ends_with('}'))),
        (Fault::HugeBody, |_, seen| matches!(seen, Outcome::Answer(200, body) if body.len() > 10 << 20)),
        (Fault::Html, |_, seen| matches!(seen, Outcome::Answer(200, body) if body.contains("<html>"))),
        (
            Fault::EchoRequest,
            |client, seen| matches!(seen, Outcome::Answer(400, body) if body.contains(&client.bearer) && body.contains("\\\"")),
        ),
        (Fault::ExpiredToken, |client, seen| token(client, seen).is_some_and(|(_, known)| !known.is_good(Utc::now()))),
        (Fault::OpaqueToken, |client, seen| {
            token(client, seen).is_some_and(|(token, known)| !token.contains('.') && known.is_good(Utc::now()))
        }),
        (Fault::NotJwt, |client, seen| {
            token(client, seen).is_some_and(|(token, known)| claims(&token).is_none() && known.is_good(Utc::now()))
        }),
        (Fault::NoExpiry, |client, seen| {
            token(client, seen).is_some_and(|(token, _)| !claims(&token).unwrap().contains_key("exp"))
        }),
        (Fault::NoToken, |_, seen| *seen == Outcome::Answer(200, "{}".into())),
        (Fault::ConnectionReset, |_, seen| *seen == Outcome::NoAnswer),
        (Fault::Stall(Duration::from_millis(1)), |client, seen| token(client, seen).is_some()),
    ];
    let http1 = client.azure.ca().client_builder().unwrap().http1_only().build().unwrap();
    for http in [client.http.clone(), http1] {
        client.http = http;
        for (fault, check) in &cases {
            control.play_once(fault.clone());
            let seen = outcome(&client).await;
            assert!(check(&client, &seen), "{fault:?}: {seen:?}");
            assert_eq!(control.requests().last().unwrap().call.fault(), Some(fault));
        }
        assert!(token(&client, &outcome(&client).await).is_some());
    }
    assert_eq!(control.counters().faults, 28);
    none_in_hand(&client).await;
}

#[tokio::test]
async fn a_rule_can_be_for_one_operation_or_every_other_request() {
    let client = Client::start().await;
    let control = client.azure.video_indexer.control();
    let down = || Fault::Status { code: 503, body: String::new(), headers: vec![("retry-after".into(), "3".into())] };
    control.play(Rule::new(down()).operation("generateRestrictedViewerAccessToken"));
    control.play(Rule::new(down()).account("contoso-VIDEO").every(2));
    let mut seen = vec![];
    for operation in ["generateAccessToken", "generateAccessToken", "generateRestrictedViewerAccessToken"] {
        seen.push(client.request(operation, &simplest()).send().await.unwrap().status().as_u16());
    }
    assert_eq!(seen, [200, 503, 503]);
    control.clear_faults();
    client.token().await;
}

#[tokio::test]
async fn limits_lives_and_clocks_are_what_a_test_sets() {
    let client = Client::start().await;
    let control = client.azure.video_indexer.control();
    let exp = |token: &str| claims(token).unwrap()["exp"].as_i64().unwrap() - Utc::now().timestamp();
    control.set_life(Life::Seconds(20));
    assert!((18..=20).contains(&exp(&client.token().await)));
    control.set_life(Life::Scaled(0.5));
    assert!((1_798..=1_800).contains(&exp(&client.token().await)));

    control.set_clock_ahead(TimeDelta::minutes(10));
    let answer = client.request("generateAccessToken", &simplest()).send().await.unwrap();
    let date = DateTime::parse_from_rfc2822(answer.headers()["date"].to_str().unwrap()).unwrap();
    assert!((590..=610).contains(&(date.timestamp() - Utc::now().timestamp())));
    let token = json_of(answer).await["accessToken"].as_str().unwrap().to_owned();
    let truth = control.knows(&token).unwrap().expires_at.timestamp();
    assert_eq!(claims(&token).unwrap()["exp"].as_i64().unwrap(), truth + 600, "the truth is by the true clock");

    control.set_limits([Limit::Window { requests: 2, seconds: 60 }]);
    client.token().await;
    client.token().await;
    let answer = client.request("generateAccessToken", &simplest()).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (429, "60"));
    assert_eq!(json_of(answer).await["error"]["code"], "TooManyRequests");
    control.set_limits([]);
    client.token().await;
    assert_eq!(control.counters().throttled, 1);
}

#[tokio::test]
async fn a_request_can_be_held_before_and_after_its_token_is_issued() {
    let client = Client::start().await;
    let control = client.azure.video_indexer.control().clone();
    for (point, issued) in [(HoldPoint::Request, 0), (HoldPoint::Answer, 2)] {
        let hold = control.hold(point, Some("generateAccessToken"));
        let call = async { client.token().await };
        let release = async {
            hold.reached().await;
            let counters = control.counters();
            assert_eq!((counters.issued, counters.in_flight), (issued, 1));
            hold.release();
        };
        tokio::time::timeout(Duration::from_secs(5), async { tokio::join!(call, release) }).await.unwrap();
    }
    assert_eq!((control.counters().issued, control.counters().in_flight), (2, 0));
}

#[tokio::test]
async fn every_request_is_recorded_with_its_answer() {
    let client = Client::start().await;
    let control = client.azure.video_indexer.control();
    let ids = [Uuid::new_v4(), Uuid::new_v4()].map(|id| id.to_string());
    for id in [&ids[0], &ids[1], &ids[0]] {
        let request = client.request("generateAccessToken", &simplest()).header("x-ms-client-request-id", id);
        let answer = request.send().await.unwrap();
        let seen = control.requests().pop().unwrap();
        assert_eq!(answer.headers()["x-ms-request-id"], seen.call.request_id.to_string());
        assert_eq!((answer.version(), seen.status), (reqwest::Version::HTTP_2, Some(200)));
        assert_eq!(seen.call.json(), Some(simplest()));
        assert_eq!(seen.call.query("api-version").as_deref(), Some("2025-04-01"));
        assert_eq!(seen.call.header("x-ms-client-request-id"), Some(id.as_str()));
    }
    assert_eq!(control.reused_client_request_ids(), [ids[0].clone()]);
    control.keep_requests(2);
    let numbers: Vec<_> = control.requests().iter().map(|seen| seen.call.number).collect();
    assert_eq!(numbers, [2, 3]);
}

#[tokio::test]
async fn a_client_that_gives_up_leaves_no_request_behind() {
    let client = Client::start().await;
    let control = client.azure.video_indexer.control();
    control.play_once(Fault::Stall(Duration::from_mins(1)));
    let request = client.request("generateAccessToken", &simplest()).timeout(Duration::from_millis(100));
    assert!(request.send().await.unwrap_err().is_timeout());
    none_in_hand(&client).await;
    assert_eq!(control.requests().pop().unwrap().status, None);
    assert_eq!(control.counters().issued, 0);
}

#[tokio::test]
async fn another_process_can_set_everything_and_ask_for_the_truth() {
    let client = Client::start().await;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = control_router(client.azure.controls(), client.azure.entra.clone());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let put = async |path: &str, body: Value| {
        client.http.put(format!("{url}{path}")).json(&body).send().await.unwrap().error_for_status().unwrap();
    };
    let post = async |path: &str, body: Value| {
        client.http.post(format!("{url}{path}")).json(&body).send().await.unwrap().error_for_status().unwrap()
    };
    put("/videoIndexer/life", json!({"seconds": 30})).await;
    put("/videoIndexer/limits", json!([{"window": {"requests": 1000, "seconds": 1}}])).await;
    put("/videoIndexer/latency", json!(1)).await;
    put("/issuers", json!({"issuer": "https://kubernetes.default.svc", "jwks": {"keys": []}})).await;
    let federation = json!({"clientId": testkit::emulator::example::CLIENT_ID, "issuer": "i", "subject": "s"});
    post("/federations", federation).await;
    post("/videoIndexer/faults", json!({"fault": {"throttle": {"retryAfter": 1}}, "times": 1})).await;
    assert!(matches!(outcome(&client).await, Outcome::Answer(429, _)));

    let token = client.token().await;
    let truth = json_of(post("/truth", json!({"tokens": [token, client.bearer, "x"]})).await).await;
    let life = |entry: &Value| {
        let time = |name: &str| entry[name].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
        (time("expiresAt") - time("issuedAt")).num_seconds()
    };
    assert_eq!((truth[0]["emulator"].as_str(), life(&truth[0])), (Some("videoIndexer"), 30));
    assert_eq!((truth[1]["emulator"].as_str(), life(&truth[1])), (Some("entra"), 3_599));
    assert_eq!((&truth[0]["good"], &truth[2]), (&json!(true), &Value::Null));
    let counters = json_of(client.http.get(format!("{url}/videoIndexer/counters")).send().await.unwrap()).await;
    assert_eq!((&counters["issued"], &counters["faults"]), (&json!(1), &json!(1)));
    server.abort();
}
