//! The API server as a service: from an HTTP request to the store and back.

use super::store::{Change, Key, Object, Refusal};
use crate::episode::Episode;
use crate::world::{Link, Strike, World};
use axum::body::{Body as Answer, Bytes};
use futures::{StreamExt, stream};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::request::Parts;
use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::BoxError;

/// Serves one request of the operator behind `link`, with the faults of the world. A request that has reached the
/// server takes effect, also if its operator is killed meanwhile.
pub async fn serve(world: Arc<World>, link: Arc<Link>, request: Request<Body>) -> Result<Response<Answer>, BoxError> {
    let (head, body) = request.into_parts();
    let body = body.collect_bytes().await?;
    if link.is_cut() {
        return std::future::pending().await;
    }
    let call = Call::read(&head, &body);
    let strike = world.strike(&link, &call.title(), &call.detail(&head, &body));
    if strike == Some(Strike::CrashBefore) {
        return std::future::pending().await;
    }
    // Dropped when the client gives up.
    let client = Arc::new(());
    let waits = Arc::downgrade(&client);
    let server = tokio::spawn(async move {
        world.pause(1, 8).await;
        if world.suffers(Episode::Down, "") || world.suffers(Episode::Restored, "") || strike == Some(Strike::Closed) {
            return Some(Err(BoxError::from("connection refused")));
        }
        let rates = *world.rates.lock();
        if let Some(refusal) = struck_with(strike).or_else(|| call.refused(&world)).or_else(|| call.fault(&world)) {
            return Some(Ok(failure(&world, &refusal)));
        }
        befall(&world, strike, &link.name).await;
        if call.admission(&world).await && waits.strong_count() == 0 {
            return None;
        }
        let lost = strike == Some(Strike::Lost) || !call.watch && world.chance(rates.lost);
        let answer = call.answer(&world, &link);
        if let Some(Strike::Late(seconds)) = strike {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
        if !call.watch && world.chance(rates.late) {
            tokio::time::sleep(Duration::from_secs([7, 31][usize::from(world.chance(500_000))])).await;
        }
        world.pause(1, 8).await;
        (!lost && !link.is_cut()).then_some(Ok(answer))
    });
    let answer = server.await?;
    drop(client);
    match answer {
        Some(answer) => answer,
        None => std::future::pending().await,
    }
}

fn struck_with(strike: Option<Strike>) -> Option<Refusal> {
    let Some(Strike::Status(code)) = strike else { return None };
    let reason = match code {
        409 => "Conflict",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    Some(Refusal(code, reason, "struck".to_owned()))
}

/// Lets others act, or the watches end, before the request is served.
async fn befall(world: &World, strike: Option<Strike>, operator: &str) {
    match strike {
        Some(Strike::Gone) => world.change(super::store::Store::compact),
        Some(strike) if strike.is_of_others() => world.bring_on(strike, operator).await,
        _ => {}
    }
}

/// A request in parts.
#[derive(Clone, Debug)]
struct Call {
    method: Method,
    api: String,
    kind: String,
    namespace: Option<String>,
    name: Option<String>,
    subresource: Option<String>,
    query: BTreeMap<String, String>,
    watch: bool,
    /// True if only metadata is requested.
    metadata_only: bool,
    applies: bool,
    body: Value,
}

impl Call {
    fn read(head: &Parts, body: &Bytes) -> Self {
        let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let path: Vec<&str> = head.uri.path().split('/').filter(|part| !part.is_empty()).collect();
        let group = if path.first() == Some(&"apis") { 3 } else { 2 }.min(path.len());
        let (api, path) = path.split_at(group);
        let (namespace, rest) = match path {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            all => (None, all),
        };
        let part = |n: usize| rest.get(n).map(|part| (*part).to_owned());
        let query = head.uri.query().unwrap_or_default();
        let query: BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Self {
            method: head.method.clone(),
            api: api.get(1..).unwrap_or_default().join("/"),
            kind: part(0).unwrap_or_default(),
            namespace,
            name: part(1),
            subresource: part(2),
            watch: query.get("watch").is_some_and(|watch| watch == "true" || watch == "1"),
            metadata_only: header(ACCEPT).contains("as=PartialObjectMetadata"),
            applies: header(CONTENT_TYPE).contains("apply-patch"),
            query,
            body: serde_json::from_slice(body).unwrap_or_default(),
        }
    }

    /// Returns verb, resource and subresource.
    fn title(&self) -> String {
        let verb = match self.method {
            Method::GET if self.watch => "watch",
            Method::GET if self.name.is_none() => "list",
            Method::GET => "get",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH if self.applies => "apply",
            Method::PATCH => "merge",
            _ => "delete",
        };
        let sub = self.subresource.as_ref().map(|sub| format!("/{sub}")).unwrap_or_default();
        format!("{verb} {}{sub}", self.kind)
    }

    /// Returns path and body. kube names an event by the machine's clock, so only its content counts.
    fn detail(&self, head: &Parts, body: &Bytes) -> Vec<u8> {
        if self.kind == "events" {
            let parts = ["reason", "note", "regarding"].map(|member| self.body[member].to_string());
            return parts.join(" ").into_bytes();
        }
        [head.uri.to_string().as_bytes(), b" ", body].concat()
    }

    /// Returns the refusal of an episode.
    fn refused(&self, world: &World) -> Option<Refusal> {
        let namespace = self.namespace.as_deref().unwrap_or_default();
        let writes = self.method != Method::GET;
        if !writes && self.name.is_none() && world.suffers(Episode::Forbidden, namespace) {
            return Some(Refusal(403, "Forbidden", format!("{} is forbidden", self.kind)));
        }
        let refused = self.kind == "secrets" && writes && world.suffers(Episode::RefusedSecrets, namespace);
        let message = "failed calling webhook \"check.example\": context deadline exceeded";
        refused.then(|| Refusal(500, "InternalError", message.to_owned()))
    }

    /// Waits as an episode wants. Returns true if the request is dropped when its client has disconnected meanwhile.
    async fn admission(&self, world: &World) -> bool {
        let namespace = self.namespace.as_deref().unwrap_or_default();
        let writes = self.method != Method::GET;
        if self.kind == "leases" && world.suffers(Episode::LeaseHangs, "") {
            while world.suffers(Episode::LeaseHangs, "") {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        } else if self.kind == "events" && writes && world.suffers(Episode::EventsHang, "") {
            while world.suffers(Episode::EventsHang, "") {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        } else if self.kind == "tokenproviders" && writes && world.suffers(Episode::StatusesHang, "") {
            world.pause(6000, 30_000).await;
        } else if self.kind == "secrets" && writes && world.suffers(Episode::SlowSecrets, namespace) {
            world.pause(7000, 10_000).await;
        } else {
            return false;
        }
        true
    }

    fn fault(&self, world: &World) -> Option<Refusal> {
        let rates = *world.rates.lock();
        if self.watch {
            return None;
        }
        if world.chance(rates.refused) {
            return Some(if world.chance(500_000) {
                Refusal(503, "ServiceUnavailable", "the server is shutting down".to_owned())
            } else {
                Refusal(500, "InternalError", "etcdserver: leader changed".to_owned())
            });
        }
        if world.chance(rates.throttled) {
            return Some(Refusal(429, "TooManyRequests", "too many requests, please try again later".to_owned()));
        }
        let conflict = self.method != Method::GET && self.method != Method::POST && world.chance(rates.conflict);
        conflict.then(|| Refusal(409, "Conflict", "the object has been modified".to_owned()))
    }

    fn key(&self) -> Key {
        (self.namespace.clone().unwrap_or_default(), self.name.clone().unwrap_or_default())
    }

    fn answer(&self, world: &Arc<World>, link: &Arc<Link>) -> Response<Answer> {
        if self.watch {
            return self.watch(world, link);
        }
        if self.method == Method::GET && self.name.is_none() {
            return self.list(world);
        }
        let key = self.key();
        let of_status = self.subresource.as_deref() == Some("status");
        let manager = self.query.get("fieldManager").map_or("unknown", String::as_str);
        let mut creates = self.method == Method::POST;
        let found = world.change(|store| match self.method {
            Method::GET => store.find(&self.kind, &key).map(Some),
            Method::POST => store.create(&self.kind, &key.0, self.body.clone()).map(Some),
            Method::PUT => {
                creates = store.get(&self.kind, &key).is_none();
                store.replace(&self.kind, &key, self.body.clone()).map(Some)
            }
            Method::PATCH if self.applies => {
                creates = store.get(&self.kind, &key).is_none();
                store.apply(&self.kind, &key, of_status, manager, &self.body).map(Some)
            }
            Method::PATCH => store.merge(&self.kind, &key, of_status, &self.body).map(Some),
            Method::DELETE => store.delete(&self.kind, &key, &self.body["preconditions"]).map(|()| None),
            _ => Err(Refusal(405, "MethodNotAllowed", String::new())),
        });
        let code = if creates { 201 } else { 200 };
        match found {
            Ok(Some(object)) => json_answer(world, code, &shown(&object, self.metadata_only)),
            Ok(None) => json_answer(world, 200, &json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})),
            Err(refusal) => failure(world, &refusal),
        }
    }

    /// Lists a page. The continue token has the version of the first page and the last key of the page before. Objects
    /// that change between two pages are listed as they are now; their changes follow in the watch.
    fn list(&self, world: &World) -> Response<Answer> {
        let store = world.store.lock();
        let limit = self.query.get("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
        let token = self.query.get("continue").and_then(|token| {
            let mut parts = token.splitn(3, ':');
            let version = parts.next()?.parse::<u64>().ok()?;
            Some((version, (parts.next()?.to_owned(), parts.next()?.to_owned())))
        });
        let version = token.as_ref().map_or(store.version, |(version, _)| *version);
        let all = store.list(&self.kind, self.namespace.as_deref(), token.as_ref().map(|(_, key)| key));
        let mut selected = all.filter(|(_, object)| self.selects(object)).peekable();
        let (mut items, mut last) = (Vec::new(), None);
        while items.len() < limit.unwrap_or(usize::MAX)
            && let Some((key, object)) = selected.next()
        {
            items.push(shown(object, self.metadata_only));
            last = Some(key);
        }
        let more = selected.peek().and(last).map(|key| format!("{version}:{}:{}", key.0, key.1));
        let meta = json!({"resourceVersion": version.to_string(), "continue": more.unwrap_or_default()});
        let (kind, api) =
            if self.metadata_only { ("PartialObjectMetadataList", "meta.k8s.io/v1") } else { ("List", &*self.api) };
        let body = json!({"kind": kind, "apiVersion": api, "metadata": meta, "items": items});
        if world.suffers(Episode::StalledLists, "") {
            return stalled(world, &body.to_string());
        }
        json_answer(world, 200, &body)
    }

    fn selects(&self, object: &Object) -> bool {
        let selector = self.query.get("labelSelector").map_or("", String::as_str);
        let labels = &object.value["metadata"]["labels"];
        selector.split(',').all(|rule| rule.split_once('=').is_none_or(|(name, value)| labels[name] == value))
    }

    fn watch(&self, world: &Arc<World>, link: &Arc<Link>) -> Response<Answer> {
        let number = |name: &str| self.query.get(name).and_then(|text| text.parse::<u64>().ok());
        let future = number("resourceVersion").is_some_and(|at| at > world.store.lock().version);
        let watching = Watching {
            world: world.clone(),
            link: link.clone(),
            changed: world.changed.subscribe(),
            call: self.clone(),
            at: number("resourceVersion").unwrap_or_default(),
            restarts: world.restarts.load(Ordering::Relaxed),
            ends: Instant::now() + Duration::from_secs(number("timeoutSeconds").unwrap_or(1800)),
            // A watch from a version that a restored etcd has not reached is silent.
            bookmark: Instant::now() + Duration::from_secs(if future { 86_400 } else { 50 + world.below(20) }),
            over: false,
        };
        let lines = stream::unfold(watching, |mut watching| async move {
            let lines = watching.next().await?;
            Some((Ok::<_, BoxError>(lines), watching))
        });
        let answer = Response::builder().header(CONTENT_TYPE, "application/json").header("date", world.date());
        answer.body(Answer::from_stream(lines)).unwrap_or_default()
    }
}

/// A watch in progress.
struct Watching {
    world: Arc<World>,
    link: Arc<Link>,
    changed: watch::Receiver<u64>,
    call: Call,
    /// Version of the last event.
    at: u64,
    /// Restarts of the API server before its begin.
    restarts: u64,
    ends: Instant,
    bookmark: Instant,
    over: bool,
}

impl Watching {
    /// Waits for the next events, or returns `None` at the end of the watch.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.over {
                return None;
            }
            self.changed.borrow_and_update();
            if self.restarts != self.world.restarts.load(Ordering::Relaxed) {
                return None;
            }
            let lines = self.lines();
            if !lines.is_empty() {
                self.world.pause(1, 5).await;
                if self.link.is_cut() {
                    std::future::pending::<()>().await;
                }
                return Some(lines.into());
            }
            tokio::select! {
                biased;
                changed = self.changed.changed() => changed.ok()?,
                () = tokio::time::sleep_until(self.ends) => return None,
                () = tokio::time::sleep_until(self.bookmark) => return Some(self.mark().into()),
            }
        }
    }

    fn mark(&mut self) -> String {
        self.bookmark += Duration::from_mins(1);
        let seen = self.world.store.lock().version.min(self.world.shown_until(&self.call.kind));
        self.at = self.at.max(seen);
        let meta = json!({"resourceVersion": self.at.to_string(), "creationTimestamp": null});
        line("BOOKMARK", &json!({"kind": self.call.kind, "apiVersion": self.call.api, "metadata": meta}))
    }

    fn lines(&mut self) -> String {
        let store = self.world.store.lock();
        let until = self.world.shown_until(&self.call.kind);
        let is_shown = |change: &&Change| change.version <= until;
        let changes = store.since(&self.call.kind, self.at).map(|all| all.filter(is_shown).collect::<Vec<_>>());
        let gone = changes
            .as_ref()
            .is_none_or(|changes| !changes.is_empty() && self.world.chance(self.world.rates.lock().gone));
        let Some(changes) = changes.filter(|_| !gone) else {
            self.over = true;
            return line("ERROR", &said(&Refusal(410, "Expired", "too old resource version".to_owned())));
        };
        let mut lines = String::new();
        for change in changes {
            self.at = change.version;
            let either = change.new.as_ref().or(change.old.as_ref());
            let namespace = either.and_then(|object| object.value["metadata"]["namespace"].as_str());
            if self.call.namespace.is_some() && self.call.namespace.as_deref() != namespace {
                continue;
            }
            let selected = |object: &Option<Arc<Object>>| object.clone().filter(|object| self.call.selects(object));
            let (event, object) = match (selected(&change.old), selected(&change.new)) {
                (None, None) => continue,
                (None, Some(new)) => ("ADDED", new),
                (Some(_), Some(new)) => ("MODIFIED", new),
                (Some(old), None) => ("DELETED", change.new.clone().unwrap_or(old)),
            };
            lines += &line(event, &shown(&object, self.call.metadata_only));
        }
        lines
    }
}

fn line(event: &str, object: &Value) -> String {
    format!("{{\"type\":\"{event}\",\"object\":{object}}}\n")
}

fn shown(object: &Object, metadata_only: bool) -> Value {
    if metadata_only {
        let meta = &object.value["metadata"];
        return json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta});
    }
    object.value.clone()
}

fn said(refusal: &Refusal) -> Value {
    let Refusal(code, reason, message) = refusal;
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code})
}

fn failure(world: &World, refusal: &Refusal) -> Response<Answer> {
    json_answer(world, refusal.0, &said(refusal))
}

/// Returns an answer whose body stops half-way.
fn stalled(world: &World, body: &str) -> Response<Answer> {
    let half = Bytes::from(body.as_bytes()[..body.len() / 2].to_vec());
    let lines = stream::once(async { Ok::<_, BoxError>(half) }).chain(stream::pending());
    let answer = Response::builder().header(CONTENT_TYPE, "application/json").header("date", world.date());
    answer.body(Answer::from_stream(lines)).unwrap_or_default()
}

fn json_answer(world: &World, code: u16, body: &Value) -> Response<Answer> {
    let answer = Response::builder().status(code).header(CONTENT_TYPE, "application/json");
    answer.header("date", world.date()).body(Answer::from(body.to_string())).unwrap_or_default()
}
