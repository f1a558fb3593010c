//! Blocks of a whole account (P07): a rejected credential, logins that are used up, a throttle.

use super::view::AccountBlock;
use crate::budget::{AccountState, CredentialBlock};
use videotoken_api::wire_time;

/// Reason of a throttled account.
pub const THROTTLED: &str = "Throttled";

/// Returns the block of an account, if there is one. `said` is the provider's last response to a rejected or throttled
/// call, as far as the reader may see it.
pub fn account_block(state: AccountState, said: Option<&str>) -> Option<AccountBlock> {
    let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
    let at = state.blocked_until.map(wire_time::text).unwrap_or_default();
    let (reason, message) = match (state.credential_block, state.throttled_for) {
        (Some(CredentialBlock::Rejected), _) => (
            "CredentialRejected",
            format!(
                "The provider rejected the credential of the account{said}. The operator retries when the credential changes, and otherwise every 15 minutes."
            ),
        ),
        (Some(CredentialBlock::IdentityRefused), _) => (
            "CredentialRejected",
            format!(
                "The identity of the account is rejected{said}. The operator retries at once when the provider or its Secret changes or a renewal is forced, and otherwise at status.credentials.nextAttemptAt of the provider."
            ),
        ),
        (Some(CredentialBlock::LoginsUsedUp), _) => (
            "LoginsUsedUp",
            format!(
                "The user has no safe login left: in the last 16 minutes, logins failed or had an unknown result{said}. One more failed login could lock the user. The operator makes the next login at {at}."
            ),
        ),
        (None, Some(_)) => (
            THROTTLED,
            format!(
                "The provider throttles the account{said}. All tokens of the account wait for the time that the provider requested."
            ),
        ),
        (None, None) => return None,
    };
    // a time that changes every few seconds would cost a status write for each token
    let until = state
        .blocked_until
        .filter(|_| matches!(state.credential_block, Some(CredentialBlock::Rejected | CredentialBlock::LoginsUsedUp)));
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
        let blocked = |credential_block| AccountState {
            credential_block: Some(credential_block),
            blocked_until: Some(at),
            ..AccountState::default()
        };
        let used_up = account_block(blocked(CredentialBlock::LoginsUsedUp), None).unwrap();
        assert_eq!((used_up.reason, used_up.until), ("LoginsUsedUp", Some(at)));
        // three may all have succeeded, and none been struck out
        assert!(used_up.message.contains("failed or had an unknown result"), "{}", used_up.message);
        assert!(used_up.message.ends_with("makes the next login at 2026-11-27T01:02:03Z."), "{}", used_up.message);
        let rejected = account_block(blocked(CredentialBlock::Rejected), Some("Unauthorized: no")).unwrap();
        assert_eq!((rejected.reason, rejected.until), ("CredentialRejected", Some(at)));
        assert!(rejected.message.contains("(Unauthorized: no)"), "{}", rejected.message);
        let identity = account_block(blocked(CredentialBlock::IdentityRefused), None).unwrap();
        assert_eq!((identity.reason, identity.until), ("CredentialRejected", None), "it moves every few seconds");
        let throttled = AccountState { throttled_for: Some(Duration::from_secs(9)), ..AccountState::default() };
        assert_eq!(account_block(throttled, None).map(|block| block.until), Some(None));
        assert_eq!(account_block(AccountState::default(), None), None);
    }
}
