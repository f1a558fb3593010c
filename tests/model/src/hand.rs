//! The other hand: what another client does to a Secret.

use crate::world::{Data, GONE, NOBODY, Secret, Token, World};

/// A deed of another client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deed {
    /// Deletes the Secret.
    Delete,
    /// Changes the token.
    ChangeToken,
    /// Changes other data.
    ChangeData,
    /// Removes the operator's label.
    Unlabel,
    /// Removes the operator's annotations.
    Disown,
    /// Changes what the operator doesn't own.
    Touch,
    /// Creates a Secret of its own.
    CreateForeign,
    /// Restores a Secret of an object that is gone, for the request of the present one.
    RestoreOfGone,
    /// Restores a Secret of an object that is gone, for another request.
    RestoreOfOther,
    /// Restores a Secret of the last object.
    RestoreOfRival,
}

/// Every deed but the last, which needs a second object.
pub const ALL: &[Deed] = &[
    Deed::Delete,
    Deed::ChangeToken,
    Deed::ChangeData,
    Deed::Unlabel,
    Deed::Disown,
    Deed::Touch,
    Deed::CreateForeign,
    Deed::RestoreOfGone,
    Deed::RestoreOfOther,
];

impl Deed {
    /// Returns true if the deed is possible.
    pub fn applies(self, there: Option<Secret>) -> bool {
        let is_managed = there.is_some_and(|there| there.owner != NOBODY);
        match self {
            Self::CreateForeign | Self::RestoreOfGone | Self::RestoreOfOther | Self::RestoreOfRival => there.is_none(),
            Self::Delete | Self::Touch => there.is_some(),
            Self::Disown => is_managed,
            Self::ChangeToken => is_managed && there.is_some_and(|there| there.data != Data::Lost),
            Self::ChangeData => is_managed && there.is_some_and(|there| there.data == Data::Whole),
            Self::Unlabel => there.is_some_and(|there| there.labelled),
        }
    }

    /// Does it.
    pub(crate) fn act(self, world: &mut World, name: u8, capacity: usize) {
        let version = world.next_version();
        let there = world.secrets[usize::from(name)];
        let of_nobody = Token { age: 0, id: 0, request: 0 };
        let restored = |owner, request| {
            let token = Token { age: 1, id: 0, request };
            Some(Secret { version, owner, token, data: Data::Whole, labelled: true })
        };
        let changed = |change: fn(&mut Secret)| {
            let mut secret = there?;
            secret.version = version;
            change(&mut secret);
            Some(secret)
        };
        let after = match self {
            Self::Delete => None,
            Self::ChangeToken => changed(|secret| secret.data = Data::Lost),
            Self::ChangeData => changed(|secret| secret.data = Data::Altered),
            Self::Unlabel => changed(|secret| secret.labelled = false),
            Self::Disown => changed(|secret| (secret.owner, secret.data) = (NOBODY, Data::Lost))
                .map(|secret| Secret { token: of_nobody, ..secret }),
            Self::Touch => changed(|_| {}),
            Self::CreateForeign => {
                Some(Secret { version, owner: NOBODY, token: of_nobody, data: Data::Lost, labelled: false })
            }
            Self::RestoreOfGone => restored(GONE, 0),
            Self::RestoreOfOther => restored(GONE, 1),
            Self::RestoreOfRival => restored(u8::try_from(world.objects.len()).unwrap_or_default(), 0),
        };
        world.replace(name, after, version, capacity);
    }
}
