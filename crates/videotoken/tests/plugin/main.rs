//! `kubectl videotoken` on a real API server with a running operator: each command as a person at a terminal and a
//! script see it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod completion;
mod describe;
mod doctor;
mod inspect;
mod locked;
mod login;
mod proxies;
mod renew;
mod silence;
mod stage;
mod status;
mod watch;
