//! The reader of a JWT's expiry.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use videotoken_core::expiry::ResponseTimes;
use videotoken_core::jwt;
use videotoken_providers::clock;

fuzz_target!(|data: &[u8]| {
    let token = String::from_utf8_lossy(data);
    let now = clock::now().wall;
    let (ends, issued) = (jwt::exp(&token), jwt::iat(&token));
    let told = ResponseTimes { ends, issued, date: Some(now), sent_at: now, arrived_at: now };
    if let Ok((expires_at, _)) = told.expiry(Duration::from_hours(1)) {
        assert!(expires_at > now && expires_at <= now + Duration::from_secs(3660));
    }
    jwt::is_jwt(&token);
});
