//! `make release` into a real registry: what it pushes, signs and leaves behind, read by the tools that users have. Around
//! a stand-in for the operator, which takes minutes to build; `make e2e` runs a real one from a registry.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use testkit::chart::{publisher, run, tool};
use testkit::publishing::{Registry, Release, archive_tool};
use testkit::stand::process::Scratch;

async fn released(scratch: &Scratch) -> (Registry, Release) {
    let program = scratch.write("program", "#!/bin/true\n").unwrap();
    let dist = scratch.file("dist");
    let made = Command::new("image/build.sh")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .envs([("OUT", &dist), ("PROGRAM", &program)])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    archive_tool(&dist).unwrap();
    // an image with the FIPS module is no part of a release
    fs::write(dist.join("video-token-operator-fips.oci.tar"), "").unwrap();
    let registry = Registry::start(Ipv4Addr::LOCALHOST).await.unwrap();
    let release = registry.release(&dist).unwrap_or_else(|error| panic!("{error:#}"));
    (registry, release)
}

fn oras(args: &[&str]) -> String {
    run(&publisher("oras").unwrap(), args, "").unwrap_or_else(|error| panic!("{error:#}"))
}

/// The chart that was pushed installs the image that was pushed, without a value.
fn installs(release: &Release) {
    let chart = format!("oci://{}", release.chart);
    let ca = release.ca.to_str().unwrap();
    let rendered = run(&tool("helm").unwrap(), &["template", "vto", &chart, "--ca-file", ca], "").unwrap();
    let (name, digest) = release.image.split_once('@').unwrap();
    let image = format!("image: {name}:{}@{digest}", env!("CARGO_PKG_VERSION"));
    assert!(rendered.contains(&image), "{image} isn't in what {chart} renders");
    let shown = run(&tool("helm").unwrap(), &["show", "chart", &chart, "--ca-file", ca], "").unwrap();
    let metadata: Value = serde_yaml_ng::from_str(&shown).unwrap();
    let annotation = |name: &str| -> Value {
        serde_yaml_ng::from_str(metadata["annotations"][format!("artifacthub.io/{name}")].as_str().unwrap()).unwrap()
    };
    assert!(annotation("images")[0]["image"].as_str().unwrap().ends_with(digest));
    assert_eq!(annotation("signKey")["fingerprint"].as_str().unwrap().len(), 64);
}

/// Image, chart and what is attached to the image are signed; by nobody else.
fn signed(registry: &Registry, release: &Release, scratch: &Scratch) {
    let ca = release.ca.to_str().unwrap();
    let listed = oras(&["discover", "--ca-file", ca, "--format", "json", "--depth", "1", &release.image]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let name = release.image.split_once('@').unwrap().0;
    let mut references = vec![release.image.clone(), release.chart.clone()];
    for kind in ["application/vnd.cyclonedx+json", "application/vnd.in-toto+json"] {
        let found = listed["referrers"].as_array().unwrap().iter().find(|referrer| referrer["artifactType"] == kind);
        references.push(format!(
            "{name}@{}",
            found.unwrap_or_else(|| panic!("{kind}: {listed}"))["digest"].as_str().unwrap()
        ));
    }
    let (key, stranger) = (scratch.file("stranger.key"), scratch.file("stranger.crt"));
    registry.key(&key, &stranger).unwrap();
    for reference in &references {
        release.verify(&release.certificate, reference).unwrap();
        assert!(release.verify(&stranger, reference).is_err(), "{reference} is taken by a stranger's certificate");
    }
    let tag = format!("{name}:{}", env!("CARGO_PKG_VERSION"));
    assert!(release.verify(&release.certificate, &tag).unwrap_err().to_string().contains("a tag can move"));
    let unsigned = format!("{name}:unsigned");
    let file = scratch.write("other", "another artifact").unwrap();
    let pushed = Command::new(publisher("oras").unwrap())
        .args(["push", "--ca-file", ca, "--format", "go-template={{.digest}}", &unsigned, "other"])
        .current_dir(file.parent().unwrap())
        .output()
        .unwrap();
    let unsigned = format!("{name}@{}", String::from_utf8(pushed.stdout).unwrap().trim());
    assert!(release.verify(&release.certificate, &unsigned).is_err(), "{unsigned} has no signature");
}

/// Nobody reads or pushes without the registry's CA, or over http.
fn refused(registry: &Registry, release: &Release, scratch: &Scratch) {
    let chart = format!("oci://{}", release.chart);
    let [helm, oras, notary] =
        [tool("helm"), publisher("oras"), publisher("notary")].map(|program| program.unwrap().display().to_string());
    let certificate = release.certificate.display().to_string();
    let key = registry.key_file().display().to_string();
    let [dist, registry, key, signer] = [
        format!("OUT={}", scratch.file("dist").display()),
        format!("REGISTRY={}/elsewhere", registry.host()),
        format!("KEY={key}"),
        format!("CERTIFICATE={certificate}"),
    ];
    for command in [
        &[&*helm, "template", "vto", &chart][..],
        &[&oras, "discover", &release.image],
        &[&notary, "verify", &certificate, &release.image],
        &[&notary, "verify", &certificate, &release.chart],
        &[&dist, &registry, &key, &signer, "image/release.sh"],
    ] {
        let refusal = run("env".as_ref(), command, "").unwrap_err().to_string();
        assert!(refusal.contains("certificate signed by unknown authority"), "{command:?}: {refusal}");
    }
    for (program, plain) in [(&helm, &["template", "vto", &chart][..]), (&oras, &["discover", &release.image])] {
        let plain = [plain, &["--plain-http"]].concat();
        let refusal = run(program.as_ref(), &plain, "").unwrap_err().to_string();
        assert!(refusal.contains("400: Bad Request"), "{refusal}");
    }
}

/// The provenance names each artifact with the digest that it has.
fn provenance(release: &Release) {
    let slsa = publisher("slsa").unwrap();
    let text = fs::read_to_string(release.files.join("provenance.json")).unwrap();
    let subjects = run(&slsa, &[], &text).unwrap();
    let sums = fs::read_to_string(release.files.join("SHA256SUMS")).unwrap();
    for reference in [&release.image, &release.chart] {
        assert!(subjects.contains(&reference.replace('@', " ")), "{reference}: {subjects}");
    }
    let mut archives = 0;
    for (sum, file) in sums.lines().map(|line| line.split_once("  ").unwrap()).filter(|(_, file)| file.contains("gz")) {
        assert!(file.ends_with(".sha256") || subjects.contains(&format!("{file} sha256:{sum}")), "{file}: {subjects}");
        archives += 1;
    }
    assert!(archives >= 3, "chart, tool, OLM bundle: {sums}");
    for (right, wrong) in [
        ("in-toto.io/Statement/v1", "in-toto.io/Statement/v0"),
        ("\"buildType\"", "\"buildtype\""),
        ("\"builder\"", "\"builders\""),
    ] {
        assert!(run(&slsa, &[], &text.replace(right, wrong)).is_err(), "{wrong} is taken");
    }
}

/// krew's validator takes the manifest, and krew installs the archive, whose plugin runs.
fn krew(release: &Release, scratch: &Scratch) {
    let manifest = release.files.join("videotoken.yaml");
    let manifest = manifest.to_str().unwrap();
    run(&publisher("validate-krew-manifest").unwrap(), &["-skip-install", "-manifest", manifest], "").unwrap();
    let broken = fs::read_to_string(manifest).unwrap().replace("shortDescription", "description2");
    fs::create_dir(scratch.file("broken")).unwrap();
    let broken = scratch.write("broken/videotoken.yaml", &broken).unwrap();
    let broken = ["-skip-install", "-manifest", broken.to_str().unwrap()];
    assert!(run(&publisher("validate-krew-manifest").unwrap(), &broken, "").is_err());

    let root = format!("KREW_ROOT={}", scratch.file("krew").display());
    let archive = archive(&release.files);
    let krew = publisher("krew").unwrap().display().to_string();
    let install = [&root, &krew, "install", "--manifest", manifest, "--archive", &archive];
    run("env".as_ref(), &install.map(|arg: &str| arg), "").unwrap();
    let plugin = scratch.file("krew/bin/kubectl-videotoken");
    assert!(run(&plugin, &["--help"], "").unwrap().contains("doctor"));
}

/// The archive of the tool.
fn archive(files: &Path) -> String {
    let mut names = fs::read_dir(files).unwrap().map(|file| file.unwrap().path().display().to_string());
    names.find(|name| name.contains("/videotoken-") && name.ends_with(".tar.gz")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_pushed_signed_and_installable_by_its_digest() {
    let scratch = Scratch::new("vto-release-").unwrap();
    let (registry, release) = released(&scratch).await;
    installs(&release);
    signed(&registry, &release, &scratch);
    provenance(&release);
    krew(&release, &scratch);
    refused(&registry, &release, &scratch); // last: a release that fails has removed the files of the one before
}

#[test]
fn without_a_registry_or_a_key_nothing_is_pushed() {
    for (set, named) in [
        ("REGISTRY=", "REGISTRY: name the registry"),
        ("REGISTRY=https://registry.example.com", "without a scheme"),
        ("REGISTRY=registry.invalid/video", "KEY: name a PEM file"),
    ] {
        let refusal = run("env".as_ref(), &[set, "KEY=", "CERTIFICATE=", "image/release.sh"], "").unwrap_err();
        assert!(refusal.to_string().contains(named), "{set}: {refusal:#}");
    }
}
