//! Decisions about one VideoAccessToken: its next step, its renewal, retries, restarts of workloads, its Secret and
//! its status.
//!
//! Not allowed here: IO, clocks, random numbers. All inputs, including `now`, are arguments.

pub mod account_block;
pub mod backoff;
pub mod claim;
pub mod contest;
pub mod decide;
pub mod desired;
pub mod facts;
pub mod hash;
pub mod issue_failure;
pub mod login;
pub mod object_state;
pub mod observe;
pub mod outcome;
pub mod provider_status;
pub mod renewal;
pub mod restart;
pub mod secret;
pub mod shared_status;
pub mod status;
pub mod template;
pub mod transitions;
pub mod unplanned;
pub mod view;
pub mod write_breaker;
pub mod write_failure;
