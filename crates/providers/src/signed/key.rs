//! Keys: what a Secret holds, and the signer that an algorithm makes of it.

use super::fips;
use aws_lc_rs::digest::{self, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RsaEncoding,
};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::Serialize;
use serde_json::{Map, Value};
use videotoken_api::signed::{Form, JwtAlgorithm, KeyEncoding, MessageAlgorithm};

/// Bytes of a key, cleared on drop.
pub(super) struct Bytes(SecretSlice<u8>);

impl Bytes {
    /// Returns the bytes.
    pub(super) fn as_slice(&self) -> &[u8] {
        self.0.expose_secret()
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

/// Decoder of both alphabets' standard order, with or without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Returns the bytes that a text encodes, or why it encodes none.
pub(super) fn decoded(text: &SecretString, encoding: &KeyEncoding) -> Result<Bytes, String> {
    let text = text.expose_secret();
    // The characters of a short PEM text can be decoded as base64 for URLs by chance.
    if *encoding != KeyEncoding::None && is_pem(text.as_bytes()) {
        return Err(format!("is a PEM text itself, and no {}: remove spec.signed.key.encoding", word(encoding)));
    }
    if *encoding != KeyEncoding::None && text.trim().starts_with(['"', '\'']) {
        return Err("is in quotation marks: remove them".to_owned());
    }
    let bytes = match encoding {
        KeyEncoding::None => text.as_bytes().to_vec(),
        KeyEncoding::Base64 | KeyEncoding::Base64Url => {
            let bytes = base64(text).ok_or("is no base64: correct it, or remove spec.signed.key.encoding")?;
            if base64_of_pem(&bytes) {
                return Err(
                    "is the base64 of a base64 text: decode it once, and keep spec.signed.key.encoding".to_owned()
                );
            }
            bytes
        }
        KeyEncoding::Hex => hex(text).ok_or("is no hexadecimal text: correct it, or spec.signed.key.encoding")?,
        KeyEncoding::Other(word) => return Err(format!("can't be read: the encoding {word} is not known here")),
    };
    if bytes.is_empty() { Err("is empty".to_owned()) } else { Ok(bytes.into()) }
}

/// Decodes base64 of either alphabet. Line ends in it don't count.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text: String = text.split_ascii_whitespace().collect();
    LENIENT.decode(text.replace('-', "+").replace('_', "/")).ok()
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// Returns the value of an enum in the API.
pub(super) fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Kind of key that an algorithm needs.
#[derive(Clone, Copy)]
enum Need {
    Shared(hmac::Algorithm),
    Digest(&'static digest::Algorithm),
    Rsa(&'static dyn RsaEncoding),
    Ec(&'static EcdsaSigningAlgorithm, &'static str),
    Ed25519,
    Certificate,
}

impl Need {
    fn parse(form: &Form<'_>) -> Result<(Self, String), String> {
        let (need, word) = match form {
            Form::Jwt(jwt) => (Self::of_jwt(&jwt.algorithm), word(&jwt.algorithm)),
            Form::Message(message) => (Self::of_message(&message.algorithm), word(&message.algorithm)),
            Form::Agora(_) => (Some(Self::Certificate), "agora".to_owned()),
        };
        need.map(|need| (need, word.clone())).ok_or(format!("can't be used: the algorithm {word} is not known here"))
    }

    fn of_jwt(algorithm: &JwtAlgorithm) -> Option<Self> {
        Some(match algorithm {
            JwtAlgorithm::HS256 => Self::Shared(hmac::HMAC_SHA256),
            JwtAlgorithm::HS384 => Self::Shared(hmac::HMAC_SHA384),
            JwtAlgorithm::HS512 => Self::Shared(hmac::HMAC_SHA512),
            JwtAlgorithm::RS256 => Self::Rsa(&RSA_PKCS1_SHA256),
            JwtAlgorithm::RS384 => Self::Rsa(&RSA_PKCS1_SHA384),
            JwtAlgorithm::RS512 => Self::Rsa(&RSA_PKCS1_SHA512),
            JwtAlgorithm::PS256 => Self::Rsa(&RSA_PSS_SHA256),
            JwtAlgorithm::ES256 => Self::Ec(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
            JwtAlgorithm::ES384 => Self::Ec(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
            JwtAlgorithm::EdDSA => Self::Ed25519,
            JwtAlgorithm::Other(_) => return None,
        })
    }

    fn of_message(algorithm: &MessageAlgorithm) -> Option<Self> {
        Some(match algorithm {
            MessageAlgorithm::HmacSha1 => Self::Shared(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
            MessageAlgorithm::HmacSha256 => Self::Shared(hmac::HMAC_SHA256),
            MessageAlgorithm::HmacSha384 => Self::Shared(hmac::HMAC_SHA384),
            MessageAlgorithm::HmacSha512 => Self::Shared(hmac::HMAC_SHA512),
            MessageAlgorithm::Sha1 => Self::Digest(&digest::SHA1_FOR_LEGACY_USE_ONLY),
            MessageAlgorithm::Sha256 => Self::Digest(&digest::SHA256),
            MessageAlgorithm::Sha384 => Self::Digest(&digest::SHA384),
            MessageAlgorithm::Sha512 => Self::Digest(&digest::SHA512),
            MessageAlgorithm::RsaSha256 => Self::Rsa(&RSA_PKCS1_SHA256),
            MessageAlgorithm::EcdsaSha256 => Self::Ec(&ECDSA_P256_SHA256_ASN1_SIGNING, "P-256"),
            MessageAlgorithm::Ed25519 => Self::Ed25519,
            MessageAlgorithm::Other(_) => return None,
        })
    }
}

/// Signs bytes with one key and one algorithm.
pub(super) enum Signer {
    Hmac(Box<hmac::Key>),
    /// The text contains the key.
    Digest(&'static digest::Algorithm, SecretString),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    /// Certificate of an Agora app: its hexadecimal digits.
    Certificate(Bytes),
    /// No key: for renders that only check templates. The text of a digest contains this one.
    Sample(Option<SecretString>),
}

impl Signer {
    /// Makes the signer that the form of a token needs of a key. The error completes a sentence about the key.
    pub(super) fn new(form: &Form<'_>, key: &Bytes) -> Result<Self, String> {
        let (need, algorithm) = Need::parse(form)?;
        let found = Found::parse(key)?;
        match need {
            Need::Shared(hash) => {
                let secret = found.shared(&algorithm)?;
                if cfg!(feature = "fips") {
                    fips::check_key(&secret)?;
                }
                Ok(Self::Hmac(Box::new(hmac::Key::new(hash, &secret))))
            }
            Need::Digest(hash) => {
                let text = String::from_utf8(found.shared(&algorithm)?);
                let text =
                    text.map_err(|_| "is no text, so no text can contain it: correct spec.signed.key.encoding")?;
                Ok(Self::Digest(hash, text.into()))
            }
            Need::Rsa(padding) => found.rsa(&algorithm).map(|pair| Self::Rsa(pair, padding)),
            Need::Ec(curve, name) => found.ec(&algorithm, curve, name).map(Self::Ecdsa),
            Need::Ed25519 => found.ed25519(&algorithm).map(Self::Ed25519),
            Need::Certificate => {
                let certificate = found.shared(&algorithm)?;
                if certificate.len() != 32 || !certificate.iter().all(u8::is_ascii_hexdigit) {
                    return Err("is no app certificate, which has 32 hexadecimal digits: copy it from Agora's console, and leave spec.signed.key.encoding out".to_owned());
                }
                Ok(Self::Certificate(certificate.into()))
            }
        }
    }

    /// Returns a signer without a key, for renders that only check templates.
    pub(super) fn sample(form: &Form<'_>) -> Self {
        let is_digest = matches!(form, Form::Message(message) if message.algorithm.is_digest());
        Self::Sample(is_digest.then(|| "sample".into()))
    }

    /// Returns the signature of `message`.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, &'static str> {
        const FAILED: &str = "the signature failed: this is a fault of the operator";
        let chance = SystemRandom::new();
        match self {
            Self::Hmac(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            Self::Digest(hash, _) => Ok(digest(hash, message).as_ref().to_vec()),
            Self::Rsa(pair, padding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*padding, &chance, message, &mut signature).map_err(|_| FAILED)?;
                Ok(signature)
            }
            Self::Ecdsa(pair) => {
                pair.sign(&chance, message).map(|signature| signature.as_ref().to_vec()).map_err(|_| FAILED)
            }
            Self::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Self::Sample(_) => Ok(vec![0; 64]),
            Self::Certificate(_) => Err(FAILED),
        }
    }

    /// Returns the key, for an algorithm whose text contains it.
    pub(super) fn key_in_text(&self) -> Option<&SecretString> {
        match self {
            Self::Digest(_, key) => Some(key),
            Self::Sample(key) => key.as_ref(),
            _ => None,
        }
    }

    /// Returns the certificate of an Agora app.
    pub(super) fn certificate(&self) -> Result<&[u8], &'static str> {
        match self {
            Self::Certificate(certificate) => Ok(certificate.as_slice()),
            Self::Sample(_) => Ok(&[]),
            _ => Err("the key is no app certificate: this is a fault of the operator"),
        }
    }
}

/// Returns the HMAC with SHA-256.
pub(super) fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

/// Kind of the bytes of a key.
enum Found<'a> {
    Raw(&'a [u8]),
    Private(PrivateKeyDer<'static>),
    Jwk(Map<String, Value>),
}

impl<'a> Found<'a> {
    fn parse(key: &'a Bytes) -> Result<Self, String> {
        let bytes = key.as_slice();
        if is_pem(bytes) {
            return PrivateKeyDer::from_pem_slice(bytes).map(Self::Private).map_err(|_| no_private_key(bytes));
        }
        let jwk = serde_json::from_slice::<Map<String, Value>>(bytes).ok().filter(|jwk| jwk.contains_key("kty"));
        Ok(jwk.map_or(Self::Raw(bytes), Self::Jwk))
    }

    /// Returns what was found, for messages.
    fn described(&self) -> String {
        match self {
            Self::Raw(bytes) if base64_of_pem(bytes) => {
                "is the base64 of a PEM text: set spec.signed.key.encoding to base64, and".to_owned()
            }
            Self::Raw(_) => "is neither PEM nor a JWK, but".to_owned(),
            Self::Private(der) => format!("is {}, but", kind(der)),
            Self::Jwk(jwk) => {
                let text = |name: &str| jwk.get(name).and_then(Value::as_str).unwrap_or("none");
                let public = if jwk["kty"] != "oct" && !jwk.contains_key("d") { ", and a public key" } else { "" };
                match jwk.get("crv") {
                    Some(_) => format!("is a JWK of type {} and curve {}{public}, but", text("kty"), text("crv")),
                    None => format!("is a JWK of type {}{public}, but", text("kty")),
                }
            }
        }
    }

    fn shared(&self, algorithm: &str) -> Result<Vec<u8>, String> {
        match self {
            Self::Raw(bytes) => Ok(bytes.to_vec()),
            Self::Jwk(jwk) if jwk["kty"] == "oct" => {
                member(jwk, "k").filter(|key| !key.is_empty()).ok_or_else(|| "is a JWK without a readable k".to_owned())
            }
            other => Err(format!(
                "{} {algorithm} needs a shared secret: write its bytes, or a JWK of type oct",
                other.described()
            )),
        }
    }

    fn rsa(&self, algorithm: &str) -> Result<RsaKeyPair, String> {
        let wrong =
            || format!("{} {algorithm} needs an RSA private key: write it as PEM or as a JWK", self.described());
        let (pair, is_rsa) = match self {
            Self::Private(PrivateKeyDer::Pkcs1(der)) => (RsaKeyPair::from_der(der.secret_pkcs1_der()).ok(), true),
            Self::Private(key @ PrivateKeyDer::Pkcs8(der)) => {
                (RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).ok(), has_oid(key, RSA_OID))
            }
            Self::Jwk(jwk) if jwk["kty"] == "RSA" => {
                let der = rsa_der(jwk)
                    .ok_or("is a JWK without one of n, e, d, p, q, dp, dq and qi: write the private key")?;
                (RsaKeyPair::from_der(der.as_slice()).ok(), true)
            }
            _ => return Err(wrong()),
        };
        match pair {
            Some(pair) if pair.public_modulus_len() >= 256 => Ok(pair),
            _ if is_rsa => Err(format!(
                "is an RSA key that can't be used: {algorithm} needs one of 2048 to 8192 bits; create another"
            )),
            _ => Err(wrong()),
        }
    }

    fn ec(&self, algorithm: &str, curve: &'static EcdsaSigningAlgorithm, name: &str) -> Result<EcdsaKeyPair, String> {
        let wrong = || {
            format!(
                "{} {algorithm} needs an EC private key of curve {name}: write it as PEM or as a JWK",
                self.described()
            )
        };
        let pair = match self {
            Self::Private(PrivateKeyDer::Sec1(der)) => {
                EcdsaKeyPair::from_private_key_der(curve, der.secret_sec1_der()).ok()
            }
            Self::Private(PrivateKeyDer::Pkcs8(der)) => EcdsaKeyPair::from_pkcs8(curve, der.secret_pkcs8_der()).ok(),
            Self::Jwk(jwk) if jwk["kty"] == "EC" && jwk.get("crv").is_some_and(|crv| crv == name) => {
                let [d, x, y] = ["d", "x", "y"].map(|part| member(jwk, part));
                let point = x.zip(y).map(|(x, y)| [vec![4], x, y].concat());
                d.zip(point)
                    .and_then(|(d, point)| EcdsaKeyPair::from_private_key_and_public_key(curve, &d, &point).ok())
            }
            _ => None,
        };
        pair.ok_or_else(wrong)
    }

    fn ed25519(&self, algorithm: &str) -> Result<Ed25519KeyPair, String> {
        let pair = match self {
            Self::Raw(seed) if seed.len() == 32 => Ed25519KeyPair::from_seed_unchecked(seed).ok(),
            Self::Private(PrivateKeyDer::Pkcs8(der)) => {
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).ok()
            }
            Self::Jwk(jwk) if jwk["kty"] == "OKP" && jwk.get("crv").is_some_and(|crv| crv == "Ed25519") => {
                member(jwk, "d").and_then(|seed| Ed25519KeyPair::from_seed_unchecked(&seed).ok())
            }
            _ => None,
        };
        pair.ok_or_else(|| {
            format!(
                "{} {algorithm} needs an Ed25519 private key: write it as PEM, as a JWK, or its 32 bytes in the encoding that spec.signed.key.encoding names",
                self.described()
            )
        })
    }
}

fn is_pem(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(BEGIN)
}

/// First characters of a PEM text.
const BEGIN: &[u8] = b"-----BEGIN ";

fn base64_of_pem(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).ok().and_then(base64).is_some_and(|bytes| is_pem(&bytes))
}

/// Returns what a PEM text without a usable private key is, and what to write instead.
fn no_private_key(pem: &[u8]) -> String {
    let text = String::from_utf8_lossy(pem.trim_ascii_start());
    let label = text.get(BEGIN.len()..).and_then(|rest| rest.split("-----").next()).unwrap_or_default();
    let has_password = label == "ENCRYPTED PRIVATE KEY" || text.contains("\nProc-Type: 4,ENCRYPTED");
    match label {
        _ if label.ends_with("PUBLIC KEY") => "is the public key, which can't sign: write the private key",
        _ if label.ends_with("CERTIFICATE") => {
            "is a certificate, which contains the public key only: write the private key"
        }
        _ if has_password => {
            "is a private key with a password: remove the password, such as by openssl pkey -in KEY -out PLAIN"
        }
        "OPENSSH PRIVATE KEY" => {
            "is a private key in OpenSSH's own format: convert it to PEM, such as by ssh-keygen -p -m PKCS8 -f KEY"
        }
        _ if label.ends_with("PRIVATE KEY") && (text.contains("\\n") || !text.trim().contains('\n')) => {
            "is a private key without its line breaks: write each line of the PEM file on a line of its own, without \\n"
        }
        _ if label.ends_with("PRIVATE KEY") && text.lines().any(|line| line.starts_with([' ', '\t'])) => {
            "is a private key whose lines begin with spaces: remove the spaces"
        }
        _ => {
            "is a PEM text without a private key that can be read: write a PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY"
        }
    }
    .to_owned()
}

/// Object identifiers in DER: RSA, EC, Ed25519.
const RSA_OID: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC_OID: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const ED25519_OID: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];

/// Returns true if the algorithm of a PKCS#8 key is this one. The identifier is near the start.
fn has_oid(key: &PrivateKeyDer<'_>, oid: &[u8]) -> bool {
    let der = key.secret_der();
    der[..der.len().min(40)].windows(oid.len()).any(|window| window == oid)
}

fn kind(key: &PrivateKeyDer<'_>) -> &'static str {
    match key {
        PrivateKeyDer::Pkcs1(_) => "an RSA key",
        PrivateKeyDer::Sec1(_) => "an EC key",
        PrivateKeyDer::Pkcs8(_) if has_oid(key, RSA_OID) => "an RSA key",
        PrivateKeyDer::Pkcs8(_) if has_oid(key, EC_OID) => "an EC key",
        PrivateKeyDer::Pkcs8(_) if has_oid(key, ED25519_OID) => "an Ed25519 key",
        _ => "a private key of another kind",
    }
}

/// Returns the bytes of a member of a JWK.
fn member(jwk: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    base64(jwk.get(name)?.as_str()?)
}

/// Returns the PKCS#1 form of an RSA key in a JWK (RFC 7518 6.3, RFC 8017 A.1.2).
fn rsa_der(jwk: &Map<String, Value>) -> Option<Bytes> {
    let mut numbers = vec![0x02, 0x01, 0x00];
    for name in ["n", "e", "d", "p", "q", "dp", "dq", "qi"] {
        let bytes = member(jwk, name)?;
        let first = bytes.iter().position(|byte| *byte != 0)?;
        let bytes = &bytes[first..];
        let sign = if bytes[0] >= 0x80 { vec![0] } else { Vec::new() };
        put_der(&mut numbers, 0x02, &[sign.as_slice(), bytes].concat());
    }
    let mut der = Vec::new();
    put_der(&mut der, 0x30, &numbers);
    Some(der.into())
}

/// Appends a DER element: tag, length and content.
fn put_der(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    if content.len() >= 0x80 {
        out.push(0x80 | u8::try_from(length.len()).unwrap_or_default());
    }
    out.extend(length);
    out.extend(content);
}
