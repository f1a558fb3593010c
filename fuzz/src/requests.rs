//! Requests and signed tokens that a provider declares, with templates of any text and a parameter of any value.
//!
//! The provider's administrator writes the templates and anyone who may create a VideoAccessToken chooses the value. What
//! is built must be what the declaration says, or it must be refused with a field.

use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use url::Url;
use url::form_urlencoded::parse;
use videotoken_api::provider::ProviderSpec;
use videotoken_api::request::{FieldError, TokenRequest};
use videotoken_api::provider_types::Account;
use videotoken_api::video_access_token::VideoAccessTokenSpec;
use videotoken_core::plan::template::declared::Reads;
use videotoken_providers::clock::{self, Timestamp};
use videotoken_providers::declared_http::Declared;
use videotoken_providers::signed;

/// URL of the API, with a path of its own.
const URL: &str = "https://api.example.com/base";

/// What stands for the value of a Secret.
const SECRET: &str = "<login/key>";

/// Seconds that a token lives.
const LIFETIME: i64 = 3600;

/// Returns a reference to a Secret.
fn reference() -> Value {
    json!({"name": "login", "key": "key"})
}

/// An error that can be told. Returns `None` for it.
fn told<T>(result: Result<T, FieldError>) -> Option<T> {
    match result {
        Ok(result) => Some(result),
        Err(error) => {
            let text = error.to_string();
            assert!(text.len() < 4096, "{} bytes of error", text.len());
            assert!(text.starts_with("spec."), "no field: {text}");
            None
        }
    }
}

/// Returns a provider of this type, and the request for a token with this value of its parameter. The provider declares
/// the parameters that its templates read, because others are refused.
fn declared(type_: &str, account: Value, value: &str) -> Option<(ProviderSpec, TokenRequest)> {
    let (mut account, mut reads) = (account, Reads::default());
    reads.tree(&account);
    let text = json!({"pattern": "(?s).*", "default": "sample"});
    let number = json!({"type": "integer", "default": "7"});
    let read: Map<String, Value> = [("a", text), ("n", number)]
        .into_iter()
        .filter(|(name, _)| reads.has(name))
        .map(|(name, parameter)| (name.to_owned(), parameter))
        .collect();
    let given = if read.contains_key("a") { json!({"a": value}) } else { json!({}) };
    account["parameters"] = read.into();
    account["lifetime"] = json!({"min": "10s", "max": "24h", "default": format!("{LIFETIME}s")});
    let provider: ProviderSpec = serde_json::from_value(json!({type_: account})).expect("a provider");
    let scope = json!({type_: {"parameters": given}});
    let token = json!({"providerRef": {"name": "p"}, "scope": scope});
    let token: VideoAccessTokenSpec = serde_json::from_value(token).expect("a token");
    let request = told(token.request(&provider))?;
    Some((provider, request))
}

/// A request as lines: method and URL, headers, and what follows the empty line.
struct Rendered {
    url: Url,
    headers: Vec<String>,
    body: Vec<String>,
}

impl Rendered {
    /// Returns the declared request with this value, if it is not refused.
    fn of(request: Value, value: &str) -> Option<Self> {
        let account = json!({"url": URL, "auth": {"none": {}}, "request": request,
            "response": {"token": {"json": "$.token"}, "expires": {"after": "1h"}}});
        let (provider, request) = declared("http", account, value)?;
        let Ok(Account::Http(account)) = provider.account() else { panic!("no declared API") };
        let lines = told(told(Declared::new(account))?.request(&request, clock::now().wall))?;
        let (first, rest) = lines.split_first().expect("a line");
        let url = first.split_once(' ').expect("a method").1;
        let end = rest.iter().position(String::is_empty).unwrap_or(rest.len());
        let body = rest.get(end + 1..).unwrap_or_default().to_vec();
        let rendered = Self { url: url.parse().expect("a URL"), headers: rest[..end].to_vec(), body };
        rendered.stays();
        Some(rendered)
    }

    /// Nothing leads to another host, above the declared path, or past it by dots.
    fn stays(&self) {
        assert_eq!(self.url.origin(), URL.parse::<Url>().expect("a URL").origin());
        assert!(self.url.path().starts_with("/base/"), "{}", self.url);
        assert!(self.url.fragment().is_none() && self.url.username().is_empty(), "{}", self.url);
        assert!(self.segments().iter().all(|segment| segment != "." && segment != ".."), "{}", self.url);
    }

    /// Returns the decoded segments of the path.
    fn segments(&self) -> Vec<String> {
        let decoded = |segment: &str| percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned();
        self.url.path_segments().expect("a path").map(decoded).collect()
    }

    fn query(&self) -> Vec<(String, String)> {
        self.url.query_pairs().into_owned().collect()
    }

    /// Returns the JSON of the body.
    fn json(&self) -> Value {
        serde_json::from_str(&self.body.concat()).expect("JSON")
    }
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A right declaration must not be refused for a plain value: then the checks would see nothing.
fn accepted<T>(made: Option<T>, value: &str) -> Option<T> {
    let is_plain = (1..=64).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_alphanumeric());
    assert!(made.is_some() || !is_plain, "a right declaration is refused for {value}");
    made
}

/// A value fills its place and nothing else, whatever it is.
pub fn a_value_fills_its_place(a: &str) {
    let plain = format!("x {a}");
    let path = json!({"path": "/v1/{{ a }}/x-{{ a }}/tail", "query": {"q": "{{ a }}"}});
    if let Some(rendered) = accepted(Rendered::of(path, a), a) {
        assert_eq!(rendered.segments(), ["base", "v1", a, &format!("x-{a}"), "tail"]);
        assert_eq!(rendered.query(), pairs(&[("q", a)]));
    }

    let json = json!({"path": "/v1", "query": {"q": "{{ a }}", "r": "x {{ a }}"},
        "json": {"one": "{{ a }}", "list": ["{{ a }}", "x {{ a }}"], "deep": {"n": "{{ n }}", "t": true},
            "secret": {"secretRef": reference()}}});
    if let Some(rendered) = accepted(Rendered::of(json, a), a) {
        let expected = json!({"one": a, "list": [a, plain], "deep": {"n": 7, "t": true}, "secret": SECRET});
        assert_eq!(rendered.json(), expected);
        assert_eq!(rendered.query(), pairs(&[("q", a), ("r", &plain)]));
    }

    let header =
        json!({"path": "/v1", "headers": [{"name": "X-A", "value": "{{ a }}"}, {"name": "X-B", "value": "b"}]});
    if let Some(rendered) = accepted(Rendered::of(header, a), a) {
        // one that no header can carry is not sent at all
        let expected: BTreeSet<_> = [format!("x-a: {a}"), "x-b: b".to_owned()].into();
        assert!(rendered.headers.iter().all(|line| expected.contains(line)), "{:?}", rendered.headers);
        assert!(rendered.body.is_empty());
    }

    let form = json!({"path": "/v1", "form": {"a": "{{ a }}", "b": "x {{ a }}", "n": "{{ n }}",
        "s": {"secretRef": reference()}}});
    if let Some(rendered) = accepted(Rendered::of(form, a), a) {
        let expected = [format!("a={a}"), format!("b={plain}"), "n=7".to_owned(), format!("s={SECRET}")];
        assert_eq!(rendered.body, expected);
    }

    let text = json!({"path": "/v1", "text": "x {{ a }}"});
    if let Some(rendered) = accepted(Rendered::of(text, a), a) {
        assert_eq!(rendered.body, [plain]);
    }
}

/// Whatever a template says, the places around it stay as they are declared.
pub fn a_template_stays_in_its_place(template: &str, a: &str) {
    let path = json!({"path": format!("/v1/{template}/tail"), "query": {"q": template, "r": "r"}});
    if let Some(rendered) = Rendered::of(path, a) {
        let segments = rendered.segments();
        assert!(segments.starts_with(&["base".to_owned(), "v1".to_owned()]), "{segments:?}");
        assert_eq!(segments.last().map(String::as_str), Some("tail"));
        let query = rendered.query();
        let names: Vec<_> = query.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((names, query[1].1.as_str()), (vec!["q", "r"], "r"));
    }

    let json = json!({"path": "/v1", "headers": [{"name": "X-A", "value": template}],
        "json": {"one": template, template: 1, "fixed": [1, "x"], "s": {"secretRef": reference()}}});
    if let Some(rendered) = Rendered::of(json, a) {
        let body = rendered.json();
        let names: BTreeSet<_> = body.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(names, BTreeSet::from(["one", template, "fixed", "s"]));
        assert!(
            rendered.headers.iter().all(|line| line.starts_with("x-a: ") || line == "content-type: application/json")
        );
        assert_eq!((&body["fixed"], &body["s"]), (&json!([1, "x"]), &json!(SECRET)));
    }

    let form = json!({"path": "/v1", "form": {"one": template, "s": {"secretRef": reference()}}});
    if let Some(rendered) = Rendered::of(form, a) {
        assert!(rendered.body.len() == 2 && rendered.body[0].starts_with("one="), "{:?}", rendered.body);
        assert_eq!(rendered.body[1], format!("s={SECRET}"));
    }
}

/// Returns what a declaration signs, as lines.
fn content(account: Value, a: &str) -> Option<(Vec<String>, Timestamp)> {
    let mut account = account;
    account["key"] = json!({"secretRef": reference()});
    let (provider, request) = declared("signed", account, a)?;
    let Ok(Account::Signed(account)) = provider.account() else { panic!("no declared token") };
    let now = clock::now().wall;
    told(signed::content(account, &request, now)).map(|lines| (lines, now))
}

/// Returns the JSON after the name of a line.
fn line(lines: &[String], name: &str) -> Value {
    let text = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).expect(name);
    serde_json::from_str(text).expect("JSON")
}

/// A value is one claim, and no template changes when a token ends or how it is signed.
pub fn a_claim_is_what_is_declared(template: &str, a: &str) {
    let plain = format!("x {a}");
    let fixed = json!({"jwt": {"algorithm": "HS256", "header": {"kid": "{{ a }}"},
        "claims": {"sub": "{{ a }}", "deep": {"list": ["{{ a }}", "x {{ a }}"]}, "n": "{{ n }}"},
        "variants": {"v": {"sub": "x {{ a }}"}}}});
    if let Some((lines, now)) = accepted(content(fixed, a), a) {
        let exp = now.timestamp() + LIFETIME;
        let deep = json!({"list": [a, plain]});
        assert_eq!(line(&lines, "header"), json!({"alg": "HS256", "typ": "JWT", "kid": a}));
        assert_eq!(line(&lines, "claims"), json!({"sub": a, "deep": deep, "n": 7, "exp": exp}));
        assert_eq!(line(&lines, "values.v"), json!({"sub": plain, "deep": deep, "n": 7, "exp": exp}));
    }

    let any = json!({"jwt": {"algorithm": "HS256", "header": {"kid": template, template: "h"},
        "claims": {"sub": template, "m": {"exp": template}, template: 1}, "variants": {"v": {template: template}}}});
    if let Some((lines, now)) = content(any, a) {
        assert_eq!(line(&lines, "header")["alg"], "HS256");
        for name in ["claims", "values.v"] {
            let claims = line(&lines, name);
            assert_eq!(claims["exp"], now.timestamp() + LIFETIME);
            let names: BTreeSet<_> = claims.as_object().expect("an object").keys().map(String::as_str).collect();
            assert_eq!(names, BTreeSet::from(["sub", "m", "exp", template]));
        }
    }
}

/// A token of a signed text contains no key, and a value stays between its separators.
pub fn a_text_is_what_is_declared(template: &str, a: &str) {
    let fixed = json!({"message": {"text": "{{ a }}?{{ key }}&n={{ n }}&e={{ expires_at | unix }}",
        "algorithm": "Sha256", "encoding": "Hex", "token": "a={{ a | urlencode }}&n={{ n }}&hash={{ signature }}"}});
    if let Some((lines, _)) = accepted(content(fixed, a), a) {
        assert!(lines[1].starts_with(&format!("text: {a}?{SECRET}&n=7&e=")), "{}", lines[1]);
        let token = lines[2].strip_prefix("token: ").expect("a token");
        let expected = pairs(&[("a", a), ("n", "7"), ("hash", "<signature>")]);
        assert_eq!(parse(token.replace('+', "%2B").as_bytes()).into_owned().collect::<Vec<_>>(), expected);
    }

    let token = format!("{template}{{{{ signature }}}}");
    let text = format!("{template}{{{{ expires_at | unix }}}}");
    for (algorithm, text) in [("Sha1", format!("{text}{{{{ key }}}}")), ("HmacSha256", text)] {
        let any = json!({"message": {"text": text, "algorithm": algorithm, "encoding": "Base64Url", "token": token,
            "values": {"w": template}}});
        if let Some((lines, _)) = content(any, a).filter(|_| !format!("{template}{a}").contains("login")) {
            assert!(lines[2..].iter().all(|line| !line.contains("login")), "the token shows the key");
        }
    }

    let app = "970ca35de60c44645bbae8a215061b33";
    let agora =
        json!({"agora": {"appId": app, "rtc": {"channel": template, "uid": template}, "rtm": {"user": "{{ a }}"}}});
    if let Some((lines, _)) = content(agora, a) {
        assert_eq!(lines[0], format!("AccessToken2 of app {app}, valid for {LIFETIME} s"));
    }
}
