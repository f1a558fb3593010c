//! What went wrong when no answer came: a reason, and a message that says what to do.

use super::super::redact::Redactor;
use super::super::{Class, IssueError};
use super::Origin;
use super::resolve::ResolveFault;
use rustls::CertificateError;
use std::error::Error as StdError;
use std::io;

/// The class and reason of a call that failed on its way.
pub(super) fn of(error: &reqwest::Error, origin: &Origin, redactor: &Redactor) -> IssueError {
    let Origin { host, proxied } = origin;
    let via = if *proxied { " through the proxy" } else { "" };
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
        return transient("TlsFailed", format!("no TLS with {host}{via}: {}", redactor.quote(tls(fault))));
    }
    if error.is_timeout() {
        return transient("Timeout", format!("no answer from {host}{via} in time"));
    }
    let why = redactor.quote(innermost(error).to_string());
    if error.is_body() || error.is_decode() {
        return transient("BadAnswer", format!("the answer of {host}{via} broke off: {why}"));
    }
    let what = if error.is_connect() { "no connection to" } else { "lost the connection to" };
    transient("ConnectFailed", format!("{what} {host}{via}: {why}"))
}

/// What is wrong, in words, with a way out where there is one.
fn tls(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(why) = error else {
        return match error {
            rustls::Error::InvalidMessage(_) => "it doesn't speak TLS there".to_owned(),
            rustls::Error::AlertReceived(alert) => format!("it refused the handshake ({alert:?})"),
            other => other.to_string(),
        };
    };
    match why {
        CertificateError::UnknownIssuer => {
            "its certificate's issuer is unknown: give the issuing CA in spec.caBundle".to_owned()
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
        other => format!("its certificate is refused: {other}"),
    }
}

/// The first cause of type `T`. An `io::Error` hides what it wraps from `source`.
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

/// The cause at the bottom: the operating system's word rather than the libraries' wrappings.
fn innermost(error: &reqwest::Error) -> &(dyn StdError + 'static) {
    let mut cause: &(dyn StdError + 'static) = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
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
            (CertificateError::BadSignature, "refused"),
        ];
        for (error, word) in cases {
            let said = tls(&rustls::Error::InvalidCertificate(error));
            assert!(said.contains(word), "{said}");
        }
    }
}
