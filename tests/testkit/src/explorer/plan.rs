//! What to disturb, and where: all there is, and a share of it that repeats itself least.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;

use super::disturbance::{ALL, Disturbance};
use super::play::Seen;
use super::point::Point;
use super::scenario::Scenario;

/// A scenario and what happens at which of its requests. Its text form repeats it:
/// `renewal: crash-after@patch secrets lobby#1 + 409@patch videoaccesstokens/status lobby#1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// What is told.
    pub scenario: Scenario,
    /// What disturbs it.
    pub faults: Vec<(Disturbance, Point)>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<_> = self.faults.iter().map(|(what, point)| format!("{what}@{point}")).collect();
        write!(f, "{}: {}", self.scenario.name(), faults.join(" + "))
    }
}

impl FromStr for Plan {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (scenario, faults) = text.split_once(':').context("no scenario and colon")?;
        let scenario = Scenario::from_str(scenario.trim(), true).map_err(anyhow::Error::msg)?;
        let fault = |text: &str| {
            let (what, point) = text.trim().split_once('@').with_context(|| format!("{text}: no @"))?;
            Ok((what.parse()?, point.parse()?))
        };
        let faults = faults.split(" + ").filter(|fault| !fault.trim().is_empty());
        Ok(Self { scenario, faults: faults.map(fault).collect::<Result<_>>()? })
    }
}

/// What counts as the same experience: a request's kind, the decision before it, and what disturbed it.
pub(super) type Experience = (String, String, Disturbance);

/// A plan with one disturbance, and what it would teach.
pub(super) type Candidate = (Plan, Experience);

/// Returns each disturbance of each request of a scenario's undisturbed run.
pub(super) fn singles(scenario: Scenario, seen: &[Seen]) -> Vec<Candidate> {
    let mut all = Vec::new();
    for (point, decision) in seen {
        for (_, disturbance) in ALL.iter().filter(|(_, one)| one.fits(point.verb())) {
            let plan = Plan { scenario, faults: vec![(*disturbance, point.clone())] };
            all.push((plan, (point.request.clone(), decision.clone(), *disturbance)));
        }
    }
    all
}

/// Chooses so many plans, those first that teach something new; one in eight is a pair of which one is a user's action.
pub(super) fn choose(mut singles: Vec<Candidate>, count: usize, seed: u64) -> Vec<Plan> {
    let mut chance = Chance(seed);
    chance.shuffle(&mut singles);
    let pairs = if count < singles.len() { count / 8 } else { singles.len() / 8 };
    let mut plans = pair(&singles, pairs, &mut chance);
    let mut known = HashSet::new();
    let (new, old): (Vec<_>, Vec<_>) =
        singles.into_iter().partition(|(_, experience)| known.insert(experience.clone()));
    let single = new.into_iter().chain(old).map(|(plan, _)| plan);
    plans.extend(single.take(count.saturating_sub(pairs)));
    chance.shuffle(&mut plans);
    plans
}

fn pair(singles: &[Candidate], count: usize, chance: &mut Chance) -> Vec<Plan> {
    let is_user = |plan: &Plan| matches!(plan.faults[0].0, Disturbance::User(..));
    let users: Vec<_> = singles.iter().map(|(plan, _)| plan).filter(|plan| is_user(plan)).collect();
    let mut pairs = Vec::new();
    while pairs.len() < count && !users.is_empty() {
        let user = users[chance.below(users.len())];
        let (other, _) = &singles[chance.below(singles.len())];
        if other.scenario == user.scenario && other.faults[0].1 != user.faults[0].1 {
            let faults = user.faults.iter().chain(&other.faults).cloned().collect();
            pairs.push(Plan { scenario: user.scenario, faults });
        }
    }
    pairs
}

/// Numbers from a seed (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or_default()
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_as_it_is_written() {
        for text in [
            "renewal: crash-after@patch secrets lobby#1 + delete-before@create events *#2",
            "two-objects: stale-tokens@list secrets:metadata -#1",
            "first-issue: ",
        ] {
            assert_eq!(text.parse::<Plan>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn the_same_seed_chooses_the_same_and_what_is_new_first() {
        let point = |ordinal| Point { request: "patch secrets lobby".to_owned(), ordinal };
        let seen: Vec<_> = (1..=10).map(|ordinal| (point(ordinal), "Issue".to_owned())).collect();
        let all = || singles(Scenario::Renewal, &seen);
        assert_eq!(choose(all(), 40, 7), choose(all(), 40, 7));
        assert_ne!(choose(all(), 40, 7), choose(all(), 40, 8));
        let single = choose(all(), 36, 7);
        let kinds: HashSet<_> =
            single.iter().filter(|plan| plan.faults.len() == 1).map(|plan| plan.faults[0].0).collect();
        assert_eq!(kinds.len(), ALL.len(), "each kind once before any kind twice");
        assert_eq!(single.len(), 36);
    }
}
