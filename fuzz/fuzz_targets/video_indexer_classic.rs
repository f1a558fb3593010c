//! Answers of the classic Authorization API.
#![no_main]

use fuzz::Keyed;
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use std::sync::LazyLock;

static API: LazyLock<Keyed> = LazyLock::new(|| {
    let provider = json!({"videoIndexerClassic": {"location": "trial", "accountId": "9f0ad2f4-5a8b-4c1e-8e36-1d2f6a7b3c40",
        "subscriptionKeyRef": {"name": "s", "key": "k"}}});
    let scope = json!({"videoIndexerClassic": {"account": {}}});
    Keyed::new(provider, scope, |spec| spec.video_indexer_classic.as_ref().expect("the member"))
});

fuzz_target!(|data: &[u8]| API.read(data));
