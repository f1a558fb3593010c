//! Azure API Management, as it stands before some of the APIs: subscription keys, a quota of calls, and the ways to
//! tell when to come back.
//!
//! Source: API Management's policies `rate-limit` (429) and `quota` (403), and its answers about subscription keys.

use super::{Call, locked};
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};
use std::{collections::HashMap, sync::Mutex, time::Duration};

/// How an answer tells for how long to stay away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Telling {
    /// In Retry-After and in words.
    #[default]
    HeaderAndWords,
    /// In words alone.
    Words,
    /// In Retry-After alone; no body at all.
    Header,
}

/// The gateway before one API.
#[derive(Default)]
pub struct Gateway(Mutex<State>);

#[derive(Default)]
struct State {
    owners: HashMap<String, String>,
    replenished_in: Option<Duration>,
    telling: Telling,
}

/// Why a call doesn't get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Barrier {
    NoKey,
    WrongKey,
    /// Until then.
    NoQuota(Duration),
}

impl Barrier {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::NoKey | Self::WrongKey => StatusCode::UNAUTHORIZED,
            Self::NoQuota(_) => StatusCode::FORBIDDEN,
        }
    }
}

fn key(call: &Call) -> Option<&str> {
    call.header("ocp-apim-subscription-key").filter(|key| !key.is_empty())
}

impl Gateway {
    /// Gives out a key. Its owner is whoever the API knows by it: a user, a resource.
    pub fn add_key(&self, key: &str, owner: &str) {
        locked(&self.0).owners.insert(key.to_owned(), owner.to_owned());
    }

    /// Regenerates a key: the old one isn't taken any more.
    pub fn remove_key(&self, key: &str) {
        locked(&self.0).owners.remove(key);
    }

    /// Uses up the quota: it is said to be there again after that long. `None` brings it back.
    pub fn use_up_quota(&self, replenished_in: Option<Duration>) {
        locked(&self.0).replenished_in = replenished_in;
    }

    /// How throttles and the quota tell when to come back.
    pub fn set_telling(&self, telling: Telling) {
        locked(&self.0).telling = telling;
    }

    /// Whose key the call brings, in `Ocp-Apim-Subscription-Key`.
    pub(super) fn admit(&self, call: &Call) -> Result<String, Barrier> {
        if key(call).is_none() {
            return Err(Barrier::NoKey);
        }
        let owner = self.owner(call).ok_or(Barrier::WrongKey)?;
        match locked(&self.0).replenished_in {
            Some(wait) => Err(Barrier::NoQuota(wait)),
            None => Ok(owner),
        }
    }

    /// The same, whether the call gets through or not.
    pub(super) fn owner(&self, call: &Call) -> Option<String> {
        locked(&self.0).owners.get(key(call)?).cloned()
    }

    /// A 429 whose words the API puts into its own form. Without a wait nobody is told when.
    pub(super) fn throttle(&self, wait: Option<u64>, form: impl FnOnce(&str) -> Response) -> Response {
        let words = match wait {
            Some(seconds) => format!("Rate limit is exceeded. Try again in {seconds} seconds."),
            None => "Rate limit is exceeded. Try again later.".to_owned(),
        };
        self.tell(StatusCode::TOO_MANY_REQUESTS, wait, || form(&words))
    }

    /// The 403 of a quota that is used up, likewise.
    pub(super) fn no_quota(&self, wait: Duration, form: impl FnOnce(&str) -> Response) -> Response {
        let seconds = wait.as_secs();
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
        let days = if days > 0 { format!("{days}.") } else { String::new() };
        let words = format!(
            "Out of call volume quota. Quota will be replenished in {days}{hours:02}:{minutes:02}:{:02}.",
            seconds % 60
        );
        self.tell(StatusCode::FORBIDDEN, Some(seconds), || form(&words))
    }

    fn tell(&self, status: StatusCode, wait: Option<u64>, form: impl FnOnce() -> Response) -> Response {
        let telling = locked(&self.0).telling;
        let mut response = if telling == Telling::Header { status.into_response() } else { form() };
        if let Some(seconds) = wait.filter(|_| telling != Telling::Words) {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
