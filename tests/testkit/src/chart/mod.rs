//! The Helm chart, seen from outside: the real helm and kubeconform, the schemas of each supported Kubernetes, and the
//! tables and manifests that are made from it.

pub mod artifact_hub;
pub mod manifests;
pub mod olm;
pub mod reference;
pub mod schemas;
pub mod values;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::stand::controlplane::{built, repository};

/// The chart's folder in the repository.
pub const CHART: &str = "charts/video-token-operator";

/// The chart's folder.
pub fn folder() -> PathBuf {
    repository().join(CHART)
}

/// The path of a program of tests/tools, built if need be.
pub fn tool(name: &str) -> Result<PathBuf> {
    static TOOLS: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    let tools = TOOLS.get_or_init(|| built("tests/tools/build.sh").map_err(|error| format!("{error:#}")));
    tools.as_ref().map(|folder| folder.join(name)).map_err(|error| anyhow::anyhow!("{error}"))
}

/// The path of a program of tests/publish, built if need be.
pub fn publisher(name: &str) -> Result<PathBuf> {
    static PROGRAMS: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    let programs = PROGRAMS.get_or_init(|| built("tests/publish/build.sh").map_err(|error| format!("{error:#}")));
    programs.as_ref().map(|folder| folder.join(name)).map_err(|error| anyhow::anyhow!("{error}"))
}

/// Runs a program with this on its standard input and returns what it says. An error tells all that it said.
pub fn run(program: &Path, args: &[&str], input: &str) -> Result<String> {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut child = Command::new(program)
        .args(args)
        .current_dir(repository())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {name}"))?;
    let mut stdin = child.stdin.take().context("its standard input")?;
    let input = input.to_owned();
    // apart, so that a program that answers before it has read all can't block us
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let out = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    if !out.status.success() {
        bail!("{name} {}: {}\n{said}{}", args.join(" "), out.status, String::from_utf8_lossy(&out.stderr));
    }
    // a program that ended well may have left some of its input unread
    let _ = writer.join();
    Ok(said)
}

/// A repository for the image, which the chart requires.
pub const IMAGE: &str = "registry.example.com/video-token-operator";

/// `helm template` with [`IMAGE`], these values (YAML) over it, and further arguments.
pub fn template(release: &str, namespace: &str, values: &str, args: &[&str]) -> Result<String> {
    let required = folder().join("ci/default.yaml");
    let required = ["--values", required.to_str().context("the chart's path")?];
    template_alone(release, namespace, values, &[&required, args].concat())
}

/// `helm template` with these values (YAML) and further arguments, and nothing else.
pub fn template_alone(release: &str, namespace: &str, values: &str, args: &[&str]) -> Result<String> {
    let chart = folder();
    let mut all = vec!["template", release, chart.to_str().context("the chart's path")?, "--namespace", namespace];
    all.extend(args);
    all.extend(["--values", "-"]);
    run(&tool("helm")?, &all, values)
}

/// The matrix of values: name and content of each file of the chart's `ci/`.
pub fn cases() -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder().join("ci"))? {
        let path = file?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        found.push((name, std::fs::read_to_string(&path)?));
    }
    found.sort();
    Ok(found)
}
