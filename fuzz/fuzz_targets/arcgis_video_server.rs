//! Answers of ArcGIS Video Server's generateToken.
#![no_main]

use fuzz::Keyed;
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use std::sync::LazyLock;

static API: LazyLock<Keyed> = LazyLock::new(|| {
    let provider = json!({"arcgisVideoServer": {"url": "https://host.example:21443/arcgis/admin",
        "usernameRef": {"name": "s", "key": "u"}, "passwordRef": {"name": "s", "key": "p"}}});
    let scope = json!({"arcgisVideoServer": {"referer": "https://lobby.example"}});
    Keyed::new(provider, scope, |spec| spec.arcgis_video_server.as_ref().expect("the member"))
});

fuzz_target!(|data: &[u8]| API.read(data));
