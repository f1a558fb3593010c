//! A key for each platform, in the form that its file expects, and what verifies its signatures.

use super::{Platform, base64};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::sync::LazyLock;
use videotoken_api::signed::{JwtAlgorithm, KeyEncoding, MessageAlgorithm};

/// A key in a Secret.
pub(super) struct Key {
    /// The text of the Secret's key.
    pub(super) text: String,
    /// The public key as PEM; the secret itself if it is shared.
    pub(super) verifies: String,
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// Private and public key.
type Pair = (String, String);

static RSA: LazyLock<Pair> = LazyLock::new(|| {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
    let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
    (pem("PRIVATE KEY", private.as_ref()), pem("PUBLIC KEY", public.as_ref()))
});

static P384: LazyLock<Pair> = LazyLock::new(|| {
    let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
    (pem("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref()), pem("PUBLIC KEY", public.as_ref()))
});

impl Key {
    /// Returns a key for the platform. A shared secret is the one in its file.
    pub(super) fn of(platform: &Platform) -> Self {
        let account = platform.provider.signed.as_ref().unwrap();
        let pair = match (&account.jwt, &account.message) {
            (Some(jwt), _) => match jwt.algorithm {
                JwtAlgorithm::RS256 => Some(&*RSA),
                JwtAlgorithm::ES384 => Some(&*P384),
                _ => None,
            },
            (_, Some(message)) if message.algorithm == MessageAlgorithm::RsaSha256 => Some(&*RSA),
            _ => None,
        };
        let Some((private, public)) = pair else {
            let texts = platform.secret.string_data.as_ref().unwrap();
            let text = texts.values().next().unwrap().clone();
            return Self { verifies: text.clone(), text };
        };
        let text = if account.key.encoding == KeyEncoding::Base64 { base64(private) } else { private.clone() };
        Self { text, verifies: public.clone() }
    }
}
