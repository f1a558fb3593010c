//! Rate of an account that clients outside this process use too, such as the operators of other clusters.
//!
//! The operator keeps the windows of an account, so a throttle while the sustained window isn't spent shows that others
//! use the account. From the second one in an hour on, the calls are paced, at a rate that follows the curve of CUBIC (RFC 9438):
//!
//! ```text
//! limits ┤                      ╭─
//!        │                     ╱
//!  knee  ┤      ╭─────────────╯        knee: the rate that was in use at the throttle
//!        │    ╱                        slow near the knee, fast far from it
//!        │   │  70% of the knee
//!        └───┴──────────────────────▶
//!         throttle
//! ```
//!
//! - A window of fewer than 10 calls isn't paced.
//! - The rate is never above the limits and never below one call in a window.
//! - A pace is forgotten after at most 8 windows (8 minutes for a window of 1 minute). Each further one doubles
//!   that time, up to 8 times.
//! - The seed of the account, which differs between clusters, varies the length of the curve and the wait after a
//!   throttle, so that clusters don't move in step.
//! - Each further throttle without a token in between doubles the wait, up to 5 minutes. Many clusters that each make one
//!   call in a window could otherwise keep the windows full with calls that are throttled.
//! - While an urgent request waits, the pace is doubled. While a token is about to expire, a wait takes at most half of
//!   the time that the token has left, unless calls were throttled repeatedly.

use super::window::{Availability, CallHistory, Limits, Window, after};
use std::time::Duration;
use tokio::time::Instant;

/// Part of the knee at which the curve starts.
const DECREASE: f64 = 0.7;
/// Factor of the pace while an urgent request waits, so that clusters in need get more than others.
const URGENT: f64 = 2.0;
/// Time scale of the curve, in windows: the time from the knee to the limits if the knee is small.
const SCALE: f64 = 5.0;
/// Maximum number of doublings of the time scale.
const MAX_LEVEL: u32 = 3;
/// Minimum and maximum length of the window that the time scale is counted in.
const MIN_WINDOW: Duration = Duration::from_mins(1);
const MAX_WINDOW: Duration = Duration::from_hours(1);
/// Minimum number of requests in a window that is paced. The calls of a smaller one are too few to be measured.
const MIN_REQUESTS: u32 = 10;
/// Part of the window within which paced calls may come together.
const BURST: f64 = 1.0 / 12.0;
/// Time constant of the average rate.
const AVERAGE: Duration = Duration::from_mins(10);
/// Minimum and maximum wait after a throttle, in addition to Retry-After.
const MIN_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_mins(5);
/// Time in which throttles count for [`SharedRate::is_crowded`].
const CROWD_WINDOW: Duration = Duration::from_hours(1);

/// The last throttle that others caused, as it is saved for a later process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedUse {
    /// Rate of this process at the throttle.
    pub calls_per_hour: u32,
    /// Time since the throttle.
    pub ago: Duration,
    /// Number of earlier throttles before the account was at its limits again, at most 3.
    pub level: u32,
}

/// Adaptive rate of one account.
#[derive(Debug, Default)]
pub(super) struct SharedRate {
    seed: u64,
    /// Calls that were throttled.
    throttled: CallHistory,
    reduced: Option<Reduction>,
    /// Number of the last call that was granted before the first throttle of an hour.
    first_throttle: u64,
    /// Throttles since the last issued token.
    in_a_row: u32,
}

/// A reduced rate.
#[derive(Clone, Copy, Debug)]
struct Reduction {
    /// Calls per second at the last throttle.
    knee: f64,
    level: u32,
    /// Time of the throttle in this process, and how much earlier it really was.
    since: Instant,
    before: Duration,
    /// Start and end of the wait after the last throttle.
    hold: (Instant, Instant),
    /// Number of the last call that was granted before the throttle.
    last_call: u64,
    /// Average rate at the throttle.
    average: f64,
}

/// Facts at a throttle.
pub(super) struct Throttled<'a> {
    pub(super) limits: &'a Limits,
    pub(super) history: &'a CallHistory,
    /// Number of open calls.
    pub(super) open: usize,
    /// Number of the throttled call, and of the last grant.
    pub(super) call: u64,
    pub(super) last_call: u64,
    pub(super) retry_after: Option<Duration>,
    /// True if an urgent request waits.
    pub(super) urgent: bool,
    /// Time that changes the jitter from one throttle to the next.
    pub(super) salt: u64,
}

/// Facts of the requests that wait.
pub(super) struct Waiting {
    /// Time that the token with the earliest expiry has left.
    pub(super) lifetime_left: Option<Duration>,
    /// True if an urgent request waits.
    pub(super) urgent: bool,
}

/// Rate as a function of the time since the throttle, in calls per second and seconds.
#[derive(Clone, Copy, Debug)]
struct Curve {
    knee: f64,
    floor: f64,
    ceiling: f64,
    /// Time at which the rate is back at the knee.
    plateau: f64,
    scale: f64,
}

impl Curve {
    fn rate(&self, at: f64) -> f64 {
        (self.knee + self.ceiling * ((at - self.plateau) / self.scale).powi(3)).clamp(self.floor, self.ceiling)
    }

    /// Returns the rate at which calls may be made.
    fn pace(&self, at: f64, urgent: bool) -> f64 {
        (self.rate(at) * if urgent { URGENT } else { 1.0 }).min(self.ceiling)
    }

    /// Returns the time at which the rate is back at the limits.
    fn end(&self) -> f64 {
        self.plateau + self.scale * (1.0 - self.knee / self.ceiling).max(0.0).cbrt()
    }

    /// Returns the average rate from the throttle to `at`.
    fn average(&self, at: f64) -> f64 {
        if at <= 0.0 {
            return self.rate(0.0);
        }
        let until = at.min(self.end());
        let area =
            |at: f64| self.knee * at + self.ceiling * self.scale / 4.0 * ((at - self.plateau) / self.scale).powi(4);
        let calls = area(until) - area(0.0) + self.ceiling * (at - until);
        (calls / at).clamp(self.floor, self.ceiling)
    }
}

impl SharedRate {
    /// Sets the seed of the jitter.
    pub(super) fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// Records a throttle. Reduces the rate if others caused it, at most once in a window. A throttle without another one
    /// in the hour before changes nothing.
    pub(super) fn record_throttle(&mut self, facts: &Throttled<'_>, now: Instant) {
        let Some(window) = paced_window(facts.limits) else { return };
        let is_first = self.throttled.within(now, CROWD_WINDOW) == 0;
        self.throttled.record(now, 0, memory(window).max(CROWD_WINDOW));
        let used = facts.history.within(now, window.period) + facts.open;
        let known = self.reduction(facts.limits, now);
        let is_old = facts.call <= known.map_or(self.first_throttle, |known| known.last_call);
        if used >= window.requests as usize || is_old {
            return;
        }
        if is_first && known.is_none() {
            self.first_throttle = facts.last_call;
            return;
        }
        let allowed =
            known.map_or(ceiling(window), |known| self.curve(&known, window).pace(known.age(now), facts.urgent));
        let in_window = self.accepted(facts.history, window.period, now);
        let average = self.accepted(facts.history, memory(window), now);
        let in_use = match known {
            // nothing was accepted, so the throttle says nothing about a rate
            Some(known) if in_window <= 0.0 => known.knee,
            _ => in_window.max(average).min(allowed),
        };
        let mut reduction = match known {
            Some(known) if now.saturating_duration_since(known.since) < window.period => known,
            _ => Reduction {
                knee: in_use.max(floor(window)),
                // a cluster in need tries again sooner
                level: known.map_or(0, |known| {
                    if facts.urgent { known.level.saturating_sub(1) } else { (known.level + 1).min(MAX_LEVEL) }
                }),
                since: now,
                before: Duration::ZERO,
                hold: (now, now),
                last_call: 0,
                average: self.average(facts.limits, now).unwrap_or(ceiling(window)),
            },
        };
        reduction.last_call = facts.last_call;
        let pace = 1.0 / self.curve(&reduction, window).pace(reduction.age(now), facts.urgent);
        let jitter = fraction(mix(self.seed ^ facts.salt));
        let wait = if self.in_a_row == 0 { pace * jitter } else { pace * (1.0 + jitter) / 2.0 };
        let doubled = wait * f64::from(1u32 << self.in_a_row.min(20));
        let wait = Duration::try_from_secs_f64(doubled).unwrap_or(MAX_WAIT).min(MAX_WAIT);
        reduction.hold = (now, after(now, facts.retry_after.unwrap_or_default().saturating_add(wait)));
        self.in_a_row += 1;
        self.reduced = Some(reduction);
    }

    /// Records an issued token.
    pub(super) fn record_issued(&mut self) {
        self.in_a_row = 0;
    }

    /// Returns true if others throttled the account repeatedly: in the last hour at least twice, and more than one call in
    /// a hundred.
    pub(super) fn is_crowded(&self, history: &CallHistory, now: Instant) -> bool {
        let throttled = self.throttled.within(now, CROWD_WINDOW);
        let calls = history.within(now, AVERAGE) * 6;
        throttled >= 2 && throttled * 100 > calls
    }

    /// Restores the reduced rate of an earlier process. A later throttle that is known stays.
    pub(super) fn restore(&mut self, saved: SharedUse, limits: &Limits, now: Instant) {
        let Some(window) = paced_window(limits) else { return };
        let known = self.reduction(limits, now);
        if known.is_some_and(|known| known.before + now.saturating_duration_since(known.since) <= saved.ago) {
            return;
        }
        let mut reduction = Reduction {
            knee: f64::from(saved.calls_per_hour) / 3600.0,
            level: saved.level.min(MAX_LEVEL),
            since: now,
            before: saved.ago,
            hold: (now, now),
            last_call: 0,
            average: ceiling(window),
        };
        let curve = self.curve(&reduction, window);
        reduction.average = curve.average(reduction.age(now));
        self.reduced = Some(reduction);
    }

    /// Returns what is saved, while the rate is reduced.
    pub(super) fn saved(&self, limits: &Limits, now: Instant) -> Option<SharedUse> {
        let reduced = self.reduction(limits, now)?;
        Some(SharedUse {
            calls_per_hour: whole((reduced.knee * 3600.0).max(1.0)),
            ago: reduced.before + now.saturating_duration_since(reduced.since),
            level: reduced.level,
        })
    }

    /// Returns the time for each call, while the rate is reduced.
    pub(super) fn time_per_request(&self, limits: &Limits, now: Instant) -> Option<Duration> {
        let (reduced, window) = (self.reduction(limits, now)?, paced_window(limits)?);
        Duration::try_from_secs_f64(1.0 / self.curve(&reduced, window).rate(reduced.age(now))).ok()
    }

    /// Returns the number of calls that the account could make in `span`, by the average rate of the last minutes; `None`
    /// while the rate isn't reduced.
    pub(super) fn calls_in(&self, span: Duration, limits: &Limits, now: Instant) -> Option<f64> {
        Some(self.average(limits, now)? * span.as_secs_f64())
    }

    /// Returns when the pace allows another call while `open` calls are in progress.
    pub(super) fn availability(
        &self,
        limits: &Limits,
        history: &CallHistory,
        open: usize,
        waiting: &Waiting,
        now: Instant,
    ) -> Availability {
        let (Some(reduced), Some(window)) = (self.reduction(limits, now), paced_window(limits)) else {
            return Availability::Now;
        };
        let shortest = MIN_WAIT * (1 << self.in_a_row.min(9));
        let shorten = |since: Instant, until: Instant| {
            let had = waiting.lifetime_left.map(|left| left + now.saturating_duration_since(since));
            Availability::At(had.map_or(until, |had| until.min(after(since, (had / 2).max(shortest)))))
        };
        let held = shorten(reduced.hold.0, reduced.hold.1);
        let last = history.last().unwrap_or(reduced.since).max(reduced.since);
        // the rate at the last call, so that the time of the next one doesn't move
        let rate = self.curve(&reduced, window).pace(reduced.age(last), waiting.urgent);
        let calls = whole((rate * window.period.as_secs_f64() * BURST).max(1.0));
        let period = Duration::try_from_secs_f64(f64::from(calls) / rate).unwrap_or(window.period);
        let paced = match history.availability_of(calls as usize, period, open) {
            Availability::At(at) if at > now => shorten(last, at),
            other => other,
        };
        held.max(paced)
    }

    /// Returns the reduction, unless the rate is back at the limits.
    fn reduction(&self, limits: &Limits, now: Instant) -> Option<Reduction> {
        let window = paced_window(limits)?;
        self.reduced.filter(|reduced| reduced.age(now) < self.curve(reduced, window).end())
    }

    fn curve(&self, reduced: &Reduction, window: &Window) -> Curve {
        let (floor, ceiling) = (floor(window), ceiling(window));
        let knee = reduced.knee.clamp(floor, ceiling);
        let spread = 0.8 + 0.4 * fraction(mix(self.seed));
        let period = window.period.clamp(MIN_WINDOW, MAX_WINDOW).as_secs_f64();
        let scale = period * SCALE * spread * f64::from(1u32 << reduced.level);
        let plateau = scale * ((1.0 - DECREASE) * knee / ceiling).cbrt();
        Curve { knee, floor, ceiling, plateau, scale }
    }

    /// Returns the accepted calls per second of this time.
    fn accepted(&self, history: &CallHistory, span: Duration, now: Instant) -> f64 {
        let calls = history.within(now, span).saturating_sub(self.throttled.within(now, span));
        f64::from(u32::try_from(calls).unwrap_or(u32::MAX)) / span.as_secs_f64()
    }

    /// Returns the average rate of the last minutes, weighted by age, while the rate is reduced.
    fn average(&self, limits: &Limits, now: Instant) -> Option<f64> {
        let (reduced, window) = (self.reduction(limits, now)?, paced_window(limits)?);
        let here = now.saturating_duration_since(reduced.since).as_secs_f64();
        let rate = self.curve(&reduced, window).average(reduced.age(now));
        let old = (-here / AVERAGE.as_secs_f64()).exp();
        Some(reduced.average * old + rate * (1.0 - old))
    }
}

impl Reduction {
    /// Returns the time since the throttle, in seconds.
    fn age(&self, now: Instant) -> f64 {
        (self.before + now.saturating_duration_since(self.since)).as_secs_f64()
    }
}

/// Returns the window that is paced: the one with the lowest sustained rate.
fn paced_window(limits: &Limits) -> Option<&Window> {
    limits.sustained().filter(|window| window.requests >= MIN_REQUESTS)
}

/// Returns the calls per second that the limits allow.
fn ceiling(window: &Window) -> f64 {
    f64::from(window.requests.max(1)) / window.period.as_secs_f64().max(0.001)
}

/// Returns the minimum rate: one call in a window.
fn floor(window: &Window) -> f64 {
    1.0 / window.period.as_secs_f64().max(0.001)
}

/// Returns how long calls count in the rate in use.
fn memory(window: &Window) -> Duration {
    window.period.max(AVERAGE)
}

/// Returns the value without its fraction.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // limited to the range of u32
fn whole(value: f64) -> u32 {
    value.clamp(0.0, f64::from(u32::MAX)) as u32
}

/// Mixes the bits of a seed (`SplitMix64`).
fn mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Returns a number from 0 to 1.
fn fraction(mixed: u64) -> f64 {
    f64::from(u32::try_from(mixed >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}
