//! The checks of the Secret that the spec names: the object's own, one that may be adopted, or one that must not be
//! touched (P09).

use super::TokenStep;
use crate::plan::facts::SecretFacts;
use crate::plan::secret::Fixed;
use crate::plan::view::{DataView, Refusal, SecretView, View, Wanted};
use crate::plan::write_failure::IMMUTABLE;
use chrono::TimeDelta;

/// A Secret that the operator may write for this object.
pub(super) struct OwnedSecret<'a> {
    pub(super) facts: &'a SecretFacts,
    pub(super) data: DataView,
    /// The Secret was written for an object that is gone.
    pub(super) adopted: bool,
}

/// Why a Secret isn't used.
pub(super) enum SecretCheck {
    /// The Secret must not be used.
    Refused(Refusal),
    /// This request shows more.
    Look(TokenStep),
}

/// Returns the object's own Secret, if there is one, or why it can't be used as it is.
pub(super) fn own_secret<'a>(view: &View<'a>, wanted: &Wanted) -> Result<Option<OwnedSecret<'a>>, SecretCheck> {
    let (facts, data, owner_gone) = match view.secret {
        SecretView::Unseen => return Err(SecretCheck::Look(TokenStep::Probe)),
        SecretView::Absent => return Ok(None),
        SecretView::Foreign => return Err(SecretCheck::Refused(secret_not_owned())),
        SecretView::Known { facts, data, owner_gone } => (facts, data, owner_gone),
    };
    let ours = facts.owner == Some(view.uid);
    let adoptable = facts.owner.is_some() && owner_gone && facts.request == Some(wanted.request);
    if !ours && !adoptable {
        return Err(SecretCheck::Refused(secret_not_owned()));
    }
    if facts.deleting {
        let waits =
            Refusal::new("SecretTerminating", "the Secret is being deleted: a new one is written when it is gone");
        return Err(SecretCheck::Refused(waits.again(TimeDelta::seconds(30))));
    }
    match data {
        DataView::Unverified => return Err(SecretCheck::Look(TokenStep::Inspect)),
        DataView::Fixed(fixed) => return Err(SecretCheck::Refused(secret_not_writable(fixed))),
        DataView::Verified | DataView::Altered | DataView::Lost => {}
    }
    Ok(Some(OwnedSecret { facts, data, adopted: !ours }))
}

fn secret_not_owned() -> Refusal {
    Refusal::new(
        "SecretNotOwned",
        "spec.secret.name: a Secret of that name is there that this object didn't write; nothing is overwritten: \
         choose another name, or delete that Secret",
    )
    .again(TimeDelta::minutes(3))
}

/// Returns the refusal of an object whose token couldn't be stored.
pub(super) fn secret_not_writable(fixed: Fixed) -> Refusal {
    match fixed {
        Fixed::Immutable => Refusal::new("SecretImmutable", IMMUTABLE),
        Fixed::OtherType => Refusal::new(
            "SecretTypeDiffers",
            "spec.secret.type: the Secret of that name has another type, and a type can't change: delete it, or choose \
             another name",
        ),
    }
}
