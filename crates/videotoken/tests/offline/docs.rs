//! The transcript of docs/how-to/check-manifests.md is what is said.

use crate::TOOL;
use std::fs;
use std::path::Path;
use testkit::chart::run;
use testkit::stand::controlplane::repository;
use testkit::stand::process::Scratch;

/// The first block of this language.
fn block<'a>(page: &'a str, language: &str) -> &'a str {
    let (_, block) = page.split_once(&format!("\n```{language}\n")).unwrap();
    block.split("\n```").next().unwrap()
}

#[test]
fn the_transcript_of_check_is_what_it_says() {
    let page = fs::read_to_string(repository().join("docs/how-to/check-manifests.md")).unwrap();
    let folder = Scratch::new("vto-docs-").unwrap();
    fs::write(folder.path().join("token.yaml"), format!("{}\n", block(&page, "text"))).unwrap();
    let (command, said) = block(&page, "console").split_once('\n').unwrap();
    let (command, programs) = (command.strip_prefix("$ ").unwrap(), Path::new(TOOL).parent().unwrap());
    let script =
        format!("export PATH={}:$PATH\ncd {}\n{command} || true\n", programs.display(), folder.path().display());
    assert_eq!(run("bash".as_ref(), &["-s"], &script).unwrap().trim_end(), said);
}
