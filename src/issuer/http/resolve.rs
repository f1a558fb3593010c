//! Name resolution that drops the addresses which the host policy refuses. It runs at each connection, so that a name
//! which changes its address between check and call gains nothing.

use super::super::hosts::{HostPolicy, HostRefusal};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::SocketAddr;

/// The system's resolver behind a host policy.
pub(super) struct Screened {
    pub(super) hosts: HostPolicy,
    /// The proxies' own names.
    pub(super) unscreened: Vec<String>,
}

/// Why a name gave no address.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveFault {
    #[error("{0}: {1}")]
    NotFound(String, String),
    #[error(transparent)]
    Refused(HostRefusal),
}

impl Resolve for Screened {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        let hosts = if self.unscreened.contains(&name) { HostPolicy::Any } else { self.hosts.clone() };
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map(Iterator::collect);
            let found = found.map_err(|error| ResolveFault::NotFound(name.clone(), error.to_string()))?;
            let addresses: Addrs = Box::new(screen(&hosts, &name, found)?.into_iter());
            Ok(addresses)
        })
    }
}

/// The addresses that `name` may be called at, or why there is none.
fn screen(hosts: &HostPolicy, name: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, ResolveFault> {
    let mut refusal = None;
    let mut kept = found;
    kept.retain(|address| match hosts.admits_address(name, address.ip()) {
        Ok(()) => true,
        Err(why) => {
            refusal.get_or_insert(why);
            false
        }
    });
    match (kept.is_empty(), refusal) {
        (false, _) => Ok(kept),
        (true, Some(refusal)) => Err(ResolveFault::Refused(refusal)),
        (true, None) => Err(ResolveFault::NotFound(name.to_owned(), "it has no address".to_owned())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::super::hosts::NetworkGuard;
    use super::*;
    use std::sync::Arc;

    #[test]
    fn refused_addresses_are_dropped_and_none_left_is_a_refusal() {
        let hosts = HostPolicy::guarded(&["vi.example"], Arc::new(NetworkGuard::default()));
        let at = |ips: &[&str]| ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect::<Vec<_>>();
        assert_eq!(screen(&hosts, "vi.example", at(&["127.0.0.1", "8.8.8.8"])).unwrap(), at(&["8.8.8.8"]));
        let refused = screen(&hosts, "vi.example", at(&["127.0.0.1", "::1"]));
        assert!(matches!(refused, Err(ResolveFault::Refused(HostRefusal::Reserved { .. }))));
        assert!(matches!(screen(&hosts, "vi.example", vec![]), Err(ResolveFault::NotFound(..))));
        assert_eq!(screen(&HostPolicy::Any, "vi.example", at(&["127.0.0.1"])).unwrap(), at(&["127.0.0.1"]));
    }
}
