//! An admission webhook of somebody else's on Secrets: it hangs, breaks or denies.

use std::net::Ipv4Addr;

use anyhow::Result;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::tls::{self, CertificateAuthority};

/// What a [`Webhook`] does with each question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It accepts the connection and never says a word.
    Silent,
    /// It answers with this status and no verdict.
    Broken(u16),
    /// It denies, with this code and message.
    Denies(u16, &'static str),
}

/// A running webhook on a free loopback port. Dropped, it answers no more; its configuration is the caller's to delete.
#[derive(Debug)]
pub struct Webhook {
    url: String,
    ca_pem: String,
    _serving: Serving,
}

#[derive(Debug)]
#[allow(dead_code)] // held for their ends
enum Serving {
    Listener(Listener),
    Server(tls::Server),
}

#[derive(Debug)]
struct Listener(JoinHandle<()>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Webhook {
    /// Starts one.
    pub async fn start(manner: Manner) -> Result<Self> {
        let ca = CertificateAuthority::generate()?;
        let ca_pem = ca.ca_pem();
        if manner == Manner::Silent {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let url = format!("https://{}/validate", listener.local_addr()?);
            let held = tokio::spawn(async move {
                let mut connections = Vec::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.push(stream);
                }
            });
            return Ok(Self { url, ca_pem, _serving: Serving::Listener(Listener(held)) });
        }
        let answer = move |Json(review): Json<Value>| {
            let manner = manner.clone();
            async move { answer(&manner, &review) }
        };
        let server = tls::serve(Router::new().route("/validate", post(answer)), &ca).await?;
        Ok(Self { url: format!("{}/validate", server.url()), ca_pem, _serving: Serving::Server(server) })
    }

    /// A `ValidatingWebhookConfiguration` for every write of a Secret in one namespace. `policy` is `Ignore` or `Fail`.
    pub fn configuration(&self, name: &str, namespace: &str, policy: &str, timeout_seconds: u8) -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{
                "name": "secrets.policy.example",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": policy,
                "timeoutSeconds": timeout_seconds,
                "clientConfig": {"url": self.url, "caBundle": STANDARD.encode(&self.ca_pem)},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "rules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                    "resources": ["secrets"],
                }],
            }],
        })
    }
}

fn answer(manner: &Manner, review: &Value) -> Response {
    match manner {
        Manner::Silent => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Manner::Broken(code) => {
            StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response()
        }
        Manner::Denies(code, message) => Json(json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": {"uid": review["request"]["uid"], "allowed": false,
                "status": {"code": code, "message": message}},
        }))
        .into_response(),
    }
}
