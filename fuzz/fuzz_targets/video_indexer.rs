//! Answers of Azure Video Indexer's generate operations.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use videotoken_api::request::TokenRequest;
use videotoken_providers::clock;
use videotoken_providers::video_indexer;

fuzz_target!(|data: &[u8]| {
    let request = TokenRequest {
        account: "account".to_owned(),
        operation: "generateAccessToken".into(),
        fields: serde_json::Map::new(),
        promised_lifetime: Duration::from_hours(1),
        ends_at: None,
    };
    let (answer, now) = (fuzz::answer(data), clock::now().wall);
    fuzz::check(if answer.is_success() { video_indexer::issued(&answer, &request, now) } else { Err(answer.refusal()) }, now);
});
