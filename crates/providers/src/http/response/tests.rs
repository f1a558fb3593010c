use super::*;
use proptest::prelude::*;
use reqwest::header::{HeaderName, HeaderValue};

const NOW: &str = "Sun, 22 Nov 2026 12:00:00 GMT";

fn answer(status: u16, headers: &[(&'static str, &str)]) -> ProviderResponse {
    saying(status, headers, "")
}

fn saying(status: u16, headers: &[(&'static str, &str)], body: &str) -> ProviderResponse {
    let now = http_date(NOW).unwrap();
    let headers = headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
        .collect();
    let redactor = Redactor::new(vec!["secret-subscription-key".into()]);
    ProviderResponse::new(status, &headers, body.as_bytes().to_vec(), now, now, redactor)
}

#[test]
fn a_status_has_a_class() {
    use Class::{Configuration, Credential, Denied, Throttled, Transient};
    let classes = [
        (400, Configuration),
        (404, Configuration),
        (422, Configuration),
        (401, Credential),
        (403, Denied),
        (408, Transient),
        (409, Transient),
        (418, Transient),
        (429, Throttled),
        (500, Transient),
        (503, Transient),
        (599, Transient),
        (204, Transient),
    ];
    for (status, class) in classes {
        assert_eq!(class_of(status).0, class, "{status}");
    }
}

#[test]
fn retry_after_is_read_from_seconds_and_dates() {
    let seconds = |text: &str| answer(503, &[("retry-after", text)]).retry_after.map(|d| d.as_secs());
    assert_eq!(seconds("17"), Some(17));
    assert_eq!(seconds(" 17 "), Some(17));
    assert_eq!(seconds("0"), Some(0));
    assert_eq!(seconds("1.2"), Some(2));
    assert_eq!(seconds("-1"), None);
    assert_eq!(seconds("nan"), None);
    assert_eq!(seconds("soon"), None);
    assert_eq!(seconds("99999999999999999999"), Some(3600));
    // the time of a reset, in seconds and in milliseconds since 1970
    assert_eq!(seconds("1795348817"), Some(17));
    assert_eq!(seconds("1795348817000"), Some(17));
    assert_eq!(seconds("1795348000"), Some(0));
    assert_eq!(seconds("1795448817"), Some(3600));
    assert_eq!(seconds("Sun, 22 Nov 2026 12:00:30 GMT"), Some(30));
    assert_eq!(seconds("Sun, 22 Nov 2026 11:00:00 GMT"), Some(0));
    assert_eq!(seconds("Fri, 31 Dec 9999 23:59:59 GMT"), Some(3600));
}

#[test]
fn a_cookie_is_read_without_its_attributes() {
    let now = http_date(NOW).unwrap();
    let mut headers = HeaderMap::new();
    for cookie in [
        "other=1; Path=/",
        "token=; Max-Age=0",
        "token=one",
        "token=\"two==\"; HttpOnly; Secure; Max-Age=60; Expires=Thu, 01-Jan-1970 00:00:00 GMT",
        "token=",
        "token=deleted; max-age=0",
        "token=gone; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/",
        "token=gone; expires=Sun, 22-Nov-2026 11:59:59 GMT",
    ] {
        headers.append(SET_COOKIE, HeaderValue::from_static(cookie));
    }
    let answer = ProviderResponse::new(200, &headers, Vec::new(), now, now, Redactor::default());
    assert_eq!(answer.cookie("token"), Some("two=="));
    assert_eq!((answer.cookie("other"), answer.cookie("Token"), answer.cookie("Path")), (Some("1"), None, None));
}

#[test]
fn another_header_states_a_wait_in_the_same_forms() {
    let answer = answer(429, &[("x-ratelimit-retry-after", "17")]);
    assert_eq!(answer.retry_after, None);
    assert_eq!(answer.wait_in("X-RateLimit-Retry-After"), Some(Duration::from_secs(17)));
    assert_eq!(answer.wait_in("x-other"), None);
}

#[test]
fn a_date_to_come_back_is_on_the_providers_clock() {
    let ahead = [("retry-after", "Sun, 22 Nov 2026 12:10:30 GMT"), ("date", "Sun, 22 Nov 2026 12:10:00 GMT")];
    let answer = answer(429, &ahead);
    assert_eq!(answer.retry_after, Some(Duration::from_secs(30)));
    assert_eq!(answer.clock_skew, Some(600));
}

#[test]
fn the_skew_is_that_of_the_last_dated_answer() {
    let skew = ClockSkew::default();
    assert_eq!(skew.seconds(), None);
    for (date, expected) in [(NOW, 0), ("Sun, 22 Nov 2026 11:58:00 GMT", -120), ("no date", -120)] {
        skew.record(&answer(200, &[("date", date)]));
        assert_eq!(skew.seconds(), Some(expected));
    }
}

#[test]
fn ids_are_kept_when_they_are_plain() {
    let id = |value: &str| answer(500, &[("x-ms-request-id", value)]).request_id;
    assert_eq!(id("9f6b7c9e-9a0e-4f1e-8d2f-0a1b2c3d4e5f").as_deref(), Some("9f6b7c9e-9a0e-4f1e-8d2f-0a1b2c3d4e5f"));
    assert_eq!(id("westeurope:9f6b7c9e").as_deref(), Some("westeurope:9f6b7c9e"));
    for value in ["", "a b", "<script>", "secret-subscription-key", "x-secret-subscription-key"] {
        assert_eq!(id(value), None, "{value}");
    }
    assert_eq!(id(&"a".repeat(129)), None);
    let gateways = [("apim-request-id", "gateway-1"), ("x-ms-request-id", "")];
    assert_eq!(answer(500, &gateways).request_id.as_deref(), Some("gateway-1"));
}

#[test]
fn a_failure_carries_ids_and_the_providers_wish() {
    let both = [("x-ms-correlation-request-id", "corr-1"), ("retry-after", "5")];
    let error = saying(503, &both, "secret-subscription-key is busy").refusal();
    assert_eq!((error.class, &*error.reason), (Class::Transient, "ServerError"));
    assert_eq!(error.message, "HTTP 503: [redacted] is busy");
    assert_eq!(error.request_id.as_deref(), Some("corr-1"));
    assert_eq!(error.retry_after, Some(Duration::from_secs(5)));
    assert_eq!(answer(404, &[]).refusal().message, "HTTP 404");
    let repeated = r#"{"statusCode": 401, "message": "Access denied"}"#;
    assert_eq!(saying(401, &[], repeated).refusal().message, "HTTP 401: Access denied");
}

#[test]
fn p19_the_providers_now_is_its_date_and_age() {
    let now = |headers: &[(&'static str, &str)]| answer(200, headers).date.map(|date| date.to_rfc2822());
    let expected = |text: &str| http_date(text).map(|date| date.to_rfc2822());
    assert_eq!(now(&[("date", NOW)]), expected(NOW));
    for old in ["Sunday, 22-Nov-26 12:00:00 GMT", "Sun Nov 22 12:00:00 2026"] {
        assert_eq!(now(&[("date", old)]), expected(NOW), "{old}");
    }
    assert_eq!(now(&[("date", NOW), ("age", "90")]), expected("Sun, 22 Nov 2026 12:01:30 GMT"));
    for age in ["-1", "x", ""] {
        assert_eq!(now(&[("date", NOW), ("age", age)]), expected(NOW), "{age}");
    }
    assert_eq!(now(&[("date", NOW), ("age", "9223372036854775807")]), expected(NOW));
    assert_eq!(now(&[("age", "90")]), None);
}

#[test]
fn a_page_is_called_one_with_its_title_and_host_and_an_error_in_a_success_is_quoted() {
    let of = |status: u16, body: &str| saying(status, &[], body).with_host("vi.example:8443");
    let portal = "\u{feff}<!DOCTYPE html><html><head><TITLE lang=en> Sign\n in </TITLE>";
    for (body, message) in [
        (
            portal,
            "HTTP 200: a page in HTML, \"Sign in\", from vi.example:8443, and no token: look at the URL, and for a \
             login page, a captive portal or a proxy before it",
        ),
        (
            r#"{"error":{"code":"QuotaReached","message":"secret-subscription-key"}}"#,
            "HTTP 200: no token in it, but an error: QuotaReached: [redacted]",
        ),
        ("", "HTTP 200: no token in it: the body is empty"),
        (r#"{"accessToken":7}"#, "HTTP 200: no token in it"),
    ] {
        let error = of(200, body).not_understood("no token in it");
        assert_eq!((error.class, &*error.reason, error.message.as_str()), (Class::Transient, "BadAnswer", message));
    }
    let blocked = "HTTP 403: a page in HTML from vi.example:8443: a firewall or a proxy refuses, not the API";
    assert_eq!(of(403, "<html>blocked").refusal().message, blocked);
}

#[test]
fn a_byte_order_mark_is_left_out() {
    assert_eq!(saying(200, &[], "\u{feff}{}").body, b"{}");
    assert_eq!(saying(200, &[], "{}").body, b"{}");
}

#[test]
fn a_redirect_is_an_error_that_names_only_the_host() {
    let error = answer(302, &[("location", "https://login.example/?code=secret")]).reject_redirect().unwrap_err();
    assert_eq!(error.reason, "Redirected");
    assert_eq!(
        error.message,
        "HTTP 302: redirected to login.example, which is never followed: name the final endpoint"
    );
}

proptest! {
    #[test]
    fn p13_any_headers_give_an_answer(
        status in any::<u16>(),
        values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 6),
    ) {
        let names = ["retry-after", "date", "x-ms-request-id", "location", "content-type", "x-other"];
        let headers = names
            .into_iter()
            .zip(values)
            .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_bytes(&value).ok()?)))
            .collect();
        let now = http_date(NOW).unwrap();
        let answer = ProviderResponse::new(status, &headers, Vec::new(), now, now, Redactor::default());
        prop_assert!(answer.retry_after.is_none_or(|wait| wait <= MAX_RETRY_AFTER));
        drop(answer.reject_redirect());
    }
}
