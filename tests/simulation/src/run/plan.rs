//! What a run is: its size, its seed, and its kinds of faults.

use crate::episode::Episode;
use crate::users::Action;
use crate::world::{Rates, Struck};
use std::time::Duration;

/// Arguments of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides everything that is random.
    pub seed: u64,
    /// Virtual time, with the calm at its end.
    pub span: Duration,
    /// `VideoAccessToken`s.
    pub tokens: u64,
    /// Operators, of which one leads.
    pub operators: u64,
    /// Kinds of faults.
    pub faults: Faults,
    /// What a user does after two minutes, to the token that the seed chooses.
    pub story: Option<Action>,
    /// Fault that begins about the same time.
    pub episode: Option<Episode>,
    /// What happens at one request, also to this token.
    pub struck: Option<Struck>,
    /// Prints each request.
    pub verbose: bool,
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools)]
pub struct Faults {
    /// Answers of the API server: refused, throttled, conflicting, lost, late, and watches that end with 410.
    pub api: bool,
    /// Operators that are killed and stopped.
    pub crashes: bool,
    /// Actions of users.
    pub users: bool,
    /// Refusals and throttles of the token API.
    pub provider: bool,
    /// Wall clocks that are off and jump.
    pub clocks: bool,
    /// Faults that last.
    pub episodes: bool,
}

impl Plan {
    /// Returns the number of the token of the story.
    pub(super) fn token(&self) -> u64 {
        self.seed.saturating_sub(1) % self.tokens.max(1)
    }
}

impl Faults {
    /// Returns true if no fault by chance delays a renewal, so that each delay needs a reason.
    pub(super) fn is_strict(self) -> bool {
        !self.api && !self.provider && !self.clocks
    }

    /// Returns how often requests fail by chance.
    pub(super) fn rates(self) -> Rates {
        let api = |rate| if self.api { rate } else { 0 };
        let provider = |rate| if self.provider { rate } else { 0 };
        Rates {
            refused: api(2000),
            throttled: api(1000),
            conflict: api(1000),
            lost: api(1000),
            late: api(1000),
            gone: api(1000),
            provider: provider(20_000),
            provider_throttle: provider(5000),
        }
    }
}
