//! Errors of the commands, with their messages and exit codes.

use kube::core::Status;
use std::error::Error;
use std::io;
use videotoken_api::{GROUP, VERSION};
use videotoken_runtime::cluster::innermost;

/// Why a command fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The object does not exist or is not healthy: exit code 1.
    #[error("{0}")]
    NotHealthy(String),
    /// The cluster can't be reached or rejects the request: exit code 3.
    #[error("{0}")]
    ClusterUnavailable(String),
    /// The command has reported its result, and ends with this exit code.
    #[error("")]
    AlreadyReported(u8),
}

impl CliError {
    /// Creates an error about an object.
    pub(super) fn not_healthy(text: impl Into<String>) -> Self {
        Self::NotHealthy(text.into())
    }

    /// Returns the exit code, as `kubectl videotoken --help` lists it.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::NotHealthy(_) => 1,
            Self::ClusterUnavailable(_) => 3,
            Self::AlreadyReported(code) => *code,
        }
    }
}

/// A closed pipe is no failure: a reader such as `head` needs no more.
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::AlreadyReported(0),
            _ => Self::ClusterUnavailable(format!("the output can't be written: {error}")),
        }
    }
}

/// Converts the error of a request. `verb` and `what` are those of RBAC, such as `list` and `videoaccesstokens`.
pub(super) fn request_error(verb: &str, what: &str) -> impl Fn(kube::Error) -> CliError {
    move |error| match error {
        kube::Error::Api(status) => rejected(verb, what, &status),
        error => CliError::ClusterUnavailable(format!("can't {verb} {what}: {}", reason(&error))),
    }
}

/// Returns the message of the API server with an action.
fn rejected(verb: &str, what: &str, status: &Status) -> CliError {
    let said = status.message.trim();
    match status.code {
        401 => CliError::ClusterUnavailable(format!(
            "the API server rejects this login ({said}). Log in again, or select another --context."
        )),
        403 => {
            CliError::ClusterUnavailable(format!("{said}. Ask a cluster administrator for the verb {verb} on {what}."))
        }
        404 if is_unserved(status) => CliError::ClusterUnavailable(format!(
            "the API server doesn't serve {GROUP}/{VERSION}. Install the CRDs with the chart or with \
             `video-token-operator crds | kubectl apply -f -`, or select another --context."
        )),
        404 => CliError::NotHealthy(format!("{said}. `kubectl videotoken status -A` lists all objects.")),
        409 => CliError::NotHealthy(format!("{said}. Try again.")),
        _ => CliError::ClusterUnavailable(format!("can't {verb} {what}: {said}")),
    }
}

/// Returns true if the kind is not served. For a missing object, the details of the response contain its name.
pub(super) fn is_unserved(status: &Status) -> bool {
    status.code == 404 && status.details.as_ref().is_none_or(|details| details.name.is_empty())
}

/// Returns the innermost cause. The messages of kube's outer errors repeat each other.
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
    fn each_rejection_names_the_action_and_has_its_exit_code() {
        let forbidden = "videoaccesstokens.videotoken.dev is forbidden: User \"eve\" cannot list it";
        let absent = "videoaccesstokens.videotoken.dev \"lobby\" not found";
        for (status, exit, expected) in [
            (status(401, "Unauthorized", None), 3, "Log in again"),
            (status(403, forbidden, None), 3, "the verb list on videoaccesstokens"),
            (status(404, "404 page not found", None), 3, "Install the CRDs"),
            (status(404, absent, Some("lobby")), 1, "\"lobby\" not found. `kubectl videotoken status -A`"),
            (status(500, "etcdserver: leader changed", None), 3, "can't list videoaccesstokens: etcdserver"),
        ] {
            let error = request_error("list", "videoaccesstokens")(kube::Error::Api(status));
            assert_eq!(error.exit_code(), exit, "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        assert_eq!(CliError::from(io::Error::from(io::ErrorKind::BrokenPipe)).exit_code(), 0);
        assert_eq!(CliError::from(io::Error::from(io::ErrorKind::StorageFull)).exit_code(), 3);
    }
}
