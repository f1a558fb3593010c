//! docs/check.md, taken at its word: its commands run, and its transcript is what is said.

use crate::OPERATOR;
use std::fs;
use std::path::Path;
use testkit::chart::run;
use testkit::stand::process::Scratch;
use testkit::stand::shared;

/// The blocks of this language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("\n```{language}\n");
    page.split(&fence).skip(1).map(|block| block.split("\n```").next().unwrap()).collect()
}

#[tokio::test]
async fn the_page_of_check_does_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/check.md")).unwrap();
    let plane = shared().await.unwrap();
    let programs = [Path::new(OPERATOR).parent().unwrap(), plane.binaries()].map(|path| path.display().to_string());
    let path = format!("export PATH={}:$PATH\nset -eu\n", programs.join(":"));
    let commands = blocks(&page, "sh");
    assert_eq!(commands.len(), 2);
    for command in commands {
        run("bash".as_ref(), &["-s"], &format!("{path}{command}\n"))
            .unwrap_or_else(|error| panic!("{command}\n{error:#}"));
    }
    let folder = Scratch::new("vto-docs-").unwrap();
    fs::write(folder.path().join("token.yaml"), format!("{}\n", blocks(&page, "yaml")[0])).unwrap();
    let transcript = blocks(&page, "console")[0];
    let (command, said) = transcript.split_once('\n').unwrap();
    let command = command.strip_prefix("$ ").unwrap();
    let script = format!("{path}cd {}\n{command} || true\n", folder.path().display());
    assert_eq!(run("bash".as_ref(), &["-s"], &script).unwrap().trim_end(), said);
}
