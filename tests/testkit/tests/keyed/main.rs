//! Token APIs whose credentials are keys, as a plain client sees them: what the operator never asks, too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod arcgis_video_server;
mod blend_vision;

use std::sync::Arc;
use testkit::emulator::{Emulator, Serving};
use testkit::tls::CertificateAuthority;

/// A running emulator and a client that trusts it.
async fn serve<E: Emulator>(emulator: Arc<E>) -> (Serving<E>, reqwest::Client) {
    let ca = Arc::new(CertificateAuthority::generate().unwrap());
    let client = ca.client().unwrap();
    (Serving::start(emulator, &ca).await.unwrap(), client)
}
