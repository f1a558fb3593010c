//! Cryptography of the process: AWS-LC, and in a build with the feature `fips` its FIPS module.

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use std::sync::LazyLock;

/// Version of both programs. In a FIPS build it names the module.
pub static VERSION: LazyLock<String> = LazyLock::new(|| match module() {
    Some(module) => format!("{} (FIPS: {module})", env!("CARGO_PKG_VERSION")),
    None => env!("CARGO_PKG_VERSION").to_owned(),
});

/// Cause for which a FIPS build doesn't start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is a FIPS build, and its cryptography is not in FIPS mode: build it again as docs/how-to/fips.md describes"
)]
pub struct NotFips;

/// Makes AWS-LC the cryptography of every TLS connection of the process. A FIPS build checks that the module and
/// everything that TLS uses of it are in FIPS mode.
///
/// # Errors
/// Returns an error if a FIPS build isn't in FIPS mode.
pub fn install() -> Result<(), NotFips> {
    // An error means that the process already has a provider, which is then checked.
    let _ = aws_lc_rs::default_provider().install_default();
    let is_fips = || CryptoProvider::get_default().is_some_and(|provider| provider.fips());
    if cfg!(feature = "fips") && !is_fips() { Err(NotFips) } else { Ok(()) }
}

/// Returns the name and version of the FIPS module, or `None` in another build.
#[cfg(feature = "fips")]
fn module() -> Option<String> {
    Some(format!("AWS-LC FIPS {}", ::aws_lc_rs::awslc_version()))
}

/// Returns the name and version of the FIPS module, or `None` in another build.
#[cfg(not(feature = "fips"))]
fn module() -> Option<String> {
    None
}
