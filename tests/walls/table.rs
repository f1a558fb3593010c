//! The rows of CONTRIBUTING's table, with a check for each clause.

use Check::{Crates, Cycles, Held, Only, Sources};
use std::fs;
use std::path::Path;

/// Check of a clause.
pub(crate) enum Check {
    /// A package, and the crates that are not in its tree of dependencies.
    Crates(&'static str, &'static [&'static str]),
    /// Files and folders, and texts that are not in their code.
    Sources(&'static [&'static str], &'static [&'static str]),
    /// A folder, the beginning of a path, and all that may follow in its code.
    Only(&'static str, &'static str, &'static [&'static str]),
    /// A folder whose files `imports` searches for cycles.
    Cycles(&'static str),
    /// A file, and the text in it that holds the clause: a test, a command of a script, or a type.
    Held(&'static str, &'static str),
}

/// A row: its first cell, and the clauses of its last one.
pub(crate) type Row = (&'static str, &'static [(&'static str, &'static [Check])]);

const KUBERNETES: &[&str] = &["kube", "kube-client"];
const HTTP: &[&str] = &["reqwest", "hyper", "mio"];

/// The wall clock, and the monotonic clock that no runtime can pause.
pub(crate) const MACHINE_CLOCKS: &[&str] = &["SystemTime::now", "Utc::now", "Local::now", "std::time::Instant"];

const ANY_CLOCK: &[&str] = &["SystemTime::now", "Utc::now", "Local::now", "Instant::now"];

const SOCKETS: &[&str] =
    &["std::net::Tcp", "std::net::Udp", "std::os::unix::net", "tokio::net", "TcpStream", "TcpListener"];

/// Packages that the operator runs and its tests must not.
const OPERATOR: &[&str] =
    &["videotoken-api", "videotoken-core", "videotoken-providers", "videotoken-runtime", "video-token-operator"];

const PROCESS: &[&str] = &["src/main.rs", "src/wiring.rs", "src/cli", "src/config.rs"];

const BESIDE: &[&str] = &["src/lease", "src/metrics", "src/telemetry"];

const PAGES: &[&str] = &["src/http_server.rs", "src/http_server", "src/status_page"];

#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    ("`crates/api`", &[
        ("a Kubernetes client", &[Crates("videotoken-api", KUBERNETES)]),
        ("HTTP", &[Crates("videotoken-api", HTTP)]),
        ("tokio", &[Crates("videotoken-api", &["tokio"])]),
        ("clocks", &[Sources(&["crates/api/src"], ANY_CLOCK)]),
        ("import cycles between files", &[Cycles("crates/api/src")]),
    ]),
    ("`crates/core`", &[
        ("a Kubernetes client", &[Crates("videotoken-core", KUBERNETES)]),
        ("HTTP", &[Crates("videotoken-core", HTTP), Sources(&["crates/core/src"], &["std::net", "tokio::net"])]),
        ("clap", &[Crates("videotoken-core", &["clap"])]),
        ("files", &[Sources(&["crates/core/src"], &["std::fs", "tokio::fs"])]),
        ("the environment", &[Sources(&["crates/core/src"], &["std::env", "std::process"])]),
        ("threads", &[Sources(&["crates/core/src"], &["std::thread", "tokio::spawn", "tokio::task"])]),
        ("global state", &[Sources(&["crates/core/src"], &[
            "static ", "thread_local!", "Atomic", "Mutex", "RwLock", "OnceLock", "LazyLock", "OnceCell", "LazyCell",
        ])]),
        ("clocks", &[Sources(&["crates/core/src"], ANY_CLOCK)]),
        ("chance", &[Crates("videotoken-core", &["fastrand"])]),
    ]),
    ("`crates/providers`", &[
        ("a Kubernetes client", &[Crates("videotoken-providers", KUBERNETES)]),
        ("clap", &[Crates("videotoken-providers", &["clap"])]),
    ]),
    ("`crates/runtime`", &[
        ("what is asked of an API server", &[
            Sources(&["crates/runtime/src"], &["kube::Api", "kube::api", "kube::runtime"]),
        ]),
        ("clap", &[Crates("videotoken-runtime", &["clap"])]),
        ("anything of tokens", &[
            Only("crates/runtime/src", "videotoken_providers::", &["clock"]),
            Sources(&["crates/runtime/src"], &["videotoken_api::", "videotoken_core::"]),
        ]),
    ]),
    ("`crates/videotoken`", &[
        ("the operator", &[Crates("videotoken", &["axum", "prometheus-client", "opentelemetry", "video-token-operator"])]),
    ]),
    ("`crates/videotoken/src/manifest`", &[
        ("the meaning of a field", &[Sources(
            &["crates/videotoken/src/manifest"], &["videotoken_api", "videotoken_core", "videotoken_providers"],
        )]),
    ]),
    ("`crates/videotoken/src/check`", &[
        ("files", &[Sources(&["crates/videotoken/src/check"], &["std::fs", "std::env", "tokio::"])]),
        ("clusters", &[Sources(&["crates/videotoken/src/check"], &["kube::"])]),
    ]),
    ("`src`", &[
        ("the tool", &[Crates("video-token-operator", &["videotoken", "clap_complete", "clap_mangen"])]),
        ("CEL", &[Crates("video-token-operator", &["kube-cel"])]),
        ("YAML with positions", &[Crates("video-token-operator", &["saphyr-parser"])]),
        ("code for terminals", &[Crates("video-token-operator", &["anstream", "nu-ansi-term", "terminal_size"])]),
    ]),
    ("`src/controller`", &[
        ("HTTP to token APIs", &[Sources(&["src/controller"], &["reqwest", "http::Call", "std::net", "std::fs"])]),
        ("import cycles between files", &[Cycles("src/controller")]),
    ]),
    ("`src/kube_client`", &[
        ("a decision", &[Sources(&["src/kube_client"], &["videotoken_core", "crate::controller", "crate::lease"])]),
        ("a token or the data of a Secret", &[Sources(&["src/kube_client"], &["secrecy", "SecretString", "k8s_openapi"])]),
    ]),
    ("`src/lease`, `src/metrics`, `src/telemetry`", &[
        ("each other", &[
            Sources(&["src/lease"], &["crate::metrics", "crate::telemetry"]),
            Sources(&["src/metrics"], &["crate::lease", "crate::telemetry"]),
            Sources(&["src/telemetry"], &["crate::lease", "crate::metrics"]),
        ]),
        ("the controller", &[Sources(BESIDE, &["crate::controller", "crate::http_server", "crate::kube_client", "crate::status_page"])]),
    ]),
    ("`src/http_server`, `src/status_page`", &[
        ("a token or the data of a Secret", &[Sources(PAGES, &["secrecy", "SecretString", "k8s_openapi", "kube::"])]),
        // text that isn't constant can't be passed
        ("HTML that the one function doesn't escape", &[
            Held("src/status_page/html.rs", "fn raw(&mut self, html: &'static str)"),
            Held("src/status_page/html.rs", "fn text(&mut self, text: impl AsRef<str>)"),
        ]),
    ]),
    ("`src/main.rs`, `src/wiring.rs`, `src/cli`, `src/config.rs`", &[
        ("decisions", &[Sources(PROCESS, &["videotoken_core"])]),
    ]),
    ("`crds/`", &[("hand edits", &[Held("tests/crds.rs", "fn the_committed_crds_are_those_of_the_types")])]),
    ("`charts/`", &[
        ("the text of the CRDs", &[Held("tests/chart/kept_equal.rs", r#"folder().join("definitions")"#)]),
    ]),
    ("`docs/`", &[
        ("hand edits of the generated pages in `reference/`", &[
            Held("tests/chart/kept_equal.rs", "fn the_page_of_flags_has_those_of_the_program"),
        ]),
    ]),
    ("`image/`", &[("what differs between two machines", &[Held("image/check.sh", "\ncmp ")])]),
    ("`deploy/`", &[
        ("hand edits of what is rendered", &[
            Held("tests/chart/kept_equal.rs", "fn the_plain_manifests_are_what_the_chart_renders"),
        ]),
    ]),
    ("`tests/model/`", &[
        ("a decision", &[
            Crates("model", &["kube", "kube-client", "reqwest", "videotoken-providers", "video-token-operator", "testkit"]),
            Held("tests/model/src/rules.rs", "decide(from, now)"),
        ]),
    ]),
    ("`tests/simulation/`", &[
        ("sockets", &[Sources(&["tests/simulation/src"], SOCKETS)]),
        ("the machine's clock", &[Sources(&["tests/simulation/src"], MACHINE_CLOCKS)]),
    ]),
    ("`tests/fleet/`", &[
        ("a decision", &[
            Crates("fleet", &["kube", "kube-client", "reqwest", "videotoken-providers", "video-token-operator", "testkit"]),
        ]),
        ("the machine's clock", &[Sources(&["tests/fleet/src"], MACHINE_CLOCKS)]),
    ]),
    ("`tests/testkit/`", &[("the operator's code", &[Crates("testkit", OPERATOR)])]),
];

/// Returns the first cell of each row of the table, and the clauses of its last one. An explanation follows a clause
/// after a colon.
fn of_contributing() -> Vec<(String, Vec<String>)> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/CONTRIBUTING.md")).unwrap();
    let table = page.lines().skip_while(|line| !line.starts_with("| Crate or room |")).skip(2);
    let rows = table.map_while(|line| line.strip_prefix('|')?.strip_suffix('|'));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    cells.map(|cells| (cells[0].to_owned(), clauses(cells[cells.len() - 1]))).collect()
}

fn clauses(cell: &str) -> Vec<String> {
    let clauses = cell.split(": ").next().unwrap_or_default().split([',', ';']).map(str::trim);
    clauses.filter(|clause| !["", "—", "-", "none"].contains(clause)).map(str::to_owned).collect()
}

#[test]
fn each_clause_of_the_table_is_held_and_no_other() {
    let held: Vec<_> =
        ROWS.iter().map(|(row, clauses)| (*row, clauses.iter().map(|(clause, _)| *clause).collect())).collect();
    let named = of_contributing();
    let named: Vec<(&str, Vec<&str>)> = named
        .iter()
        .filter(|(_, clauses)| !clauses.is_empty())
        .map(|(row, clauses)| (row.as_str(), clauses.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(named, held);
    assert!(ROWS.iter().flat_map(|(_, clauses)| *clauses).all(|(_, checks)| !checks.is_empty()));
    assert_eq!(clauses("files, clusters; a b: a test, c"), ["files", "clusters", "a b"]);
}

#[test]
fn what_another_file_holds_is_in_it() {
    for (row, clauses) in ROWS {
        for (clause, checks) in *clauses {
            for check in *checks {
                let Held(file, text) = check else { continue };
                let content = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
                assert!(content.contains(text), "{row}: {clause}: {file} has no {text:?}");
            }
        }
    }
}
