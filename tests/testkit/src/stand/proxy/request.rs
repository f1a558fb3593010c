//! What a request to the API server is about, read from its URL as the API server reads it, and which requests one means.

use std::fmt;

use http::HeaderMap;
use http::Uri;
use http::header::{ACCEPT, USER_AGENT};

/// A request in the terms of RBAC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Request {
    /// get, list, watch, create, update, patch, delete or deletecollection; for a URL that names no resource the HTTP
    /// method in lower case.
    pub verb: String,
    /// The API group; empty for the core group.
    pub group: String,
    /// The plural, or the whole path of a URL that names no resource.
    pub resource: String,
    /// Such as `status`; empty if none.
    pub subresource: String,
    /// Empty for a cluster-wide request.
    pub namespace: String,
    /// Empty for a collection. A create's comes from its body.
    pub name: String,
    /// The answer holds `PartialObjectMetadata`: no Secret's data.
    pub metadata_only: bool,
    /// The query has a label selector.
    pub selects: bool,
    /// The client.
    pub user_agent: String,
}

impl Request {
    /// Reads a request.
    pub fn parse(method: &http::Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Self {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut request = Self {
            verb: method.as_str().to_lowercase(),
            resource: uri.path().to_owned(),
            metadata_only: header(ACCEPT).contains("as=PartialObjectMetadata"),
            selects: uri.query().unwrap_or_default().contains("labelSelector="),
            user_agent: header(USER_AGENT).to_owned(),
            ..Self::default()
        };
        let segments: Vec<&str> = uri.path().split('/').filter(|segment| !segment.is_empty()).collect();
        let (group, path) = match segments[..] {
            ["api", _, ref path @ ..] => ("", path),
            ["apis", group, _, ref path @ ..] => (group, path),
            _ => return request,
        };
        let (namespace, path) = match *path {
            ["namespaces", namespace, ref path @ ..] if !matches!(path, [] | ["status" | "finalize"]) => {
                (namespace, path)
            }
            ref path => ("", path),
        };
        let [resource, rest @ ..] = path else { return request };
        group.clone_into(&mut request.group);
        namespace.clone_into(&mut request.namespace);
        (*resource).clone_into(&mut request.resource);
        rest.first().copied().unwrap_or_default().clone_into(&mut request.name);
        request.subresource = rest.get(1..).unwrap_or_default().join("/");
        let watch = uri.query().unwrap_or_default().split('&').any(|q| matches!(q, "watch=true" | "watch=1"));
        verb(method, watch, !request.name.is_empty()).clone_into(&mut request.verb);
        if request.verb == "create" && request.name.is_empty() {
            let created: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
            created["metadata"]["name"].as_str().unwrap_or_default().clone_into(&mut request.name);
        }
        request
    }

    /// Verb and resource, as in a Role: `patch videoaccesstokens/status`, `list secrets (metadata)`.
    pub fn summary(&self) -> String {
        let slash = if self.subresource.is_empty() { "" } else { "/" };
        let metadata = if self.metadata_only { " (metadata)" } else { "" };
        format!("{} {}{slash}{}{metadata}", self.verb, self.resource, self.subresource)
    }
}

fn verb(method: &http::Method, watch: bool, named: bool) -> &'static str {
    match (method.as_str(), watch, named) {
        ("GET" | "HEAD", true, _) => "watch",
        ("GET" | "HEAD", false, true) => "get",
        ("GET" | "HEAD", false, false) => "list",
        ("POST", ..) => "create",
        ("PUT", ..) => "update",
        ("PATCH", ..) => "patch",
        ("DELETE", _, true) => "delete",
        ("DELETE", _, false) => "deletecollection",
        _ => "unknown",
    }
}

/// Which requests are meant. What is not said matches anything, but for the subresource: `patch("secrets")` does not
/// mean `secrets/status`.
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    verb: Option<String>,
    resource: Option<(String, String)>,
    namespace: Option<String>,
    name: Option<String>,
    metadata_only: Option<bool>,
    user_agent: Option<String>,
    pub(super) skipped: u64,
    pub(super) limit: Option<u64>,
}

macro_rules! verbs {
    ($($verb:ident),*) => {$(
        #[doc = concat!("A ", stringify!($verb), " of a resource, by its plural, or of a subresource: `secrets`, `videoaccesstokens/status`.")]
        pub fn $verb(resource: &str) -> Self {
            Self::any().verb(stringify!($verb)).resource(resource)
        }
    )*};
}

impl Matcher {
    verbs!(get, list, watch, create, update, patch, delete);

    /// Every request.
    pub fn any() -> Self {
        Self::default()
    }

    /// Of one verb.
    #[must_use]
    pub fn verb(self, verb: &str) -> Self {
        Self { verb: Some(verb.to_owned()), ..self }
    }

    /// Of one resource, or subresource after a slash.
    #[must_use]
    pub fn resource(self, resource: &str) -> Self {
        let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
        Self { resource: Some((resource.to_owned(), sub.to_owned())), ..self }
    }

    /// In one namespace; empty: cluster-wide requests.
    #[must_use]
    pub fn namespace(self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self }
    }

    /// Of one object; empty: requests for a collection.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }

    /// Whether the answer holds metadata only.
    #[must_use]
    pub fn metadata_only(self, metadata_only: bool) -> Self {
        Self { metadata_only: Some(metadata_only), ..self }
    }

    /// From clients whose User-Agent holds this.
    #[must_use]
    pub fn user_agent(self, part: &str) -> Self {
        Self { user_agent: Some(part.to_owned()), ..self }
    }

    /// Only the first `limit` that match. For rules, not for counts.
    #[must_use]
    pub fn first(self, limit: u64) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Only the `ordinal`th that matches, counted from 1. For rules, not for counts.
    #[must_use]
    pub fn nth(self, ordinal: u64) -> Self {
        Self { skipped: ordinal.saturating_sub(1), limit: Some(1), ..self }
    }

    /// Whether a request is meant.
    pub fn matches(&self, request: &Request) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        is(&self.verb, &request.verb)
            && self
                .resource
                .as_ref()
                .is_none_or(|(resource, sub)| *resource == request.resource && *sub == request.subresource)
            && is(&self.namespace, &request.namespace)
            && is(&self.name, &request.name)
            && self.metadata_only.is_none_or(|wanted| wanted == request.metadata_only)
            && self.user_agent.as_ref().is_none_or(|part| request.user_agent.contains(part))
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (resource, sub) = self.resource.clone().unwrap_or(("anything".to_owned(), String::new()));
        let slash = if sub.is_empty() { "" } else { "/" };
        write!(f, "{} {resource}{slash}{sub}", self.verb.as_deref().unwrap_or("any"))?;
        for (what, value) in [("in", &self.namespace), ("named", &self.name), ("by", &self.user_agent)] {
            if let Some(value) = value {
                write!(f, " {what} {value:?}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn request(line: &str) -> Request {
        let (method, uri) = line.split_once(' ').unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1".parse().unwrap());
        let body = br#"{"metadata": {"name": "new"}}"#;
        Request::parse(&method.parse().unwrap(), &uri.parse().unwrap(), &headers, body)
    }

    #[test]
    fn a_url_is_read_as_the_api_server_reads_it() {
        let cases = [
            ("GET /api/v1/secrets?watch=true&resourceVersion=1", "watch", "", "secrets", "", "", ""),
            ("GET /api/v1/secrets?labelSelector=watch%3Dtrue", "list", "", "secrets", "", "", ""),
            ("GET /api/v1/namespaces/n/secrets/s", "get", "", "secrets", "", "n", "s"),
            ("POST /api/v1/namespaces/n/secrets", "create", "", "secrets", "", "n", "new"),
            ("POST /api/v1/namespaces/n/serviceaccounts/a/token", "create", "", "serviceaccounts", "token", "n", "a"),
            ("GET /api/v1/namespaces", "list", "", "namespaces", "", "", ""),
            ("GET /api/v1/namespaces/n", "get", "", "namespaces", "", "", "n"),
            ("PUT /api/v1/namespaces/n/finalize", "update", "", "namespaces", "finalize", "", "n"),
            ("DELETE /api/v1/namespaces/n/secrets", "deletecollection", "", "secrets", "", "n", ""),
            (
                "PATCH /apis/videotoken.dev/v1alpha1/namespaces/n/videoaccesstokens/t/status?fieldManager=m",
                "patch",
                "videotoken.dev",
                "videoaccesstokens",
                "status",
                "n",
                "t",
            ),
            ("GET /readyz", "get", "", "/readyz", "", "", ""),
            ("GET /apis/apps/v1", "get", "", "/apis/apps/v1", "", "", ""),
        ];
        for (line, verb, group, resource, subresource, namespace, name) in cases {
            let r = request(line);
            let found = [r.verb, r.group, r.resource, r.subresource, r.namespace, r.name];
            assert_eq!(
                found.each_ref().map(String::as_str),
                [verb, group, resource, subresource, namespace, name],
                "{line}"
            );
            assert!(r.metadata_only);
        }
    }

    #[test]
    fn a_matcher_means_what_it_says() {
        let status = request("PATCH /apis/videotoken.dev/v1alpha1/namespaces/n/videoaccesstokens/t/status");
        let cases = [
            (Matcher::any(), true),
            (Matcher::patch("videoaccesstokens/status"), true),
            (Matcher::patch("videoaccesstokens"), false),
            (Matcher::get("videoaccesstokens/status"), false),
            (Matcher::any().namespace("n").name("t"), true),
            (Matcher::any().name("u"), false),
            (Matcher::any().metadata_only(false), false),
            (Matcher::any().user_agent("kubectl"), false),
        ];
        for (matcher, expected) in cases {
            assert_eq!(matcher.matches(&status), expected, "{matcher}");
        }
    }
}
