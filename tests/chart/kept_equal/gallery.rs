//! Tables of the files in deploy/examples/platforms by the members of each declaration, in which a reader finds the file that
//! resembles a platform.

use super::{holds_table, repository};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use testkit::stand::yaml;

/// Name and spec of each provider of the gallery, by file, in alphabetical order.
fn providers() -> Vec<(String, Value)> {
    let folder = repository().join("deploy/examples/platforms");
    let mut all = Vec::new();
    for name in super::file_names(&folder) {
        let text = fs::read_to_string(folder.join(&name)).unwrap();
        let objects = yaml::parse(&text).unwrap();
        let objects = objects.iter().map(|object| serde_json::to_value(object).unwrap());
        let mut specs = objects.filter(|object| object["kind"].as_str().unwrap().ends_with("TokenProvider"));
        let spec = specs.next().unwrap_or_else(|| panic!("{name} has no provider"))["spec"].clone();
        all.push((name, spec));
    }
    all
}

/// Names of the members of an object.
fn members(value: &Value) -> Vec<&str> {
    value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

fn code(word: &str) -> String {
    format!("`{word}`")
}

/// How a call authenticates: a member of `auth`, and what tells it from others.
fn auth(http: &Value) -> String {
    let auth = members(&http["auth"])[0];
    let more = match auth {
        "header" => http["auth"]["header"]["name"].as_str().map(str::to_owned),
        "oauth2" => http["auth"]["oauth2"]["grant"].as_str().or(Some("client_credentials")).map(code),
        "none" if http["request"].to_string().contains("secretRef") => Some("a secret in the body".to_owned()),
        _ => None,
    };
    code(auth) + &more.map(|more| format!(", {more}")).unwrap_or_default()
}

fn body(http: &Value) -> String {
    let body = ["json", "form", "text"].into_iter().find(|body| !http["request"][*body].is_null());
    body.map_or_else(|| "none".to_owned(), code)
}

/// Text of a cell with these members.
fn cell(members: impl Iterator<Item = String>) -> String {
    let text = members.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "-".to_owned() } else { text }
}

/// Members of an answer other than the token and its expiry.
fn further(http: &Value) -> String {
    let usual = ["token", "expires"];
    let rest = members(&http["response"]).into_iter().filter(|name| !usual.contains(name)).map(code);
    cell(rest)
}

#[test]
fn each_platform_is_in_the_table_with_its_traits() {
    let mut calls =
        "| File | Credential | Body | Token | Expiry | Further members of `response` |\n|---|---|---|---|---|---|\n"
            .to_owned();
    let mut signs = "| File | Form | Algorithm | Key | Further members |\n|---|---|---|---|---|\n".to_owned();
    for (name, spec) in providers() {
        let link = format!("[{name}](../../deploy/examples/platforms/{name})");
        if let (http, true) = (&spec["http"], spec["http"].is_object()) {
            let [token, expires] = ["token", "expires"].map(|place| code(members(&http["response"][place])[0]));
            let row = [link, auth(http), body(http), token, expires, further(http)];
            writeln!(calls, "| {} |", row.join(" | ")).unwrap();
            continue;
        }
        let signed = &spec["signed"];
        let form = ["jwt", "message", "agora"].into_iter().find(|form| signed[*form].is_object()).unwrap();
        let algorithm = signed[form]["algorithm"].as_str().map_or_else(|| "none to choose".to_owned(), code);
        let usual = ["algorithm", "claims", "encoding", "text", "token", "appId"];
        let more = members(&signed[form]).into_iter().filter(|name| !usual.contains(name)).map(code);
        let key = signed["key"]["encoding"].as_str().map_or_else(|| "as it is".to_owned(), code);
        let row = [link, code(form), algorithm, key, cell(more)];
        writeln!(signs, "| {} |", row.join(" | ")).unwrap();
    }
    holds_table("docs/providers/any-platform.md", "gallery-http", &calls);
    holds_table("docs/providers/any-platform.md", "gallery-signed", &signs);
}
