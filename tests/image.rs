//! `make image`: what the archive holds, and that it is the same whoever makes it. Around a stand-in for the program,
//! which takes minutes to build; `make image-check` compares two whole builds.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::chart::run;
use testkit::stand::process::Scratch;

const EPOCH: &str = "1790000000";

/// Makes an image in this folder and returns its digest.
fn image(scratch: &Scratch, name: &str, umask: &str) -> (PathBuf, String) {
    let program = scratch.write("program", "#!/bin/true\n").unwrap();
    let out = scratch.file(name);
    let made = Command::new("sh")
        .args(["-c", r#"umask "$1"; exec image/build.sh"#, "sh", umask])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .envs([("OUT", &out), ("PROGRAM", &program)])
        .env("SOURCE_DATE_EPOCH", EPOCH)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let digest = fs::read_to_string(out.join("digest")).unwrap().trim().to_owned();
    (out, digest)
}

fn unpack(archive: &Path, into: &Path) {
    fs::create_dir_all(into).unwrap();
    let (archive, into) = (archive.to_str().unwrap(), into.to_str().unwrap());
    run("tar".as_ref(), &["--extract", "--file", archive, "--directory", into], "").unwrap();
}

/// A blob, whose digest is checked.
fn blob(oci: &Path, digest: &Value) -> Vec<u8> {
    let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
    let content = fs::read(oci.join("blobs/sha256").join(hex)).unwrap();
    let sum = format!("{:x}", Sha256::digest(&content));
    assert_eq!(sum, hex);
    content
}

#[test]
fn two_builds_under_different_circumstances_are_the_same_bits() {
    let scratch = Scratch::new("vto-image-").unwrap();
    let ((one, digest), (other, same)) = (image(&scratch, "one", "022"), image(&scratch, "other", "077"));
    assert_eq!(digest, same);
    for file in ["video-token-operator.oci.tar", "video-token-operator.cdx.json"] {
        assert!(fs::read(one.join(file)).unwrap() == fs::read(other.join(file)).unwrap(), "{file}");
    }
}

#[test]
fn an_image_with_the_fips_module_has_an_archive_and_a_tag_of_its_own() {
    let scratch = Scratch::new("vto-image-").unwrap();
    let program = scratch.write("program", "#!/bin/true\n").unwrap();
    let out = scratch.file("out");
    let mut build = Command::new("image/build.sh");
    build.current_dir(env!("CARGO_MANIFEST_DIR")).env("SOURCE_DATE_EPOCH", EPOCH);
    let made = build.envs([("OUT", &out), ("PROGRAM", &program)]).env("FIPS", "1").output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    unpack(&out.join("video-token-operator-fips.oci.tar"), &out.join("oci"));
    let index: Value = serde_json::from_slice(&fs::read(out.join("oci/index.json")).unwrap()).unwrap();
    let tag = &index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"];
    assert_eq!(tag, concat!(env!("CARGO_PKG_VERSION"), "-fips"));
    let bill = fs::read_to_string(out.join("video-token-operator-fips.cdx.json")).unwrap();
    assert!(bill.contains("\"name\":\"aws-lc-fips-sys\""));
}

#[test]
fn without_a_rust_target_no_image_of_the_other_architecture_is_made_and_what_lacks_is_named() {
    let scratch = Scratch::new("vto-image-").unwrap();
    let rustc = scratch.write("rustc", "#!/bin/sh\necho /nowhere\n").unwrap();
    fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755)).unwrap();
    let (other, target) = match std::env::consts::ARCH {
        "aarch64" => ("amd64", "x86_64-unknown-linux-gnu"),
        _ => ("arm64", "aarch64-unknown-linux-gnu"),
    };
    let path = format!("PATH={}:{}", scratch.path().display(), std::env::var("PATH").unwrap());
    let out = format!("OUT={}", scratch.file("out").display());
    for (script, what) in [("build", "image"), ("tool", "archive")] {
        let said = run("env".as_ref(), &[&path, &out, "image/cross.sh", script], "").unwrap();
        assert!(said.starts_with(&format!("no {what} for {other}: install ")), "{said}");
        assert!(said.contains(&format!("the Rust target: rustup target add {target}.")), "{said}");
        assert!(!scratch.file("out").exists());
    }
    let architecture = format!("ARCHITECTURE={other}");
    let refusal = run("env".as_ref(), &[&path, &out, &architecture, "image/build.sh"], "").unwrap_err().to_string();
    assert!(refusal.contains(&format!("rustup target add {target}")), "{refusal}");
    assert!(!scratch.file("out").exists());

    // what an earlier commit left would get into a release
    let version = env!("CARGO_PKG_VERSION");
    fs::create_dir(scratch.file("out")).unwrap();
    for name in [
        format!("video-token-operator-{other}.oci.tar"),
        format!("video-token-operator-{other}.cdx.json"),
        format!("videotoken-{version}-linux-{other}.tar.gz"),
        format!("videotoken-{version}-linux-{other}.tar.gz.sha256"),
    ] {
        scratch.write(&format!("out/{name}"), "of another commit").unwrap();
    }
    scratch.write("out/video-token-operator.oci.tar", "this machine's").unwrap();
    for script in ["build", "tool"] {
        run("env".as_ref(), &[&path, &out, "image/cross.sh", script], "").unwrap();
    }
    let left: Vec<_> = fs::read_dir(scratch.file("out")).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["video-token-operator.oci.tar"]);
}

#[test]
fn the_archive_is_an_oci_image_that_runs_as_nobody_and_trusts_cas() {
    let scratch = Scratch::new("vto-image-").unwrap();
    let (out, digest) = image(&scratch, "one", "022");
    let oci = scratch.file("oci");
    unpack(&out.join("video-token-operator.oci.tar"), &oci);
    let index: Value = serde_json::from_slice(&fs::read(oci.join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"][0]["digest"], digest);
    let manifest: Value = serde_json::from_slice(&blob(&oci, &index["manifests"][0]["digest"])).unwrap();
    let config: Value = serde_json::from_slice(&blob(&oci, &manifest["config"]["digest"])).unwrap();
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"][0], "/video-token-operator");
    assert_eq!(config["created"], "2026-09-21T14:13:20Z");

    let layer = scratch.file("layer.tar.gz");
    fs::write(&layer, blob(&oci, &manifest["layers"][0]["digest"])).unwrap();
    let listed =
        run("tar".as_ref(), &["--list", "--verbose", "--numeric-owner", "--file", layer.to_str().unwrap()], "");
    let listed = listed.unwrap();
    for (mode, path) in [
        ("-rwxr-xr-x 0/0", "./video-token-operator"),
        ("-rw-r--r-- 0/0", "./etc/ssl/certs/ca-certificates.crt"),
        ("-rw-r--r-- 0/0", "./etc/passwd"),
    ] {
        let line = listed.lines().find(|line| line.ends_with(path)).unwrap_or_else(|| panic!("no {path}: {listed}"));
        assert!(line.starts_with(mode), "{line}");
    }
    let files = listed.lines().filter(|line| line.starts_with('-')).count();
    assert_eq!(files, 5, "nothing else is in it: {listed}");
}

#[test]
fn the_bill_of_materials_names_each_crate_with_its_checksum_and_licence() {
    let scratch = Scratch::new("vto-image-").unwrap();
    let (out, _) = image(&scratch, "one", "022");
    let bill: Value = serde_json::from_slice(&fs::read(out.join("video-token-operator.cdx.json")).unwrap()).unwrap();
    assert_eq!((bill["bomFormat"].as_str(), bill["specVersion"].as_str()), (Some("CycloneDX"), Some("1.6")));
    let components = bill["components"].as_array().unwrap();
    let crates: Vec<_> =
        components.iter().filter(|item| item["purl"].as_str().unwrap().starts_with("pkg:cargo/")).collect();
    assert!(crates.len() > 100, "{}", crates.len());
    for name in ["kube", "rustls", "tokio", "aws-lc-rs"] {
        assert!(crates.iter().any(|item| item["name"] == name), "no {name}");
    }
    for item in &crates {
        let complete = item["hashes"][0]["content"].as_str().is_some_and(|sum| sum.len() == 64)
            && item["licenses"][0]["expression"].is_string();
        assert!(complete, "{item}");
    }
    // what only the tests or a build need isn't in the image
    assert!(
        !crates.iter().any(|item| ["proptest", "rcgen", "testkit", "syn"].contains(&item["name"].as_str().unwrap()))
    );
}
