//! Answers of declared APIs, and the JSON paths that read them: the first line of the input is the path of the token, the
//! second that of the expiry, and the rest is the answer.
#![no_main]

use fuzz::{answer, check};
use libfuzzer_sys::fuzz_target;
use secrecy::ExposeSecret;
use serde_json::json;
use std::time::Duration;
use videotoken_api::http::HttpResponse;
use videotoken_providers::clock;
use videotoken_providers::declared_http::Reader;

const FORMS: [&str; 5] = ["seconds", "milliseconds", "epoch", "epochMillis", "timestamp"];

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let mut line = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (token, expiry) = (line(), line());
    let rest = parts.next().unwrap_or_default();
    let form = FORMS[data.len() % FORMS.len()];
    let response: HttpResponse = serde_json::from_value(json!({
        "token": {"json": token}, "expires": {form: expiry}, "values": {"other": {"json": "$.other"}},
        "success": {"json": token}, "failures": [{"json": expiry, "matches": "[a-f]+", "class": "Denied"}],
        "retryAfter": "retry-after", "cooldown": "5s",
    }))
    .expect("a response");
    let Ok(reader) = Reader::new(&response, "f") else { return };
    let (now, answer) = (clock::now().wall, answer(rest));
    for asked in [None, Some(Duration::from_secs(3600))] {
        let mut steps = Vec::new();
        let read = reader.read(&answer, asked, now, &mut |step| steps.push(step));
        if let Ok(issued) = &read {
            let token = issued.token.expose_secret();
            assert!(token.len() < 24 || steps.iter().all(|step| !step.contains(token)), "a step shows the token");
        }
        check(read, now);
    }
    assert!(reader.outline(&answer).len() <= 65);
});
