//! Blocks on all calls of one account (P07): a refused credential, logins that are used up, a throttle.

use super::view::AccountBlock;
use crate::budget::{AccountState, Lock};
use videotoken_api::wire_time;

/// Returns what blocks all calls of an account, if anything does. `said` is the provider's last answer to a refused or
/// throttled call, as far as the reader may see it.
pub fn account_block(state: AccountState, said: Option<&str>) -> Option<AccountBlock> {
    let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
    let at = state.locked_until.map(wire_time::text).unwrap_or_default();
    let (reason, message) = match (state.lock, state.throttled_for) {
        (Some(Lock::Rejected), _) => (
            "CredentialRejected",
            format!(
                "the provider refuses the account's credential{said}: tried again when it changes, else every 15 min"
            ),
        ),
        (Some(Lock::IdentityRefused), _) => (
            "CredentialRejected",
            format!(
                "the account's identity is refused{said}: tried again at once when the provider or its Secret changes or \
                 a renewal is asked for, else when the provider's status.credentials.nextAttemptAt says"
            ),
        ),
        (Some(Lock::LoginsUsedUp), _) => (
            "LoginsUsedUp",
            format!(
                "as many logins of this user as are safe count within 15 min, which are those that failed{said} and those \
                 that aren't known to have succeeded, since the answer was lost or couldn't be written down: one more may \
                 lock the user at the provider; the next is made at {at}"
            ),
        ),
        (None, Some(_)) => {
            ("Throttled", format!("the provider throttles the account{said}: all its tokens wait as long as it asked"))
        }
        (None, None) => return None,
    };
    // a time that moves every few seconds would cost a status write of each token
    let until = state.locked_until.filter(|_| matches!(state.lock, Some(Lock::Rejected | Lock::LoginsUsedUp)));
    Some(AccountBlock { reason, message, until })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn p07_what_holds_an_account_back_is_said_and_until_when() {
        let at = wire_time::parse("2026-11-27T01:02:03.9Z").unwrap();
        let held = |lock| AccountState { lock: Some(lock), locked_until: Some(at), ..AccountState::default() };
        let used_up = account_block(held(Lock::LoginsUsedUp), None).unwrap();
        assert_eq!((used_up.reason, used_up.until), ("LoginsUsedUp", Some(at)));
        // three may all have succeeded, and none been struck out
        assert!(used_up.message.contains("aren't known to have succeeded"), "{}", used_up.message);
        assert!(used_up.message.ends_with("the next is made at 2026-11-27T01:02:03Z"), "{}", used_up.message);
        let rejected = account_block(held(Lock::Rejected), Some("Unauthorized: no")).unwrap();
        assert_eq!((rejected.reason, rejected.until), ("CredentialRejected", Some(at)));
        assert!(rejected.message.contains("(Unauthorized: no)"), "{}", rejected.message);
        let identity = account_block(held(Lock::IdentityRefused), None).unwrap();
        assert_eq!((identity.reason, identity.until), ("CredentialRejected", None), "it moves every few seconds");
        let throttled = AccountState { throttled_for: Some(Duration::from_secs(9)), ..AccountState::default() };
        assert_eq!(account_block(throttled, None).map(|block| block.until), Some(None));
        assert_eq!(account_block(AccountState::default(), None), None);
    }
}
