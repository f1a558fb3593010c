//! Causes for which a token must be issued: an ordered table of named checks. The first check that applies decides.
//! The condition Issuing, metrics, traces and their documentation list the same ones.

use super::secret_check::OwnedSecret;
use crate::clock::Timestamp;
use crate::plan::facts::SecretFacts;
use crate::plan::renewal::Renewal;
use crate::plan::unplanned::MAX_CLOCK_ERROR;
use crate::plan::view::{DataView, DecisionInput, DesiredToken};
use videotoken_api::wire_time;

/// Cause for which a token must be issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssueCause {
    /// There is no token.
    First,
    /// The token in the Secret was lost or altered.
    Lost,
    /// The token request changed.
    RequestChanged,
    /// The annotation forces a renewal.
    Forced,
    /// The renewal is due.
    Due,
}

/// Input of a check.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub(super) input: &'a DecisionInput<'a>,
    pub(super) desired: &'a DesiredToken,
    /// Secret of the VideoAccessToken.
    pub(super) own: Option<&'a OwnedSecret<'a>>,
    /// Renewal times of the token in the Secret.
    pub(super) renewal: Option<Renewal>,
    pub(super) now: Timestamp,
}

/// Returns true if its cause applies and none before it in [`CAUSES`] does.
pub type Check = fn(&Facts<'_>) -> bool;

/// Causes in the order of their checks.
pub const CAUSES: [(IssueCause, Check); 5] = [
    (IssueCause::First, is_first),
    (IssueCause::Lost, is_lost),
    (IssueCause::RequestChanged, is_changed),
    (IssueCause::Forced, is_forced),
    (IssueCause::Due, is_due),
];

impl IssueCause {
    /// Returns the name for the metric's label and for `videotoken.cause` in traces.
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "First",
            Self::Lost => "Lost",
            Self::RequestChanged => "RequestChanged",
            Self::Forced => "Forced",
            Self::Due => "Due",
        }
    }

    /// Returns the cause as the end of a sentence, for conditions.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::First => "the VideoAccessToken has none yet",
            Self::Lost => "the token in the Secret was lost or altered",
            Self::RequestChanged => "the token request changed",
            Self::Forced => "the annotation videotoken.dev/renew-requested-at has a new value",
            Self::Due => "the renewal is due",
        }
    }
}

/// Returns the first cause that applies, if a token must be issued.
pub(super) fn issue_cause(facts: &Facts<'_>) -> Option<IssueCause> {
    CAUSES.iter().find(|(_, applies)| applies(facts)).map(|(cause, _)| *cause)
}

/// Returns true if there is no Secret. After a rename, the token of the old Secret is copied if it is not due.
fn is_first(facts: &Facts<'_>) -> bool {
    facts.own.is_none() && !old_secret_is_usable(facts.input, facts.desired, facts.now)
}

/// Returns true if the Secret contains no token, or its times can't be read.
fn is_lost(facts: &Facts<'_>) -> bool {
    facts.own.is_some_and(|own| own.data == DataView::Lost || facts.renewal.is_none())
}

/// Returns true if the token was issued for another request.
fn is_changed(facts: &Facts<'_>) -> bool {
    facts.own.is_some_and(|own| own.facts.request != Some(facts.desired.request))
}

/// Returns true if the annotation forces a renewal that is not served yet.
fn is_forced(facts: &Facts<'_>) -> bool {
    facts.own.is_some_and(|own| forced(facts.input, own.facts).is_some())
}

/// Returns true if the renewal is due, or the issue time is in the future.
fn is_due(facts: &Facts<'_>) -> bool {
    let due = facts.renewal.is_some_and(|renewal| facts.now >= renewal.due);
    facts.own.is_some_and(|own| due || is_ahead(own.facts, facts.now))
}

/// Returns issue time and expiry of the token in a Secret. The lifetime is limited to the maximum for this request,
/// because other clients can change annotations.
pub(super) fn lifetime(facts: &SecretFacts, desired: &DesiredToken) -> Option<(Timestamp, Timestamp)> {
    let (issued, expires) = facts.lifetime()?;
    let longest = issued.checked_add_signed(desired.max_lifetime).unwrap_or(Timestamp::MAX_UTC);
    Some((issued, expires.min(longest)))
}

/// Returns true if the issue time is in the future, so that the clock of the issuing process was ahead and an assumed
/// expiry is wrong.
pub(super) fn is_ahead(facts: &SecretFacts, now: Timestamp) -> bool {
    facts.issued_at.time().is_some_and(|issued| issued - now > MAX_CLOCK_ERROR)
}

/// Returns the value of the annotation if it forces a renewal that is not served yet: an RFC 3339 time after the issue
/// time, for which the token was not issued.
fn forced<'a>(input: &DecisionInput<'a>, facts: &SecretFacts) -> Option<&'a str> {
    let asked = input.renew_requested_at?;
    let time = wire_time::parse(asked)?;
    let newer = time.timestamp() > facts.issued_at.0;
    (newer && facts.renew_request.as_deref() != Some(asked)).then_some(asked)
}

/// Returns true if the Secret with the previous name contains a token that matches the spec and is not due.
fn old_secret_is_usable(input: &DecisionInput<'_>, desired: &DesiredToken, now: Timestamp) -> bool {
    input.old_secret.is_some_and(|old_secret| {
        let due = lifetime(old_secret, desired)
            .map(|lifetime| desired.renewal(lifetime, old_secret.returned_again, input.uid).due);
        old_secret.owner == Some(input.uid)
            && old_secret.request == Some(desired.request)
            && !old_secret.deleting
            && due.is_some_and(|due| now < due)
            && !is_ahead(old_secret, now)
            && forced(input, old_secret).is_none()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The causes in docs, in the order in which they are listed there.
    fn documented(page: &str) -> Vec<String> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = folder.ancestors().find(|folder| folder.join("docs").is_dir()).unwrap();
        let text = std::fs::read_to_string(folder.join("docs").join(page)).unwrap();
        let row = text.lines().find(|line| line.contains("| `videotoken.cause` |")).unwrap();
        row.split('`').skip(3).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_documentation_lists_the_causes_of_the_table() {
        let table = CAUSES.map(|(cause, _)| cause.name());
        assert_eq!(documented("reference/traces.md"), table);
        // each has its own name, and the table holds them all: a new one fails to compile in `name`
        let all: std::collections::BTreeSet<_> = table.into_iter().collect();
        assert_eq!(all.len(), CAUSES.len());
    }
}
