//! Answers of Cognitive Services' token API.
#![no_main]

use fuzz::Keyed;
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use std::sync::LazyLock;

static API: LazyLock<Keyed> = LazyLock::new(|| {
    let provider = json!({"cognitiveServices": {"endpoint": "https://virginia.api.cognitive.microsoft.us",
        "keyRef": {"name": "s", "key": "k"}}});
    let scope = json!({"cognitiveServices": {"limitedAccess": {"targetAzureResourceId": "/subscriptions/x",
        "featureFlags": ["Face.Identification"]}}});
    Keyed::new(provider, scope, |spec| spec.cognitive_services.as_ref().expect("the member"))
});

fuzz_target!(|data: &[u8]| API.read(data));
