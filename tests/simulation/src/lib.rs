//! The operator in virtual time: the real controller and leader election on tokio's paused clock, in one thread, over
//! an API server and a token API in memory. One seed decides every latency, fault and user action, so the same seed
//! gives the same trace.
//!
//! | Module | Content |
//! |---|---|
//! | [`api_server`] | objects, versions, lists, watches, patches |
//! | [`world`] | virtual time, chance, faults, the trace |
//! | [`episode`] | faults that last, and what they excuse |
//! | [`token_api`] | the token API and its calls |
//! | [`operator`] | one operator process: its clock, its connections, its end |
//! | [`users`] | the objects of the scenario, and the actions of their users |
//! | [`ledger`] | what the objects show of the promises |
//! | [`run`] | one run and its verdict |

pub mod api_server;
pub mod episode;
pub mod ledger;
pub mod operator;
pub mod run;
pub mod token_api;
pub mod users;
pub mod world;
