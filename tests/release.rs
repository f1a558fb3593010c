//! `make release` into a real registry: what it pushes, signs and leaves behind, read by the tools that users have. Around
//! a stand-in for the operator, which takes minutes to build; `make e2e` runs a real one from a registry.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use testkit::chart::{publisher, run, schemas, tool};
use testkit::publishing::{Registry, Release, archive_tool};
use testkit::stand::process::Scratch;

const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

async fn released(scratch: &Scratch) -> (Registry, Release) {
    let program = scratch.write("program", "#!/bin/true\n").unwrap();
    let dist = scratch.file("dist");
    for architecture in ARCHITECTURES {
        let made = Command::new("image/build.sh")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .envs([("OUT", &dist), ("PROGRAM", &program)])
            .env("ARCHITECTURE", architecture)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
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
    let platforms = annotation("images")[0]["platforms"].clone();
    for architecture in ARCHITECTURES {
        assert!(platforms.as_array().unwrap().contains(&format!("linux/{architecture}").into()), "{platforms}");
    }
    let first = "sed '/^-----END/q' \"$0\" | sed '/^-----/d' | base64 --decode | sha256sum | cut -d ' ' -f 1";
    let fingerprint = run("sh".as_ref(), &["-c", first, release.certificate.to_str().unwrap()], "").unwrap();
    assert_eq!(annotation("signKey")["fingerprint"], fingerprint.trim(), "that of the signing certificate, the first");
    let scratch = Scratch::new("vto-released-").unwrap();
    let (_, openapi) = schemas::kubernetes().unwrap().pop().unwrap();
    let kinds = ["Deployment", "Pod", "ClusterRole", "Role", "Service"].map(str::to_owned).into();
    schemas::write(&scratch.file("schemas"), &openapi, &kinds).unwrap();
    let others =
        ["ClusterRoleBinding", "CustomResourceDefinition", "PodDisruptionBudget", "RoleBinding", "ServiceAccount"];
    let rendered = scratch.write("rendered.yaml", &rendered).unwrap();
    schemas::conform(&scratch.file("schemas"), &[rendered], &others).unwrap();
    let fips = concat!("image.tag=", env!("CARGO_PKG_VERSION"), "-fips");
    let set = ["template", "vto", &chart, "--ca-file", ca, "--set", fips];
    let other = format!("image: {name}:{}-fips\n", env!("CARGO_PKG_VERSION"));
    assert!(run(&tool("helm").unwrap(), &set, "").unwrap().contains(&other), "the digest is that of another image");
    readme(&run(&tool("helm").unwrap(), &["show", "readme", &chart, "--ca-file", ca], "").unwrap(), name);
}

/// The README of the chart that was pushed is right without the sources.
fn readme(text: &str, image: &str) {
    let chart = image.replace("/video-token-operator", "/charts/video-token-operator");
    let install = format!(
        "helm install video-token-operator oci://{chart} --version {} --namespace video-token-operator --create-namespace\n```",
        env!("CARGO_PKG_VERSION")
    );
    assert!(text.contains(&install), "{text}");
    assert!(text.contains(&format!("| `image.repository` | `\"{image}\"` |")), "{text}");
    assert!(text.contains(concat!("](", env!("CARGO_PKG_REPOSITORY"), "/blob/v", env!("CARGO_PKG_VERSION"), "/docs/")));
    let links = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    for link in links {
        assert!(link.starts_with("https://"), "{link} leads nowhere");
    }
}

/// Image, chart and what is attached to the image are signed; by nobody else.
fn signed(registry: &Registry, release: &Release, scratch: &Scratch) {
    let ca = release.ca.to_str().unwrap();
    let name = release.image.split_once('@').unwrap().0;
    let attached = |kind: &str, more: &[&str]| {
        let discover = ["discover", "--ca-file", ca, "--format", "json", "--depth", "1"];
        let listed: Value = serde_json::from_str(&oras(&[&discover, more, &[&release.image]].concat())).unwrap();
        let found = listed["referrers"].as_array().unwrap().iter().find(|referrer| referrer["artifactType"] == kind);
        let found = found.unwrap_or_else(|| panic!("{kind} {more:?}: {listed}"));
        format!("{name}@{}", found["digest"].as_str().unwrap())
    };
    let mut references = vec![release.image.clone(), release.chart.clone()];
    references.push(attached("application/vnd.in-toto+json", &[]));
    for architecture in ARCHITECTURES {
        let platform = format!("linux/{architecture}");
        references.push(attached("application/vnd.cyclonedx+json", &["--platform", &platform]));
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

/// Runs docs/how-to/release.md's own lines, with notation as users have it.
fn verified_by_notation(registry: &Registry, release: &Release, scratch: &Scratch) {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/how-to/release.md")).unwrap();
    let (_, block) = page.split_once("```sh needs-registry\nnotation ").unwrap();
    let block = block.split_once("```").unwrap().0;
    let digest = release.image.rsplit_once('@').unwrap().1;
    let block = block.replace("registry.example.com", &registry.host()).replace("sha256:…", digest);
    let script = format!(
        "set -eu; cd '{}'; export XDG_CONFIG_HOME='{}' SSL_CERT_FILE='{}' PATH='{}':\"$PATH\"\nnotation {block}",
        release.files.display(),
        scratch.file("notation").display(),
        release.ca.display(),
        publisher("notation").unwrap().parent().unwrap().display(),
    );
    let said = run("sh".as_ref(), &["-s"], &script).unwrap();
    assert!(said.contains("Successfully verified signature for"), "{said}");
    // of the authority's certificates only this one's subject is trusted
    let policy = fs::read_to_string(release.files.join("trustpolicy.json")).unwrap();
    assert!(policy.contains("\"x509.subject: CN=release test,"), "{policy}");
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
    for file in ["release-ca.crt", "trustpolicy.json", "video-token-operator.cdx.json"] {
        assert!(sums.contains(&format!("  {file}\n")), "{file}: {sums}");
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
    verified_by_notation(&registry, &release, &scratch);
    refused(&registry, &release, &scratch);
    stale(&registry, &release, &scratch);
    assert!(release.files.join("SHA256SUMS").exists(), "a release that fails leaves the files of the one before");
}

/// What another commit left in dist/ isn't released.
fn stale(registry: &Registry, release: &Release, scratch: &Scratch) {
    let [dist, host, key, certificate, ca] = [
        format!("OUT={}", scratch.file("dist").display()),
        format!("REGISTRY={}/stale", registry.host()),
        format!("KEY={}", registry.key_file().display()),
        format!("CERTIFICATE={}", release.certificate.display()),
        format!("CA_FILE={}", release.ca.display()),
    ];
    let all = [&*dist, &host, &key, &certificate, &ca];
    let refusal = |more: &[&str]| {
        let command = [&all, more, &["image/release.sh"]].concat();
        run("env".as_ref(), &command, "").unwrap_err().to_string()
    };
    let of_another = refusal(&["SOURCE_DATE_EPOCH=86400"]);
    assert!(of_another.contains(".oci.tar is of ") && of_another.contains("the commit of 1970-01-02"), "{of_another}");
    let program = format!("PROGRAM={}", testkit::stand::operator::beside("videotoken").unwrap().display());
    run("env".as_ref(), &[&dist, &program, "SOURCE_DATE_EPOCH=86400", "image/tool.sh"], "").unwrap();
    let of_another = refusal(&[]);
    assert!(of_another.contains("linux-") && of_another.contains(" is of 1970-01-02"), "{of_another}");
}

#[test]
fn without_a_registry_or_a_key_nothing_is_pushed() {
    for (set, named) in [
        ("REGISTRY=", "REGISTRY: name the registry"),
        ("REGISTRY=https://registry.example.com", "without a scheme"),
        ("REGISTRY=registry.example.com/video:1", "or a tag"),
        ("REGISTRY=registry.example.com/OWNER", "in lower case"),
        ("REGISTRY=registry.example.com/a//b", "host[:port][/path]"),
        ("REGISTRY=registry.invalid/video", "KEY: name a PEM file"),
    ] {
        let refusal = run("env".as_ref(), &[set, "KEY=", "CERTIFICATE=", "image/release.sh"], "").unwrap_err();
        assert!(refusal.to_string().contains(named), "{set}: {refusal:#}");
    }
}

/// Without an image, a tool or a registry that answers: what is checked before anything is built.
#[test]
fn what_cannot_be_released_is_said_before_anything_is_built() {
    let plan = run("make".as_ref(), &["-n", "release"], "").unwrap();
    let steps = ["image/release.sh --check", "image/build.sh", "image/tool.sh", "image/release.sh\n"];
    let places: Vec<_> = steps.iter().map(|step| plan.find(step)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} in {plan}");

    let scratch = Scratch::new("vto-keys-").unwrap();
    let file = |name: &str| scratch.file(name).display().to_string();
    let notary = publisher("notary").unwrap();
    for (kind, key, certificate) in [("chain", "key", "crt"), ("key", "other.key", "other.crt")] {
        run(&notary, &[kind, &file(key), &file(certificate)], "").unwrap();
    }
    let chain = fs::read_to_string(file("crt")).unwrap();
    let end = "-----END CERTIFICATE-----\n";
    scratch.write("leaf.crt", &chain[..chain.find(end).unwrap() + end.len()]).unwrap();
    scratch.write("broken.crt", &chain.replacen("MII", "MI!", 1)).unwrap();
    let check = |registry: &str, key: &str, certificate: &str| {
        let set = [
            format!("OUT={}", file("nothing")),
            format!("REGISTRY={registry}"),
            format!("KEY={}", file(key)),
            format!("CERTIFICATE={}", file(certificate)),
        ];
        let set = set.each_ref().map(String::as_str);
        run("env".as_ref(), &[&set[..], &["image/release.sh", "--check"]].concat(), "")
    };
    check("localhost:5000/video", "key", "crt").unwrap();
    check("127.0.0.1:5000", "other.key", "other.crt").unwrap();
    for (registry, key, certificate, named) in [
        ("localhost:5000/video", "other.key", "crt", "private key does not match public key"),
        ("localhost:5000/video", "key", "leaf.crt", "certificate-chain is invalid"),
        ("localhost:5000/video", "key", "broken.crt", "can't sign"),
    ] {
        let refusal = check(registry, key, certificate).unwrap_err().to_string();
        assert!(refusal.contains(named), "{registry} {key} {certificate}: {refusal}");
    }
    let public = check("registry.example.com/video", "key", "crt");
    if env!("CARGO_PKG_REPOSITORY").contains("example.com") {
        let refusal = public.unwrap_err().to_string();
        assert!(refusal.contains("are the placeholders https://"), "{refusal}");
    } else {
        public.unwrap();
    }
}
