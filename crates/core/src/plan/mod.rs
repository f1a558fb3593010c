//! Every decision, pure: what a token needs next, when it is renewed, how long a failure waits, when workloads are
//! restarted, what its Secret and its status look like.
//!
//! May not enter: IO, clocks, chance. `now` and everything else comes in as an argument.

pub mod account_block;
pub mod backoff;
pub mod claim;
pub mod contest;
pub mod decide;
pub mod facts;
pub mod floor;
pub mod hash;
pub mod issue_failure;
pub mod login;
pub mod provider_status;
pub mod reason;
pub mod renewal;
pub mod restart;
pub mod secret;
pub mod status;
pub mod template;
pub mod transitions;
pub mod view;
pub mod want;
pub mod write_breaker;
pub mod write_failure;
