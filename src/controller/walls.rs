//! The walls between the controller's files: no two import each other, directly or by way of others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every path of a `use` declaration, with its groups taken apart.
fn paths(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or_default().trim().to_owned()];
    };
    let inner = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, letter) in inner.char_indices().chain([(inner.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    let whole = |part: &str| paths(part.trim()).into_iter().map(|path| format!("{}{path}", prefix.trim()));
    parts.into_iter().filter(|part| !part.trim().is_empty()).flat_map(whole).collect()
}

/// The controller's files, as paths below its folder.
fn files(root: &Path, below: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        if entry.path().is_dir() {
            files(root, &path, found);
        } else {
            found.insert(path);
        }
    }
}

/// The file that a path within the controller leads to: the longest beginning of it that names one.
fn file_of(segments: &[&str], all: &BTreeSet<PathBuf>) -> Option<PathBuf> {
    (1..=segments.len()).rev().find_map(|length| {
        let folder: PathBuf = segments[..length].iter().collect();
        [folder.with_extension("rs"), folder.join("mod.rs")].into_iter().find(|file| all.contains(file))
    })
}

/// The files that this text imports, where it is the text of `file`. Its tests may import what they like.
fn imports(file: &Path, text: &str, all: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines: Vec<_> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = lines.join(" ");
    let room: Vec<_> = file.parent().into_iter().flat_map(Path::iter).map(|part| part.to_str().unwrap()).collect();
    let is_room = file.ends_with("mod.rs");
    let declared = code.split("use ").skip(1).filter_map(|rest| rest.split_once(';')).flat_map(|(tree, _)| paths(tree));
    // a path in the code is an import, too
    let inline = code.split("crate::controller::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        format!("crate::controller::{}", &rest[..end])
    });
    let to_file = |path: String| {
        let segments: Vec<_> = path.split("::").collect();
        let (base, rest): (&[&str], &[&str]) = match segments.as_slice() {
            ["crate", "controller", rest @ ..] => (&[], rest),
            ["super", rest @ ..] if is_room => (&room[..room.len().checked_sub(1)?], rest),
            ["super", rest @ ..] => (&room, rest),
            ["crate" | "self" | "std", ..] => return None,
            // a room's own file
            rest if is_room => (&room, rest),
            _ => return None,
        };
        file_of(&[base, rest].concat(), all)
    };
    declared.chain(inline).filter_map(to_file).filter(|to| to != file).collect()
}

/// A file that can be reached from itself, with the way.
fn cycle(graph: &BTreeMap<PathBuf, BTreeSet<PathBuf>>) -> Option<Vec<PathBuf>> {
    graph.keys().find_map(|start| {
        let (mut open, mut seen) = (vec![vec![start.clone()]], BTreeSet::new());
        while let Some(way) = open.pop() {
            for next in way.last().and_then(|last| graph.get(last)).into_iter().flatten() {
                let longer = [way.clone(), vec![next.clone()]].concat();
                if next == start {
                    return Some(longer);
                }
                if seen.insert(next.clone()) {
                    open.push(longer);
                }
            }
        }
        None
    })
}

fn graph() -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/controller");
    let mut all = BTreeSet::new();
    files(&root, Path::new(""), &mut all);
    let of = |file: &PathBuf| (file.clone(), imports(file, &fs::read_to_string(root.join(file)).unwrap(), &all));
    all.iter().map(of).collect()
}

#[test]
fn no_two_files_of_the_controller_import_each_other() {
    let graph = graph();
    assert_eq!(cycle(&graph), None);
    // what is looked for is found: the reconcile imports its steps, and they the context
    let to = |from: &str, to: &str| graph[Path::new(from)].contains(Path::new(to));
    assert!(to("tokens/reconcile.rs", "tokens/call.rs") && to("tokens/call.rs", "context.rs"));
    assert!(to("context.rs", "stores/mod.rs") && to("stores/mod.rs", "stores/tokens.rs"));
}

#[test]
fn a_store_that_imports_the_context_is_found() {
    let mut graph = graph();
    let all: BTreeSet<_> = graph.keys().cloned().collect();
    let file = PathBuf::from("stores/tokens.rs");
    for crossing in [
        "use crate::controller::context::Context;",
        "use crate::controller::{tokens::{call, reconcile::run}, settings};",
        "fn f(context: &crate::controller::context::Context) {}",
    ] {
        let added = imports(&file, crossing, &all);
        assert!(!added.is_empty(), "{crossing}");
        graph.get_mut(&file).unwrap().extend(added);
        let found = cycle(&graph).expect(crossing);
        assert!(found.contains(&file) && found.contains(&PathBuf::from("context.rs")), "{crossing}: {found:?}");
    }
}
