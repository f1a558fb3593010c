//! Programs that a kubeconfig runs to log in: `users[].user.exec`, as client-go runs them.
//!
//! The output of such a program is a credential, and is never shown.

use super::Unusable;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, header};
use kube::config::{ExecConfig, ExecInteractiveMode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use std::io::{self, IsTerminal as _};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::Mutex;
use tower::BoxError;
use tower::filter::AsyncPredicate;
use videotoken_providers::clock::{self, Timestamp};

/// Time before the expiry of a token at which the program runs again.
const REFRESH_MARGIN: TimeDelta = TimeDelta::minutes(1);

/// The program of a user, and its last token.
pub(super) struct Exec {
    config: ExecConfig,
    command: String,
    within: Duration,
    token: Mutex<Option<Token>>,
}

struct Token {
    header: HeaderValue,
    expires_at: Option<Timestamp>,
}

/// A client certificate in the form of a kubeconfig: PEM in base64.
pub(super) struct Certificate {
    pub(super) certificate: String,
    pub(super) key: SecretString,
}

#[derive(Deserialize)]
struct Printed {
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    expiration_timestamp: Option<Timestamp>,
    #[serde(default, deserialize_with = "secret")]
    token: Option<SecretString>,
    client_certificate_data: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    client_key_data: Option<SecretString>,
}

fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.filter(|text| !text.is_empty()).map(Into::into))
}

impl Exec {
    pub(super) fn new(config: ExecConfig, within: Duration) -> Result<Self, Unusable> {
        let command = config.command.clone().filter(|command| !command.is_empty());
        let command =
            command.ok_or_else(|| Unusable("the kubeconfig's user has an exec without a command".to_owned()))?;
        Ok(Self { config, command, within, token: Mutex::new(None) })
    }

    /// Runs the program, stores its token and returns its certificate.
    pub(super) async fn log_in(&self) -> Result<Option<Certificate>, Unusable> {
        let mut token = self.token.lock().await;
        let status = self.run().await?;
        let (fresh, certificate) = self.read(status)?;
        *token = fresh;
        Ok(certificate)
    }

    /// Returns the header `Authorization`, or `None` if the program returns a certificate.
    async fn header(&self) -> Result<Option<HeaderValue>, Unusable> {
        let mut token = self.token.lock().await;
        let soon = clock::now().wall + REFRESH_MARGIN;
        if token.as_ref().and_then(|token| token.expires_at).is_some_and(|at| at < soon) {
            *token = self.read(self.run().await?)?.0;
        }
        Ok(token.as_ref().map(|token| token.header.clone()))
    }

    fn error(&self, what: impl std::fmt::Display) -> Unusable {
        Unusable(format!("the login program {} of the kubeconfig {what}", self.command))
    }

    fn read(&self, status: Status) -> Result<(Option<Token>, Option<Certificate>), Unusable> {
        let certificate = status.client_certificate_data.zip(status.client_key_data).map(|(certificate, key)| {
            let key = STANDARD.encode(key.expose_secret()).into();
            Certificate { certificate: STANDARD.encode(certificate), key }
        });
        let token = match status.token {
            Some(token) => {
                let header = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()));
                let mut header = header.map_err(|_| self.error("printed a token with a control character"))?;
                header.set_sensitive(true);
                Some(Token { header, expires_at: status.expiration_timestamp })
            }
            None => None,
        };
        if token.is_none() && certificate.is_none() {
            return Err(self.error("printed an ExecCredential without a token or a certificate"));
        }
        Ok((token, certificate))
    }

    async fn run(&self) -> Result<Status, Unusable> {
        let interactive = match self.config.interactive_mode {
            Some(ExecInteractiveMode::Never) => false,
            Some(ExecInteractiveMode::Always) if !io::stdin().is_terminal() => {
                return Err(self.error("needs a terminal (interactiveMode: Always), but standard input isn't one"));
            }
            _ => io::stdin().is_terminal(),
        };
        let mut command = self.command(interactive);
        let child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let hint = self.config.install_hint.as_deref().map(str::trim).filter(|hint| !hint.is_empty());
                self.error(format!("does not exist: {}", hint.unwrap_or("install it or correct its path")))
            }
            _ => self.error(format!("can't be run: {error}")),
        })?;
        // after the timeout the child is dropped, which kills it
        let ended = tokio::time::timeout(self.within, child.wait_with_output()).await;
        let output = ended.map_err(|_| {
            let seconds = self.within.as_secs_f32();
            self.error(format!("did not end within {seconds} s and was stopped. Increase --request-timeout."))
        })?;
        let output = output.map_err(|error| self.error(format!("can't be waited for: {error}")))?;
        if !output.status.success() {
            // its output may contain the token
            let program = &self.command;
            return Err(self.error(format!("failed ({}). Run {program} to see its output.", output.status)));
        }
        // serde's message would quote the output
        let printed = serde_json::from_slice::<Printed>(&output.stdout);
        let status = printed.map_err(|_| self.error("did not print an ExecCredential"))?.status;
        status.ok_or_else(|| self.error("printed an ExecCredential without a status"))
    }

    fn command(&self, interactive: bool) -> Command {
        let mut command = Command::new(&self.command);
        command.args(self.config.args.iter().flatten()).stdout(Stdio::piped()).kill_on_drop(true);
        for variable in self.config.env.iter().flatten() {
            if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
                command.env(name, value);
            }
        }
        let mut spec = json!({"interactive": interactive});
        if let Some(cluster) = self.config.cluster.as_ref().filter(|_| self.config.provide_cluster_info) {
            spec["cluster"] = json!(cluster);
        }
        let version = &self.config.api_version;
        let info = json!({"apiVersion": version, "kind": "ExecCredential", "spec": spec});
        command.env("KUBERNETES_EXEC_INFO", info.to_string());
        if interactive {
            // the program may prompt for a code
            command.stdin(Stdio::inherit()).stderr(Stdio::inherit());
        } else {
            command.stdin(Stdio::null()).stderr(Stdio::piped());
        }
        command
    }
}

/// Adds `Authorization` to a request.
#[derive(Clone)]
pub(super) struct Login(pub(super) Arc<Exec>);

impl<B: Send + 'static> AsyncPredicate<Request<B>> for Login {
    type Future = BoxFuture<'static, Result<Request<B>, BoxError>>;
    type Request = Request<B>;

    fn check(&mut self, mut request: Request<B>) -> Self::Future {
        let exec = self.0.clone();
        async move {
            if let Some(value) = exec.header().await? {
                request.headers_mut().insert(header::AUTHORIZATION, value);
            }
            Ok(request)
        }
        .boxed()
    }
}
