//! Files that are generated and committed: `make chart` writes all of them.

mod credentials;
mod gallery;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};
use testkit::chart::{artifact_hub, folder, manifests, olm, reference, run, values};
use video_token_operator::config::Config;
use videotoken_core::summary::reasons::{self, ReasonHelp};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Checks the content of a file, or writes it with UPDATE=1.
fn holds(path: &Path, content: &str) {
    if env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(committed == content, "{} is not what it is made from: run `make chart`", path.display());
}

fn file_names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn the_charts_crds_are_those_of_the_types() {
    let mut names: Vec<String> = Vec::new();
    for (name, content) in video_token_operator::crds::files() {
        holds(&folder().join("definitions").join(&name), &content);
        names.push(name);
    }
    names.sort();
    assert_eq!(file_names(&folder().join("definitions")), names);
}

#[test]
fn the_readmes_table_is_that_of_the_values() {
    let readme = folder().join("README.md");
    let table = values::table(&fs::read_to_string(folder().join("values.yaml")).unwrap()).unwrap();
    holds(&readme, &values::replaced(&fs::read_to_string(&readme).unwrap(), "values", &table).unwrap());
}

#[test]
fn the_reference_is_that_of_the_crds() {
    holds(&repository().join("docs/reference/api.md"), &reference::markdown().unwrap());
}

/// Checks a table between its markers in a page, or writes it with UPDATE=1.
fn holds_table(page: &str, name: &str, table: &str) {
    let page = repository().join(page);
    holds(&page, &values::replaced(&fs::read_to_string(&page).unwrap(), name, table).unwrap());
}

/// Returns the text as a sentence, with fields, flags and labels formatted as code.
fn sentence(text: &str) -> String {
    let is_code = |word: &str| {
        let camel = word.starts_with(char::is_lowercase) && word.contains(char::is_uppercase);
        let path = ["spec.", "status.", "rbac.", "videotoken.dev/", "--"].iter().any(|start| word.starts_with(start));
        path || camel && word.chars().all(char::is_alphanumeric) || word.starts_with("AZURE_")
    };
    let mark = |word: &str| {
        let bare = word.trim_start_matches('(').trim_end_matches([',', '.', ':', ')', ';']);
        let bare = bare.strip_suffix("'s").unwrap_or(bare);
        if is_code(bare) { word.replacen(bare, &format!("`{bare}`"), 1) } else { word.to_owned() }
    };
    let marked = text.split(' ').map(mark).collect::<Vec<_>>().join(" ");
    let mut characters = marked.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    first + characters.as_str() + "."
}

fn reason_table(reasons: &[ReasonHelp]) -> String {
    let mut table = "| Reason | Meaning | Action |\n|---|---|---|\n".to_owned();
    for reason in reasons {
        let words = reason.words.join("`, `");
        writeln!(table, "| `{words}` | {} | {} |", sentence(reason.meaning), sentence(reason.action)).unwrap();
    }
    table
}

#[test]
fn the_pages_of_reasons_and_events_have_those_of_the_program() {
    for (name, table) in [
        ("stalled", reasons::STALLED),
        ("issuing", reasons::ISSUING),
        ("ready", reasons::READY),
        ("providers", reasons::PROVIDERS),
    ] {
        holds_table("docs/reference/reasons.md", name, &reason_table(table));
    }
    holds_table("docs/reference/events.md", "events", &reason_table(reasons::EVENTS));
}

#[test]
fn the_page_of_flags_has_those_of_the_program() {
    let command = <Config as clap::Args>::augment_args(clap::Command::new("operator"));
    let mut table = "| Flag | Variable | Default | Meaning |\n|---|---|---|---|\n".to_owned();
    for flag in command.get_arguments().filter(|flag| !flag.is_hide_set()) {
        let (name, variable) = (flag.get_long().unwrap(), flag.get_env().unwrap().to_string_lossy());
        let value = flag.get_value_names().unwrap_or_default().join(" ");
        let default = flag.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy()));
        let default = default.collect::<Vec<_>>().join(" ");
        let default = if default.is_empty() { "none".to_owned() } else { default };
        let help = flag.get_help().unwrap().to_string().replace('|', "\\|");
        writeln!(table, "| `--{name}={value}` | `{variable}` | {default} | {help}. |").unwrap();
    }
    holds_table("docs/reference/flags.md", "flags", &table);
}

#[test]
fn the_plain_manifests_are_what_the_chart_renders() {
    let files: BTreeMap<_, _> = manifests::files().unwrap();
    for (name, content) in &files {
        holds(&repository().join("deploy").join(name), content);
    }
    let kustomization = fs::read_to_string(repository().join("deploy/kustomization.yaml")).unwrap();
    for name in files.keys() {
        assert!(kustomization.contains(&format!("- {name}\n")), "deploy/kustomization.yaml lacks {name}");
    }
}

/// Returns the text with the URL of this repository in each link to a page of it, and in the fields of Chart.yaml.
fn with_repository(text: &str) -> String {
    const FORGE: &str = "/video-token-operator";
    let url = env!("CARGO_PKG_REPOSITORY");
    let line = |line: &str| {
        let whole = ["home: ", "  - https://"].iter().any(|start| line.starts_with(start)) || line.ends_with(FORGE);
        let end = ["/blob/main/docs/", "/raw/main/docs/"].iter().find_map(|pages| line.find(pages));
        match (line.find("https://"), end.or(whole.then_some(line.len()))) {
            (Some(start), Some(end)) if start < end => format!("{}{url}{}", &line[..start], &line[end..]),
            _ => line.to_owned(),
        }
    };
    text.lines().flat_map(|whole| [line(whole), "\n".to_owned()]).collect()
}

/// Text after which `make chart` generates the rest of Chart.yaml.
const GENERATED: &str = "which it alone knows.\n";

#[test]
fn the_charts_metadata_has_the_crds_and_their_examples() {
    let file = folder().join("Chart.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let (by_hand, _) = text.split_once(GENERATED).unwrap();
    holds(&file, &format!("{by_hand}{GENERATED}{}", artifact_hub::generated().unwrap()));
}

#[test]
fn the_olm_bundle_is_what_the_chart_renders() {
    let files = olm::files().unwrap();
    for (name, content) in &files {
        holds(&repository().join("deploy/olm").join(name), content);
    }
    let manifests = file_names(&repository().join("deploy/olm/manifests"));
    let generated: Vec<_> = files.keys().filter_map(|name| name.strip_prefix("manifests/")).collect();
    assert_eq!(manifests, generated);
}

#[test]
fn every_link_to_the_repository_has_the_url_of_cargo_toml() {
    for file in ["Chart.yaml", "rules/tokens.yaml", "dashboards/video-token-operator.json"] {
        let text = fs::read_to_string(folder().join(file)).unwrap();
        assert!(text.contains(env!("CARGO_PKG_REPOSITORY")) || env::var_os("UPDATE").is_some(), "{file} has no link");
        holds(&folder().join(file), &with_repository(&text));
    }
}

/// The documents, the scripts and the chart name no registry and no forge as this project's.
#[test]
fn no_file_names_a_home_that_nobody_here_owns() {
    let named =
        run("git".as_ref(), &["grep", "-lE", r"(ghcr|docker|quay|github|gitlab)\.(io|com)/video-token", "--", "."], "");
    assert!(named.is_err(), "{}", named.unwrap_or_default());
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart = fs::read_to_string(folder().join("Chart.yaml")).unwrap();
    assert!(chart.contains(concat!("\nappVersion: ", env!("CARGO_PKG_VERSION"), "\n")), "appVersion in {chart}");
}
