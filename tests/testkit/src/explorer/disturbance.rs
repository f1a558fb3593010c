//! What can happen at a request.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result};

/// When, by the API server's view of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// It has not seen the request.
    Before,
    /// It has served the request; the client has no answer yet.
    After,
}

/// A kind of object whose view can be stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `videoaccesstokens`
    Tokens,
    /// `secrets`
    Secrets,
    /// `tokenproviders`
    Providers,
}

impl Kind {
    /// Returns the resource's plural.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Tokens => "videoaccesstokens",
            Self::Secrets => "secrets",
            Self::Providers => "tokenproviders",
        }
    }
}

/// What a user does to the token `lobby`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Deletes the object.
    Delete,
    /// Changes the Secret's name.
    Rename,
    /// Deletes the object and creates it again.
    Recreate,
    /// Edits the template.
    Edit,
    /// Asks for another token.
    Renew,
}

impl Action {
    /// Returns how many tokens may be issued because of it.
    pub fn causes(self) -> usize {
        match self {
            Self::Delete | Self::Rename | Self::Edit => 0,
            Self::Recreate | Self::Renew => 1,
        }
    }
}

/// One disturbance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disturbance {
    /// SIGKILL and a restart; a request that the API server has not seen never arrives.
    Crash(When),
    /// SIGKILL and a restart; the dead operator's request arrives a second later.
    CrashLate,
    /// This status instead of the API server's service.
    Status(u16),
    /// The connection ends without the API server having seen the request.
    Closed,
    /// The connection ends after the API server has served the request.
    Lost,
    /// The request arrives these seconds late.
    Late(u64),
    /// The answer's body stops after a few bytes.
    Stalled,
    /// For five seconds, what is known of this kind is what there was at the request.
    Stale(Kind),
    /// The same, for an operator that is killed and restarted into that view.
    StaleRestart(Kind),
    /// All watches end with 410.
    Gone,
    /// All watches are silent for a second and end with 410 then, so that lists merge what happened.
    Merged,
    /// A user's action while the request is held.
    User(Action, When),
    /// The Lease cannot be renewed until it has lapsed; the request is held meanwhile.
    LeaseLapse,
}

use Action::{Delete, Edit, Recreate, Rename, Renew};
use Disturbance::{Crash, Gone, Late, LeaseLapse, Merged, Stale, StaleRestart, Status, User};
use When::{After, Before};

/// Each disturbance and its name.
pub const ALL: [(&str, Disturbance); 31] = [
    ("crash-before", Crash(Before)),
    ("crash-after", Crash(After)),
    ("crash-late", Disturbance::CrashLate),
    ("409", Status(409)),
    ("429", Status(429)),
    ("500", Status(500)),
    ("503", Status(503)),
    ("closed", Disturbance::Closed),
    ("lost", Disturbance::Lost),
    ("late-7s", Late(7)),
    ("late-31s", Late(31)),
    ("stalled", Disturbance::Stalled),
    ("stale-tokens", Stale(Kind::Tokens)),
    ("stale-secrets", Stale(Kind::Secrets)),
    ("stale-providers", Stale(Kind::Providers)),
    ("stale-tokens-restart", StaleRestart(Kind::Tokens)),
    ("stale-secrets-restart", StaleRestart(Kind::Secrets)),
    ("stale-providers-restart", StaleRestart(Kind::Providers)),
    ("gone", Gone),
    ("merged", Merged),
    ("delete-before", User(Delete, Before)),
    ("delete-after", User(Delete, After)),
    ("rename-before", User(Rename, Before)),
    ("rename-after", User(Rename, After)),
    ("recreate-before", User(Recreate, Before)),
    ("recreate-after", User(Recreate, After)),
    ("edit-before", User(Edit, Before)),
    ("edit-after", User(Edit, After)),
    ("renew-before", User(Renew, Before)),
    ("renew-after", User(Renew, After)),
    ("lease-lapse", LeaseLapse),
];

impl Disturbance {
    /// Whether the request with this verb can be disturbed like this. A watch has no end that could be awaited.
    pub fn fits(self, verb: &str) -> bool {
        match self {
            Crash(After) | Disturbance::Lost | User(_, After) => verb != "watch",
            Status(409) => !matches!(verb, "get" | "list" | "watch"),
            _ => true,
        }
    }
}

impl Disturbance {
    /// Whether a run with it takes half a minute and more.
    pub(super) fn takes_long(self) -> bool {
        matches!(self, Late(_) | LeaseLapse | Self::Stalled)
    }
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ALL.iter().find(|(_, one)| one == self).map_or("unknown", |(name, _)| name))
    }
}

impl FromStr for Disturbance {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, one)| *one).with_context(|| format!("{text}: no such disturbance"))
    }
}
