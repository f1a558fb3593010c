//! A Pod that mounts every Secret and, once a second, calls with each token that it reads from its file; and who it calls:
//! a gate before the providers that takes what their own books say is good.

use crate::providers::{NAMESPACE, Providers};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Router, routing::get};
use chrono::Utc;
use kube::Client;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testkit::emulator::Control;
use testkit::node::{BUSYBOX, GATEWAY, Node};
use testkit::stand::{eventually, yaml};

/// What the gate has seen of one provider's tokens.
#[derive(Clone, Debug, Default)]
struct Seen {
    calls: u64,
    refused: Vec<String>,
    tokens: BTreeSet<String>,
}

#[derive(Clone)]
struct Gate {
    controls: Arc<BTreeMap<String, Arc<Control>>>,
    seen: Arc<Mutex<BTreeMap<String, Seen>>>,
}

pub(crate) struct Workload(Gate);

async fn call(State(gate): State<Gate>, Path(name): Path<String>, headers: HeaderMap) -> StatusCode {
    let Some(control) = gate.controls.get(&name) else { return StatusCode::NOT_FOUND };
    let header = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = header.strip_prefix("Bearer ").unwrap_or_default();
    let known = control.knows(token);
    let mut all = gate.seen.lock().unwrap();
    let seen = all.entry(name).or_default();
    seen.calls += 1;
    if known.as_ref().is_some_and(|known| known.is_good(Utc::now())) {
        seen.tokens.insert(token.to_owned());
        return StatusCode::OK;
    }
    let expired = known.map(|known| known.expires_at);
    seen.refused.push(format!("at {}: {} bytes, expired {expired:?}", Utc::now(), token.len()));
    StatusCode::UNAUTHORIZED
}

impl Workload {
    pub(crate) async fn start(client: &Client, providers: &Providers) -> Self {
        let controls = providers.names().filter_map(|name| Some((name.to_owned(), providers.control(name)?))).collect();
        let gate = Gate { controls: Arc::new(controls), seen: Arc::default() };
        let listener = tokio::net::TcpListener::bind((GATEWAY, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().route("/{name}", get(call)).with_state(gate.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let pod = pod(&providers.names().collect::<Vec<_>>(), port);
        yaml::apply(client, NAMESPACE, &pod.to_string()).await.unwrap();
        Self(gate)
    }

    /// Waits until this many different tokens of each provider were used. No call may have been refused.
    pub(crate) async fn has_seen(&self, tokens: usize, within: Duration, node: &Node) {
        eventually(within, "every token was renewed", async || {
            self.nothing_refused();
            let seen = self.0.seen.lock().unwrap().clone();
            let enough = seen.values().filter(|seen| seen.tokens.len() >= tokens).count();
            if enough == self.0.controls.len() { Ok(()) } else { Err(format!("{}\n{}", self.tally(), node.logs())) }
        })
        .await;
    }

    /// Ten more calls with each token, none refused.
    pub(crate) async fn goes_on(&self) {
        let calls = || -> Vec<u64> { self.0.seen.lock().unwrap().values().map(|seen| seen.calls).collect() };
        let before = calls();
        eventually(Duration::from_mins(1), "the workload goes on", async || {
            let on = calls().iter().zip(&before).all(|(now, before)| now >= &(before + 10));
            if on { Ok(()) } else { Err("not yet") }
        })
        .await;
        self.nothing_refused();
    }

    fn nothing_refused(&self) {
        for (name, seen) in self.0.seen.lock().unwrap().iter() {
            assert!(seen.refused.is_empty(), "{name}: of {} calls were refused: {:?}", seen.calls, seen.refused);
        }
    }

    pub(crate) fn tally(&self) -> String {
        let seen = self.0.seen.lock().unwrap();
        let each = seen.iter().map(|(name, seen)| {
            format!("{name} {} calls with {} tokens, {} refused", seen.calls, seen.tokens.len(), seen.refused.len())
        });
        each.collect::<Vec<_>>().join("; ")
    }
}

fn pod(names: &[&str], port: u16) -> Value {
    // nc, since the static busybox's wget has no C library to look names up with; its input stays open for an answer
    let call = format!(
        "(printf 'GET /%s HTTP/1.0\\r\\nAuthorization: Bearer %s\\r\\n\\r\\n' $name \"$(cat /tokens/$name/token)\"; sleep 1) \
         | nc -w 3 {GATEWAY} {port} >/dev/null &"
    );
    let script = format!("while true; do for name in {}; do {call} done; wait; done", names.join(" "));
    let mounts: Vec<_> = names
        .iter()
        .map(|name| json!({"name": name, "mountPath": format!("/tokens/{name}"), "readOnly": true}))
        .collect();
    let volumes: Vec<_> =
        names.iter().map(|name| json!({"name": name, "secret": {"secretName": format!("{name}-token")}})).collect();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "player"}, "spec": {
        "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "player", "image": BUSYBOX, "imagePullPolicy": "Never",
            "command": ["/bin/busybox", "sh", "-c", script], "volumeMounts": mounts}],
        "volumes": volumes}})
}
