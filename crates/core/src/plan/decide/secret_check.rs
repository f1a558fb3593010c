//! Checks whether the declared Secret belongs to the VideoAccessToken, may be adopted, or must not be changed (P09).

use super::TokenStep;
use crate::plan::facts::SecretFacts;
use crate::plan::secret::NotWritable;
use crate::plan::view::{DataView, DecisionInput, DesiredToken, Refusal, SecretView};
use crate::plan::write_failure::IMMUTABLE;
use chrono::TimeDelta;

/// A Secret that the operator may write for this VideoAccessToken.
pub(super) struct OwnedSecret<'a> {
    pub(super) facts: &'a SecretFacts,
    pub(super) data: DataView,
    /// True if the Secret is adopted: its VideoAccessToken no longer exists.
    pub(super) adopted: bool,
}

/// Cause for which a Secret is not used.
pub(super) enum SecretCheck {
    /// The Secret must not be used.
    Refused(Refusal),
    /// The operator needs this read first.
    Inspect(TokenStep),
}

/// Returns the Secret of the VideoAccessToken, if it exists, or the cause for which it can't be used.
pub(super) fn own_secret<'a>(
    input: &DecisionInput<'a>,
    desired: &DesiredToken,
) -> Result<Option<OwnedSecret<'a>>, SecretCheck> {
    let (facts, data, owner_gone) = match input.secret {
        SecretView::Unseen => return Err(SecretCheck::Inspect(TokenStep::Probe)),
        SecretView::Absent => return Ok(None),
        SecretView::NotOwned => return Err(SecretCheck::Refused(secret_not_owned())),
        SecretView::Known { facts, data, owner_gone } => (facts, data, owner_gone),
    };
    let ours = facts.owner == Some(input.uid);
    let adoptable = facts.owner.is_some() && owner_gone && facts.request == Some(desired.request);
    if !ours && !adoptable {
        return Err(SecretCheck::Refused(secret_not_owned()));
    }
    if facts.deleting {
        let waits = Refusal::new(
            "SecretTerminating",
            "The Secret is being deleted. The operator creates it again when the deletion is complete.",
        );
        return Err(SecretCheck::Refused(waits.retry_after(TimeDelta::seconds(30))));
    }
    match data {
        DataView::Unverified => return Err(SecretCheck::Inspect(TokenStep::Inspect)),
        DataView::NotWritable(not_writable) => return Err(SecretCheck::Refused(secret_not_writable(not_writable))),
        DataView::Verified | DataView::Altered | DataView::Lost => {}
    }
    Ok(Some(OwnedSecret { facts, data, adopted: !ours }))
}

fn secret_not_owned() -> Refusal {
    Refusal::new(
        "SecretNotOwned",
        "spec.secret.name: a Secret with this name already exists and was not created by this VideoAccessToken. The operator does not overwrite it. Choose another name or delete that Secret.",
    )
    .retry_after(TimeDelta::minutes(3))
}

/// Returns the refusal for a Secret that can't be written.
pub(super) fn secret_not_writable(not_writable: NotWritable) -> Refusal {
    match not_writable {
        NotWritable::Immutable => Refusal::new("SecretImmutable", IMMUTABLE),
        NotWritable::OtherType => Refusal::new(
            "SecretTypeDiffers",
            "spec.secret.type: the Secret with this name has another type, and the type of a Secret can't change. Delete it or choose another name.",
        ),
    }
}
