//! Lifetimes that each operation supports, as CEL rules and as Rust checks from the same numbers.

use super::cel::{Cel, cel};
use super::duration::{GoDuration, is_duration, literal};
use super::request::{ENDLESS, FieldError};
use std::borrow::Cow;
use std::time::Duration;

/// Lifetimes that one operation supports.
#[derive(Clone, Debug)]
pub(super) enum LifetimeRule {
    /// A fixed lifetime. `spec.lifetime` is rejected.
    Fixed {
        /// Lifetime of each token.
        lifetime: Duration,
        /// Message for a spec with `lifetime`.
        rejection_message: Cow<'static, str>,
    },
    /// The lifetime that the request states.
    Asked {
        /// Shortest lifetime.
        least: Duration,
        /// Longest lifetime, if the API has a limit.
        most: Option<Duration>,
        /// Lifetime that the operator requests by default.
        default: Duration,
        /// Name of the issuer in messages.
        issuer: Cow<'static, str>,
    },
    /// Tokens without expiry. `spec.lifetime` is rejected.
    Endless {
        /// Message for a spec with `lifetime`.
        rejection_message: Cow<'static, str>,
    },
}

impl LifetimeRule {
    /// Returns the lifetime to request and to expect.
    pub(super) fn choose(&self, lifetime: Option<&GoDuration>) -> Result<Duration, FieldError> {
        let refused = |message: &str| Err(FieldError::new("spec.lifetime", message));
        match (self, lifetime) {
            (Self::Fixed { lifetime, .. }, None) => Ok(*lifetime),
            (Self::Endless { .. }, None) => Ok(ENDLESS),
            (Self::Fixed { rejection_message, .. } | Self::Endless { rejection_message }, Some(_)) => {
                refused(rejection_message)
            }
            (Self::Asked { default, .. }, None) => Ok(*default),
            (Self::Asked { least, most, .. }, Some(text)) => match text.parse() {
                Some(asked) if asked >= *least && most.is_none_or(|most| asked <= most) => Ok(asked),
                Some(_) => refused(&self.bounds()),
                None => refused("must be a duration of whole hours, minutes and seconds, such as 12h, 90m or 1h30m"),
            },
        }
    }

    /// Returns the rules of the spec of a VideoAccessToken that apply if the CEL expression `when` is true.
    pub(super) fn rules(&self, when: &str) -> Vec<Cel> {
        match self {
            Self::Fixed { lifetime, rejection_message } => {
                vec![no_lifetime(when, rejection_message), renew_within(when, *lifetime, "such a token always lives")]
            }
            Self::Endless { rejection_message } => vec![no_lifetime(when, rejection_message)],
            Self::Asked { least, most, default, .. } => {
                let lifetime = "duration(self.lifetime)";
                let above = most.map(|most| format!(" && {lifetime} <= {}", literal(most))).unwrap_or_default();
                let bounds = format!(
                    "!has(self.lifetime) || !{} || !({when}) || ({lifetime} >= {}{above})",
                    is_duration("self.lifetime"),
                    literal(*least)
                );
                let no_lifetime = format!("!has(self.lifetime) && {when}");
                let default = renew_within(&no_lifetime, *default, "without a lifetime such a token lives");
                vec![cel(bounds, self.bounds()).at(".lifetime"), default]
            }
        }
    }

    /// Returns the message for a `lifetime` out of bounds.
    fn bounds(&self) -> String {
        match self {
            Self::Asked { least, most: Some(most), issuer, .. } => {
                format!("{issuer} issues for {} to {}", GoDuration::from(*least), GoDuration::from(*most))
            }
            Self::Asked { least, issuer, .. } => format!("{issuer} issues for {} at least", GoDuration::from(*least)),
            Self::Fixed { rejection_message, .. } | Self::Endless { rejection_message } => {
                rejection_message.to_string()
            }
        }
    }
}

fn no_lifetime(when: &str, message: &str) -> Cel {
    cel(format!("!has(self.lifetime) || !({when})"), message).at(".lifetime").forbidden()
}

fn renew_within(when: &str, lifetime: Duration, start: &str) -> Cel {
    let rule = format!(
        "!has(self.renewBefore) || !{} || !({when}) || duration(self.renewBefore) < {}",
        is_duration("self.renewBefore"),
        literal(lifetime)
    );
    cel(rule, format!("{start} {}: renewBefore must be shorter", GoDuration::from(lifetime))).at(".renewBefore")
}
