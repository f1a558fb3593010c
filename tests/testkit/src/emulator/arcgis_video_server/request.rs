//! What a call asks for: its path, and the fields of its form.

use super::{ArcgisManners, example, refusal::Refusal};
use crate::emulator::Call;
use http::{Method, header};
use std::{net::IpAddr, time::Duration};

/// The longest that can be asked for, in minutes.
const LONGEST: u64 = 525_600;

/// What there is to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    GenerateToken,
    Services,
}

impl Operation {
    pub(super) fn parse(call: &Call) -> Option<Self> {
        match call.path() {
            example::SERVICES => Some(Self::Services),
            path => (path.strip_prefix(example::ADMIN_ROOT) == Some("/generateToken")).then_some(Self::GenerateToken),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::GenerateToken => "generateToken",
            Self::Services => "services",
        }
    }
}

/// What the user's name is called.
pub(super) fn user_field(manners: ArcgisManners) -> &'static str {
    if manners.wants_user { "user" } else { "username" }
}

/// The fields of a form.
pub(super) struct Ask {
    pub(super) user: String,
    pub(super) password: String,
    /// `referer https://…`, `ip 10.0.0.1` or `requestip 10.0.0.1`.
    pub(super) bound_to: String,
    pub(super) life: Duration,
    /// What is answered otherwise is a page.
    pub(super) json: bool,
}

impl Ask {
    pub(super) fn parse(call: &Call, manners: ArcgisManners, peer: IpAddr) -> Result<Self, Refusal> {
        if call.method != Method::POST {
            return Err(Refusal::method(call.method.as_str()));
        }
        let media_type = call.header(header::CONTENT_TYPE.as_str()).unwrap_or_default();
        if !media_type.starts_with("application/x-www-form-urlencoded") {
            return Err(Refusal::field("The request's parameters must be form-encoded."));
        }
        if call.query("password").is_some() {
            return Err(Refusal::field("POST request should not contain username and password in the query string"));
        }
        let text = |name: &str| call.form(name).filter(|text| !text.is_empty());
        let required = |name: &str| text(name).ok_or_else(|| Refusal::field(&format!("'{name}' must be specified.")));
        Ok(Self {
            user: required(user_field(manners))?,
            password: required("password")?,
            bound_to: match text("client").as_deref() {
                Some("referer") => format!("referer {}", required("referer")?),
                Some("ip") => format!("ip {}", address(&required("ip")?)?),
                None | Some("requestip") => format!("requestip {peer}"),
                Some(other) => {
                    return Err(Refusal::field(&format!("'{other}' is no value of the parameter 'client'.")));
                }
            },
            life: Duration::from_secs(60 * minutes(text("expiration"))?),
            json: matches!(text("f").as_deref(), Some("json" | "pjson")),
        })
    }
}

fn address(text: &str) -> Result<IpAddr, Refusal> {
    text.parse().map_err(|_| Refusal::field("The value of the parameter 'ip' is no address."))
}

fn minutes(expiration: Option<String>) -> Result<u64, Refusal> {
    let Some(text) = expiration else { return Ok(60) };
    let minutes = text.parse().ok().filter(|minutes| (1..=LONGEST).contains(minutes));
    minutes.ok_or_else(|| Refusal::field("The value of the parameter 'expiration' is out of bounds."))
}
