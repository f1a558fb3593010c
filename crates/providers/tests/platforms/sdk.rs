//! The platforms' own SDKs from npm as verifiers. Without npm or a registry, the tests say so and do nothing.
//!
//! The packages are installed once into the cache, without their scripts. `verify.mjs` has a function for each platform
//! and gets the tokens, the keys and the parameters of all.

use super::keys::Key;
use super::{parameters, platforms, seconds};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Packages with their versions.
const PACKAGES: [&str; 12] = [
    "agora-token@2.0.6",
    "@aws-sdk/cloudfront-signer@3.1166.0",
    "akamai-edgeauth@0.2.0",
    "jose@6.2.17",
    "jsonwebtoken@9.0.3",
    "livekit-server-sdk@2.19.2",
    "@vonage/jwt@1.17.1",
    "twilio@6.2.0",
    "@mux/mux-node@15.3.0",
    "@100mslive/server-sdk@0.3.0",
    "@stream-io/node-sdk@0.7.64",
    "opentok@2.23.2",
];

/// Returns the folder with the packages, or `None` with a message if they can't be installed.
fn installed() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let folder = cache.join("video-token-operator/platform-sdks-1");
    let (complete, list) = (folder.join("complete"), PACKAGES.join("\n"));
    if std::fs::read_to_string(&complete).is_ok_and(|installed| installed == list) {
        return Some(folder);
    }
    std::fs::create_dir_all(&folder).ok()?;
    std::fs::write(folder.join("package.json"), r#"{"private": true}"#).ok()?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--save-exact"]).args(PACKAGES);
    let output = npm.current_dir(&folder).output();
    match output {
        Ok(output) if output.status.success() => {
            std::fs::write(complete, list).ok()?;
            Some(folder)
        }
        Ok(output) => {
            println!("skipped: npm can't install the SDKs: {}", String::from_utf8_lossy(&output.stderr));
            None
        }
        Err(error) => {
            println!("skipped: there is no npm: {error}");
            None
        }
    }
}

#[tokio::test]
async fn the_platforms_own_sdks_verify_the_tokens() {
    let Some(folder) = installed() else { return };
    let mut cases = BTreeMap::new();
    for platform in platforms() {
        let key = Key::of(&platform);
        let issued = platform.issue(&key.text).await;
        let values: BTreeMap<_, _> =
            issued.values.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect();
        let case = json!({
            "token": issued.token.expose_secret(), "values": values, "key": key.text, "verifies": key.verifies,
            "parameters": parameters(&platform), "signed": platform.provider.signed,
            "expires": seconds(issued.expires_at), "issued": seconds(issued.issued_at),
        });
        cases.insert(platform.name, case);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/platforms/verify.mjs");
    // modules are found from the folder of the script
    std::fs::copy(&script, folder.join("verify.mjs")).unwrap();
    let input = std::env::temp_dir().join(format!("platforms-{}.json", std::process::id()));
    std::fs::write(&input, json!(cases).to_string()).unwrap();
    let output = Command::new("node").arg("verify.mjs").arg(&input).current_dir(&folder).output().unwrap();
    let _ = std::fs::remove_file(&input);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let verified: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    println!("{verified}");
    assert!(verified.as_array().unwrap().len() >= 18, "{verified}");
}
