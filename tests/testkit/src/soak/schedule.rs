//! Which faults come when: a pure function of the seed and the length.

use std::fmt;
use std::time::Duration;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The leader is killed (SIGKILL) and started again.
    LeaderKilled,
    /// The leader is asked to stop (SIGTERM), and started again.
    LeaderSwitched,
    /// Nothing goes between the leader and the API server.
    LeaderPartitioned,
    /// The API server is killed and started again.
    ApiServerRestarted,
    /// etcd is killed and started again.
    EtcdRestarted,
    /// Every watch is broken off, again and again.
    WatchesCut,
    /// Each request to the API server takes longer.
    ApiLatency,
    /// Providers answer 429 with Retry-After.
    ThrottledWithWait,
    /// Providers answer 429 and don't say for how long.
    ThrottledWithoutWait,
    /// Providers answer 500 and 503.
    ServerErrors,
    /// Providers don't answer in time.
    Stalls,
    /// Providers issue, and their answers break off in the middle.
    CutBodies,
    /// Providers tear connections down.
    Resets,
    /// One account's credential is withdrawn; in the end it gets another, and one that signs gets another key.
    CredentialRevoked,
    /// Another hand deletes some Secrets.
    SecretsDeleted,
    /// Another hand writes into some Secrets.
    SecretsAltered,
    /// A namespace is deleted, and its objects are made anew in another.
    NamespaceDeleted,
    /// Neighbours fight with the operator over their own Secrets.
    Fights,
    /// Their Secrets go through a webhook that hangs and is ignored.
    SlowWebhook,
    /// Their objects are as large as the API server takes them, or wrong.
    LargeObjects,
    /// Their objects come, and go during their call.
    Churn,
    /// They ask for renewals in a loop.
    ForcedRenewals,
    /// They edit providers, many times a second.
    ProviderEdits,
    /// Their templates cost time and memory.
    HostileTemplates,
}

/// What concerns the operators and the API server.
pub const CLUSTER: [Kind; 7] = [
    Kind::LeaderKilled,
    Kind::LeaderSwitched,
    Kind::LeaderPartitioned,
    Kind::ApiServerRestarted,
    Kind::EtcdRestarted,
    Kind::WatchesCut,
    Kind::ApiLatency,
];

/// What concerns the providers.
pub const PROVIDERS: [Kind; 7] = [
    Kind::ThrottledWithWait,
    Kind::ThrottledWithoutWait,
    Kind::ServerErrors,
    Kind::Stalls,
    Kind::CutBodies,
    Kind::Resets,
    Kind::CredentialRevoked,
];

/// What another hand does.
pub const HANDS: [Kind; 3] = [Kind::SecretsDeleted, Kind::SecretsAltered, Kind::NamespaceDeleted];

/// What neighbours do in their own namespace, with their own accounts: of each list one at any time.
pub const NEIGHBOURS: [&[Kind]; 2] = [
    &[Kind::Fights, Kind::SlowWebhook, Kind::LargeObjects, Kind::HostileTemplates],
    &[Kind::Churn, Kind::ForcedRenewals, Kind::ProviderEdits],
];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LeaderKilled => "leader killed",
            Self::LeaderSwitched => "leader switched",
            Self::LeaderPartitioned => "leader partitioned",
            Self::ApiServerRestarted => "API server restarted",
            Self::EtcdRestarted => "etcd restarted",
            Self::WatchesCut => "watches cut",
            Self::ApiLatency => "API latency",
            Self::ThrottledWithWait => "429 with Retry-After",
            Self::ThrottledWithoutWait => "429 without Retry-After",
            Self::ServerErrors => "5xx",
            Self::Stalls => "stalls",
            Self::CutBodies => "cut bodies",
            Self::Resets => "connections reset",
            Self::CredentialRevoked => "credential revoked",
            Self::SecretsDeleted => "Secrets deleted",
            Self::SecretsAltered => "Secrets altered",
            Self::NamespaceDeleted => "namespace deleted",
            Self::Fights => "neighbours fight",
            Self::SlowWebhook => "neighbours' slow webhook",
            Self::LargeObjects => "neighbours' large objects",
            Self::Churn => "neighbours' churn",
            Self::ForcedRenewals => "neighbours' forced renewals",
            Self::ProviderEdits => "neighbours' provider edits",
            Self::HostileTemplates => "neighbours' hostile templates",
        })
    }
}

/// One fault to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: Kind,
    /// When, from the beginning of the run.
    pub at: Duration,
    /// For how long; zero for what is done at once.
    pub lasts: Duration,
    /// Chance, for whoever is to choose whom it hits.
    pub choice: u64,
}

impl Fault {
    /// When it ends.
    pub fn end(&self) -> Duration {
        self.at + self.lasts
    }
}

/// At most: before the first fault, every token has been issued.
const CALM_BEFORE: u64 = 45;

/// At most: after the last fault, everything can settle.
const CALM_AFTER: u64 = 90;

/// From one round of faults to the next, at least.
const ROUND: u64 = 60;

/// In rounds: one fault of each list begins, at about the same time so that they meet; then it is quiet. Within a list
/// no kind comes twice before all have come.
pub fn schedule(seed: u64, length: Duration) -> Vec<Fault> {
    let seconds = length.as_secs();
    let (before, after) = (CALM_BEFORE.min(seconds / 6), CALM_AFTER.min(seconds / 3));
    let room = seconds - before - after;
    let rounds = (room / ROUND).max(1);
    let mut dice = Dice::new(seed);
    let mut decks = [&CLUSTER[..], &PROVIDERS, &HANDS].map(|kinds| Deck { kinds, left: Vec::new() });
    let mut faults = Vec::new();
    for round in 0..rounds {
        let begin = before + room * round / rounds;
        for (deck, latest) in decks.iter_mut().zip([5, 10, 20]) {
            let kind = deck.draw(&mut dice);
            let lasts = if HANDS.contains(&kind) { 0 } else { 10 + dice.below(16) };
            faults.push(Fault {
                kind,
                at: Duration::from_secs(begin + dice.below(latest + 1)),
                lasts: Duration::from_secs(lasts),
                choice: dice.next(),
            });
        }
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

/// Neighbours begin when the operators have.
const MOVED_IN: u64 = 5;

/// What the neighbours do, from the beginning to the end: the faults meet whatever they are at.
pub fn neighbours(seed: u64, length: Duration) -> Vec<Fault> {
    let end = length.as_secs().saturating_sub(MOVED_IN);
    // of its own, so that a seed's faults are what they were
    let mut dice = Dice::new(seed ^ 0x4e45_4947_4842_4f55);
    let mut all = Vec::new();
    for kinds in NEIGHBOURS {
        let mut deck = Deck { kinds, left: Vec::new() };
        let mut at = MOVED_IN;
        while at + MOVED_IN < end {
            let lasts = (15 + dice.below(16)).min(end - at);
            all.push(Fault {
                kind: deck.draw(&mut dice),
                at: Duration::from_secs(at),
                lasts: Duration::from_secs(lasts),
                choice: dice.next(),
            });
            at += lasts;
        }
    }
    all.sort_by_key(|fault| fault.at);
    all
}

/// Kinds of faults, drawn until all have come.
struct Deck<'a> {
    kinds: &'a [Kind],
    left: Vec<Kind>,
}

impl Deck<'_> {
    fn draw(&mut self, dice: &mut Dice) -> Kind {
        if self.left.is_empty() {
            self.left = self.kinds.to_vec();
        }
        self.left.swap_remove(dice.index(self.left.len()))
    }
}

/// Chance from a seed (`SplitMix64`): the same on every machine.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// With this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    #[allow(clippy::should_implement_trait)] // it never ends
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is above 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// An index into something of this length, which is above 0.
    #[allow(clippy::cast_possible_truncation)] // below `length`
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// So many different indices into something of this length; all, if there are no more.
    pub fn indices(&mut self, count: usize, length: usize) -> Vec<usize> {
        let mut left: Vec<_> = (0..length).collect();
        (0..count.min(length)).map(|_| left.swap_remove(self.index(left.len()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const TEN_MINUTES: Duration = Duration::from_mins(10);

    #[test]
    fn a_schedule_depends_on_seed_and_length_alone() {
        assert_eq!(schedule(7, TEN_MINUTES), schedule(7, TEN_MINUTES));
        assert_ne!(schedule(7, TEN_MINUTES), schedule(8, TEN_MINUTES));
    }

    #[test]
    fn each_kind_comes_at_least_once_in_ten_minutes_and_some_in_one() {
        for seed in 0..200 {
            let kinds: BTreeSet<_> = schedule(seed, TEN_MINUTES).iter().map(|fault| fault.kind).collect();
            let all: BTreeSet<_> = CLUSTER.into_iter().chain(PROVIDERS).chain(HANDS).collect();
            assert_eq!(kinds, all, "seed {seed}");
            assert_eq!(schedule(seed, Duration::from_mins(1)).len(), 3);
        }
    }

    #[test]
    fn neighbours_never_rest_and_do_everything() {
        for seed in 0..200 {
            let all = neighbours(seed, TEN_MINUTES);
            assert_eq!(all, neighbours(seed, TEN_MINUTES));
            for kinds in NEIGHBOURS {
                let own: Vec<_> = all.iter().filter(|fault| kinds.contains(&fault.kind)).collect();
                let done: BTreeSet<_> = own.iter().map(|fault| fault.kind).collect();
                assert_eq!(done, kinds.iter().copied().collect(), "seed {seed}");
                assert!(own.windows(2).all(|two| two[0].end() == two[1].at), "seed {seed}: {own:?}");
                assert!(own.iter().all(|fault| fault.end() <= TEN_MINUTES));
            }
        }
        assert!(!neighbours(1, Duration::from_mins(1)).is_empty());
    }

    #[test]
    fn it_is_quiet_at_first_in_between_and_for_long_in_the_end() {
        for seed in 0..200 {
            for minutes in [3, 10, 60] {
                let faults = schedule(seed, Duration::from_mins(minutes));
                let (first, last) = (faults[0].at, faults.iter().map(Fault::end).max().unwrap_or_default());
                let calm = if minutes == 3 { [30, 60] } else { [CALM_BEFORE, CALM_AFTER] }.map(Duration::from_secs);
                assert!(first >= calm[0], "seed {seed}: the first at {first:?}");
                assert!(last + calm[1] <= Duration::from_mins(minutes), "seed {seed}: the last ends at {last:?}");
                for round in faults.chunks(3).zip(faults.chunks(3).skip(1)) {
                    let ended = round.0.iter().map(Fault::end).max().unwrap_or_default();
                    let quiet = round.1[0].at.saturating_sub(ended);
                    assert!(quiet >= Duration::from_secs(20), "seed {seed}: {quiet:?} before {:?}", round.1[0]);
                }
            }
        }
    }

    #[test]
    fn faults_of_one_list_follow_each_other() {
        for list in [&CLUSTER[..], &PROVIDERS] {
            let faults = schedule(3, TEN_MINUTES);
            let faults: Vec<_> = faults.iter().filter(|fault| list.contains(&fault.kind)).collect();
            assert!(faults.windows(2).all(|two| two[0].end() < two[1].at), "{faults:?}");
        }
    }
}
