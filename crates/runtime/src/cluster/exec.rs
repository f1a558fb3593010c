//! Programs that a kubeconfig runs to log in: `users[].user.exec`, as client-go runs them.
//!
//! What such a program prints is a credential. It is read, and never shown.

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

/// A token that expires within this is fetched anew.
const EARLY: TimeDelta = TimeDelta::minutes(1);

/// The program of a user, and the token that it gave.
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

/// A client certificate, as a kubeconfig has it: PEM in base64.
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

    /// Runs the program, keeps its token, and returns its certificate.
    pub(super) async fn log_in(&self) -> Result<Option<Certificate>, Unusable> {
        let mut token = self.token.lock().await;
        let status = self.run().await?;
        let (fresh, certificate) = self.read(status)?;
        *token = fresh;
        Ok(certificate)
    }

    /// What goes into `Authorization`; none where the program gives a certificate.
    async fn header(&self) -> Result<Option<HeaderValue>, Unusable> {
        let mut token = self.token.lock().await;
        let soon = clock::now().wall + EARLY;
        if token.as_ref().and_then(|token| token.expires_at).is_some_and(|at| at < soon) {
            *token = self.read(self.run().await?)?.0;
        }
        Ok(token.as_ref().map(|token| token.header.clone()))
    }

    fn fault(&self, what: impl std::fmt::Display) -> Unusable {
        Unusable(format!("the program {}, by which the kubeconfig logs in, {what}", self.command))
    }

    fn read(&self, status: Status) -> Result<(Option<Token>, Option<Certificate>), Unusable> {
        let certificate = status.client_certificate_data.zip(status.client_key_data).map(|(certificate, key)| {
            let key = STANDARD.encode(key.expose_secret()).into();
            Certificate { certificate: STANDARD.encode(certificate), key }
        });
        let token = match status.token {
            Some(token) => {
                let header = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()));
                let mut header = header.map_err(|_| self.fault("printed a token with a line end or the like"))?;
                header.set_sensitive(true);
                Some(Token { header, expires_at: status.expiration_timestamp })
            }
            None => None,
        };
        if token.is_none() && certificate.is_none() {
            return Err(self.fault("printed an ExecCredential without a token or a certificate"));
        }
        Ok((token, certificate))
    }

    async fn run(&self) -> Result<Status, Unusable> {
        let interactive = match self.config.interactive_mode {
            Some(ExecInteractiveMode::Never) => false,
            Some(ExecInteractiveMode::Always) if !io::stdin().is_terminal() => {
                return Err(self.fault("wants a terminal (interactiveMode: Always), and the standard input is none"));
            }
            _ => io::stdin().is_terminal(),
        };
        let mut command = self.command(interactive);
        let child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let hint = self.config.install_hint.as_deref().map(str::trim).filter(|hint| !hint.is_empty());
                self.fault(format!("isn't there: {}", hint.unwrap_or("install it, or correct its path")))
            }
            _ => self.fault(format!("can't be run: {error}")),
        })?;
        // dropped at the end of the time, it is killed
        let ended = tokio::time::timeout(self.within, child.wait_with_output()).await;
        let output = ended.map_err(|_| {
            let seconds = self.within.as_secs_f32();
            self.fault(format!("doesn't end within {seconds} s: it is stopped; --request-timeout gives it more"))
        })?;
        let output = output.map_err(|error| self.fault(format!("can't be waited for: {error}")))?;
        if !output.status.success() {
            // what it says may hold its token
            let program = &self.command;
            return Err(self.fault(format!("failed, {}: run {program} by hand to see what it says", output.status)));
        }
        // serde's words would quote what it printed
        let printed = serde_json::from_slice::<Printed>(&output.stdout);
        let status = printed.map_err(|_| self.fault("printed no ExecCredential"))?.status;
        status.ok_or_else(|| self.fault("printed an ExecCredential without a status"))
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
            // it may ask for a code, or say where to get one
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
