//! One run: the scenario, its faults, and the verdict.

use crate::ledger::Ledger;
use crate::operator::Operator;
use crate::token_api::{LIMIT, TokenApi};
use crate::users;
use crate::world::{Crash, Rates, World};
use parking_lot::Mutex;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Time at the end without faults, in which everything must become Ready.
const CALM: Duration = Duration::from_mins(20);

/// Milliseconds that a wall clock may be ahead or behind.
const AHEAD: u64 = 300_000;

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
    /// Crash at one request.
    pub crash: Crash,
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
}

/// Result of a run.
#[derive(Debug)]
pub struct Report {
    /// Hash of all requests.
    pub trace: String,
    /// What happened, in numbers.
    pub summary: String,
    /// Broken promises.
    pub faults: Vec<String>,
    /// Requests that a crash can hit.
    pub requests: u64,
}

/// Runs the plan on a paused clock in this thread.
///
/// # Errors
/// Returns an error if the runtime can't start.
pub fn run(plan: &Plan) -> std::io::Result<Report> {
    fastrand::seed(plan.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    // Within the runtime, whose clock is the paused one.
    Ok(runtime.block_on(async { Stage::new(plan).play().await }))
}

/// The world during a run.
struct Stage<'a> {
    plan: &'a Plan,
    world: Arc<World>,
    api: Arc<TokenApi>,
    ledger: Arc<Mutex<Ledger>>,
    operators: Vec<Option<Operator>>,
    /// Operators that are down, and when they start again.
    down: Vec<(Instant, usize)>,
    started: u64,
    /// Tokens that users' actions may cause.
    caused: u64,
    crashes: u64,
    faults: Vec<String>,
}

impl<'a> Stage<'a> {
    fn new(plan: &'a Plan) -> Self {
        let world = World::new(plan.seed, rates(plan.faults), plan.crash);
        world.trace.lock().verbose = plan.verbose;
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let noted = ledger.clone();
        world.change(|store| {
            store.observer = Box::new(move |kind, change| {
                if kind == "secrets" {
                    noted.lock().record(change);
                }
            });
            users::create(store, plan.tokens);
        });
        // A clock that jumps between the call and the renewal moves the renewal by as much.
        let early = if plan.faults.clocks { 2 * AHEAD.cast_signed() / 1000 } else { 0 };
        let api = TokenApi::new(&world, early);
        Self {
            plan,
            world,
            api,
            ledger,
            operators: Vec::new(),
            down: Vec::new(),
            started: 0,
            caused: 0,
            crashes: 0,
            faults: Vec::new(),
        }
    }

    async fn play(mut self) -> Report {
        let end = Instant::now() + self.plan.span;
        let calm = end - CALM.min(self.plan.span / 2);
        for _ in 0..self.plan.operators {
            let operator = self.start();
            self.operators.push(Some(operator));
        }
        let mut next = self.after_mean(600);
        loop {
            let back = self.down.iter().map(|(at, _)| *at).min().unwrap_or(end);
            tokio::select! {
                biased;
                () = self.world.crashed.notified() => self.bury(),
                () = tokio::time::sleep_until(end.min(next).min(back)) => {}
            }
            let now = Instant::now();
            for n in self.down.extract_if(.., |(at, _)| *at <= now).map(|(_, n)| n).collect::<Vec<_>>() {
                self.operators[n] = Some(self.start());
            }
            if now >= end {
                return self.judge();
            }
            if now >= calm {
                *self.world.rates.lock() = Rates::default();
                next = end;
            } else if now >= next {
                self.disturb().await;
                next = self.after_mean(600).min(calm);
            }
        }
    }

    fn start(&mut self) -> Operator {
        self.started += 1;
        let ahead = if self.plan.faults.clocks { self.below_signed(AHEAD / 5) } else { 0 };
        Operator::start(&self.world, &self.api, &format!("operator-{}", self.started), ahead)
    }

    /// Removes the operator that a request killed. It starts again after 5 seconds.
    fn bury(&mut self) {
        let cut = self.operators.iter().position(|it| it.as_ref().is_some_and(Operator::is_cut));
        let Some(n) = cut else { return };
        self.kill(n, Duration::from_secs(5));
    }

    fn kill(&mut self, n: usize, down: Duration) {
        if let Some(operator) = self.operators[n].take() {
            operator.kill();
            self.crashes += 1;
            self.down.push((Instant::now() + down, n));
        }
    }

    /// Makes one random disturbance of the enabled kinds.
    async fn disturb(&mut self) {
        let faults = self.plan.faults;
        match self.world.below(6) {
            0 | 1 if faults.users => self.caused += users::act(&self.world, self.plan.tokens),
            2 if faults.crashes => {
                let leader = self.operators.iter().position(|it| it.as_ref().is_some_and(Operator::leads));
                let n = leader.filter(|_| self.world.below(4) > 0).unwrap_or_else(|| self.any());
                let down = Duration::from_millis(1 + self.world.below(60_000));
                self.kill(n, down);
            }
            3 if faults.crashes => {
                let n = self.any();
                if let Some(old) = self.operators[n].take() {
                    if !old.stop().await {
                        self.faults.push("an operator didn't end cleanly".to_owned());
                    }
                    self.operators[n] = Some(self.start());
                }
            }
            4 if faults.clocks => {
                let by = self.below_signed(AHEAD);
                let n = self.any();
                if let Some(operator) = &self.operators[n] {
                    operator.set_clock(by);
                }
            }
            5 if faults.api => self.world.change(crate::api_server::store::Store::compact),
            _ => {}
        }
    }

    fn any(&self) -> usize {
        usize::try_from(self.world.below(self.plan.operators)).unwrap_or_default()
    }

    fn below_signed(&self, most: u64) -> i64 {
        i64::try_from(self.world.below(2 * most)).unwrap_or_default() - i64::try_from(most).unwrap_or_default()
    }

    fn after_mean(&self, seconds: u64) -> Instant {
        Instant::now() + Duration::from_millis(1 + self.world.below(2000 * seconds))
    }

    fn judge(mut self) -> Report {
        if self.operators.iter().flatten().any(Operator::has_ended) {
            self.faults.push("an operator ended by itself".to_owned());
        }
        let mut ledger = self.ledger.lock();
        ledger.finish(self.world.now());
        let calls = self.api.calls.lock();
        let trace = self.world.trace.lock();
        for (seconds, key) in &ledger.expired {
            self.faults.push(format!("P01: {}/{} held an expired token for {seconds:.1} s", key.0, key.1));
        }
        let waiting = users::not_ready(&self.world.store.lock());
        self.faults.extend(waiting.into_iter().map(|token| format!("not Ready at the end: {token}")));
        // A crash loses at most the tokens in flight, of which a budget of 8 calls at once permits 8 an account.
        let lost = self.crashes * 8 * 4;
        if calls.early > self.caused + lost {
            self.faults.push(format!(
                "P03: {} tokens issued before they were due, {} caused by users, {lost} by crashes",
                calls.early, self.caused
            ));
        }
        let most = LIMIT + usize::try_from(self.crashes * 8).unwrap_or_default();
        if calls.most > most {
            self.faults.push(format!("P06: {} calls of an account in a minute", calls.most));
        }
        if ledger.foreign > 0 {
            self.faults.push(format!("{} writes to Secrets of others", ledger.foreign));
        }
        let mut summary = format!(
            "requests {}, issued {}, stored {}, early {}, caused {}, crashes {}, throttled {}, failed {}",
            trace.total,
            calls.issued,
            ledger.stored,
            calls.early,
            self.caused,
            self.crashes,
            calls.throttled,
            calls.failed
        );
        if let Some(at) = &trace.crashed_at {
            let _ = write!(summary, ", crash at {at}");
        }
        Report { trace: trace.digest(), summary, faults: self.faults, requests: trace.counted }
    }
}

fn rates(faults: Faults) -> Rates {
    let api = |rate| if faults.api { rate } else { 0 };
    let provider = |rate| if faults.provider { rate } else { 0 };
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
