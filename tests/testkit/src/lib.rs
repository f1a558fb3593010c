//! What the tests, the demo and the benches share. It knows nothing of the operator's code.

pub mod bench;
pub mod browser;
pub mod chart;
pub mod collector;
pub mod content_hash;
pub mod dashboard;
pub mod dns;
pub mod emulator;
pub mod explorer;
pub mod hostile;
pub mod isolation;
pub mod leaks;
pub mod node;
pub mod offers;
pub mod publishing;
pub mod rollout;
pub mod scene;
pub mod soak;
pub mod stand;
pub mod tls;
