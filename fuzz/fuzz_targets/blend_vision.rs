//! Answers of BlendVision One.
#![no_main]

use fuzz::Keyed;
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use std::sync::LazyLock;

static API: LazyLock<Keyed> = LazyLock::new(|| {
    let provider = json!({"blendVision": {"organization": "org", "apiTokenRef": {"name": "s", "key": "k"}}});
    let scope = json!({"blendVision": {"resource": {"resourceId": "r", "resourceType": "RESOURCE_TYPE_VOD"}}});
    Keyed::new(provider, scope, |spec| spec.blend_vision.as_ref().expect("the member"))
});

fuzz_target!(|data: &[u8]| API.read(data));
