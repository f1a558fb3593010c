//! The pages and their content.

use std::fs;
use std::path::{Path, PathBuf};
use testkit::chart::folder;

pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns all pages in alphabetical order.
pub(crate) fn pages() -> Vec<PathBuf> {
    let root = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "SUPPORT.md"];
    let mut pages: Vec<_> = root.iter().map(|page| repository().join(page)).collect();
    pages.push(folder().join("README.md"));
    below(&repository().join("docs"), &mut pages);
    pages.sort();
    pages
}

/// Adds the pages of a folder and its subfolders.
fn below(folder: &Path, pages: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            below(&path, pages);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
}

/// Returns the path of a page in the repository.
pub(crate) fn title(page: &Path) -> String {
    page.strip_prefix(repository()).unwrap().display().to_string()
}

/// A fenced block.
pub(crate) struct Block {
    /// Text after the opening fence.
    pub(crate) fence: String,
    /// Text between the fences, without the indentation of the opening fence.
    pub(crate) text: String,
}

/// Returns the blocks of a page.
pub(crate) fn blocks(page: &Path) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<(usize, Block)> = None;
    for line in fs::read_to_string(page).unwrap().lines() {
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(_), Some((_, block))) => found.push(block),
            (Some(fence), None) => {
                let indent = line.len() - line.trim_start().len();
                open = Some((indent, Block { fence: fence.trim().to_owned(), text: String::new() }));
            }
            (None, Some((indent, mut block))) => {
                block.text.push_str(line.get(indent..).unwrap_or_default());
                block.text.push('\n');
                open = Some((indent, block));
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{}: a block has no end", title(page));
    found
}

/// Returns the inline code of a page.
pub(crate) fn inline(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}
