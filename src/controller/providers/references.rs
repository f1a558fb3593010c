//! Reads of the objects that provider objects refer to.

use crate::controller::output::api::Applier;
use crate::controller::providers::assertion::ServiceAccountAssertion;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use std::collections::BTreeMap;
use std::sync::Arc;
use videotoken_api::key::ObjectKey;
use videotoken_core::plan::view::Refusal;
use videotoken_core::plan::write_failure::ApiError;
use videotoken_providers::azure_auth::AssertionSource;
use videotoken_providers::provider_setup::{Guarded, ReferenceSource, Unreadable};

#[async_trait]
impl ReferenceSource for Applier {
    async fn secret(&self, key: &ObjectKey) -> Result<Option<Secret>, Unreadable> {
        self.credential(key).await.map_err(|error| unreadable(&error))
    }

    async fn config_map(&self, key: &ObjectKey) -> Result<Option<ConfigMap>, Unreadable> {
        Applier::config_map(self, key).await.map_err(|error| unreadable(&error))
    }

    async fn service_account(&self, key: &ObjectKey) -> Result<Option<BTreeMap<String, String>>, Unreadable> {
        Applier::service_account(self, key).await.map_err(|error| match error {
            ApiError::Refused(why) => Unreadable(format!(
                "the operator may not read the ServiceAccount {}, which must say where its tokens may be sent: {why}: \
                 give the operator the chart's Roles",
                key.name
            )),
            other => unreadable(&other),
        })
    }

    fn assertions(
        &self,
        account: &ObjectKey,
        audience: &str,
        sent_to: &Guarded,
    ) -> Result<Arc<dyn AssertionSource>, Refusal> {
        Ok(Arc::new(ServiceAccountAssertion::new(self.clone(), account, audience, sent_to.clone())))
    }
}

fn unreadable(error: &ApiError) -> Unreadable {
    Unreadable(error.to_string())
}
