//! Emulators of the token APIs: axum programs over TLS, with the state, the refusals and the quirks of the real ones.
//!
//! Each API is a folder of its own. What they share stands here: a [`Control`] wraps each API, and is both the
//! test's hand on it (faults, limits, lives, holds) and its truth (every request seen, every token issued). Sharing
//! no code with the operator is the point: nothing of it may be imported here.
//!
//! ```text
//! request → record → latency → hold → limits → fault → the API's own answer → hold → fault → answer
//! ```
//!
//! A further API brings its [`Dialect`], a router that is given to [`Control::wrap`], and handlers that take the
//! [`Call`] from the request's extensions and their tokens from [`Control::issue`].

mod api_management;
mod arcgis_video_server;
mod azure;
mod blend_vision;
mod call;
mod cognitive_services;
mod control;
mod control_api;
mod entra;
mod fault;
mod gate;
mod jwt;
mod ledger;
mod limits;
mod pipeline;
mod platforms;
mod serving;
mod video_indexer;
mod video_indexer_classic;

pub use api_management::{Gateway, Telling};
pub use arcgis_video_server::{ArcgisManners, ArcgisVideoServer, FailedLogin, example as arcgis_example};
pub use azure::{Azure, AzureOptions, example};
pub use blend_vision::{ApiToken, BlendVision, Privacy, TokenForm, example as blend_vision_example};
pub use call::{Call, Seen, Target};
pub use cognitive_services::{CognitiveServices, example as cognitive_example};
pub use control::{Control, Counters, Dialect, Grant, Life, Validity};
pub use control_api::control_router;
pub use entra::{BearerError, Entra, Federation, KeySource, Principal, TOKEN_EXCHANGE_AUDIENCE};
pub use fault::{Fault, Rule};
pub use gate::{Hold, HoldPoint};
pub use jwt::{SigningKey, claims};
pub use ledger::IssuedToken;
pub use limits::Limit;
pub use platforms::{Platforms, example as platform_example};
pub use serving::{Emulator, Serving};
pub use video_indexer::{OPERATIONS, Operations, REAL_LIMITS, VideoIndexer};
pub use video_indexer_classic::{Access, VideoIndexerClassic, example as classic_example};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a test has panicked with the lock in hand.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
