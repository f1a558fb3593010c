//! Tables of expiries.

use super::*;

/// Returns the lifetime in seconds, or the reason and the message of the failure.
fn lifetime(
    expires: &Value,
    body: &Value,
    headers: &[(&'static str, &str)],
    asked: Option<u64>,
) -> Result<i64, String> {
    let reader = reader(json!({"token": {"json": "$.t"}, "expires": expires}));
    let issued = read(&reader, &answer(200, headers, body.to_string().as_bytes()), asked);
    issued.map(|issued| (issued.expires_at - now()).num_seconds()).map_err(|error| error.to_string())
}

#[test]
fn p19_an_expiry_is_read_in_the_declared_form() {
    let at = now().timestamp() + 3600;
    for (expires, body, expected) in [
        (json!({"seconds": "$.e"}), json!({"t": "t", "e": 3600}), 3600),
        (json!({"seconds": "$.e"}), json!({"t": "t", "e": "3600"}), 3600),
        (json!({"seconds": "$.e"}), json!({"t": "t", "e": 299.9}), 299),
        (json!({"milliseconds": "$.e"}), json!({"t": "t", "e": 3_600_000}), 3600),
        (json!({"epoch": "$.e"}), json!({"t": "t", "e": at}), 3600),
        (json!({"epochMillis": "$.e"}), json!({"t": "t", "e": at * 1000}), 3600),
        (json!({"timestamp": "$.e"}), json!({"t": "t", "e": "2026-11-22T13:00:00.3244584+00:00"}), 3600),
        (json!({"timestamp": "$.e"}), json!({"t": "t", "e": "2026-11-22T15:00:00+02:00"}), 3600),
        (json!({"after": "30m"}), json!({"t": "t"}), 1800),
        (json!({"jwt": {}}), json!({"t": jwt(&json!({"exp": at}))}), 3600),
        (json!({"jwt": {}}), json!({"t": jwt(&json!({"exp": at.to_string()}))}), 3600),
        // a token is not used beyond its own expiry
        (json!({"seconds": "$.e"}), json!({"t": jwt(&json!({"exp": at - 3000})), "e": 3600}), 600),
    ] {
        assert_eq!(lifetime(&expires, &body, &[], None), Ok(expected), "{expires} {body}");
    }
    assert_eq!(lifetime(&json!({"asked": {}}), &json!({"t": "t"}), &[], Some(HOUR)), Ok(3600));
}

#[test]
fn p19_a_time_is_by_the_providers_clock_and_a_lifetime_by_none() {
    let ahead = [("date", "Sun, 22 Nov 2026 12:15:00 GMT")];
    let at = now().timestamp() + 3600 + 900;
    for (expires, body) in [
        (json!({"seconds": "$.e"}), json!({"t": "t", "e": 3600})),
        (json!({"epoch": "$.e"}), json!({"t": "t", "e": at})),
        (json!({"timestamp": "$.e"}), json!({"t": "t", "e": "2026-11-22T13:15:00Z"})),
        (json!({"jwt": {}}), json!({"t": jwt(&json!({"exp": at}))})),
        (json!({"after": "1h"}), json!({"t": "t"})),
    ] {
        assert_eq!(lifetime(&expires, &body, &ahead, None), Ok(3600), "{expires}");
    }
}

#[test]
fn a_number_in_another_unit_is_found_and_the_right_unit_named() {
    let at = now().timestamp() + 3600;
    for (expires, body, asked, expected) in [
        (
            json!({"seconds": "$.e"}),
            json!({"t": "t", "e": 43_200_000}),
            None,
            "expires.seconds at $.e: the lifetime of the token would be longer than 366 days. The number fits expires.milliseconds",
        ),
        (
            json!({"seconds": "$.e"}),
            json!({"t": "t", "e": 3_600_000}),
            Some(HOUR),
            "the lifetime of the token would be 1000h, and the request asked for 1h. The number fits expires.milliseconds",
        ),
        (
            json!({"seconds": "$.e"}),
            json!({"t": "t", "e": 21_600}),
            Some(HOUR / 2),
            "the lifetime of the token would be 6h, and the request asked for 30m. The API may ignore the lifetime of the request",
        ),
        (
            json!({"epoch": "$.e"}),
            json!({"t": "t", "e": at}),
            Some(HOUR / 2),
            "the lifetime of the token would be 1h, and the request asked for 30m. The API may ignore the lifetime of the request",
        ),
        (
            json!({"epochMillis": "$.e"}),
            json!({"t": "t", "e": at - 3500}),
            Some(HOUR),
            "would be only 0 s. The number fits expires.epoch",
        ),
        (
            json!({"milliseconds": "$.e"}),
            json!({"t": "t", "e": 3600}),
            None,
            "would be only 3 s. The number fits expires.seconds",
        ),
        (json!({"seconds": "$.e"}), json!({"t": "t", "e": at}), None, "366 days. The number fits expires.epoch"),
        (
            json!({"epoch": "$.e"}),
            json!({"t": "t", "e": 3600}),
            None,
            "would be only 0 s. The number fits expires.seconds",
        ),
        (
            json!({"epoch": "$.e"}),
            json!({"t": "t", "e": at * 1000}),
            None,
            "366 days. The number fits expires.epochMillis",
        ),
        (
            json!({"epochMillis": "$.e"}),
            json!({"t": "t", "e": at}),
            None,
            "would be only 0 s. The number fits expires.epoch",
        ),
        (
            json!({"timestamp": "$.e"}),
            json!({"t": "t", "e": at}),
            None,
            "a number, which fits expires.epoch or expires.epochMillis, at $.e",
        ),
        (
            json!({"timestamp": "$.e"}),
            json!({"t": "t", "e": at.to_string()}),
            None,
            "a number, which fits expires.epoch or expires.epochMillis, at $.e",
        ),
        (
            json!({"timestamp": "$.e"}),
            json!({"t": "t", "e": "Sun, 22 Nov 2026 13:00:00 GMT"}),
            None,
            "no time in RFC 3339, such as 2026-11-22T13:00:00Z, at $.e",
        ),
        (
            json!({"epoch": "$.e"}),
            json!({"t": "t", "e": "2026-11-22T13:00:00Z"}),
            None,
            "not a number at $.e. The text fits expires.timestamp",
        ),
        (json!({"seconds": "$.e"}), json!({"t": "t"}), None, "expires.seconds: nothing at $.e"),
        (json!({"seconds": "$.e"}), json!({"t": "t", "e": -1}), None, "at $.e is a negative number"),
        (json!({"seconds": "$.e"}), json!({"t": "t", "e": 1e30}), None, "longer than 366 days"),
        (json!({"seconds": "$.e"}), json!({"t": "t", "e": 10}), None, "would be only 10 s"),
    ] {
        let error = lifetime(&expires, &body, &[], asked).unwrap_err();
        assert!(error.starts_with("BadAnswer: ") && error.contains(expected), "{expires} {body}: {error}");
    }
    let error =
        lifetime(&json!({"timestamp": "$.e"}), &json!({"t": "t", "e": "2026-11-22T11:00:00Z"}), &[], None).unwrap_err();
    assert!(error.starts_with("ExpiredToken: "), "{error}");
}

#[test]
fn the_message_about_a_jwt_says_what_its_exp_is() {
    let at = now().timestamp() + 3600;
    for (expires, body, asked, expected) in [
        (json!({"jwt": {}}), json!({"t": "opaque"}), None, "the token is not a JWT:"),
        (json!({"jwt": {}}), json!({"t": jwt(&json!({"sub": "x"}))}), None, "the JWT has no exp"),
        (
            json!({"jwt": {}}),
            json!({"t": jwt(&json!({"exp": at * 1000}))}),
            None,
            "exp is 1795352400000, and must be seconds since 1970",
        ),
        (json!({"jwt": {}}), json!({"t": jwt(&json!({"exp": "2026-11-22"}))}), None, "exp is no number"),
    ] {
        let error = lifetime(&expires, &body, &[], asked).unwrap_err();
        assert!(error.starts_with("BadAnswer: ") && error.contains(expected), "{expires} {body}: {error}");
    }
}

#[test]
fn p19_no_token_lives_longer_than_was_asked_for_and_a_minute() {
    for (stated, expected) in
        [(3600, Some(3600)), (3000, Some(3000)), (3660, Some(3660)), (3900, Some(3660)), (3961, None)]
    {
        let lifetime = lifetime(&json!({"seconds": "$.e"}), &json!({"t": "t", "e": stated}), &[], Some(HOUR)).ok();
        assert_eq!(lifetime, expected, "{stated}");
    }
}
