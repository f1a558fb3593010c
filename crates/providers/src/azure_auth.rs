//! Entra tokens for one provider object.
//!
//! Around `azure_identity`: one call at a time whether it succeeds or fails, a deadline, renewal well before the
//! expiry, the old token while it lives, no new try before the back-off or Entra's Retry-After has passed.
//!
//! Managed identity is that of Azure's virtual machines and App Service. A cluster connected through Azure Arc has
//! none that `azure_identity` can use: there it is workload identity.

mod certificate;
mod credential;
mod refusal;
mod transport;

pub use credential::{AssertionSource, AzureCredential, ProjectedToken};

use super::http::{Http, length};
use super::{Class, IssueError};
use crate::clock::{self, Now, Timestamp};
use chrono::TimeDelta;
use credential::Entra;
use parking_lot::{Mutex, MutexGuard};
use secrecy::SecretString;
use std::borrow::Cow;
use std::time::Duration;
use tokio::time::Instant;
use url::Url;
use videotoken_api::request::FieldError;

/// A token is renewed this long before its expiry, or at half its life if that is later.
const RENEW_BEFORE: Duration = Duration::from_mins(5);

/// While its renewal fails, a token is served until this long before its expiry.
const USABLE: Duration = Duration::from_secs(30);

/// A refused identity is not tried again sooner, so that all calls under way learn the same of one. When it is tried again
/// is the budget's to say.
const AFTER_REFUSAL: Duration = Duration::from_secs(2);

const LONGEST_BACKOFF: Duration = Duration::from_mins(5);

/// What an [`AzureAuth`] needs beside its credential.
#[derive(Clone, Debug)]
pub struct AzureAuthOptions {
    /// Entra's host, such as `https://login.microsoftonline.com`; its path is ignored.
    pub authority: Url,
    /// What the token is for, such as `https://management.azure.com/.default`.
    pub scope: String,
    /// The client that Entra is called with. A fetch may take half of its timeout, so that the other half is left for
    /// the call that the token is for.
    pub http: Http,
    /// The path of the account in the provider's spec, such as `spec.videoIndexer`, for messages.
    pub field: Cow<'static, str>,
    /// Where the instance metadata service is instead of `http://169.254.169.254`; called with `http`. For tests.
    pub metadata_endpoint: Option<Url>,
}

/// An Entra token, as [`AzureAuth::token`] gave it out.
#[derive(Clone, Debug)]
pub struct EntraToken {
    /// The token itself.
    pub token: SecretString,
    generation: u64,
}

/// One identity's tokens for one scope.
pub struct AzureAuth {
    entra: Entra,
    /// Whom a token comes from, for messages.
    host: String,
    credential_expires_at: Option<Timestamp>,
    deadline: Duration,
    flight: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    failure: Option<Failure>,
    /// Failures in a row.
    failures: u32,
    generation: u64,
}

struct Held {
    token: EntraToken,
    fetched: Instant,
    /// By both clocks: the wall clock may jump, the monotonic one stops while a machine sleeps.
    expires: (Timestamp, Instant),
    life: Duration,
    /// The API took it.
    proven: bool,
}

struct Failure {
    error: IssueError,
    at: Instant,
    retry_at: Instant,
}

/// What the state says to a caller.
enum Next {
    /// This, without a call.
    Settled(Result<EntraToken, IssueError>),
    /// A fetch is due; meanwhile this one is good.
    Fetch(Option<EntraToken>),
}

impl AzureAuth {
    /// The tokens of `credential`. The error names the field at fault.
    pub fn new(credential: AzureCredential, options: AzureAuthOptions) -> Result<Self, FieldError> {
        let deadline = options.http.timeout() / 2;
        let credential_expires_at = credential.expires_at();
        let host = match credential {
            AzureCredential::ManagedIdentity { .. } => "the machine's metadata service".to_owned(),
            _ => options.authority.authority().to_owned(),
        };
        Ok(Self {
            host,
            credential_expires_at,
            entra: Entra::new(credential, options)?,
            deadline,
            flight: tokio::sync::Mutex::default(),
            state: Mutex::default(),
        })
    }

    /// Whom its tokens come from: Entra's host, or the machine's metadata service.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// When the credential itself expires, where it tells: a certificate.
    pub fn credential_expires_at(&self) -> Option<Timestamp> {
        self.credential_expires_at
    }

    /// A token that is good for at least 30 s more.
    ///
    /// # Errors
    /// `EntraRefused` (credential) with the OAuth error and AADSTS numbers; `EntraThrottled`; transient:
    /// `EntraUnavailable`, `Timeout`, and what [`Http::send`] names; and what an [`AssertionSource`] says. The last
    /// failure is repeated, without a call, until its back-off has passed.
    pub async fn token(&self) -> Result<EntraToken, IssueError> {
        let stale = match self.next(clock::now()) {
            Next::Settled(outcome) => return outcome,
            Next::Fetch(stale) => stale,
        };
        let _flight = match (self.flight.try_lock(), stale) {
            (Ok(flight), _) => flight,
            (Err(_), Some(stale)) => return Ok(stale),
            (Err(_), None) => self.flight.lock().await,
        };
        // The flight that was waited for may have settled it.
        if let Next::Settled(outcome) = self.next(clock::now()) {
            return outcome;
        }
        let fetched = tokio::time::timeout(self.deadline, self.entra.fetch()).await.unwrap_or_else(|_| {
            let message = format!("Entra: no answer from {} within {}", self.host, length(self.deadline));
            Err(IssueError::new(Class::Transient, "Timeout", message))
        });
        self.state().settle(fetched, clock::now())
    }

    /// The API took `token`: if it refuses it later, the token is at fault and not the credential.
    pub fn accepted(&self, token: &EntraToken) {
        if let Some(held) = self.state().held_as(token) {
            held.proven = true;
        }
    }

    /// The API refused `token` with a 401, so that it is not given out again. Answers whether a fresh token may fare
    /// better: not when this one was just fetched and never accepted.
    pub fn refused(&self, token: &EntraToken) -> bool {
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

impl std::fmt::Debug for AzureAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AzureAuth").field("entra", &self.entra).finish_non_exhaustive()
    }
}

impl State {
    fn next(&mut self, now: Now) -> Next {
        self.held = self.held.take().filter(|held| held.left(now) > USABLE);
        let stale = match &self.held {
            Some(held) if held.left(now) > RENEW_BEFORE.min(held.life / 2) => {
                return Next::Settled(Ok(held.token.clone()));
            }
            held => held.as_ref().map(|held| held.token.clone()),
        };
        match &self.failure {
            Some(failure) if now.mono < failure.retry_at => Next::Settled(stale.ok_or_else(|| failure.repeated(now))),
            _ => Next::Fetch(stale),
        }
    }

    /// Keeps the outcome of a fetch. After a failure the old token is served as long as it is usable.
    fn settle(
        &mut self,
        fetched: Result<(SecretString, Timestamp), IssueError>,
        now: Now,
    ) -> Result<EntraToken, IssueError> {
        let error = match fetched {
            Ok((token, expires_at)) => {
                let life = (expires_at - now.wall).to_std().unwrap_or_default();
                self.generation += 1;
                let token = EntraToken { token, generation: self.generation };
                let expires = (expires_at, now.mono + life);
                self.held = Some(Held { token: token.clone(), fetched: now.mono, expires, life, proven: false });
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
        tracing::warn!(reason = %error.reason, %error, "no new Entra token; the old one is still good");
        Ok(held.token.clone())
    }

    fn held_as(&mut self, token: &EntraToken) -> Option<&mut Held> {
        self.held.as_mut().filter(|held| held.token.generation == token.generation)
    }
}

impl Held {
    /// How long it lives yet, by the more pessimistic clock.
    fn left(&self, now: Now) -> Duration {
        let (wall, mono) = self.expires;
        let wall = (wall - now.wall).max(TimeDelta::zero()).to_std().unwrap_or_default();
        wall.min(mono.saturating_duration_since(now.mono))
    }
}

impl Failure {
    /// The failure again, its Retry-After shortened by the time since.
    fn repeated(&self, now: Now) -> IssueError {
        let retry_after = self.error.retry_after.map(|wait| wait.saturating_sub(now.mono.duration_since(self.at)));
        IssueError { retry_after, ..self.error.clone() }
    }
}

/// How long no new try is made after a failure that followed `failures` others: what Entra asks for, else 1 s
/// doubling to 5 min. `served`: nobody learns of it, since the old token is still good.
fn backoff(error: &IssueError, failures: u32, served: bool) -> Duration {
    let own = match error.class {
        Class::Credential if !served => AFTER_REFUSAL,
        // said by the API server, of an assertion: Entra wasn't asked, and each object waits by itself
        Class::Configuration | Class::Denied => Duration::from_secs(1),
        _ => Duration::from_secs(1 << failures.min(9)).min(LONGEST_BACKOFF),
    };
    error.retry_after.map_or(own, |wait| wait.max(Duration::from_secs(1)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn fetched(life: i64, now: Now) -> (SecretString, Timestamp) {
        ("entra-token".into(), now.wall + TimeDelta::seconds(life))
    }

    fn failed(class: Class, retry_after: Option<u64>) -> IssueError {
        let retry_after = retry_after.map(Duration::from_secs);
        IssueError { retry_after, ..IssueError::new(class, "Test", "failed") }
    }

    fn after(now: Now, seconds: u64) -> Now {
        let step = Duration::from_secs(seconds);
        Now { wall: now.wall + step, mono: now.mono + step }
    }

    /// What a caller gets at `now`: a token (T), the old one while a fetch runs (S), a fetch (F), the failure (E).
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
        for (life, renewed_at) in [(3600, 3300), (600, 300), (400, 200), (100, 50), (40, 10)] {
            let (mut state, now) = (State::default(), clock::now());
            state.settle(Ok(fetched(life, now)), now).unwrap();
            assert_eq!(step(&mut state, after(now, renewed_at - 1)), 'T', "{life}");
            let due = if life == 40 { 'F' } else { 'S' };
            assert_eq!(step(&mut state, after(now, renewed_at)), due, "{life}");
        }
    }

    #[test]
    fn the_old_token_is_served_while_it_has_30_s() {
        let (mut state, now) = (State::default(), clock::now());
        state.settle(Ok(fetched(3600, now)), now).unwrap();
        let due = after(now, 3400);
        assert!(state.settle(Err(failed(Class::Transient, None)), due).is_ok());
        assert_eq!(step(&mut state, due), 'T');
        assert_eq!(step(&mut state, after(due, 1)), 'S');
        assert_eq!(step(&mut state, after(now, 3569)), 'S');
        assert_eq!(step(&mut state, after(now, 3570)), 'F');
        assert!(state.settle(Err(failed(Class::Transient, None)), after(now, 3570)).is_err());
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
            state.settle(Err(failed(class, retry_after)), now).unwrap_err();
            assert_eq!(step(&mut state, after(now, wait - 1)), 'E', "{class:?} {retry_after:?}");
            assert_eq!(step(&mut state, after(now, wait)), 'F', "{class:?} {retry_after:?}");
        }
    }

    #[test]
    fn a_refusal_that_nobody_learns_of_backs_off() {
        let (mut state, now) = (State { failures: 6, ..State::default() }, clock::now());
        state.settle(Ok(fetched(3600, now)), now).unwrap();
        let mut at = after(now, 3300);
        for wait in [1, 2, 4, 8] {
            assert!(state.settle(Err(failed(Class::Credential, None)), at).is_ok());
            assert_eq!((step(&mut state, at), step(&mut state, after(at, wait))), ('T', 'S'), "{wait}");
            at = after(at, wait);
        }
    }

    #[test]
    fn a_repeated_failure_asks_for_the_rest_of_the_wait() {
        let (mut state, now) = (State::default(), clock::now());
        state.settle(Err(failed(Class::Throttled, Some(20))), now).unwrap_err();
        let Next::Settled(Err(error)) = state.next(after(now, 5)) else { panic!("a fetch") };
        assert_eq!(error.retry_after, Some(Duration::from_secs(15)));
    }

    #[test]
    fn p14_a_jump_of_either_clock_ends_a_token() {
        let (mut state, now) = (State::default(), clock::now());
        state.settle(Ok(fetched(3600, now)), now).unwrap();
        let slept = Now { wall: now.wall + TimeDelta::hours(2), mono: now.mono };
        assert_eq!(step(&mut state, slept), 'F');
        state.settle(Ok(fetched(3600, now)), now).unwrap();
        let set_back = Now { wall: now.wall - TimeDelta::hours(2), mono: now.mono + Duration::from_secs(3590) };
        assert_eq!(step(&mut state, set_back), 'F');
    }
}
