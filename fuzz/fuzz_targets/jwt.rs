//! The reader of a JWT's expiry.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use video_token_operator::clock;
use video_token_operator::issuer::jwt;

fuzz_target!(|data: &[u8]| {
    let token = String::from_utf8_lossy(data);
    let now = clock::now().wall;
    if let Ok((expires_at, assumed)) = jwt::expiry(&token, None, now, Duration::from_hours(1), now) {
        assert!(assumed || jwt::exp(&token) == Some(expires_at));
        assert!(expires_at > now);
    }
});
