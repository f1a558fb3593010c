//! One cluster: its budgets, tokens and clock, and the status of its provider object.

use crate::token_api::{Answer, WINDOWS};
use chrono::TimeDelta;
use std::time::Duration;
use tokio::time::Instant;
use videotoken_api::key::ObjectKey;
use videotoken_api::provider_status::ProviderStatus;
use videotoken_api::video_access_token::RenewBefore;
use videotoken_core::budget::{
    AccountKey, AccountState, Budgets, CallOutcome, GrantRequest, Limits, StartedCall, Window,
};
use videotoken_core::clock::{Now, Timestamp};
use videotoken_core::plan::provider_status::{AccountFacts, ProviderFacts, compose, saved_account_state};
use videotoken_core::plan::renewal;

/// Namespaces of a cluster. Its tokens are spread over them.
const NAMESPACES: usize = 4;

/// A token object.
#[derive(Debug)]
pub(crate) struct Token {
    uid: u128,
    key: ObjectKey,
    /// Issuance and expiry of the stored token, in the time of the run. Negative before its start.
    pub(crate) valid: Option<(f64, f64)>,
    /// True from the expiry to the next issuance.
    pub(crate) late: bool,
    call: Option<StartedCall>,
}

/// One cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) tokens: Vec<Token>,
    /// Lifetime of its tokens.
    pub(crate) life: Duration,
    /// True from joining to leaving.
    pub(crate) present: bool,
    /// Number of starts of the operator. Events of an earlier start are ignored.
    pub(crate) start: u32,
    pub(crate) status: ProviderStatus,
    pub(crate) status_writes: u32,
    /// How far the clock is ahead.
    pub(crate) ahead: TimeDelta,
    budgets: Budgets,
    account: AccountKey,
    seed: u64,
    epoch: Instant,
}

impl Cluster {
    /// Creates a cluster that is not present yet. `epoch` is the start of the run.
    pub(crate) fn new(number: usize, tokens: usize, life: Duration, epoch: Instant, dice: &mut fastrand::Rng) -> Self {
        let token = |index: usize, dice: &mut fastrand::Rng| Token {
            uid: dice.u128(..),
            key: ObjectKey::new(&format!("ns{}", index % NAMESPACES), &format!("cam{index}")),
            valid: None,
            late: false,
            call: None,
        };
        Self {
            tokens: (0..tokens).map(|index| token(index, dice)).collect(),
            life,
            present: false,
            start: 0,
            status: ProviderStatus::default(),
            status_writes: 0,
            ahead: TimeDelta::zero(),
            budgets: Budgets::default(),
            account: AccountKey(format!("account of cluster {number}").into()),
            seed: dice.u64(..),
            epoch,
        }
    }

    /// Starts the operator, with what its status and the stored tokens record.
    pub(crate) fn start(&mut self, at: Duration) {
        self.present = true;
        self.start += 1;
        self.budgets = Budgets::default();
        let windows =
            WINDOWS.map(|(requests, period)| Window { requests: u32::try_from(requests).unwrap_or(1), period });
        self.budgets.configure(&self.account, Limits { windows: windows.into(), concurrency: 10 });
        self.budgets.set_seed(&self.account, self.seed);
        let now = self.now(at);
        let saved = saved_account_state(&self.status, "1", false, now.wall);
        if let Some(wait) = saved.throttled_for {
            self.budgets.throttle(&self.account, wait, now);
        }
        if let Some(shared_use) = saved.shared_use {
            self.budgets.restore_shared_use(&self.account, shared_use, now);
        }
        self.budgets.accept_credential(&self.account);
        let issued = self.tokens.iter().filter_map(|token| token.valid);
        let ended: Vec<_> = issued.map(|(issued, _)| seconds(at.as_secs_f64() - issued)).collect();
        self.budgets.restore(&self.account, ended, [], now);
        self.tokens.iter_mut().for_each(|token| token.call = None);
    }

    /// Stops the operator and removes its tokens.
    pub(crate) fn leave(&mut self) {
        self.present = false;
        self.start += 1;
        for token in &mut self.tokens {
            (token.valid, token.late) = (None, false);
        }
    }

    /// Returns when the token is due, by the clock of the cluster; at once without a token.
    pub(crate) fn due_at(&self, index: usize, at: Duration) -> Duration {
        let Some(renewal) = self.renewal(index) else { return at };
        at + (renewal.due - self.now(at).wall).to_std().unwrap_or_default()
    }

    /// Returns true if half of the token's margin has passed.
    pub(crate) fn in_danger(&self, index: usize, at: Duration) -> bool {
        self.renewal(index).is_some_and(|renewal| renewal.urgent <= self.now(at).wall)
    }

    fn renewal(&self, index: usize) -> Option<renewal::Renewal> {
        let token = &self.tokens[index];
        let (issued, expires) = token.valid?;
        Some(renewal::plan(self.wall(issued), self.wall(expires), RenewBefore::Default, token.uid))
    }

    /// Queues a request for the token.
    pub(crate) fn enqueue(&mut self, index: usize, at: Duration) {
        let renewal = self.renewal(index);
        let token = &self.tokens[index];
        let request = GrantRequest {
            key: token.key.clone(),
            expires_at: token.valid.map(|(_, expires)| self.wall(expires)),
            urgent_at: renewal.map(|renewal| renewal.urgent),
            unplanned: false,
        };
        let now = self.now(at);
        self.budgets.enqueue(&self.account, request, now);
    }

    /// Starts the calls that the budget grants, and returns their tokens.
    pub(crate) fn calls(&mut self, at: Duration) -> Vec<usize> {
        let now = self.now(at);
        let grants = self.budgets.grant(now, usize::MAX);
        let index = |key: &ObjectKey| key.name.trim_start_matches("cam").parse::<usize>().unwrap_or_default();
        let granted: Vec<usize> = grants.iter().map(|grant| index(&grant.key)).collect();
        for index in &granted {
            let token = &mut self.tokens[*index];
            token.call = self.budgets.begin(&token.key, &self.account, now);
        }
        granted
    }

    /// Returns when the budget may grant a call without another event.
    pub(crate) fn next_grant(&self, at: Duration) -> Option<Duration> {
        self.budgets.next_grant_in(self.now(at)).map(|wait| at + wait)
    }

    /// Ends a call that was sent at `sent`.
    pub(crate) fn end(&mut self, index: usize, sent: Duration, answer: Answer, at: Duration) {
        let now = self.now(at);
        let token = &mut self.tokens[index];
        let Some(call) = token.call.take() else { return };
        let outcome = match answer {
            Answer::Issued => CallOutcome::Issued,
            Answer::Throttled(retry_after) => CallOutcome::Throttled { retry_after },
        };
        if answer == Answer::Issued {
            let issued = sent.as_secs_f64();
            (token.valid, token.late) = (Some((issued, issued + self.life.as_secs_f64())), false);
        }
        self.budgets.end(&call, outcome, now);
        self.write_status(at);
    }

    /// Writes the status of the provider object if it changed.
    pub(crate) fn write_status(&mut self, at: Duration) {
        let account = AccountFacts { version: "1".to_owned(), budget: self.state(at), ..AccountFacts::default() };
        let facts = ProviderFacts { generation: Some(1), type_: None, tokens: None, account: Ok(account) };
        let status = compose(facts, &self.status, self.now(at).wall);
        if status != self.status {
            self.status_writes += 1;
            self.status = status;
        }
    }

    /// Returns the state of the account.
    pub(crate) fn state(&self, at: Duration) -> AccountState {
        self.budgets.state(&self.account, self.now(at))
    }

    fn now(&self, at: Duration) -> Now {
        Now { wall: self.wall(at.as_secs_f64()), mono: self.epoch + at }
    }

    fn wall(&self, at: f64) -> Timestamp {
        let since = TimeDelta::milliseconds((at * 1000.0) as i64);
        Timestamp::UNIX_EPOCH + TimeDelta::days(20_000) + since + self.ahead
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
