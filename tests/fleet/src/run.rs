//! The events of a scenario, in order of time.

use crate::cluster::Cluster;
use crate::report::{Measured, Report, Sample};
use crate::scenario::Scenario;
use crate::token_api::{Answer, TokenApi};
use chrono::TimeDelta;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;
use tokio::time::Instant;

/// Calls per second that the account allows.
const ACCOUNT: f64 = 2.0;
/// Time between two samples.
pub(crate) const SAMPLE: Duration = Duration::from_secs(10);
/// Time between two events of a scenario with churn.
const CHURN: Duration = Duration::from_mins(2);
/// Number of kinds of churn, which take turns.
const KINDS: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A token may be due. Cluster, token, start of the operator.
    Due(usize, usize, u32),
    /// The budget of the cluster may grant a call.
    Grant(usize, u32),
    /// A call reaches the token API, which was sent at this time.
    Arrives(usize, usize, u32, Duration),
    /// A call ends, which was sent at this time.
    Ends(usize, usize, u32, Duration, Answer),
    /// A token expires.
    Expires(usize, usize, u32),
    Sample,
    Churn(u32),
}

struct Run {
    scenario: Scenario,
    dice: fastrand::Rng,
    clusters: Vec<Cluster>,
    api: TokenApi,
    /// Time, number, event.
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    number: u64,
    /// Time at which the budget of each cluster may grant a call.
    wakes: Vec<Option<Duration>>,
    measured: Vec<Measured>,
    samples: Vec<Sample>,
    now: Sample,
}

/// Runs a scenario.
pub fn run(scenario: &Scenario) -> Report {
    let mut run = Run::new(scenario.clone());
    run.begin();
    while let Some(Reverse((at, _, event))) = run.events.pop() {
        if at > scenario.length {
            break;
        }
        run.handle(event, at);
    }
    let clusters = run
        .clusters
        .iter()
        .zip(run.measured)
        .map(|(cluster, measured)| Measured { status_writes: cluster.status_writes, ..measured });
    Report { scenario: scenario.clone(), clusters: clusters.collect(), samples: run.samples }
}

impl Run {
    fn new(scenario: Scenario) -> Self {
        let mut dice = fastrand::Rng::with_seed(scenario.seed);
        let epoch = Instant::now();
        // a need from 1 to 10, or the same for all
        let weight =
            |number: usize| if scenario.uneven { 1.0 + 9.0 * number as f64 / scenario.clusters as f64 } else { 1.0 };
        let sum: f64 = (0..scenario.clusters).map(weight).sum();
        // calls per second, times the time between two renewals: two thirds of the lifetime less half of the jitter
        let tokens = ACCOUNT * f64::from(scenario.demand) / 100.0 * scenario.life.as_secs_f64() * 0.65;
        let clusters: Vec<_> = (0..scenario.clusters)
            .map(|number| {
                let tokens = (tokens * weight(number) / sum).round().max(1.0) as usize;
                Cluster::new(number, tokens, scenario.life, epoch, &mut dice)
            })
            .collect();
        Self {
            api: TokenApi::new(scenario.manners),
            wakes: vec![None; clusters.len()],
            measured: vec![Measured::default(); clusters.len()],
            events: BinaryHeap::new(),
            number: 0,
            samples: Vec::new(),
            now: Sample::default(),
            scenario,
            dice,
            clusters,
        }
    }

    fn begin(&mut self) {
        for number in 0..self.clusters.len() {
            let life = self.scenario.life.as_secs_f64();
            let tokens = self.clusters[number].tokens.len();
            for index in 0..tokens {
                if !self.scenario.from_nothing {
                    let issued = -self.dice.f64() * life * 0.65;
                    self.clusters[number].tokens[index].valid = Some((issued, issued + life));
                }
            }
            // skewed clocks, by up to 15 minutes
            self.clusters[number].ahead = TimeDelta::seconds(self.dice.i64(-900..=900));
            // operators start within a minute
            let at = Duration::from_millis(self.dice.u64(0..60_000));
            self.start(number, at);
        }
        self.push(SAMPLE, Event::Sample);
        if self.scenario.churn {
            self.push(CHURN, Event::Churn(0));
        }
    }

    fn push(&mut self, at: Duration, event: Event) {
        self.number += 1;
        self.events.push(Reverse((at, self.number, event)));
    }

    /// Starts the operator of a cluster.
    fn start(&mut self, number: usize, at: Duration) {
        self.wakes[number] = None;
        self.clusters[number].start(at);
        for index in 0..self.clusters[number].tokens.len() {
            self.follow(number, index, at);
        }
    }

    /// Schedules what the token of a cluster needs next.
    fn follow(&mut self, number: usize, index: usize, at: Duration) {
        let cluster = &self.clusters[number];
        let (start, due) = (cluster.start, cluster.due_at(index, at));
        if let Some((_, expires)) = cluster.tokens[index].valid {
            let expires = Duration::from_secs_f64(expires.max(0.0));
            self.push(expires, Event::Expires(number, index, start));
        }
        self.push(due, Event::Due(number, index, start));
    }

    fn handle(&mut self, event: Event, at: Duration) {
        match event {
            Event::Due(number, index, start) if self.clusters[number].start == start => {
                let due = self.clusters[number].due_at(index, at);
                if due <= at {
                    self.clusters[number].enqueue(index, at);
                    self.grant(number, at);
                } else {
                    self.push(due, event);
                }
            }
            Event::Grant(number, start)
                if self.clusters[number].start == start
                    && self.wakes[number].take_if(|wakes| *wakes <= at).is_some() =>
            {
                self.grant(number, at);
            }
            Event::Arrives(number, index, start, sent) => {
                let answer = self.api.call(at);
                self.count(number, answer, at);
                let ends = at + Duration::from_millis(self.dice.u64(20..100));
                self.push(ends, Event::Ends(number, index, start, sent, answer));
            }
            Event::Ends(number, index, start, sent, answer) if self.clusters[number].start == start => {
                self.clusters[number].end(index, sent, answer, at);
                self.follow(number, index, at);
                self.grant(number, at);
            }
            Event::Expires(number, index, start) if self.clusters[number].start == start => {
                self.expire(number, index, at);
            }
            Event::Sample => self.sample(at),
            Event::Churn(turn) => self.churn(turn, at),
            _ => {}
        }
    }

    fn grant(&mut self, number: usize, at: Duration) {
        let start = self.clusters[number].start;
        for index in self.clusters[number].calls(at) {
            let travels = self.dice.u64(20..100);
            self.push(at + Duration::from_millis(travels), Event::Arrives(number, index, start, at));
        }
        let next = self.clusters[number].next_grant(at).map(|next| next.max(at + Duration::from_millis(1)));
        if let Some(next) = next.filter(|next| self.wakes[number] != Some(*next)) {
            self.push(next, Event::Grant(number, start));
        }
        self.wakes[number] = next;
    }

    fn count(&mut self, number: usize, answer: Answer, at: Duration) {
        let throttled = u32::from(answer != Answer::Issued);
        self.now.calls += 1;
        self.now.throttled += throttled;
        if at >= Report::SETTLED {
            self.measured[number].calls += 1;
            self.measured[number].throttled += throttled;
        }
    }

    fn expire(&mut self, number: usize, index: usize, at: Duration) {
        let token = &mut self.clusters[number].tokens[index];
        let is_over = token.valid.is_some_and(|(_, expires)| expires <= at.as_secs_f64() + 0.001);
        if is_over && !token.late {
            token.late = true;
            self.measured[number].late += 1;
        }
    }

    fn sample(&mut self, at: Duration) {
        for (cluster, measured) in
            self.clusters.iter_mut().zip(&mut self.measured).filter(|(cluster, _)| cluster.present)
        {
            cluster.write_status(at);
            let state = cluster.state(at);
            let count = |holds: &dyn Fn(usize) -> bool| {
                u32::try_from((0..cluster.tokens.len()).filter(|index| holds(*index)).count()).unwrap_or(u32::MAX)
            };
            self.now.in_danger += count(&|index| cluster.in_danger(index, at));
            self.now.expired += count(&|index| cluster.tokens[index].late);
            self.now.waiting += u32::try_from(state.waiting).unwrap_or(u32::MAX);
            self.now.oversubscribed += u32::from(state.oversubscribed);
            if at >= Report::SETTLED {
                measured.samples += 1;
                measured.oversubscribed += u32::from(state.oversubscribed);
                measured.need +=
                    cluster.tokens.len() as f64 / (cluster.life.as_secs_f64() * 0.65) * SAMPLE.as_secs_f64();
            }
        }
        self.samples.push(std::mem::take(&mut self.now));
        self.push(at + SAMPLE, Event::Sample);
    }

    /// Makes one cluster leave, join, restart, or its clock jump.
    fn churn(&mut self, turn: u32, at: Duration) {
        let number = self.dice.usize(0..self.clusters.len());
        let cluster = &mut self.clusters[number];
        match turn % KINDS {
            0 if cluster.present => cluster.leave(),
            1 => {
                let away = (0..self.clusters.len()).find(|number| !self.clusters[*number].present);
                if let Some(number) = away {
                    self.start(number, at);
                }
            }
            2 | 3 if cluster.present => self.start(number, at),
            4 if cluster.present => {
                cluster.ahead += TimeDelta::seconds(self.dice.i64(-300..=300));
                for index in 0..self.clusters[number].tokens.len() {
                    self.follow(number, index, at);
                }
            }
            _ => {}
        }
        self.push(at + CHURN, Event::Churn(turn + 1));
    }
}
