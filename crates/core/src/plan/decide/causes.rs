//! Why a token must be issued: an ordered table of named checks, of which the first that applies counts. Traces and their
//! documentation list the same names.

use super::secret_check::OwnedSecret;
use crate::clock::Timestamp;
use crate::plan::facts::SecretFacts;
use crate::plan::floor::AHEAD;
use crate::plan::renewal::Renewal;
use crate::plan::view::{DataView, View, Wanted};
use videotoken_api::wire_time;

/// Why a token must be issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// There is no token yet.
    First,
    /// The token in the Secret was lost or altered.
    Lost,
    /// The spec asks for another token.
    RequestChanged,
    /// The annotation asks for a renewal.
    Forced,
    /// The renewal is due.
    Due,
}

/// Input of the checks.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) wanted: &'a Wanted,
    /// The object's own Secret.
    pub(super) own: Option<&'a OwnedSecret<'a>>,
    /// The times of the token in it.
    pub(super) renewal: Option<Renewal>,
    pub(super) now: Timestamp,
}

/// Returns true if its cause applies and none before it in [`CAUSES`] does.
pub type Check = fn(&Facts<'_>) -> bool;

/// Every cause, in the order in which they are checked.
pub const CAUSES: [(Cause, Check); 5] = [
    (Cause::First, is_first),
    (Cause::Lost, is_lost),
    (Cause::RequestChanged, is_changed),
    (Cause::Forced, is_forced),
    (Cause::Due, is_due),
];

impl Cause {
    /// Returns the name that traces carry in `videotoken.cause`.
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "First",
            Self::Lost => "Lost",
            Self::RequestChanged => "RequestChanged",
            Self::Forced => "Forced",
            Self::Due => "Due",
        }
    }
}

/// Returns the first cause that applies, if a token must be issued.
pub(super) fn cause(facts: &Facts<'_>) -> Option<Cause> {
    CAUSES.iter().find(|(_, applies)| applies(facts)).map(|(cause, _)| *cause)
}

/// There is no Secret. After a rename the token in the old Secret is copied, unless it is due anyway.
fn is_first(facts: &Facts<'_>) -> bool {
    facts.own.is_none() && !old_secret_is_usable(facts.view, facts.wanted, facts.now)
}

/// The Secret holds no token, or its times can't be read.
fn is_lost(facts: &Facts<'_>) -> bool {
    facts.own.is_some_and(|own| own.data == DataView::Lost || facts.renewal.is_none())
}

/// The token was issued for another request.
fn is_changed(facts: &Facts<'_>) -> bool {
    facts.own.is_some_and(|own| own.facts.request != Some(facts.wanted.request))
}

/// The annotation asks for a renewal that isn't served yet.
fn is_forced(facts: &Facts<'_>) -> bool {
    facts.own.is_some_and(|own| forced(facts.view, own.facts).is_some())
}

/// The renewal is due, or the token was issued by a clock that was ahead.
fn is_due(facts: &Facts<'_>) -> bool {
    let due = facts.renewal.is_some_and(|renewal| facts.now >= renewal.due);
    facts.own.is_some_and(|own| due || is_ahead(own.facts, facts.now))
}

/// Returns issuance and expiry of the token in a Secret. It is valid no longer than a token of this request can be,
/// whatever the Secret says.
pub(super) fn life(facts: &SecretFacts, wanted: &Wanted) -> Option<(Timestamp, Timestamp)> {
    let (issued, expires) = facts.life()?;
    let longest = issued.checked_add_signed(wanted.longest_life).unwrap_or(Timestamp::MAX_UTC);
    Some((issued, expires.min(longest)))
}

/// Returns true if the token was issued by a clock that was ahead: its assumed lifetime would end at the wrong time.
pub(super) fn is_ahead(facts: &SecretFacts, now: Timestamp) -> bool {
    facts.issued_at.time().is_some_and(|issued| issued - now > AHEAD)
}

/// Returns the annotation's value if it asks for a renewal that isn't served yet: an RFC 3339 time after the token's
/// issuance, and not the one that the token was issued for.
fn forced<'a>(view: &View<'a>, facts: &SecretFacts) -> Option<&'a str> {
    let asked = view.renew_requested_at?;
    let time = wire_time::parse(asked)?;
    let newer = time.timestamp() > facts.issued_at.0;
    (newer && facts.renew_request.as_deref() != Some(asked)).then_some(asked)
}

/// Returns true if the token in the Secret of the old name is the one that the spec asks for, and isn't due.
fn old_secret_is_usable(view: &View<'_>, wanted: &Wanted, now: Timestamp) -> bool {
    view.former.is_some_and(|former| {
        let due = life(former, wanted).map(|(issued, expires)| wanted.renewal(issued, expires, view.uid).due);
        former.owner == Some(view.uid)
            && former.request == Some(wanted.request)
            && !former.deleting
            && due.is_some_and(|due| now < due)
            && !is_ahead(former, now)
            && forced(view, former).is_none()
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
