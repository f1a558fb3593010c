//! What a call asks for: the operation of its path, and the fields of its body.

use super::refusal::Refusal;
use crate::emulator::Call;
use http::{Method, header};
use serde_json::{Map, Value};
use std::{collections::BTreeSet, time::Duration};

/// The lives that can be asked for, in seconds, and the one that is given unasked.
const LEAST: u64 = 60;
const MOST: u64 = 86_400;
const DEFAULT: u64 = 3_600;

/// What a resource's id looks like; a star stands for any name.
const RESOURCE: &str = "/subscriptions/*/resourceGroups/*/providers/Microsoft.CognitiveServices/accounts/*";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    LimitedAccess,
    Service,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::LimitedAccess => "issueLimitedAccessToken",
            Self::Service => "issueToken",
        }
    }

    /// The gateway compares paths without case.
    pub(super) fn parse(call: &Call) -> Result<Self, Refusal> {
        let at = |operation: &Self| call.path().eq_ignore_ascii_case(&format!("/sts/v1.0/{}", operation.name()));
        let operation = [Self::LimitedAccess, Self::Service].into_iter().find(at);
        let operation = operation.filter(|_| call.method == Method::POST).ok_or_else(Refusal::no_operation)?;
        let is_sized = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING].iter().any(|h| call.headers.contains_key(h));
        if is_sized { Ok(operation) } else { Err(Refusal::NoLength) }
    }
}

/// Limited access to features of one resource.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) target: String,
    pub(super) features: BTreeSet<String>,
    pub(super) life: Duration,
}

impl Ask {
    /// `target_field` is the name of the field with the resource's id.
    pub(super) fn parse(call: &Call, target_field: &str) -> Result<Self, Refusal> {
        let media_type = call.header(header::CONTENT_TYPE.as_str()).unwrap_or_default();
        if !media_type.to_lowercase().starts_with("application/json") {
            return Err(Refusal::not_json());
        }
        let body: Map<String, Value> = serde_json::from_slice(&call.body)
            .map_err(|error| Refusal::bad_argument(&format!("Request body is invalid: {error}.")))?;
        let target = body.get(target_field).and_then(Value::as_str).filter(|id| is_resource(id));
        let target = target.ok_or_else(|| Refusal::bad_argument(&format!("{target_field} is not a resource id.")))?;
        let texts = |values: &Vec<Value>| values.iter().map(|flag| flag.as_str().map(String::from)).collect();
        let features: Option<BTreeSet<String>> = body.get("featureFlags").and_then(Value::as_array).and_then(texts);
        let features = features.filter(|flags| !flags.is_empty());
        Ok(Self {
            target: target.to_owned(),
            features: features.ok_or_else(|| Refusal::bad_argument("featureFlags must name at least one feature."))?,
            life: life(call)?,
        })
    }

    /// What tells this token from others, in one line.
    pub(super) fn line(&self, operation: Operation) -> String {
        let features: Vec<_> = self.features.iter().map(String::as_str).collect();
        format!("{} {} {} {}", operation.name(), self.life.as_secs(), features.join(","), self.target)
    }
}

fn life(call: &Call) -> Result<Duration, Refusal> {
    let seconds = match call.query("expiredTime") {
        None => Some(DEFAULT),
        Some(text) => text.parse().ok().filter(|seconds| (LEAST..=MOST).contains(seconds)),
    };
    let wrong = || Refusal::bad_argument(&format!("expiredTime must be between {LEAST} and {MOST}."));
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

fn is_resource(id: &str) -> bool {
    let fits = |(given, form): (&str, &str)| match form {
        "*" => !given.is_empty(),
        word => given.eq_ignore_ascii_case(word),
    };
    id.split('/').count() == RESOURCE.split('/').count() && id.split('/').zip(RESOURCE.split('/')).all(fits)
}
