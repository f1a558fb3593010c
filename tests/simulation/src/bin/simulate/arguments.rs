//! The arguments, and the plans that they stand for.

use clap::Parser;
use clap::builder::PossibleValuesParser;
use simulation::episode::EPISODES;
use simulation::run::{Faults, Plan};
use simulation::users::ACTIONS;
use simulation::world::{STRIKES, Struck};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Stands for all stories or episodes.
const ALL: &str = "all";

/// Runs the operator in virtual time. The same arguments give the same trace.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Arguments {
    /// Decides everything that is random
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// One run for each seed from the first to the last, such as 1..8; of several values of --tokens, --operators and
    /// --faults, each seed takes another
    #[arg(long, value_parser = seeds, value_name = "FIRST..LAST")]
    seeds: Option<RangeInclusive<u64>>,
    /// Virtual time in minutes
    #[arg(long, default_value_t = 1440)]
    pub(crate) minutes: u64,
    /// Number of `VideoAccessToken`s
    #[arg(long, value_delimiter = ',', default_value = "50")]
    tokens: Vec<u64>,
    /// Number of operators, of which one leads
    #[arg(long, value_delimiter = ',', default_value = "2")]
    operators: Vec<u64>,
    /// Faults, comma-separated: api, crashes, users, provider, clocks, episodes, all, or none. Without api, provider
    /// and clocks, each delay needs a reason. Repeatable
    #[arg(long, default_value = "all")]
    faults: Vec<String>,
    /// What a user does to one token after two minutes; repeatable
    #[arg(long, value_parser = named(&ACTIONS, &[ALL]))]
    story: Vec<String>,
    /// Fault that begins after two minutes; repeatable
    #[arg(long, value_parser = named(&EPISODES, &[ALL, NONE]))]
    episode: Vec<String>,
    /// Disturbs the request of this number, counted from the begin of the story
    #[arg(long, default_value_t = 0)]
    pub(crate) at: u64,
    /// What disturbs it; repeatable in a sweep, which otherwise takes all
    #[arg(long, value_parser = named(&STRIKES, &[]))]
    pub(crate) strike: Vec<String>,
    /// Runs once for each request of each plan and each disturbance of it
    #[arg(long)]
    pub(crate) sweep: bool,
    /// Runs so many of a sweep's plans, chosen by the seed
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    pub(crate) sample: usize,
    /// Ends after the first run that fails
    #[arg(long)]
    pub(crate) first: bool,
    /// Prints each request
    #[arg(long)]
    trace: bool,
}

/// Stands for no episode.
const NONE: &str = "none";

/// Returns a parser that takes one of these names.
fn named<T>(all: &[(&'static str, T)], more: &[&'static str]) -> PossibleValuesParser {
    all.iter().map(|(name, _)| *name).chain(more.iter().copied()).collect::<Vec<_>>().into()
}

fn value_of<T: Copy>(all: &[(&str, T)], name: &str) -> Option<T> {
    all.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

fn seeds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let ends = text.split_once("..").and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    ends.map(|(first, last)| first..=last).ok_or_else(|| "must be FIRST..LAST, such as 1..8".to_owned())
}

/// Returns each name, all known ones for [`ALL`], or nothing once, also for [`NONE`].
fn each<T>(names: &[String], known: &[(&str, T)]) -> Vec<Vec<String>> {
    if names.is_empty() {
        return vec![Vec::new()];
    }
    let all = || known.iter().map(|(name, _)| vec![(*name).to_owned()]).collect();
    let choice = |name: &String| match name.as_str() {
        ALL => all(),
        NONE => vec![Vec::new()],
        name => vec![vec![name.to_owned()]],
    };
    names.iter().flat_map(choice).collect()
}

/// Returns the value whose turn it is.
fn turn<T: Clone>(values: &[T], number: u64) -> Vec<T> {
    let index = usize::try_from(number).unwrap_or_default() % values.len().max(1);
    values.get(index).cloned().into_iter().collect()
}

impl Arguments {
    /// Returns true if the arguments stand for one run.
    pub(crate) fn is_one(&self) -> bool {
        !self.sweep && self.seeds.is_none() && self.plans().len() == 1
    }

    /// Returns one plan for each seed, story and episode, without sweep.
    pub(crate) fn plans(&self) -> Vec<Self> {
        let mut plans = Vec::new();
        for seed in self.seeds.clone().unwrap_or(self.seed..=self.seed) {
            for story in each(&self.story, &ACTIONS) {
                for episode in each(&self.episode, &EPISODES) {
                    plans.push(Self {
                        seed,
                        seeds: None,
                        tokens: turn(&self.tokens, seed),
                        operators: turn(&self.operators, seed / 2),
                        faults: turn(&self.faults, seed / 4),
                        story: story.clone(),
                        episode,
                        sweep: false,
                        ..self.clone()
                    });
                }
            }
        }
        plans
    }

    /// Returns the plan with a disturbance of the request of this number.
    pub(crate) fn disturbed(&self, at: u64, strike: &str) -> Self {
        Self { at, strike: vec![strike.to_owned()], ..self.clone() }
    }

    /// Returns the arguments of one run.
    pub(crate) fn line(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut add = |name: &str, value: String| words.extend([name.to_owned(), value]);
        add("--seed", self.seed.to_string());
        add("--minutes", self.minutes.to_string());
        for (name, values) in [("--tokens", &self.tokens), ("--operators", &self.operators)] {
            values.iter().take(1).for_each(|value| add(name, value.to_string()));
        }
        for (name, values) in [("--faults", &self.faults), ("--story", &self.story), ("--episode", &self.episode)] {
            values.iter().take(1).for_each(|value| add(name, value.clone()));
        }
        if let Some(strike) = self.strike.first().filter(|_| self.at > 0) {
            add("--at", self.at.to_string());
            add("--strike", strike.clone());
        }
        words
    }

    /// Returns the plan of one run.
    pub(crate) fn plan(&self) -> Plan {
        let faults: Vec<_> = self.faults.iter().take(1).flat_map(|faults| faults.split(',')).collect();
        let has = |name: &str| faults.iter().any(|fault| *fault == name || *fault == ALL);
        let strike = self.strike.first().filter(|_| self.at > 0).and_then(|name| value_of(&STRIKES, name));
        Plan {
            seed: self.seed,
            span: Duration::from_secs(60 * self.minutes),
            tokens: self.tokens.first().copied().unwrap_or_default(),
            operators: self.operators.first().copied().unwrap_or_default(),
            faults: Faults {
                api: has("api"),
                crashes: has("crashes"),
                users: has("users"),
                provider: has("provider"),
                clocks: has("clocks"),
                episodes: has("episodes"),
            },
            story: self.story.first().and_then(|name| value_of(&ACTIONS, name)),
            episode: self.episode.first().and_then(|name| value_of(&EPISODES, name)),
            struck: strike.map(|strike| Struck { at: self.at, strike }),
            verbose: self.trace,
        }
    }
}
