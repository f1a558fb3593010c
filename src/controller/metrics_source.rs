//! Gauges of tokens and provider objects, computed when they are scraped.

use crate::controller::context::Context;
use crate::controller::providers::registry::Resolved;
use crate::controller::stores::provider_key::ProviderKey;
use crate::controller::stores::provider_objects::is_ready;
use crate::metrics::{ProviderGauge, ProviderSource, TokenGauge, TokenSource};
use std::sync::{Arc, Weak};
use videotoken_api::key::ObjectKey;
use videotoken_providers::clock;

/// The controller as its metrics see it. The controller owns the metrics, so they don't keep it.
pub(super) struct ScrapedContext(pub(super) Weak<Context>);

impl ScrapedContext {
    fn context(&self) -> Option<Arc<Context>> {
        self.0.upgrade()
    }
}

impl TokenSource for ScrapedContext {
    fn visit(&self, each: &mut dyn FnMut(&ObjectKey, TokenGauge)) {
        if let Some(context) = self.context() {
            context.visit(each);
        }
    }
}

impl Context {
    fn visit(&self, each: &mut dyn FnMut(&ObjectKey, TokenGauge)) {
        let now = clock::now().wall.timestamp();
        self.stores.tokens.each(|token| {
            let status = &token.status;
            let [ready, _, stalled] = status.conditions.each_ref().map(|condition| condition.status == Some(true));
            let gauge = TokenGauge {
                expires_at: second(status.expires_at),
                renew_at: second(status.renew_at),
                ready: ready && status.expires_at.0 > now,
                stalled,
                failing: status.failed_attempts > 0,
            };
            each(&token.key, gauge);
        });
    }
}

fn second(at: videotoken_core::plan::facts::Seconds) -> Option<i64> {
    (at.0 != 0).then_some(at.0)
}

impl ProviderSource for ScrapedContext {
    fn providers(&self) -> Vec<ProviderGauge> {
        self.context().map(|context| context.gauges()).unwrap_or_default()
    }
}

impl Context {
    fn gauges(&self) -> Vec<ProviderGauge> {
        let gauge = |(key, resolved): (ProviderKey, Resolved)| ProviderGauge {
            kind: key.kind(),
            ready: self.stores.provider_objects.get(&key).is_some_and(|object| is_ready(&object)),
            waiting: resolved.state.as_ref().ok().map(|account| self.grants.budgets.queue_length(&account.key)),
            credential_expires_at: resolved
                .state
                .ok()
                .and_then(|account| account.issuer.credential_expires_at())
                .map(|at| at.timestamp()),
            namespace: key.namespace.unwrap_or_default(),
            name: key.name,
        };
        self.providers.registry.all().into_iter().map(gauge).collect()
    }
}
