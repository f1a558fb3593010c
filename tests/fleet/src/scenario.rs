//! Scenarios: how many clusters need how much, what happens to them, and how the token API answers.

pub use crate::token_api::Manners;
use std::time::Duration;

/// A scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Name in the table.
    pub name: &'static str,
    /// Number of clusters.
    pub clusters: usize,
    /// Sum of the clusters' needs, in percent of the account's limit.
    pub demand: u32,
    /// Lifetime of the tokens.
    pub life: Duration,
    /// Length of the run.
    pub length: Duration,
    /// True if the largest cluster needs ten times as much as the smallest.
    pub uneven: bool,
    /// True if no cluster has a token at the start.
    pub from_nothing: bool,
    /// Clusters leave, join and restart, and clocks jump: one of each every ten minutes.
    pub churn: bool,
    /// Behaviour of the token API.
    pub manners: Manners,
    /// Seed of everything that is random.
    pub seed: u64,
}

/// A token API that counts only the calls that it serves, and sends Retry-After.
pub const POLITE: Manners = Manners { counts_throttled: false, retry_after: true };

impl Scenario {
    /// Returns a calm scenario: tokens of an hour, issued at random times before the start.
    pub fn calm(name: &'static str, clusters: usize, demand: u32) -> Self {
        Self {
            name,
            clusters,
            demand,
            life: Duration::from_hours(1),
            length: Duration::from_mins(150),
            uneven: true,
            from_nothing: false,
            churn: false,
            manners: POLITE,
            seed: 1,
        }
    }

    /// Returns the scenarios of the table.
    pub fn all() -> Vec<Self> {
        let silent = Manners { retry_after: false, ..POLITE };
        let strict = Manners { counts_throttled: true, ..POLITE };
        let strict_silent = Manners { counts_throttled: true, retry_after: false };
        vec![
            Self::calm("alone, 90%", 1, 90),
            Self::calm("20 clusters, 80%", 20, 80),
            Self::calm("20 clusters, 90%", 20, 90),
            Self { manners: silent, ..Self::calm("20 clusters, 90%, no Retry-After", 20, 90) },
            Self { manners: strict, ..Self::calm("20 clusters, 90%, 429s count", 20, 90) },
            Self { manners: strict_silent, ..Self::calm("20 clusters, 90%, both", 20, 90) },
            Self { life: Duration::from_mins(10), ..Self::calm("20 clusters, 90%, 10 min tokens", 20, 90) },
            Self { churn: true, ..Self::calm("20 clusters, 75%, churn", 20, 75) },
            Self { from_nothing: true, ..Self::calm("20 clusters, 80%, from nothing", 20, 80) },
            Self::calm("20 clusters, 120%", 20, 120),
            Self { manners: strict_silent, ..Self::calm("20 clusters, 120%, both", 20, 120) },
            Self::calm("20 clusters, 200%", 20, 200),
            Self::calm("200 clusters, 80%", 200, 80),
            Self::calm("200 clusters, 90%", 200, 90),
            Self { manners: strict_silent, ..Self::calm("200 clusters, 75%, both", 200, 75) },
            Self { manners: strict_silent, ..Self::calm("200 clusters, 90%, both", 200, 90) },
            Self { churn: true, ..Self::calm("200 clusters, 75%, churn", 200, 75) },
            Self::calm("200 clusters, 120%", 200, 120),
        ]
    }
}
