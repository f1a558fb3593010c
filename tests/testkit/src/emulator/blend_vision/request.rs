//! What a call asks for: the operation of its path, and the fields of its body.

use super::{
    estate::{Estate, Privacy},
    refusal::Refusal,
};
use crate::emulator::Call;
use chrono::{DateTime, Utc};
use http::Method;
use serde_json::{Map, Value};
use std::time::Duration;

/// A playback token's where none is asked for. Not documented: ours.
const DEFAULT_PLAYBACK: Duration = Duration::from_hours(24);

/// As long as anybody will look: what never expires.
const ENDLESS: Duration = Duration::from_hours(100 * 365 * 24);

/// What there is to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Resource,
    Admin,
    Playback,
    /// Of a playback session.
    Start {
        device: String,
    },
}

impl Operation {
    pub(super) fn parse(call: &Call) -> Result<Self, Refusal> {
        let operation = match call.path() {
            "/bv/cms/v1/resources/tokens" => Self::Resource,
            "/bv/cms/v1/resources/tokens:admin" => Self::Admin,
            "/bv/cms/v1/tokens" => Self::Playback,
            path => {
                let device = path.strip_prefix("/bv/playback/v1/sessions/");
                let device = device.and_then(|rest| rest.strip_suffix(":start")).ok_or_else(Refusal::no_such_path)?;
                Self::Start { device: device.to_owned() }
            }
        };
        if call.method == Method::POST { Ok(operation) } else { Err(Refusal::method_not_allowed()) }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Resource => "resources/tokens",
            Self::Admin => "resources/tokens:admin",
            Self::Playback => "tokens",
            Self::Start { .. } => "start",
        }
    }
}

/// The fields of a body.
pub(super) struct Ask {
    pub(super) resource_id: String,
    customer_id: Option<String>,
    life: Option<Duration>,
}

impl Ask {
    pub(super) fn parse(
        call: &Call,
        operation: &Operation,
        estate: &Estate,
        organization: &str,
    ) -> Result<Self, Refusal> {
        let body = serde_json::from_slice(&call.body).map_err(|error| Refusal::not_json(&error.to_string()))?;
        let body = Body(body);
        let required = |name| body.text(name)?.ok_or_else(|| Refusal::field(name, "it is required"));
        let (resource_id, resource_type) = (required("resource_id")?, required("resource_type")?);
        body.text("customer_name")?;
        let ask = Self { life: body.life()?, customer_id: body.text("customer_id")?, resource_id };
        let resource = estate.resource(organization, &ask.resource_id).filter(|known| known.type_ == resource_type);
        let resource = resource.ok_or_else(|| Refusal::resource_not_found(&ask.resource_id))?;
        let names_viewer = *operation == Operation::Playback || resource.privacy == Privacy::Token;
        if names_viewer && ask.customer_id.is_none() {
            return Err(Refusal::field("customer_id", "it is required"));
        }
        Ok(ask)
    }

    /// Whether the token never expires: a playback token always does.
    pub(super) fn is_endless(&self, operation: &Operation) -> bool {
        self.life.is_none() && *operation != Operation::Playback
    }

    pub(super) fn life(&self, operation: &Operation) -> Duration {
        let unasked = if *operation == Operation::Playback { DEFAULT_PLAYBACK } else { ENDLESS };
        self.life.unwrap_or(unasked)
    }

    /// What tells this token from others, in one line: `resources/tokens 0b9d5a7e… viewer-1`.
    pub(super) fn line(&self, operation: &Operation) -> String {
        let viewer = self.customer_id.as_deref().unwrap_or_default();
        format!("{} {} {viewer}", operation.name(), self.resource_id).trim_end().to_owned()
    }
}

/// A body's fields, with their types checked as they are read.
struct Body(Map<String, Value>);

impl Body {
    /// A text that isn't empty; `None` if it isn't there.
    fn text(&self, name: &str) -> Result<Option<String>, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Refusal::field(name, "it has to be a string")),
        }
    }

    /// `expires_in`, a text in seconds such as `3600s`, or `expired_at`, RFC 3339; never both.
    fn life(&self) -> Result<Option<Duration>, Refusal> {
        match (self.text("expires_in")?, self.text("expired_at")?) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(Refusal::field("expires_in", "it can't be used together with expired_at")),
            (Some(text), None) => {
                let seconds = text.strip_suffix('s').and_then(|seconds| seconds.parse().ok()).filter(|s| *s > 0);
                let seconds = seconds.ok_or_else(|| Refusal::field("expires_in", "it is no duration such as 3600s"))?;
                Ok(Some(Duration::from_secs(seconds)))
            }
            (None, Some(text)) => {
                let at = DateTime::parse_from_rfc3339(&text).ok().map(|at| at.to_utc() - Utc::now());
                let life = at.and_then(|life| life.to_std().ok());
                life.map(Some).ok_or_else(|| Refusal::field("expired_at", "it is no time that is yet to come"))
            }
        }
    }
}
