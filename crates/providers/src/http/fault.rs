//! Errors of calls without a response: their class, their reason, and a message that names the fix.

use super::super::redact::Redactor;
use super::super::{Class, IssueError};
use super::Origin;
use super::resolve::ResolveFault;
use rustls::{AlertDescription, CertificateError, PeerIncompatible};
use std::error::Error as StdError;
use std::io;
use std::time::Duration;

/// Returns the class and reason of a call that failed without a response. `refusal` is the reason why a proxy opened no
/// tunnel, if known.
pub(super) fn classify(
    error: &reqwest::Error,
    origin: &Origin,
    redactor: &Redactor,
    refusal: Option<String>,
) -> IssueError {
    let Origin { host, proxy, limit, ca_source } = origin;
    let via = proxy.as_ref().map(|proxy| format!(" through the proxy {proxy}")).unwrap_or_default();
    let transient = |reason, message: String| IssueError::new(Class::Transient, reason, message);
    if let Some(fault) = find::<ResolveFault>(error) {
        return match fault {
            ResolveFault::Refused(refusal) => {
                IssueError::new(Class::Configuration, "HostNotAllowed", refusal.to_string())
            }
            ResolveFault::NotFound(name, why) => {
                transient("DnsFailed", format!("the name {name} can't be resolved: {}", redactor.quote(why)))
            }
        };
    }
    if let Some(fault) = find::<rustls::Error>(error) {
        return transient("TlsFailed", format!("no TLS with {host}{via}: {}", redactor.quote(tls(fault, ca_source))));
    }
    let said = innermost(error).to_string();
    if causes(error).any(|cause| cause.to_string() == KEEP_ALIVE) {
        let message = format!("{host}{via} stopped answering: the next call opens another connection");
        return transient("Timeout", message);
    }
    if error.is_timeout() {
        return transient("Timeout", format!("no answer from {host}{via} within {}", length(*limit)));
    }
    let why = refusal.unwrap_or_else(|| match said.as_str() {
        "tunnel error: proxy authorization required" => {
            "it wants a user and a password (HTTP 407): give them in the proxy's URL".to_owned()
        }
        said => redactor.quote(said),
    });
    if error.is_body() || error.is_decode() {
        return transient("BadAnswer", format!("the answer of {host}{via} broke off: {why}"));
    }
    let what = if error.is_connect() { "no connection to" } else { "lost the connection to" };
    transient("ConnectFailed", format!("{what} {host}{via}: {why}"))
}

/// hyper's error for a ping without a response.
const KEEP_ALIVE: &str = "keep-alive timed out";

/// Returns true if a proxy opened no tunnel for a reason that the client doesn't report.
pub(super) fn is_refused_tunnel(error: &reqwest::Error) -> bool {
    error.is_connect() && innermost(error).to_string() == "tunnel error: unsuccessful"
}

/// Formats a duration in the units of its setting: `15 s`, `300 ms`.
pub fn length(time: Duration) -> String {
    if time.subsec_millis() == 0 { format!("{} s", time.as_secs()) } else { format!("{} ms", time.as_millis()) }
}

/// Message for a server that supports only TLS 1.1 or older.
const TOO_OLD: &str = "it offers no TLS 1.2 or 1.3, and older ones aren't safe: enable TLS 1.2 there";

/// Describes a TLS error, with the fix if one exists.
fn tls(error: &rustls::Error, ca_source: &str) -> String {
    let rustls::Error::InvalidCertificate(why) = error else {
        return match error {
            rustls::Error::InvalidMessage(_) => "it doesn't speak TLS there".to_owned(),
            rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
            | rustls::Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => TOO_OLD.to_owned(),
            rustls::Error::AlertReceived(
                AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity,
            ) => {
                "it takes none of the ciphers of TLS 1.2 and 1.3 that are safe, or wants a client certificate: its log \
                  says which"
                    .to_owned()
            }
            rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => {
                "it has no certificate for that name: compare the URL with the names that it serves".to_owned()
            }
            rustls::Error::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::BadCertificate) => {
                "it wants a client certificate, and none is ever sent".to_owned()
            }
            rustls::Error::AlertReceived(alert) => format!("it refused the handshake ({alert:?}): its log says why"),
            rustls::Error::PeerIncompatible(why) => {
                format!("its TLS doesn't fit ({}): enable TLS 1.2 or 1.3 with usual ciphers there", name(why))
            }
            rustls::Error::PeerMisbehaved(why) => format!("it breaks the rules of TLS ({})", name(why)),
            rustls::Error::NoCertificatesPresented => "it shows no certificate".to_owned(),
            other => name(other),
        };
    };
    match why {
        CertificateError::BadSignature => {
            format!(
                "its certificate isn't signed by the key of the CA that is trusted under that name, or by one of less than \
                 2048 bits: if the CA has a new key, give its new certificate in {ca_source}, else give the server a \
                 certificate of RSA 2048 or ECDSA"
            )
        }
        _ if is_old_algorithm(why) => {
            "its certificate, or one that vouches for it, is signed in a way that isn't safe any more, such as SHA-1: give \
             the server one that is signed with SHA-256"
                .to_owned()
        }
        CertificateError::UnknownIssuer => {
            format!("its certificate's issuer is unknown: give the issuing CA in {ca_source}")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate isn't valid yet: compare the clocks".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name".to_owned()
        }
        CertificateError::Revoked => "its certificate is revoked".to_owned(),
        other if other.to_string().contains("CaUsedAsEndEntity") => {
            "its certificate calls itself a CA: give the server one with basicConstraints=CA:FALSE".to_owned()
        }
        other => format!("its certificate is refused: {}", name(other)),
    }
}

/// Returns true if the signature algorithm of a certificate is unsupported: obsolete, or for a different key type than
/// the CA's.
fn is_old_algorithm(why: &CertificateError) -> bool {
    let name = name(why);
    name.starts_with("UnsupportedSignatureAlgorithm") || name.starts_with("UnsupportedCertSignatureAlgorithm")
}

/// Returns the name of an error, or of the error that it wraps. The name has only letters and digits, because the rest
/// of the `Debug` output is bytes of certificates.
fn name(error: &dyn std::fmt::Debug) -> String {
    let text = format!("{error:?}");
    let names = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|name| !name.is_empty());
    let wrapping = ["Other", "OtherError", "General"];
    names.into_iter().find(|name| !wrapping.contains(name)).unwrap_or("unknown").to_owned()
}

/// Returns the first cause of type `T`. `source` of an `io::Error` skips the error that it wraps.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = wrapped.and_then(|wrapped| find::<T>(wrapped)) {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// Iterates over an error and its causes, outermost first.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(Some(error as &(dyn StdError + 'static)), |cause| (*cause).source())
}

/// Returns the innermost cause, which is the message of the operating system rather than of a library.
fn innermost(error: &reqwest::Error) -> &(dyn StdError + 'static) {
    causes(error).last().unwrap_or(error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_tls_fault_is_found_inside_io_errors() {
        let fault = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::other(fault));
        assert!(find::<rustls::Error>(&wrapped).is_some());
        assert!(find::<ResolveFault>(&wrapped).is_none());
    }

    #[test]
    fn certificate_faults_say_what_is_wrong() {
        let cases = [
            (CertificateError::UnknownIssuer, "spec.caBundle"),
            (CertificateError::Expired, "expired"),
            (CertificateError::NotValidYet, "clocks"),
            (CertificateError::NotValidForName, "another name"),
            (CertificateError::BadSignature, "new certificate in spec.caBundle"),
            (CertificateError::BadSignature, "RSA 2048"),
            (sha1(), "SHA-256"),
            (CertificateError::BadEncoding, "refused: BadEncoding"),
            (CertificateError::InvalidPurpose, "refused: InvalidPurpose"),
        ];
        for (error, word) in cases {
            let said = tls(&rustls::Error::InvalidCertificate(error), "spec.caBundle");
            assert!(said.contains(word), "{said}");
            assert!(!said.contains(['{', '[', '(']) && said.len() < 256, "no dump: {said}");
        }
    }

    /// Returns webpki's error for sha1WithRSAEncryption.
    fn sha1() -> CertificateError {
        CertificateError::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: vec![0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05],
            supported_algorithms: Vec::new(),
        }
    }

    #[test]
    fn a_handshake_that_fails_says_what_to_do() {
        let alert = rustls::Error::AlertReceived;
        for (error, word) in [
            (alert(AlertDescription::ProtocolVersion), "enable TLS 1.2"),
            (rustls::Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13), "enable TLS 1.2"),
            (alert(AlertDescription::HandshakeFailure), "ciphers"),
            (alert(AlertDescription::UnrecognisedName), "no certificate for that name"),
            (alert(AlertDescription::CertificateRequired), "client certificate"),
            (alert(AlertDescription::InternalError), "(InternalError)"),
            (rustls::Error::NoCertificatesPresented, "no certificate"),
        ] {
            let said = tls(&error, "spec.caBundle");
            assert!(said.contains(word), "{said}");
        }
        assert_eq!(
            (length(Duration::from_secs(10)), length(Duration::from_millis(1500))),
            ("10 s".into(), "1500 ms".into())
        );
    }
}
