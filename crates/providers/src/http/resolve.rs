//! Name resolution that removes the addresses that the host policy rejects. It runs for each connection, so changing
//! the address of a name between check and call has no effect.
//!
//! A name is looked up as an absolute name. In a Pod, the search list would turn `api.videoindexer.ai` into the Service
//! `videoindexer` in the namespace `ai`, whose owner would receive the credential. `NAME.NAMESPACE.svc` is looked up in
//! the domain of the cluster, which the search list contains after `svc.`. Only single labels use the search list.

use super::super::hosts::{HostPolicy, HostRefusal};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Time after which the name servers count as unreachable. The C library repeats a lost request after 5 seconds; the
/// timeouts of a connection and of a call follow at 10 seconds, and their errors don't name the lookup.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(8);

/// System resolver with a host policy.
pub(super) struct Screened {
    pub(super) hosts: HostPolicy,
    /// Host names of the proxies, whose addresses aren't checked.
    pub(super) unscreened: Vec<String>,
}

/// Reason why a name has no usable address.
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
        let is_proxy = self.unscreened.contains(&name);
        let hosts = if is_proxy { HostPolicy::Any } else { self.hosts.clone() };
        Box::pin(async move {
            let found = in_time(async {
                match look_up(&name).await {
                    // The operator's administrator configures the proxy, possibly with a name relative to the Pod's
                    // namespace.
                    Err(_) if is_proxy => as_it_may_be(&name).await,
                    found => found,
                }
            });
            let found = found.await.map_err(|error| ResolveFault::NotFound(name.clone(), why(&name, &error)))?;
            let addresses: Addrs = Box::new(screen(&hosts, &name, found)?.into_iter());
            Ok(addresses)
        })
    }
}

/// Awaits a lookup. The error of one without an answer names the name servers.
async fn in_time<T>(lookup: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let limit = LOOKUP_TIMEOUT.as_secs();
    let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, format!("no name server answers within {limit} s")));
    tokio::time::timeout(LOOKUP_TIMEOUT, lookup).await.unwrap_or_else(late)
}

async fn look_up(name: &str) -> io::Result<Vec<SocketAddr>> {
    let settings =
        if is_service(name) { tokio::fs::read_to_string(SETTINGS).await.unwrap_or_default() } else { String::new() };
    let Some(absolute) = absolute(name, cluster_domain(&settings)) else { return as_it_may_be(name).await };
    let own = machines_own(name).await;
    if own.is_empty() { as_it_may_be(&absolute).await } else { Ok(own) }
}

async fn as_it_may_be(name: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((name, 0)).await?.collect())
}

/// Returns the name with the final dot that prevents the use of a search list. `None` if the search list applies.
/// `domain` is the domain of the cluster, in a Pod that knows it.
fn absolute(name: &str, domain: Option<&str>) -> Option<String> {
    if name.ends_with('.') {
        return Some(name.to_owned());
    }
    if !name.contains('.') {
        return None;
    }
    if is_service(name) {
        return domain.map(|domain| format!("{name}.{domain}."));
    }
    Some(format!("{name}."))
}

/// Returns true if the name is that of a Service without the domain of the cluster.
fn is_service(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".svc")
}

/// Returns the domain of the cluster from the search list of a Pod, such as `cluster.local`. Kubernetes puts the domain of
/// the Services, `svc.cluster.local`, into it. Of several lists, the C library uses the last.
fn cluster_domain(settings: &str) -> Option<&str> {
    let mut lists = settings.lines().rev().filter_map(|line| line.strip_prefix("search"));
    let mut domains = lists.next()?.split_whitespace().filter_map(|domain| domain.strip_prefix("svc."));
    // that of a namespace with the name svc comes first
    let domain = domains.find(|domain| !domain.starts_with("svc."))?;
    Some(domain.strip_suffix('.').unwrap_or(domain))
}

/// The settings of the resolver, with its search list.
const SETTINGS: &str = "/etc/resolv.conf";

/// Returns the addresses of the name in the hosts file. A resolver may ignore that file for absolute names.
async fn machines_own(name: &str) -> Vec<SocketAddr> {
    let Ok(table) = tokio::fs::read_to_string(TABLE).await else { return Vec::new() };
    in_table(&table, name).into_iter().map(|ip| SocketAddr::new(ip, 0)).collect()
}

const TABLE: &str = "/etc/hosts";

/// Returns the addresses of `name` in a hosts file. Each line contains an address and its names.
fn in_table(table: &str, name: &str) -> Vec<IpAddr> {
    let plain = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let name = plain(name);
    let of_line = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| plain(word) == name).then_some(address)
    };
    table.lines().filter_map(of_line).collect()
}

/// Returns the error of the resolver, with a hint if the search list would have helped.
fn why(name: &str, error: &io::Error) -> String {
    let two = name.trim_end_matches('.').split('.').count() == 2;
    let hint = if two { "; a Service is called as NAME.NAMESPACE.svc" } else { "" };
    format!("{error}{hint}")
}

/// Returns the permitted addresses of `name`, or the reason why there is none.
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
    fn p22_a_public_name_is_looked_up_as_it_stands_and_a_services_in_the_clusters_domain() {
        for (name, asked) in [
            ("api.videoindexer.ai", Some("api.videoindexer.ai.")),
            ("API.VideoIndexer.ai.", Some("API.VideoIndexer.ai.")),
            ("login.microsoftonline.com", Some("login.microsoftonline.com.")),
            ("gw.corp", Some("gw.corp.")),
            ("svc.corp", Some("svc.corp.")),
            ("arcgis.gis.svc.cluster.local", Some("arcgis.gis.svc.cluster.local.")),
            ("arcgis.gis.svc", Some("arcgis.gis.svc.corp.internal.")),
            ("arcgis.gis.SVC", Some("arcgis.gis.SVC.corp.internal.")),
            ("arcgis.gis.svc.", Some("arcgis.gis.svc.")),
            ("localhost", None),
            ("localhost.", Some("localhost.")),
            ("arcgis", None),
        ] {
            assert_eq!(absolute(name, Some("corp.internal")).as_deref(), asked, "{name}");
        }
        assert_eq!(absolute("arcgis.gis.svc", None), None);
        assert_eq!(absolute("gw.corp", None).as_deref(), Some("gw.corp."));
    }

    #[test]
    fn the_domain_of_the_cluster_is_read_from_the_search_list_of_a_pod() {
        let pod = "search apps.svc.cluster.local svc.cluster.local cluster.local corp.example\n\
                   nameserver 10.96.0.10\noptions ndots:5\n";
        for (settings, domain) in [
            (pod, Some("cluster.local")),
            ("nameserver 10.96.0.10\nsearch\tsvc.corp.internal. corp.internal\n", Some("corp.internal")),
            ("search svc.svc.cluster.local svc.cluster.local cluster.local\n", Some("cluster.local")),
            ("search svc.earlier.local\nsearch svc.cluster.local cluster.local\n", Some("cluster.local")),
            ("search svc.earlier.local\nsearch corp.example\n", None),
            ("nameserver 192.0.2.1\nsearch corp.example\n", None),
            ("nameserver 192.0.2.1\n", None),
            ("", None),
        ] {
            assert_eq!(cluster_domain(settings), domain, "{settings}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_without_an_answer_fails_before_the_connection_times_out() {
        let begun = tokio::time::Instant::now();
        let error = in_time(std::future::pending::<io::Result<()>>()).await.unwrap_err();
        assert_eq!(error.to_string(), "no name server answers within 8 s");
        assert!(begun.elapsed() < super::super::CONNECT_TIMEOUT);
    }

    #[test]
    fn the_machines_own_table_names_addresses() {
        let table = "127.0.0.1 localhost\n# 192.0.2.9 gis.example\n192.0.2.1\tgis.example gis # ours\n\
                     fd00::1 Gis.Example.\nnonsense gis.example\n\n192.0.2.2 other.example\n";
        for (name, expected) in [
            ("gis.example", &["192.0.2.1", "fd00::1"][..]),
            ("GIS.example.", &["192.0.2.1", "fd00::1"]),
            ("gis", &["192.0.2.1"]),
            ("ours", &[]),
            ("192.0.2.1", &[]),
            ("example", &[]),
        ] {
            let expected: Vec<IpAddr> = expected.iter().map(|ip| ip.parse().unwrap()).collect();
            assert_eq!(in_table(table, name), expected, "{name}");
        }
    }

    #[tokio::test]
    async fn a_name_of_the_machines_own_table_is_found() {
        assert!(look_up("localhost").await.unwrap().iter().all(|found| found.ip().is_loopback()));
        assert!(look_up("no-such-host.invalid").await.is_err());
    }

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
