//! Access tokens that precede the calls of a token API, from Microsoft Entra or an OAuth 2.0 token endpoint.
//!
//! A single fetch at a time, a deadline, renewal well before the expiry, use of the old token while it is valid, and no
//! new attempt before the back-off or the issuer's Retry-After has passed.

use super::http::length;
use super::{Class, IssueError};
use crate::clock::{self, Now, Timestamp};
use chrono::TimeDelta;
use parking_lot::{Mutex, MutexGuard};
use secrecy::SecretString;
use std::time::Duration;
use tokio::time::Instant;

/// Time before the expiry at which a token is renewed. For a lifetime of less than twice this time, a token is renewed
/// at half its lifetime.
const RENEW_BEFORE: Duration = Duration::from_mins(5);

/// Minimum time to the expiry of a token that is still used while its renewal fails.
const USABLE: Duration = Duration::from_secs(30);

/// Minimum time before a rejected identity is tried again, so that all concurrent calls get the same rejection. The
/// budget decides when the next attempt follows.
const AFTER_REFUSAL: Duration = Duration::from_secs(2);

const LONGEST_BACKOFF: Duration = Duration::from_mins(5);

/// Access token that [`BearerCache::token`] returned.
#[derive(Clone, Debug)]
pub struct BearerToken {
    /// The token string.
    pub token: SecretString,
    generation: u64,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    failure: Option<Failure>,
    /// Number of consecutive failures.
    failures: u32,
    generation: u64,
}

struct Held {
    token: BearerToken,
    fetched: Instant,
    /// Expiry by both clocks: the wall clock may jump, and the monotonic clock stops while a machine sleeps.
    expires: (Timestamp, Instant),
    lifetime: Duration,
    /// `true` after the API accepted the token.
    proven: bool,
}

struct Failure {
    error: IssueError,
    at: Instant,
    retry_at: Instant,
}

/// Next step for a caller.
enum Next {
    /// Return this result without a call.
    Settled(Result<BearerToken, IssueError>),
    /// Fetch a token. The old token, if any, is valid during the fetch.
    Fetch(Option<BearerToken>),
}

/// Access tokens of one identity, one at a time.
pub(crate) struct BearerCache {
    /// Name of the issuer, for messages.
    issuer: &'static str,
    /// Host that issues the tokens, for messages.
    host: String,
    deadline: Duration,
    flight: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

impl BearerCache {
    /// Creates a cache without a token. A fetch may take `deadline`.
    pub(crate) fn new(issuer: &'static str, host: String, deadline: Duration) -> Self {
        Self { issuer, host, deadline, flight: tokio::sync::Mutex::default(), state: Mutex::default() }
    }

    /// Returns the host that issues the tokens.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Returns a token that is valid for at least 30 more seconds, from `fetch` if necessary.
    ///
    /// # Errors
    /// Those of `fetch`, and the transient error `Timeout`. Until its back-off has passed, the last failure is returned
    /// again without a call.
    pub(crate) async fn token<F>(&self, fetch: impl FnOnce() -> F) -> Result<BearerToken, IssueError>
    where
        F: Future<Output = Result<(SecretString, Timestamp), IssueError>>,
    {
        let stale = match self.next(clock::now()) {
            Next::Settled(outcome) => return outcome,
            Next::Fetch(stale) => stale,
        };
        let _flight = match (self.flight.try_lock(), stale) {
            (Ok(flight), _) => flight,
            (Err(_), Some(stale)) => return Ok(stale),
            (Err(_), None) => self.flight.lock().await,
        };
        // The previous flight may have fetched a token or failed.
        if let Next::Settled(outcome) = self.next(clock::now()) {
            return outcome;
        }
        let fetched = tokio::time::timeout(self.deadline, fetch()).await.unwrap_or_else(|_| {
            let message = format!("{}: no answer from {} within {}", self.issuer, self.host, length(self.deadline));
            Err(IssueError::new(Class::Transient, "Timeout", message))
        });
        self.state().record_result(fetched, self.issuer, clock::now())
    }

    /// Records that the API accepted `token`. If the API rejects it later, the token is invalid and not the credential.
    pub(crate) fn accepted(&self, token: &BearerToken) {
        if let Some(held) = self.state().held_as(token) {
            held.proven = true;
        }
    }

    /// Records that the API rejected `token` with a 401, and stops using it. Returns true if a new token may be
    /// accepted, and false if this token was just fetched and never accepted.
    pub(crate) fn refused(&self, token: &BearerToken) -> bool {
        let mut state = self.state();
        let Some(held) = state.held_as(token) else { return true };
        let is_fresh = !held.proven && held.fetched.elapsed() < Duration::from_mins(1);
        state.held = None;
        !is_fresh
    }

    fn next(&self, now: Now) -> Next {
        self.state().next(now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn next(&mut self, now: Now) -> Next {
        self.held = self.held.take().filter(|held| held.left(now) > USABLE);
        let stale = match &self.held {
            Some(held) if held.left(now) > RENEW_BEFORE.min(held.lifetime / 2) => {
                return Next::Settled(Ok(held.token.clone()));
            }
            held => held.as_ref().map(|held| held.token.clone()),
        };
        match &self.failure {
            Some(failure) if now.mono < failure.retry_at => Next::Settled(stale.ok_or_else(|| failure.repeated(now))),
            _ => Next::Fetch(stale),
        }
    }

    /// Records the result of a fetch. After a failure, the old token is returned while it is usable.
    fn record_result(
        &mut self,
        fetched: Result<(SecretString, Timestamp), IssueError>,
        issuer: &str,
        now: Now,
    ) -> Result<BearerToken, IssueError> {
        let error = match fetched {
            Ok((token, expires_at)) => {
                let lifetime = (expires_at - now.wall).to_std().unwrap_or_default();
                self.generation += 1;
                let token = BearerToken { token, generation: self.generation };
                let expires = (expires_at, now.mono + lifetime);
                self.held = Some(Held { token: token.clone(), fetched: now.mono, expires, lifetime, proven: false });
                (self.failure, self.failures) = (None, 0);
                return Ok(token);
            }
            Err(error) => error,
        };
        let served = self.held.as_ref().filter(|held| held.left(now) > USABLE);
        let retry_at = now.mono + backoff(&error, self.failures, served.is_some());
        self.failures = self.failures.saturating_add(1);
        self.failure = Some(Failure { error: error.clone(), at: now.mono, retry_at });
        let Some(held) = served else { return Err(error) };
        tracing::warn!(issuer, reason = %error.reason, %error, "no new access token; the old one is still good");
        Ok(held.token.clone())
    }

    fn held_as(&mut self, token: &BearerToken) -> Option<&mut Held> {
        self.held.as_mut().filter(|held| held.token.generation == token.generation)
    }
}

impl Held {
    /// Returns the time to the expiry by the clock with the earlier expiry.
    fn left(&self, now: Now) -> Duration {
        let (wall, mono) = self.expires;
        let wall = (wall - now.wall).max(TimeDelta::zero()).to_std().unwrap_or_default();
        wall.min(mono.saturating_duration_since(now.mono))
    }
}

impl Failure {
    /// Returns the failure again, with its Retry-After reduced by the time since.
    fn repeated(&self, now: Now) -> IssueError {
        let retry_after = self.error.retry_after.map(|wait| wait.saturating_sub(now.mono.duration_since(self.at)));
        IssueError { retry_after, ..self.error.clone() }
    }
}

/// Returns the delay before the next attempt after a failure that followed `failures` others: Entra's Retry-After, else
/// 1 second, doubled up to 5 minutes. `served` means that the caller got the old, valid token instead of the failure.
fn backoff(error: &IssueError, failures: u32, served: bool) -> Duration {
    let own = match error.class {
        Class::Credential if !served => AFTER_REFUSAL,
        // The API server rejected the assertion request. Entra wasn't called, and each object has its own back-off.
        Class::Configuration | Class::Denied => Duration::from_secs(1),
        _ => Duration::from_secs(1 << failures.min(9)).min(LONGEST_BACKOFF),
    };
    error.retry_after.map_or(own, |wait| wait.max(Duration::from_secs(1)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn fetched(lifetime: i64, now: Now) -> (SecretString, Timestamp) {
        ("entra-token".into(), now.wall + TimeDelta::seconds(lifetime))
    }

    fn failed(class: Class, retry_after: Option<u64>) -> IssueError {
        let retry_after = retry_after.map(Duration::from_secs);
        IssueError { retry_after, ..IssueError::new(class, "Test", "failed") }
    }

    fn after(now: Now, seconds: u64) -> Now {
        let step = Duration::from_secs(seconds);
        Now { wall: now.wall + step, mono: now.mono + step }
    }

    /// Returns the result for a caller at `now`: a token (T), the old token during a fetch (S), a fetch (F), or the
    /// failure (E).
    fn step(state: &mut State, now: Now) -> char {
        match state.next(now) {
            Next::Settled(Ok(_)) => 'T',
            Next::Settled(Err(_)) => 'E',
            Next::Fetch(Some(_)) => 'S',
            Next::Fetch(None) => 'F',
        }
    }

    #[test]
    fn a_token_is_renewed_at_300_s_or_half_its_life() {
        for (lifetime, renewed_at) in [(3600, 3300), (600, 300), (400, 200), (100, 50), (40, 10)] {
            let (mut state, now) = (State::default(), clock::now());
            state.record_result(Ok(fetched(lifetime, now)), "Entra", now).unwrap();
            assert_eq!(step(&mut state, after(now, renewed_at - 1)), 'T', "{lifetime}");
            let due = if lifetime == 40 { 'F' } else { 'S' };
            assert_eq!(step(&mut state, after(now, renewed_at)), due, "{lifetime}");
        }
    }

    #[test]
    fn the_old_token_is_served_while_it_has_30_s() {
        let (mut state, now) = (State::default(), clock::now());
        state.record_result(Ok(fetched(3600, now)), "Entra", now).unwrap();
        let due = after(now, 3400);
        assert!(state.record_result(Err(failed(Class::Transient, None)), "Entra", due).is_ok());
        assert_eq!(step(&mut state, due), 'T');
        assert_eq!(step(&mut state, after(due, 1)), 'S');
        assert_eq!(step(&mut state, after(now, 3569)), 'S');
        assert_eq!(step(&mut state, after(now, 3570)), 'F');
        assert!(state.record_result(Err(failed(Class::Transient, None)), "Entra", after(now, 3570)).is_err());
    }

    #[test]
    fn no_new_try_before_the_backoff_has_passed() {
        let cases = [
            (Class::Transient, None, 0, 1),
            (Class::Transient, None, 3, 8),
            (Class::Transient, None, 60, 300),
            (Class::Throttled, Some(17), 0, 17),
            (Class::Transient, Some(120), 5, 120),
            (Class::Throttled, Some(0), 0, 1),
            (Class::Credential, None, 0, 2),
            (Class::Credential, None, 60, 2),
            (Class::Configuration, None, 9, 1),
        ];
        for (class, retry_after, failures, wait) in cases {
            let (mut state, now) = (State { failures, ..State::default() }, clock::now());
            state.record_result(Err(failed(class, retry_after)), "Entra", now).unwrap_err();
            assert_eq!(step(&mut state, after(now, wait - 1)), 'E', "{class:?} {retry_after:?}");
            assert_eq!(step(&mut state, after(now, wait)), 'F', "{class:?} {retry_after:?}");
        }
    }

    #[test]
    fn a_refusal_that_nobody_learns_of_backs_off() {
        let (mut state, now) = (State { failures: 6, ..State::default() }, clock::now());
        state.record_result(Ok(fetched(3600, now)), "Entra", now).unwrap();
        let mut at = after(now, 3300);
        for wait in [1, 2, 4, 8] {
            assert!(state.record_result(Err(failed(Class::Credential, None)), "Entra", at).is_ok());
            assert_eq!((step(&mut state, at), step(&mut state, after(at, wait))), ('T', 'S'), "{wait}");
            at = after(at, wait);
        }
    }

    #[test]
    fn a_repeated_failure_asks_for_the_rest_of_the_wait() {
        let (mut state, now) = (State::default(), clock::now());
        state.record_result(Err(failed(Class::Throttled, Some(20))), "Entra", now).unwrap_err();
        let Next::Settled(Err(error)) = state.next(after(now, 5)) else { panic!("a fetch") };
        assert_eq!(error.retry_after, Some(Duration::from_secs(15)));
    }

    #[test]
    fn p14_a_jump_of_either_clock_ends_a_token() {
        let (mut state, now) = (State::default(), clock::now());
        state.record_result(Ok(fetched(3600, now)), "Entra", now).unwrap();
        let slept = Now { wall: now.wall + TimeDelta::hours(2), mono: now.mono };
        assert_eq!(step(&mut state, slept), 'F');
        state.record_result(Ok(fetched(3600, now)), "Entra", now).unwrap();
        let set_back = Now { wall: now.wall - TimeDelta::hours(2), mono: now.mono + Duration::from_secs(3590) };
        assert_eq!(step(&mut state, set_back), 'F');
    }
}
