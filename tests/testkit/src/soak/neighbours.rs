//! Hostile neighbours: a namespace with an account and an emulator of its own, where something that costs the operator
//! goes on all the time. What becomes of them is nobody's concern; the other namespaces' tokens may not suffer.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::schedule::{Dice, Fault, Kind};
use crate::emulator::Counters;
use crate::isolation::attack::Attack;
use crate::isolation::attacks::{bounds, churn, fights};
use crate::isolation::tenant::Tenant;
use crate::stand::{ControlPlane, Manner, Webhook, yaml};
use crate::tls::CertificateAuthority;

/// The name of the webhook's configuration.
const WEBHOOK: &str = "neighbours";

/// Longer than the operator's patience once was, and shorter than the lease.
const WEBHOOK_SECONDS: u8 = 8;

/// How many objects are as large as the API server takes them, and how many are wrong in each way.
const LARGE: usize = 10;

/// The hostile namespace.
pub(super) struct Neighbours {
    tenant: Tenant,
}

impl Neighbours {
    /// A fresh namespace with a provider that would issue.
    pub(super) async fn move_in(plane: &ControlPlane) -> Result<Self> {
        let tenant = Tenant::open(plane, &Arc::new(CertificateAuthority::generate()?), "neighbours").await?;
        tenant.furnish().await?;
        churn::many_providers(&tenant).await?;
        Ok(Self { tenant })
    }

    /// As `--allowed-endpoint` names their provider.
    pub(super) fn host(&self) -> String {
        self.tenant.host()
    }

    /// Where they live.
    pub(super) fn namespace(&self) -> &str {
        &self.tenant.namespace
    }

    /// What their provider was asked.
    pub(super) fn counters(&self) -> Counters {
        self.tenant.control().counters()
    }

    /// Does one thing for as long as it is to last. What the API server says of it, or that it is away, is no matter.
    pub(super) async fn play(&self, fault: Fault, dice: &mut Dice) {
        let choice = dice.index(4);
        let again = async {
            loop {
                let _ = self.press(fault.kind, choice).await;
                sleep(Duration::from_secs(1)).await;
            }
        };
        // it ends with its time
        let _: Result<(), _> = timeout(fault.lasts, again).await;
        if fault.kind == Kind::SlowWebhook {
            let api: Api<ValidatingWebhookConfiguration> = Api::all(self.tenant.admin.clone());
            let gone = async {
                // the API server may be away
                while !matches!(api.delete(WEBHOOK, &DeleteParams::default()).await, Err(kube::Error::Api(e)) if e.code == 404)
                {
                    sleep(Duration::from_millis(200)).await;
                }
            };
            let _ = timeout(Duration::from_secs(10), gone).await;
        }
    }

    async fn press(&self, kind: Kind, choice: usize) -> Result<()> {
        let tenant = &self.tenant;
        match kind {
            Kind::Fights => {
                let fights = [Attack::FightToken, Attack::FightApply, Attack::FightLabels, Attack::FightDelete];
                fights::fight(tenant, fights[choice]).await
            }
            Kind::SlowWebhook => self.webhook().await,
            Kind::LargeObjects => {
                let missing = json!({"providerRef": {"name": "missing"}});
                tenant.make_tokens((0..LARGE).map(|n| format!("astray-{n}")), &missing).await?;
                let broken = json!({"secret": {"template": {"data": {"k": "{{ token | nothing }}"}}}});
                tenant.make_tokens((0..LARGE).map(|n| format!("broken-{n}")), &broken).await?;
                bounds::specs(tenant, LARGE).await
            }
            Kind::HostileTemplates => bounds::templates(tenant).await,
            Kind::Churn => churn::create_and_delete(tenant).await,
            Kind::ForcedRenewals => churn::forced_renewals(tenant).await,
            _ => churn::provider_edits(tenant).await,
        }
    }

    async fn webhook(&self) -> Result<()> {
        let webhook = Webhook::start(Manner::Silent).await?;
        let configuration = webhook.configuration(WEBHOOK, self.namespace(), "Ignore", WEBHOOK_SECONDS);
        yaml::apply(&self.tenant.admin, self.namespace(), &configuration.to_string()).await?;
        std::future::pending().await
    }
}
