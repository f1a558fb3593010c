//! A FIPS build refuses to start if its TLS isn't of the FIPS module alone. The provider of a process can be set once,
//! so this test has a process of its own.

#![allow(clippy::unwrap_used)]

use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use videotoken_runtime::crypto::{self, NotFips};

#[test]
fn a_process_whose_tls_takes_another_cipher_does_not_start() {
    let mut provider = aws_lc_rs::default_provider();
    assert!(provider.fips());
    provider.cipher_suites.push(cipher_suite::TLS13_CHACHA20_POLY1305_SHA256);
    provider.install_default().unwrap();
    assert_eq!(crypto::install(), Err(NotFips));
}
