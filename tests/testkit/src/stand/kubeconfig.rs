//! Who one is to an API server, and where it is.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::{Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

/// A server and a bearer token for it.
#[derive(Clone)]
pub struct Kubeconfig {
    /// Its URL.
    pub server: String,
    /// Whom to trust for it, PEM; none for a plain http server.
    pub ca: Option<String>,
    /// The namespace of requests that name none.
    pub namespace: String,
    token: String,
}

impl Kubeconfig {
    /// A login by bearer token.
    pub fn new(server: &str, ca: Option<&str>, token: &str) -> Self {
        Self {
            server: server.to_owned(),
            ca: ca.map(str::to_owned),
            namespace: "default".to_owned(),
            token: token.to_owned(),
        }
    }

    /// The same login through a plain http proxy, such as an [`ApiProxy`](super::ApiProxy).
    #[must_use]
    pub fn through(&self, url: &str) -> Self {
        Self { server: url.to_owned(), ca: None, ..self.clone() }
    }

    /// The file's content. JSON, which is YAML too.
    pub fn yaml(&self) -> String {
        let mut cluster = json!({"server": self.server});
        if let Some(ca) = &self.ca {
            cluster["certificate-authority-data"] = STANDARD.encode(ca).into();
        }
        let file = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "stand", "cluster": cluster}],
            "users": [{"name": "stand", "user": {"token": self.token}}],
            "contexts": [{
                "name": "stand",
                "context": {"cluster": "stand", "user": "stand", "namespace": self.namespace},
            }],
            "current-context": "stand",
        });
        format!("{file:#}\n")
    }

    /// Writes it to a file.
    pub fn write(&self, path: &Path) -> Result<()> {
        std::fs::write(path, self.yaml()).with_context(|| format!("write {}", path.display()))
    }

    /// What a kube client is made from, for callers that want another time-out or no retries.
    pub fn config(&self) -> Result<Config> {
        let mut config = Config::new(self.server.parse().context("the server's URL")?);
        config.default_namespace.clone_from(&self.namespace);
        config.auth_info.token = Some(self.token.clone().into());
        if let Some(ca) = &self.ca {
            let der = CertificateDer::from_pem_slice(ca.as_bytes()).context("the server's CA")?;
            config.root_cert = Some(vec![der.to_vec()]);
        }
        Ok(config)
    }

    /// A client. It belongs to the tokio runtime that it is made in.
    pub fn client(&self) -> Result<Client> {
        Client::try_from(self.config()?).context("make a client")
    }
}

impl fmt::Debug for Kubeconfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubeconfig").field("server", &self.server).finish_non_exhaustive()
    }
}
