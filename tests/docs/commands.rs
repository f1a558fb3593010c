//! Runs the commands of each page in order, on a new cluster for each page.

use crate::pages::{blocks, inline, pages, repository, title};
use std::path::Path;
use testkit::chart::{run, tool};
use testkit::stand::operator::beside;
use testkit::stand::process::Scratch;
use testkit::stand::{ControlPlane, ControlPlaneOptions};

/// Creates the CRDs and the example of the how-to guides.
const CINEMA: &str = "video-token-operator crds | kubectl apply --server-side -f -
     kubectl wait --for=condition=Established crd --all
     kubectl create namespace cinema
     kubectl apply -f deploy/examples/own-account.yaml";

/// Installs the chart and creates the example of the how-to guides.
const INSTALLED: &str = "helm install video-token-operator charts/video-token-operator \
     --namespace video-token-operator --create-namespace \
     --set image.repository=registry.example.com/video-token-operator
     kubectl create namespace cinema
     kubectl apply -f deploy/examples/own-account.yaml";

/// Commands that run before the blocks of a page. Each page with a block of `sh` has an entry.
const BEFORE: [(&str, &str); 14] = [
    ("README.md", ""),
    ("charts/video-token-operator/README.md", ""),
    ("docs/how-to/check-manifests.md", ""),
    ("docs/how-to/custom-keys.md", ""),
    ("docs/how-to/install.md", ""),
    ("docs/how-to/openshift.md", ""),
    ("docs/how-to/renew-now.md", CINEMA),
    ("docs/how-to/restart-workloads.md", "kubectl create deployment player --image=player"),
    ("docs/how-to/status-page.md", ""),
    ("docs/how-to/tracing.md", ""),
    ("docs/how-to/troubleshoot.md", CINEMA),
    ("docs/how-to/upgrade-uninstall.md", INSTALLED),
    ("docs/reference/cli.md", CINEMA),
    ("docs/tutorials/arc-player.md", ""),
];

/// A cluster, and the programs that pages call.
struct Cluster {
    plane: ControlPlane,
    programs: Scratch,
}

impl Cluster {
    async fn new(install: bool) -> Self {
        let plane =
            ControlPlane::start(ControlPlaneOptions { install, ..ControlPlaneOptions::default() }).await.unwrap();
        let programs = Scratch::new("vto-docs-").unwrap();
        let link = |name: &str, program: &Path| {
            std::os::unix::fs::symlink(program, programs.file(name)).unwrap();
        };
        link("helm", &tool("helm").unwrap());
        link("kubectl", &plane.binaries().join("kubectl"));
        link("video-token-operator", Path::new(env!("CARGO_BIN_EXE_video-token-operator")));
        for name in ["videotoken", "kubectl-videotoken"] {
            link(name, &beside("videotoken").unwrap());
        }
        Self { plane, programs }
    }

    /// Runs a script in the root of the repository.
    fn run(&self, script: &str) -> Result<String, String> {
        let script = format!(
            "export PATH={}:$PATH KUBECONFIG={}\nset -eu\n{script}",
            self.programs.path().display(),
            self.plane.kubeconfig_path().display()
        );
        run("bash".as_ref(), &["-s"], &script).map_err(|error| format!("{error:#}"))
    }
}

/// Returns true for a block of `make` commands, which other tests cover.
fn is_of_make(block: &str) -> bool {
    block.lines().all(|line| line.starts_with("make "))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_every_page_do_what_they_say() {
    for page in pages() {
        let mut blocks = blocks(&page);
        blocks.retain(|block| block.fence == "sh" && !is_of_make(&block.text));
        if blocks.is_empty() {
            continue;
        }
        let title = title(&page);
        let before = BEFORE.iter().find(|(page, _)| *page == title);
        let (_, before) = before.unwrap_or_else(|| panic!("{title}: say in BEFORE what its blocks need"));
        let cluster = Cluster::new(false).await;
        cluster.run(before).unwrap_or_else(|error| panic!("{title}: before: {error}"));
        for block in blocks {
            cluster.run(&block.text).unwrap_or_else(|error| panic!("{title}:\n{}\n{error}", block.text));
        }
    }
}

/// Runs the inline commands that only read. `NAME` stands for an object of that kind.
#[tokio::test(flavor = "multi_thread")]
async fn the_commands_within_sentences_look_at_what_is_there() {
    let cluster = Cluster::new(true).await;
    cluster.run("kubectl create namespace cinema\nkubectl apply -f deploy/examples/own-account.yaml").unwrap();
    cluster.run("kubectl config set-context --current --namespace cinema").unwrap();
    let mut ran = 0;
    for page in pages() {
        for command in inline(&page) {
            let words: Vec<&str> = command.split_whitespace().collect();
            let looks = matches!(words[..], ["kubectl", "get" | "describe", object, ..] if !object.starts_with('-'));
            if !looks {
                continue;
            }
            let command =
                command.replace("tokenprovider NAME", "tokenprovider cinema-indexer").replace("NAME", "trailers");
            cluster.run(&command).unwrap_or_else(|error| panic!("{}: {error}", title(&page)));
            ran += 1;
        }
    }
    assert!(ran > 10, "{ran} commands in {}", repository().display());
}

/// Helm resets the values of a release that neither `--set` nor a file repeats.
#[test]
fn an_upgrade_with_set_keeps_the_values_that_it_does_not_name() {
    let mut upgrades = 0;
    for page in pages() {
        for block in blocks(&page).iter().filter(|block| block.fence.starts_with("sh")) {
            let text = block.text.replace("\\\n", " ");
            for command in text.lines().filter(|line| line.contains("helm upgrade")) {
                let sets = command.contains(" --set") && !command.contains(" -f ");
                let keeps = command.contains(" --reset-then-reuse-values ");
                assert!(!sets || keeps, "{}: {command}", title(&page));
                upgrades += usize::from(sets);
            }
        }
    }
    assert!(upgrades >= 3, "{upgrades}");
}
