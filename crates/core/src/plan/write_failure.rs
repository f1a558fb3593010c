//! Failed requests to the API server (P07): what each failure means for the next attempt, and which writes it blocks.

use super::backoff;
use super::contest::Version;
use super::facts::Uid;
use super::view::WriteFailure;
use crate::clock::Timestamp;
use chrono::TimeDelta;

/// Reason a request to the API server failed. Every text in it is fit for a status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The operator did not hold the lease when the write started. Nothing was sent.
    #[error("This operator is not the leader.")]
    NotLeading,
    /// The object changed after the decision.
    #[error("Another client changed the object at the same time.")]
    Conflict,
    /// The object or its namespace is gone or terminating.
    #[error("{0}")]
    Gone(String),
    /// Another client made the Secret immutable.
    #[error("The Secret is immutable.")]
    Immutable,
    /// The Secret of the spec can't be built with this token. Nothing was sent.
    #[error("{0}")]
    InvalidSecret(String),
    /// The API server accepts writes, but rejected this one.
    #[error("The API server rejected the request: {0}")]
    Refused(String),
    /// The object doesn't match its schema; server-side apply answers 500.
    #[error("The object does not match its schema: {0}")]
    SchemaMismatch(String),
    /// The API server failed to process this request, for example because of a webhook. Other requests may succeed.
    #[error("The API server failed to process the request: {0}")]
    Failing(String),
    /// No response arrived in time. The API server may have processed the request.
    #[error("The API server can't be reached: {0}")]
    Unanswered(String),
    /// The API server can't be reached or is overloaded. It may have processed the request.
    #[error("The API server can't be reached: {0}")]
    Unavailable(String),
}

/// Part of the cluster in which writes fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The whole API server: no connection, overload.
    Everywhere,
    /// The namespace, as far as is known: a webhook, a timeout.
    Namespace,
}

impl ApiError {
    /// Classifies a response by its status code and its `message`. `quoted` is that message without secrets.
    ///
    /// The codes are those of the Kubernetes API conventions. The texts are those of the API server: a `Status` has no
    /// field for a terminating namespace, a failed structured merge, an immutable Secret or the denial of a webhook.
    ///
    /// The API server passes on the code that an admission webhook gives to a denial. Such a code says nothing about
    /// the object or the API server: a webhook that misses an object of its own answers 404, one that is busy 503.
    pub fn of_status(code: u16, message: &str, quoted: String) -> Self {
        let is_denial = message.starts_with("admission webhook ");
        match code {
            408 | 429 | 500.. if is_denial => Self::Failing(format!("{code} {quoted}")),
            _ if is_denial => Self::Refused(quoted),
            409 => Self::Conflict,
            404 => Self::Gone(quoted),
            403 if message.contains("being terminated") => Self::Gone(quoted),
            500 if message.contains("typed live object") => Self::SchemaMismatch(quoted),
            422 if message.contains("`immutable` is set") => Self::Immutable,
            code @ 400..=499 if code != 429 && code != 408 => Self::Refused(quoted),
            408 | 429 | 503 | 504 => Self::Unavailable(format!("{code} {quoted}")),
            code => Self::Failing(format!("{code} {quoted}")),
        }
    }

    /// Returns where writes fail, if the error shows that.
    pub fn extent(&self) -> Option<Extent> {
        match self {
            Self::Unavailable(_) => Some(Extent::Everywhere),
            Self::Failing(_) | Self::Unanswered(_) => Some(Extent::Namespace),
            _ => None,
        }
    }

    /// Returns true if the API server may have processed the request: the object is read before the request is
    /// repeated.
    pub fn may_be_served(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Unanswered(_))
    }

    /// Returns true if the Secret is the cause: the error ends when the Secret changes.
    fn lies_in_secret(&self) -> bool {
        matches!(self, Self::Immutable | Self::Refused(_) | Self::Conflict)
    }

    /// Returns the `error.type` of a trace.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotLeading => "NotLeading",
            Self::Conflict => "Conflict",
            Self::Immutable => "Immutable",
            Self::InvalidSecret(_) => "Misshapen",
            Self::Gone(_) => "Gone",
            Self::Refused(_) => "Refused",
            Self::SchemaMismatch(_) => "Unfit",
            Self::Failing(_) => "Failing",
            Self::Unanswered(_) => "Unanswered",
            Self::Unavailable(_) => "Unavailable",
        }
    }
}

/// Message for an immutable Secret.
pub const IMMUTABLE: &str = "spec.secret.name: the Secret is immutable. Delete it or choose another name.";

/// Returns the consequences of a failed request for the next write. `in_a_row` is the number of failures including
/// this one, `before` the previous failure, and `secret` the Secret in the decision.
pub fn write_failure(
    error: &ApiError,
    in_a_row: u32,
    before: Option<&WriteFailure>,
    secret: Option<Version>,
    now: Timestamp,
    uid: Uid,
) -> WriteFailure {
    let (reason, stalled, after) = match error {
        ApiError::Immutable => ("SecretImmutable", true, Some(TimeDelta::minutes(3))),
        ApiError::InvalidSecret(_) => ("InvalidSpec", true, Some(TimeDelta::minutes(10))),
        ApiError::Gone(_) => ("NamespaceTerminating", true, Some(TimeDelta::minutes(1))),
        // an API server that has just started rejects requests until its authorizer is ready, so the first retry is
        // early
        ApiError::Refused(_) if before.is_none_or(|before| before.reason != "SecretRefused") => {
            ("SecretRefused", true, Some(TimeDelta::seconds(3)))
        }
        ApiError::Refused(_) => ("SecretRefused", true, Some(TimeDelta::minutes(1))),
        ApiError::Conflict
        | ApiError::NotLeading
        | ApiError::SchemaMismatch(_)
        | ApiError::Failing(_)
        | ApiError::Unanswered(_)
        | ApiError::Unavailable(_) => ("SecretWriteFailed", false, None),
    };
    let message = match error {
        ApiError::Immutable => IMMUTABLE.to_owned(),
        other => other.to_string(),
    };
    let soonest = backoff::next_write(in_a_row, now, uid.0);
    let next = after.map_or(soonest, |after| now + after);
    WriteFailure { reason, message, next, stalled, met: error.lies_in_secret().then_some(secret), soonest }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_timestamp(1_790_000_000, 0).unwrap()
    }

    #[test]
    fn p07_each_failed_write_waits_as_its_cause_asks() {
        let said = || "no".to_owned();
        let seconds = |count: i64| (count * 1000, count * 1000);
        // with the first back-off of 500 ms less jitter, where no time is given
        let back_off = (400, 500);
        // error, reason, stalled, least and most milliseconds, whether a change of the Secret ends it
        let cases = [
            (ApiError::Immutable, "SecretImmutable", true, seconds(180), true),
            (ApiError::InvalidSecret(said()), "InvalidSpec", true, seconds(600), false),
            (ApiError::Gone(said()), "NamespaceTerminating", true, seconds(60), false),
            (ApiError::Refused(said()), "SecretRefused", true, seconds(3), true),
            (ApiError::Conflict, "SecretWriteFailed", false, back_off, true),
            (ApiError::SchemaMismatch(said()), "SecretWriteFailed", false, back_off, false),
            (ApiError::Failing(said()), "SecretWriteFailed", false, back_off, false),
            (ApiError::Unanswered(said()), "SecretWriteFailed", false, back_off, false),
            (ApiError::Unavailable(said()), "SecretWriteFailed", false, back_off, false),
        ];
        let secret = Some((Uid(1), 5));
        for (error, reason, stalled, (least, most), ends) in cases {
            let failure = write_failure(&error, 1, None, secret, now(), Uid(7));
            let wait = (failure.next - now()).num_milliseconds();
            assert_eq!((failure.reason, failure.stalled), (reason, stalled), "{error:?}");
            assert!((least..=most).contains(&wait), "{error:?}: {wait} ms");
            assert_eq!(failure.met, ends.then_some(secret), "{error:?}");
            assert!(failure.soonest <= now() + TimeDelta::milliseconds(500), "{error:?}");
        }
    }

    #[test]
    fn p07_a_refusal_is_retried_soon_once_and_then_each_minute() {
        let refused = ApiError::Refused("no".to_owned());
        let first = write_failure(&refused, 1, None, None, now(), Uid(7));
        let second = write_failure(&refused, 2, Some(&first), None, now(), Uid(7));
        let other = write_failure(&ApiError::Conflict, 3, Some(&second), None, now(), Uid(7));
        let third = write_failure(&refused, 4, Some(&other), None, now(), Uid(7));
        let waits = [first, second, third].map(|failure| (failure.next - now()).num_seconds());
        assert_eq!(waits, [3, 60, 3]);
    }

    #[test]
    fn each_answer_has_its_class() {
        const DENIED: &str = "admission webhook \"policy.example\" denied the request: being terminated";
        let classes = [
            (409, "", "Conflict"),
            (404, "", "Gone"),
            (403, "", "Refused"),
            (403, "because it is being terminated", "Gone"),
            (422, "", "Refused"),
            (422, "field is immutable when `immutable` is set", "Immutable"),
            (400, "", "Refused"),
            (408, "", "Unavailable"),
            (429, "", "Unavailable"),
            (500, "", "Failing"),
            (500, "failed to create typed live object", "Unfit"),
            (502, "", "Failing"),
            (503, "", "Unavailable"),
            (504, "", "Unavailable"),
        ];
        let denials = [400, 403, 404, 409, 410, 422].map(|code| (code, DENIED, "Refused"));
        let failures = [408, 429, 500, 503, 504].map(|code| (code, DENIED, "Failing"));
        for (code, message, class) in classes.into_iter().chain(denials).chain(failures) {
            assert_eq!(ApiError::of_status(code, message, String::new()).name(), class, "{code} {message}");
        }
    }

    #[test]
    fn p17_only_what_shows_that_writes_fail_counts_for_the_breakers() {
        let said = || "no".to_owned();
        let cases = [
            (ApiError::NotLeading, None, false),
            (ApiError::Conflict, None, false),
            (ApiError::Gone(said()), None, false),
            (ApiError::Refused(said()), None, false),
            (ApiError::SchemaMismatch(said()), None, false),
            (ApiError::Failing(said()), Some(Extent::Namespace), false),
            (ApiError::Unanswered(said()), Some(Extent::Namespace), true),
            (ApiError::Unavailable(said()), Some(Extent::Everywhere), true),
        ];
        for (error, extent, may_be_served) in cases {
            assert_eq!((error.extent(), error.may_be_served()), (extent, may_be_served), "{error:?}");
        }
    }
}
