//! Tables of declarations, and the field that a mistake names.

use super::*;

#[test]
fn a_mistake_in_a_declaration_names_its_field() {
    let good = json!({"token": {"json": "$.t"}, "expires": {"after": "1h"}});
    for (change, expected) in [
        (json!({"token": {}}), "spec.http.response.token: set exactly one of json, cookie, header and text"),
        (json!({"token": {"json": "$.t[*]"}}), "spec.http.response.token.json: may lead to several values"),
        (json!({"expires": {}}), "spec.http.response.expires: set exactly one of jwt, seconds"),
        (json!({"expires": {"after": "1h", "jwt": {}}}), "spec.http.response.expires: set exactly one of"),
        (json!({"expires": {"after": "5s"}}), "spec.http.response.expires.after: must be more than 10s"),
        (json!({"expires": {"epoch": "$..e"}}), "spec.http.response.expires.epoch: may lead to several values"),
        (json!({"values": {"x": {"json": "x"}}}), "spec.http.response.values.x.json: is not a JSON path"),
        (json!({"success": {"json": "$.ok", "equals": []}}), "spec.http.response.success.equals: must be a text"),
        (
            json!({"success": {"json": "$.error", "equals": null}}),
            "spec.http.response.success.equals: must be a text, a number or a boolean. A failure with json alone",
        ),
        (
            json!({"failures": [{"status": [302], "class": "Denied"}]}),
            "spec.http.response.failures[0].status: a redirect is always refused",
        ),
        (
            json!({"success": {"json": "$.ok", "equals": 1, "matches": "1"}}),
            "spec.http.response.success: set equals or",
        ),
        (json!({"failures": [{"class": "Denied"}]}), "spec.http.response.failures[0]: set status, json, or both"),
        (
            json!({"failures": [{"status": [99], "class": "Denied"}]}),
            "spec.http.response.failures[0].status: a status is",
        ),
        (json!({"failures": [{"status": [400], "class": "Fatal"}]}), "spec.http.response.failures[0].class: must be"),
        (
            json!({"failures": [{"json": "$.e", "matches": "(", "class": "Denied"}]}),
            "spec.http.response.failures[0].matches: is not a regular expression",
        ),
        (
            json!({"failures": [{"json": "$.e", "matches": "a)|(b", "class": "Denied"}]}),
            "spec.http.response.failures[0].matches: is not a regular expression",
        ),
        (
            json!({"failures": [{"json": "$.e", "matches": "(\\w{1000}){1000}", "class": "Denied"}]}),
            "spec.http.response.failures[0].matches: is too large when compiled",
        ),
        (json!({"cooldown": "2h"}), "spec.http.response.cooldown: must be 1s to 1h"),
    ] {
        let mut response = good.clone();
        response.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let response: HttpResponse = serde_json::from_value(response).unwrap();
        let error = Reader::new(&response, "spec.http.response").unwrap_err().to_string();
        assert!(error.starts_with(expected), "{change}: {error}");
    }
}

#[test]
fn a_mistake_in_a_request_names_its_field() {
    let reference = json!({"secretRef": {"name": "s", "key": "k"}});
    for (request, expected) in [
        (json!({"path": "/a%20b"}), "spec.http.request.path: contains a percent sign: write the path decoded"),
        (json!({"path": "/%2e%2e/{{ lifetime }}"}), "spec.http.request.path: contains a percent sign"),
        (json!({"path": "/a/../b"}), "spec.http.request.path: a segment may not be"),
        (json!({"path": "/x", "json": reference}), "spec.http.request.json: is a reference as a whole"),
        (json!({"path": "/x", "form": reference}), "spec.http.request.form: is a reference as a whole"),
        (
            json!({"path": "/x", "headers": [{"name": "X-A", "value": "a"}, {"name": "x-a", "value": "b"}]}),
            "spec.http.request.headers[1].name: is the name of an earlier header",
        ),
        (
            json!({"path": "/x", "headers": [{"name": "x-API-key", "value": "a"}]}),
            "spec.http.request.headers[0].name: is the header of auth.header",
        ),
    ] {
        let account = json!({"url": "https://api.example.com", "request": request,
            "auth": {"header": {"name": "X-Api-Key", "secretRef": {"name": "s", "key": "k"}}},
            "response": {"token": {"json": "$.t"}, "expires": {"after": "1h"}}});
        let spec: ProviderSpec = serde_json::from_value(json!({"http": account})).unwrap();
        let account = spec.account().unwrap();
        let checked = account.identity().and_then(|_| crate::provider(&account).check(Owner::Cluster));
        let error = checked.unwrap_err();
        assert!(error.to_string().starts_with(expected), "{request}: {error}");
    }
}

#[test]
fn a_declared_content_type_replaces_that_of_the_body() {
    for (body, declared, expected) in [
        (json!({"json": {"a": 1}}), json!([]), "content-type: application/json"),
        (
            json!({"json": {"a": 1}}),
            json!(["Content-Type", "application/vnd.api+json"]),
            "content-type: application/vnd.api+json",
        ),
        (json!({"text": "<a/>"}), json!(["content-type", "application/xml"]), "content-type: application/xml"),
    ] {
        let headers = declared.as_array().unwrap().chunks(2).map(|pair| json!({"name": pair[0], "value": pair[1]}));
        // a percent sign within a tag isn't a part of the path
        let mut request = json!({"path": "/x{% if '%' == '' %}{% endif %}", "headers": headers.collect::<Vec<_>>()});
        request.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let account = json!({"url": "https://api.example.com", "auth": {"none": {}}, "request": request,
            "response": {"token": {"json": "$.t"}, "expires": {"after": "1h"}}});
        let declared = Declared::new(&serde_json::from_value(account).unwrap()).unwrap();
        let request = TokenRequest {
            account: String::new(),
            operation: "token".into(),
            fields: Map::new(),
            promised_lifetime: Duration::from_secs(HOUR),
            ends_at: None,
        };
        let lines = declared.request(&request, now()).unwrap();
        let types: Vec<_> = lines.iter().filter(|line| line.starts_with("content-type")).collect();
        assert_eq!(types, [expected]);
    }
}

/// Without a lifetime in the request, the expiry of `asked` would be untrue.
#[test]
fn a_declaration_asks_for_the_lifetime_that_it_counts_on_and_uses_its_parameters() {
    let account = |request: Value, expires: Value, lifetime: Value| {
        let account = json!({"url": "https://api.example.com", "auth": {"none": {}}, "parameters": {"video": {}},
            "request": request, "response": {"token": {"json": "$.t"}, "expires": expires}, "lifetime": lifetime});
        Declared::new(&serde_json::from_value(account).unwrap()).map(drop)
    };
    let asked = || json!({"asked": {}});
    let limits = || json!({"max": "24h"});
    for request in [
        json!({"path": "/{{ video }}", "json": {"a": [{"ttl": "{{ lifetime }}"}]}}),
        json!({"path": "/{{ video }}", "form": {"ttl": "{{ lifetime | minutes }}"}}),
        json!({"path": "/{{ video }}", "text": "{% if video == 'x' %}{{ expires_at }}{% endif %}"}),
        json!({"path": "/{{ video }}/{{ expires_at | unix }}"}),
        json!({"path": "/{{ video }}", "query": {"until": "{{ expires_at }}"}}),
        json!({"path": "/{{ video }}", "headers": [{"name": "X-Ttl", "value": "{{ lifetime }}"}]}),
    ] {
        assert_eq!(account(request.clone(), asked(), limits()), Ok(()), "{request}");
    }
    let without = json!({"path": "/{{ video }}", "json": {"ttl": 300}});
    let error = account(without.clone(), asked(), limits()).unwrap_err();
    assert_eq!(error.field, "spec.http.response.expires.asked");
    assert!(error.message.contains("{{ lifetime }}") && error.message.contains("expires.after"), "{error}");
    // one lifetime can be a constant, and other forms don't depend on the request
    assert_eq!(account(without.clone(), asked(), json!({"min": "5m", "max": "300s", "default": "5m"})), Ok(()));
    assert_eq!(account(without.clone(), json!({"after": "5m"}), limits()), Ok(()));
    assert_eq!(account(without, json!({"seconds": "$.s"}), limits()), Ok(()));
    for path in ["/videos/{video}", "/videos/x"] {
        let error = account(json!({"path": path}), json!({"after": "5m"}), json!(null)).unwrap_err();
        assert_eq!(error.field, "spec.http.parameters.video");
        assert!(error.message.contains("write {{ video }} where its value belongs"), "{error}");
    }
    let error = account(json!({"path": "/{{ uuid }}/{{ video }}"}), json!({"after": "5m"}), json!(null)).unwrap_err();
    assert_eq!(error.field, "spec.http.request.path");
    assert!(error.message.contains("write uuid()"), "{error}");
}
