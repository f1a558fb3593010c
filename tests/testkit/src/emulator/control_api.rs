//! The controls over HTTP, for a demo or an observer in another process. JSON both ways, for loopback only.
//!
//! | Request | Body | What it does |
//! |---|---|---|
//! | `POST /truth` | `{"tokens": ["…"]}` | for each token what is known of it, or null |
//! | `GET /{emulator}/counters` | | how often what has happened |
//! | `GET /{emulator}/tokens` | | all that was issued; the tokens themselves aren't kept |
//! | `PUT /{emulator}/life` | `"promised"`, `{"seconds": 60}` or `{"scaled": 0.1}` | the life of tokens issued from now on |
//! | `PUT /{emulator}/limits` | `[{"window": {"requests": 10, "seconds": 1}}]` | rate limits |
//! | `PUT /{emulator}/latency` | milliseconds | each request takes that much longer |
//! | `PUT /{emulator}/clock` | seconds | how far the provider's clock is ahead; behind if negative |
//! | `POST /{emulator}/faults` | `{"fault": "cutBody", "times": 3}`, also `every`, `account`, `operation` | adds a rule |
//! | `DELETE /{emulator}/faults` | | ends all faults |
//! | `PUT /issuers` | `{"issuer": "…", "jwks": {…}}` | the keys of an issuer of assertions |
//! | `POST /federations` | `{"clientId": "…", "issuer": "…", "subject": "…"}` | a federated credential |

use super::{Control, Counters, Entra, Federation, IssuedToken, KeySource, Life, Limit, Rule};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post, put},
};
use chrono::{TimeDelta, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

type Controls = Arc<BTreeMap<&'static str, Arc<Control>>>;

/// The endpoint for these controls, each under its name, and for an Entra's directory.
pub fn control_router(controls: impl IntoIterator<Item = Arc<Control>>, entra: Arc<Entra>) -> Router {
    let controls: BTreeMap<_, _> = controls.into_iter().map(|control| (control.name(), control)).collect();
    let directory =
        Router::new().route("/issuers", put(set_issuer)).route("/federations", post(add_federation)).with_state(entra);
    Router::new()
        .route("/truth", post(truth))
        .route("/{emulator}/counters", get(counters))
        .route("/{emulator}/tokens", get(tokens))
        .route("/{emulator}/life", put(set_life))
        .route("/{emulator}/limits", put(set_limits))
        .route("/{emulator}/latency", put(set_latency))
        .route("/{emulator}/clock", put(set_clock))
        .route("/{emulator}/faults", post(add_fault).delete(clear_faults))
        .with_state(Arc::new(controls))
        .merge(directory)
}

fn named(controls: &Controls, name: &str) -> Result<Arc<Control>, StatusCode> {
    controls.get(name).cloned().ok_or(StatusCode::NOT_FOUND)
}

#[derive(Deserialize)]
struct Tokens {
    tokens: Vec<String>,
}

async fn truth(State(controls): State<Controls>, Json(Tokens { tokens }): Json<Tokens>) -> Json<Vec<Value>> {
    let known = |token: &String| {
        controls.iter().find_map(|(name, control)| control.knows(token).map(|token| describe(name, &token)))
    };
    Json(tokens.iter().map(|token| known(token).unwrap_or(Value::Null)).collect())
}

fn describe(emulator: &str, token: &IssuedToken) -> Value {
    json!({
        "emulator": emulator,
        "issuedAt": token.issued_at,
        "expiresAt": token.expires_at,
        "good": token.is_good(Utc::now()),
        "revoked": token.revoked,
        "account": &*token.account,
        "request": &*token.request,
    })
}

async fn counters(State(controls): State<Controls>, Path(name): Path<String>) -> Result<Json<Counters>, StatusCode> {
    Ok(Json(named(&controls, &name)?.counters()))
}

async fn tokens(State(controls): State<Controls>, Path(name): Path<String>) -> Result<Json<Vec<Value>>, StatusCode> {
    let tokens = named(&controls, &name)?.tokens();
    Ok(Json(tokens.iter().map(|token| describe(&name, token)).collect()))
}

async fn set_life(
    State(controls): State<Controls>,
    Path(name): Path<String>,
    Json(life): Json<Life>,
) -> Result<(), StatusCode> {
    named(&controls, &name)?.set_life(life);
    Ok(())
}

async fn set_limits(
    State(controls): State<Controls>,
    Path(name): Path<String>,
    Json(limits): Json<Vec<Limit>>,
) -> Result<(), StatusCode> {
    named(&controls, &name)?.set_limits(limits);
    Ok(())
}

async fn set_latency(
    State(controls): State<Controls>,
    Path(name): Path<String>,
    Json(milliseconds): Json<u64>,
) -> Result<(), StatusCode> {
    named(&controls, &name)?.set_latency(Duration::from_millis(milliseconds));
    Ok(())
}

async fn set_clock(
    State(controls): State<Controls>,
    Path(name): Path<String>,
    Json(seconds): Json<i64>,
) -> Result<(), StatusCode> {
    let ahead = TimeDelta::try_seconds(seconds).ok_or(StatusCode::BAD_REQUEST)?;
    named(&controls, &name)?.set_clock_ahead(ahead);
    Ok(())
}

async fn add_fault(
    State(controls): State<Controls>,
    Path(name): Path<String>,
    Json(rule): Json<Rule>,
) -> Result<(), StatusCode> {
    named(&controls, &name)?.play(rule);
    Ok(())
}

async fn clear_faults(State(controls): State<Controls>, Path(name): Path<String>) -> Result<(), StatusCode> {
    named(&controls, &name)?.clear_faults();
    Ok(())
}

#[derive(Deserialize)]
struct IssuerKeys {
    issuer: String,
    jwks: Value,
}

async fn set_issuer(State(entra): State<Arc<Entra>>, Json(keys): Json<IssuerKeys>) {
    entra.set_issuer_keys(&keys.issuer, KeySource::Document(keys.jwks));
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientFederation {
    client_id: String,
    #[serde(flatten)]
    federation: Federation,
}

async fn add_federation(
    State(entra): State<Arc<Entra>>,
    Json(asked): Json<ClientFederation>,
) -> Result<(), StatusCode> {
    entra.add_federation(&asked.client_id, asked.federation).then_some(()).ok_or(StatusCode::NOT_FOUND)
}
