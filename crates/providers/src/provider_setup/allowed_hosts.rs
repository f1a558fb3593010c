//! Annotation `videotoken.dev/allowed-hosts`: the hosts that may receive a credential or an assertion of a
//! `ServiceAccount`, as its owner declares them. Pure.
//!
//! An entry is `host`, `host:port`, or either with a path. `gw.example/tenant-a` admits the URLs below that path and no
//! other URL of the host. Without a port, an entry means the default port of the scheme.

use crate::hosts::canonical_host;
use std::fmt::Write as _;
use url::Url;

/// Destinations of a credential or an assertion, which the annotation of its owner must admit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// URLs of the destinations. Empty for public hosts of the provider, which need no annotation.
    pub urls: Vec<Url>,
    /// Reason why a host that looks like a public host of the provider needs the annotation. Empty for other hosts.
    pub because: &'static str,
}

impl Guarded {
    /// Public hosts, which need no annotation.
    pub const PUBLIC: Self = Self { urls: Vec::new(), because: "" };

    /// Returns the first host that an annotation doesn't admit, and an annotation that admits all. `None` if it already
    /// admits all.
    pub fn missing(&self, annotation: Option<&str>) -> Option<Missing> {
        let entries: Vec<_> = annotation.unwrap_or_default().split(',').filter_map(Entry::parse).collect();
        let lacks: Vec<_> = self.urls.iter().filter(|url| !entries.iter().any(|entry| entry.admits(url))).collect();
        let first = lacks.first()?;
        let mut all: Vec<String> = entries.iter().map(|entry| entry.text.clone()).collect();
        for url in &lacks {
            // Keep the paths if the annotation already divides this host by paths.
            let divided = entries.iter().any(|entry| entry.is_at(url) && !entry.path.is_empty());
            let path = if divided && is_plain(url) { url.path().trim_end_matches('/') } else { "" };
            let entry = shown(url) + path;
            if !all.contains(&entry) {
                all.push(entry);
            }
        }
        Some(Missing { host: shown(first), annotation: all.join(",") })
    }
}

/// Host that an annotation doesn't admit, and the fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// First host that isn't admitted, with its port unless it is the default port of the scheme.
    pub host: String,
    /// Value of the annotation that admits all destinations.
    pub annotation: String,
}

/// Entry of the annotation.
struct Entry {
    /// Text of the entry, without surrounding spaces.
    text: String,
    host: String,
    /// `None` means the default port of the scheme.
    port: Option<u16>,
    /// Segments of the path. An empty path admits the whole host.
    path: Vec<String>,
}

impl Entry {
    /// Parses an entry. `None` for an empty or invalid entry, which admits nothing.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_~:/[]".contains(c);
        if text.is_empty() || !text.chars().all(plain) || text.contains("//") {
            return None;
        }
        let [secure, insecure] = ["https", "http"].map(|scheme| Url::parse(&format!("{scheme}://{text}")).ok());
        let (secure, insecure) = (secure?, insecure?);
        Some(Self {
            text: text.to_owned(),
            host: canonical_host(&secure)?,
            // Each parser omits the default port of its own scheme.
            port: secure.port().or(insecure.port()),
            path: segments(&secure),
        })
    }

    /// Returns true if `url` has the host and port of the entry.
    fn is_at(&self, url: &Url) -> bool {
        let own = url.port_or_known_default();
        let default = if url.scheme() == "http" { 80 } else { 443 };
        canonical_host(url).as_ref() == Some(&self.host) && own == Some(self.port.unwrap_or(default))
    }

    fn admits(&self, url: &Url) -> bool {
        self.is_at(url) && (self.path.is_empty() || (is_plain(url) && segments(url).starts_with(&self.path)))
    }
}

fn segments(url: &Url) -> Vec<String> {
    url.path().split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

/// Returns true if every server interprets the path in the same way: nothing is escaped, and no segment is empty.
fn is_plain(url: &Url) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._~/-".contains(c);
    url.path().chars().all(plain) && !url.path().contains("//")
}

/// Returns `host` or `host:port` in the form of an entry.
pub fn shown(url: &Url) -> String {
    let mut shown = url.host_str().unwrap_or_default().trim_end_matches('.').to_owned();
    if let Some(port) = url.port() {
        let _ = write!(shown, ":{port}");
    }
    shown
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn missing(annotation: &str, urls: &[&str]) -> Option<Missing> {
        let urls = urls.iter().map(|url| url.parse().unwrap()).collect();
        Guarded { urls, because: "" }.missing(Some(annotation))
    }

    #[test]
    fn p22_an_entry_admits_its_host_and_port_and_with_a_path_what_lies_beneath_it() {
        for (annotation, url, admitted) in [
            ("gw.corp", "https://gw.corp", true),
            ("gw.corp", "https://gw.corp/any/path", true),
            ("GW.Corp.", "https://gw.corp", true),
            ("gw.corp", "https://gw.corp./x", true),
            ("gw.corp:443", "https://gw.corp/x", true),
            ("gw.corp", "https://gw.corp:443/x", true),
            ("gw.corp", "https://gw.corp:8443", false),
            ("gw.corp:8443", "https://gw.corp:8443", true),
            ("gw.corp:8443", "https://gw.corp", false),
            ("gw.corp", "http://gw.corp", true),
            ("gw.corp:443", "http://gw.corp", false),
            ("gw.corp", "https://agw.corp", false),
            ("gw.corp", "https://gw.corp.evil.example", false),
            ("*.corp", "https://gw.corp", false),
            ("other, gw.corp ,x", "https://gw.corp", true),
            ("gw.corp/tenant-a", "https://gw.corp/tenant-a", true),
            ("gw.corp/tenant-a", "https://gw.corp/tenant-a/arcgis/admin", true),
            ("gw.corp/tenant-a/", "https://gw.corp/tenant-a", true),
            ("gw.corp/tenant-a", "https://gw.corp/tenant-ab", false),
            ("gw.corp/tenant-a", "https://gw.corp/Tenant-A", false),
            ("gw.corp/tenant-a", "https://gw.corp", false),
            ("gw.corp/tenant-a", "https://gw.corp/tenant-c/tenant-a", false),
            ("gw.corp/tenant-a", "https://gw.corp/tenant-a/../tenant-c", false),
            ("gw.corp/tenant-a", "https://gw.corp/tenant-a/%2e%2e/tenant-c", false),
            ("gw.corp/tenant-a", "https://gw.corp/tenant-a/%2e%2e%2ftenant-c", false),
            ("gw.corp/tenant-a", "https://gw.corp/tenant-a%2f..%2ftenant-c", false),
            ("gw.corp/tenant-a", "https://gw.corp/tenant-a/..;/tenant-c", false),
            ("gw.corp/tenant-a", "https://gw.corp/tenant-a//tenant-c", false),
            ("gw.corp/tenant-a", "https://gw.corp/tenant-a\\..\\tenant-c", false),
            ("gw.corp:8443/tenant-a", "https://gw.corp:8443/tenant-a/x", true),
            ("gw.corp:8443/tenant-a", "https://gw.corp/tenant-a/x", false),
            ("gw.corp/tenant-b,gw.corp/tenant-a", "https://gw.corp/tenant-a", true),
            ("10.0.0.9", "https://[::ffff:10.0.0.9]", true),
            ("[2001:db8::9]:444", "https://[2001:db8:0::9]:444", true),
            ("me@gw.corp", "https://gw.corp", false),
            ("https://gw.corp", "https://gw.corp", false),
            ("gw.corp?x", "https://gw.corp", false),
            ("", "https://gw.corp", false),
        ] {
            assert_eq!(missing(annotation, &[url]).is_none(), admitted, "{annotation} for {url}");
        }
        assert_eq!(missing("", &[]), None);
        assert_eq!(Guarded::PUBLIC.missing(None), None);
    }

    #[test]
    fn the_way_out_keeps_what_is_allowed_already_and_is_safe_to_paste() {
        for (annotation, urls, host, way_out) in [
            ("", &["https://a.corp:8443/x"][..], "a.corp:8443", "a.corp:8443"),
            ("b.corp", &["https://a.corp/x"], "a.corp", "b.corp,a.corp"),
            ("a.corp/one", &["https://a.corp/two/"], "a.corp", "a.corp/one,a.corp/two"),
            ("a.corp/one", &["https://a.corp/%24"], "a.corp", "a.corp/one,a.corp"),
            ("$(rm -r x), b.corp;", &["https://a.corp", "https://a.corp/x"], "a.corp", "a.corp"),
            ("a.corp", &["https://a.corp", "https://c.corp", "https://d.corp"], "c.corp", "a.corp,c.corp,d.corp"),
        ] {
            let said = missing(annotation, urls).unwrap();
            assert_eq!((said.host.as_str(), said.annotation.as_str()), (host, way_out), "{annotation}");
            let more = if way_out.contains('%') { None } else { missing(way_out, urls) };
            assert_eq!(more, None, "{way_out} admits all");
        }
    }
}
