//! The hosts of the token APIs: their names, and the addresses that they have and listen on.

use serde_json::{Value, json};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use testkit::node::{GATEWAY, GATEWAY_IPV6, Network};

/// The addresses that a host has in DNS, and listens on.
#[derive(Clone, Copy)]
pub(crate) enum Host {
    Ipv4,
    Ipv6,
    Both,
}

impl Host {
    /// As it is in a cluster with these families.
    pub(crate) fn within(self, network: Network) -> Self {
        if network == Network::Ipv6 && matches!(self, Self::Ipv4) { Self::Ipv6 } else { self }
    }

    pub(crate) fn addresses(self) -> Vec<IpAddr> {
        let all = [GATEWAY, GATEWAY_IPV6].map(|address| address.parse().unwrap());
        match self {
            Self::Ipv4 => all[..1].to_vec(),
            Self::Ipv6 => all[1..].to_vec(),
            Self::Both => all.to_vec(),
        }
    }

    /// Where it listens, on a free port.
    pub(crate) fn listens(self) -> SocketAddr {
        let address = if matches!(self, Self::Both) { Ipv6Addr::UNSPECIFIED.into() } else { self.addresses()[0] };
        (address, 0).into()
    }
}

/// The token APIs with a name in the zone. Video Indexer has two.
pub(crate) const HOSTS: [(&str, Host); 5] = [
    ("login", Host::Ipv4),
    ("management", Host::Ipv4),
    ("classic", Host::Both),
    ("speech", Host::Ipv4),
    ("studio", Host::Ipv6),
];

/// The host of ArcGIS Video Server: a Service of the cluster.
pub(crate) const CAMERAS: &str = "cameras.analytics.svc";

/// The Service of ArcGIS Video Server, which runs outside the cluster at this address.
pub(crate) fn service(address: IpAddr, port: u16) -> [Value; 2] {
    let kind = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "cameras"},
            "spec": {"ports": [{"name": "https", "port": port}]}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": kind,
            "metadata": {"name": "cameras", "labels": {"kubernetes.io/service-name": "cameras"}},
            "ports": [{"name": "https", "port": port}], "endpoints": [{"addresses": [address]}]}),
    ]
}
