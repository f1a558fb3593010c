//! Where one attack takes place: a victim, an attacker, and an operator behind a proxy that serves both namespaces.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use kube::Client;
use serde_json::Value;

use super::attack::Size;
use super::gauge::{Gauge, Subject};
use super::tenant::Tenant;
use crate::emulator::Life;
use crate::stand::{ApiProxy, ControlPlane, Operator, OperatorOptions, yaml};
use crate::tls::CertificateAuthority;

/// How many tokens the victim has.
pub(crate) const VICTIMS: usize = 6;

/// Real lives of the victim's tokens in seconds: a renewal of one or the other falls due every few seconds.
const LIVES: Life = Life::Between(21, 36);

/// The same in the short form.
const SHORT_LIVES: Life = Life::Between(18, 24);

/// Victim, attacker, proxy and operator.
pub(crate) struct Ground {
    pub(crate) size: Size,
    pub(crate) admin: Client,
    pub(crate) victim: Tenant,
    pub(crate) attacker: Tenant,
    pub(crate) proxy: ApiProxy,
    pub(crate) gauge: Gauge,
    options: OperatorOptions,
    operator: tokio::sync::Mutex<Option<Operator>>,
    passing: std::sync::Mutex<Vec<Value>>,
}

impl Ground {
    /// Lays it; no operator runs yet, and the attacker has a provider that would issue.
    pub(crate) async fn lay(plane: &ControlPlane, binary: &Path, size: Size, attack: &str) -> Result<Self> {
        let ca = Arc::new(CertificateAuthority::generate()?);
        let victim = Tenant::open(plane, &ca, "victim").await?;
        let attacker = Tenant::open(plane, &ca, attack).await?;
        let login = plane.operator_kubeconfig().await?;
        let proxy = ApiProxy::start(&login)?;
        let mut options = OperatorOptions::new(binary, login.through(proxy.url()), &victim.namespace);
        options.watch_namespaces.push(attacker.namespace.clone());
        options.allowed_endpoints = vec![victim.host(), attacker.host()];
        victim.control().set_life(if size.short { SHORT_LIVES } else { LIVES });
        victim.furnish().await?;
        attacker.furnish().await?;
        Ok(Self {
            size,
            admin: plane.client()?,
            victim,
            attacker,
            proxy,
            gauge: Gauge::start(),
            options,
            operator: tokio::sync::Mutex::default(),
            passing: std::sync::Mutex::default(),
        })
    }

    /// Starts the operator; kills the one that ran. It isn't ready yet.
    pub(crate) async fn restart(&self) -> Result<()> {
        let mut operator = self.operator.lock().await;
        self.gauge.turn_to(None);
        *operator = None;
        let started = operator.insert(Operator::spawn(&self.options)?);
        self.gauge.turn_to(Some(Subject { pid: started.pid(), livez: started.url("/livez") }));
        Ok(())
    }

    /// The URL of a path on the operator's metrics port.
    pub(crate) async fn url(&self, path: &str) -> String {
        self.operator.lock().await.as_ref().map(|operator| operator.url(path)).unwrap_or_default()
    }

    /// How the operator ended, if it did by itself.
    pub(crate) async fn ended(&self) -> Option<String> {
        let status = self.operator.lock().await.as_mut()?.exited()?;
        Some(format!("the operator ended by itself: {status}"))
    }

    /// Ends the operator, and keeps its log where logs are kept.
    pub(crate) async fn stop(&self, logs: Option<&PathBuf>, name: &str) {
        self.gauge.turn_to(None);
        let Some(mut operator) = self.operator.lock().await.take() else { return };
        operator.kill9();
        if let Some(folder) = logs {
            // whoever asked for the logs sees that they are not there
            let kept = std::fs::create_dir_all(folder);
            let _ = kept.and_then(|()| std::fs::copy(operator.log_path(), folder.join(format!("{name}.log"))));
        }
    }

    /// Applies an object of the cluster's that [`Self::clear`] takes away.
    pub(crate) async fn apply_for_now(&self, object: Value) -> Result<()> {
        self.passing.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(object.clone());
        yaml::apply(&self.admin, &self.attacker.namespace, &object.to_string()).await.map(drop)
    }

    /// Takes away what would outlast the row. The namespaces go by themselves.
    pub(crate) async fn clear(&self) -> Result<()> {
        let passing = std::mem::take(&mut *self.passing.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for object in passing {
            yaml::delete(&self.admin, &self.attacker.namespace, &object.to_string()).await?;
        }
        let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> = kube::Api::all(self.admin.clone());
        for namespace in [&self.victim.namespace, &self.attacker.namespace] {
            namespaces.delete(namespace, &kube::api::DeleteParams::background()).await?;
        }
        Ok(())
    }
}
