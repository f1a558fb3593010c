//! What provider objects refer to, read from the API server.

use super::apply::{Applier, ApplyError};
use super::assertion::ServiceAccountAssertion;
use crate::account::{Source, Unreadable};
use crate::api::key::ObjectKey;
use crate::issuer::azure_auth::AssertionSource;
use crate::plan::view::Refusal;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use std::sync::Arc;

#[async_trait]
impl Source for Applier {
    async fn secret(&self, key: &ObjectKey) -> Result<Option<Secret>, Unreadable> {
        self.credential(key).await.map_err(|error| unreadable(&error))
    }

    async fn config_map(&self, key: &ObjectKey) -> Result<Option<ConfigMap>, Unreadable> {
        Applier::config_map(self, key).await.map_err(|error| unreadable(&error))
    }

    fn assertions(&self, account: &ObjectKey, audience: &str) -> Result<Arc<dyn AssertionSource>, Refusal> {
        let ObjectKey { namespace, name } = account;
        Ok(Arc::new(ServiceAccountAssertion::new(self.client(), namespace, name, audience)))
    }
}

fn unreadable(error: &ApplyError) -> Unreadable {
    Unreadable(error.to_string())
}
