//! One request as an emulator sees it, and the bounded log of them.

use super::{Fault, locked};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, Method, Uri, header, request::Parts};
use serde_json::Value;
use std::{
    borrow::Cow,
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, OnceLock},
};
use uuid::Uuid;

/// What a request is for, in its API's own terms. Lower case, since rules and limits go by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Target {
    /// Whose account.
    pub account: String,
    /// Which operation; empty if the API has no such path.
    pub operation: String,
}

/// A request. It is an extension of the request that the API's own handlers get.
#[derive(Debug)]
pub struct Call {
    /// Counts from 1, per emulator.
    pub number: u64,
    /// When the whole request had arrived.
    pub time: DateTime<Utc>,
    /// The id that the answer carries.
    pub request_id: Uuid,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// All headers, credentials too.
    pub headers: HeaderMap,
    /// The body as sent.
    pub body: Bytes,
    /// What it is for.
    pub target: Target,
    pub(super) fault: OnceLock<Fault>,
}

impl Call {
    pub(super) fn new(number: u64, parts: &Parts, body: Bytes) -> Self {
        Self {
            number,
            time: Utc::now(),
            request_id: Uuid::new_v4(),
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers: parts.headers.clone(),
            body,
            target: Target::default(),
            fault: OnceLock::new(),
        }
    }

    /// The path, still percent-encoded.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// A query parameter, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        parameter(self.uri.query().unwrap_or_default().as_bytes(), name)
    }

    /// A header's value, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// A field of a form-encoded body, decoded.
    pub fn form(&self, name: &str) -> Option<String> {
        parameter(&self.body, name)
    }

    /// The credential of an `Authorization: Bearer` header.
    pub fn bearer(&self) -> Option<&str> {
        let value = self.header(header::AUTHORIZATION.as_str())?;
        let (scheme, credential) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
    }

    /// Host and port that the client asked for, in HTTP/1.1 and HTTP/2 alike.
    pub fn authority(&self) -> Cow<'_, str> {
        match self.uri.authority() {
            Some(authority) => Cow::Borrowed(authority.as_str()),
            None => Cow::Borrowed(self.header(header::HOST.as_str()).unwrap_or("localhost")),
        }
    }

    /// The fault that was played on this request, if any.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.get()
    }
}

/// The first parameter of that name in an `application/x-www-form-urlencoded` text.
fn parameter(encoded: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(encoded).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// A request in the log.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The request.
    pub call: Arc<Call>,
    /// The status answered. `None`: not answered yet, or the client went away, or the connection was reset.
    pub status: Option<u16>,
}

/// The newest requests, and which client request ids came twice.
pub(super) struct Log {
    inner: Mutex<Inner>,
}

struct Inner {
    count: u64,
    capacity: usize,
    seen: VecDeque<Seen>,
    client_ids: HashSet<u128>,
    reused: Vec<String>,
}

impl Log {
    pub(super) fn new(capacity: usize) -> Self {
        let inner = Inner { count: 0, capacity, seen: VecDeque::new(), client_ids: HashSet::new(), reused: Vec::new() };
        Self { inner: Mutex::new(inner) }
    }

    /// Makes a call of a request and records it. `name` fills in what it is for.
    pub(super) fn arrive(&self, parts: &Parts, body: Bytes, name: impl Fn(&Call) -> Target) -> Arc<Call> {
        let mut call = Call::new(0, parts, body);
        call.target = name(&call);
        let mut inner = locked(&self.inner);
        inner.count += 1;
        call.number = inner.count;
        inner.note_client_id(&call);
        let call = Arc::new(call);
        if inner.seen.len() >= inner.capacity {
            inner.seen.pop_front();
        }
        inner.seen.push_back(Seen { call: call.clone(), status: None });
        call
    }

    pub(super) fn answered(&self, number: u64, status: u16) {
        let mut inner = locked(&self.inner);
        let Some(first) = inner.seen.front().map(|seen| seen.call.number) else { return };
        let index = number.checked_sub(first).and_then(|index| usize::try_from(index).ok());
        if let Some(seen) = index.and_then(|index| inner.seen.get_mut(index)) {
            seen.status = Some(status);
        }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        locked(&self.inner).seen.iter().cloned().collect()
    }

    pub(super) fn reused_client_ids(&self) -> Vec<String> {
        locked(&self.inner).reused.clone()
    }

    pub(super) fn keep(&self, capacity: usize) {
        let mut inner = locked(&self.inner);
        inner.capacity = capacity.max(1);
        while inner.seen.len() > inner.capacity {
            inner.seen.pop_front();
        }
    }
}

impl Inner {
    fn note_client_id(&mut self, call: &Call) {
        let Some(id) = call.header("x-ms-client-request-id") else { return };
        let fresh = Uuid::parse_str(id).is_ok_and(|id| self.client_ids.insert(id.as_u128()));
        if !fresh && self.reused.len() < 1_000 {
            self.reused.push(id.to_owned());
        }
    }
}
