//! Why a command ends early: what to say, and the exit code.

use kube::core::Status;
use std::error::Error;
use std::io;
use videotoken_api::{GROUP, VERSION};
use videotoken_runtime::cluster::innermost;

/// Why a command ends early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// What was asked about isn't well, or isn't there: exit code 1.
    #[error("{0}")]
    Unwell(String),
    /// The cluster can't be asked: exit code 3.
    #[error("{0}")]
    Unasked(String),
    /// All is said already.
    #[error("")]
    Quiet(u8),
}

impl Fault {
    /// What is wrong with what was asked about.
    pub(super) fn unwell(text: impl Into<String>) -> Self {
        Self::Unwell(text.into())
    }

    /// See `kubectl videotoken --help`.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Unwell(_) => 1,
            Self::Unasked(_) => 3,
            Self::Quiet(code) => *code,
        }
    }
}

/// Whoever reads has enough, as `head` has: no fault.
impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Quiet(0),
            _ => Self::Unasked(format!("the output can't be written: {error}")),
        }
    }
}

/// A fault of a request. `verb` and `what` are of Kubernetes, such as `list` and `videoaccesstokens`.
pub(super) fn asked(verb: &str, what: &str) -> impl Fn(kube::Error) -> Fault {
    move |error| match error {
        kube::Error::Api(status) => refused(verb, what, &status),
        error => Fault::Unasked(format!("can't {verb} {what}: {}", reason(&error))),
    }
}

/// What the API server has against it, and the way out.
fn refused(verb: &str, what: &str, status: &Status) -> Fault {
    let said = status.message.trim();
    match status.code {
        401 => Fault::Unasked(format!(
            "the API server doesn't accept this login ({said}): log in again, or choose another --context"
        )),
        403 => Fault::Unasked(format!("{said}; ask the cluster's admin for the verb {verb} on {what}")),
        404 if is_unserved(status) => Fault::Unasked(format!(
            "the API server doesn't serve {GROUP}/{VERSION}: install the CRDs, by the chart or `video-token-operator \
             crds | kubectl apply -f -`; or choose another --context"
        )),
        404 => Fault::Unwell(format!("{said}; `kubectl videotoken status -A` shows all there are")),
        409 => Fault::Unwell(format!("{said}; try it again")),
        _ => Fault::Unasked(format!("can't {verb} {what}: {said}")),
    }
}

/// Nothing of that kind is served: an object that isn't there is named in the answer's details.
pub(super) fn is_unserved(status: &Status) -> bool {
    status.code == 404 && status.details.as_ref().is_none_or(|details| details.name.is_empty())
}

/// What is really wrong; kube's own words for the rest repeat each other.
pub(super) fn reason(error: &(dyn Error + 'static)) -> String {
    innermost(error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn status(code: u16, message: &str, name: Option<&str>) -> Box<Status> {
        let details = name.map(|name| serde_json::json!({"name": name}));
        let status = serde_json::json!({"code": code, "message": message, "details": details});
        Box::new(serde_json::from_value(status).unwrap())
    }

    #[test]
    fn each_refusal_names_the_way_out_and_has_its_exit_code() {
        let forbidden = "videoaccesstokens.videotoken.dev is forbidden: User \"eve\" cannot list it";
        let absent = "videoaccesstokens.videotoken.dev \"lobby\" not found";
        for (status, exit, expected) in [
            (status(401, "Unauthorized", None), 3, "log in again"),
            (status(403, forbidden, None), 3, "the verb list on videoaccesstokens"),
            (status(404, "404 page not found", None), 3, "install the CRDs"),
            (status(404, absent, Some("lobby")), 1, "\"lobby\" not found; `kubectl videotoken status -A`"),
            (status(500, "etcdserver: leader changed", None), 3, "can't list videoaccesstokens: etcdserver"),
        ] {
            let fault = asked("list", "videoaccesstokens")(kube::Error::Api(status));
            assert_eq!(fault.exit_code(), exit, "{fault}");
            assert!(fault.to_string().contains(expected), "{fault}");
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_fault() {
        assert_eq!(Fault::from(io::Error::from(io::ErrorKind::BrokenPipe)).exit_code(), 0);
        assert_eq!(Fault::from(io::Error::from(io::ErrorKind::StorageFull)).exit_code(), 3);
    }
}
