//! Imports between the files of one room: no two import each other, directly or by way of others.

use crate::table::{Check, ROWS};
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

/// Every path that the code imports by `use`.
pub(crate) fn uses(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let line = line.trim_start();
        let rest = line.strip_prefix("pub").map_or(line, |rest| {
            let rest = rest.split_once(") ").filter(|_| rest.starts_with('(')).map_or(rest, |(_, rest)| rest);
            rest.trim_start()
        });
        let Some(begin) = rest.strip_prefix("use ") else { continue };
        let mut tree = begin.to_owned();
        while !tree.contains(';') {
            let Some(line) = lines.next() else { break };
            tree.push_str(line.trim());
        }
        found.extend(paths(tree.split(';').next().unwrap_or_default()));
    }
    found
}

/// The files of a room, as paths below its folder.
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

/// The file that a path within the room leads to: the longest beginning of it that names one.
fn file_of(segments: &[&str], all: &BTreeSet<PathBuf>) -> Option<PathBuf> {
    (1..=segments.len()).rev().find_map(|length| {
        let folder: PathBuf = segments[..length].iter().collect();
        [folder.with_extension("rs"), folder.join("mod.rs")].into_iter().find(|file| all.contains(file))
    })
}

/// A room: its folder, and its path in its crate.
struct Room {
    folder: &'static str,
    path: &'static [&'static str],
}

const CONTROLLER: Room = Room { folder: "src/controller", path: &["crate", "controller"] };
const API: Room = Room { folder: "crates/api/src", path: &["crate"] };

/// The files that this text imports, where it is the text of `file`. Its tests may import what they like.
fn imports(room: &Room, file: &Path, text: &str, all: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines: Vec<_> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let declared = uses(&lines.join("\n"));
    let code = lines.join(" ");
    let folder: Vec<_> = file.parent().into_iter().flat_map(Path::iter).map(|part| part.to_str().unwrap()).collect();
    let is_folder = file.ends_with("mod.rs") || file == Path::new("lib.rs");
    // a path in the code is an import, too
    let prefix = format!("{}::", room.path.join("::"));
    let inline = code.split(prefix.as_str()).skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        format!("{prefix}{}", &rest[..end])
    });
    let to_file = |path: String| {
        let segments: Vec<_> = path.split("::").collect();
        let (base, rest): (&[&str], &[&str]) = match segments.as_slice() {
            all if all.starts_with(room.path) => (&[], &all[room.path.len()..]),
            ["super", rest @ ..] if is_folder => (&folder[..folder.len().checked_sub(1)?], rest),
            ["super", rest @ ..] => (&folder, rest),
            ["crate" | "self" | "std", ..] => return None,
            // a folder's own file
            rest if is_folder => (&folder, rest),
            _ => return None,
        };
        // A path without a file of its name is an item of the crate's root.
        let fallback = Some(PathBuf::from("lib.rs")).filter(|file| base.is_empty() && all.contains(file));
        file_of(&[base, rest].concat(), all).or(fallback)
    };
    declared.into_iter().chain(inline).filter_map(to_file).filter(|to| to != file).collect()
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

fn graph(of: &Room) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(of.folder);
    let mut all = BTreeSet::new();
    files(&root, Path::new(""), &mut all);
    all.retain(|file| !file.starts_with("tests"));
    let entry = |file: &PathBuf| (file.clone(), imports(of, file, &fs::read_to_string(root.join(file)).unwrap(), &all));
    all.iter().map(entry).collect()
}

#[test]
fn each_room_of_the_table_is_searched() {
    for check in ROWS.iter().flat_map(|(_, clauses)| *clauses).flat_map(|(_, checks)| *checks) {
        let Check::Cycles(folder) = check else { continue };
        assert!([&API, &CONTROLLER].iter().any(|room| room.folder == *folder), "{folder}");
    }
}

#[test]
fn no_two_files_of_the_api_import_each_other() {
    let graph = graph(&API);
    assert_eq!(cycle(&graph), None);
    let to = |from: &str, to: &str| graph[Path::new(from)].contains(Path::new(to));
    assert!(to("blend_vision.rs", "token_api.rs") && to("provider_types.rs", "blend_vision.rs"));
    assert!(to("provider.rs", "provider_types.rs") && to("condition.rs", "lib.rs"));
    let mut crossed = graph.clone();
    let all: BTreeSet<_> = graph.keys().cloned().collect();
    let added = imports(&API, Path::new("token_api.rs"), "use crate::blend_vision::BlendVisionScope;", &all);
    crossed.get_mut(Path::new("token_api.rs")).unwrap().extend(added);
    assert!(cycle(&crossed).is_some());
}

#[test]
fn no_two_files_of_the_controller_import_each_other() {
    let graph = graph(&CONTROLLER);
    assert_eq!(cycle(&graph), None);
    // what is looked for is found: the reconcile imports its steps, and they the context
    let to = |from: &str, to: &str| graph[Path::new(from)].contains(Path::new(to));
    assert!(to("tokens/reconcile.rs", "tokens/call.rs") && to("tokens/call.rs", "context.rs"));
    assert!(to("context.rs", "stores/mod.rs") && to("stores/mod.rs", "stores/tokens.rs"));
}

#[test]
fn a_store_that_imports_the_context_is_found() {
    let mut graph = graph(&CONTROLLER);
    let all: BTreeSet<_> = graph.keys().cloned().collect();
    let file = PathBuf::from("stores/tokens.rs");
    for crossing in [
        "use crate::controller::context::Context;",
        "use crate::controller::{tokens::{call, reconcile::run}, settings};",
        "fn f(context: &crate::controller::context::Context) {}",
    ] {
        let added = imports(&CONTROLLER, &file, crossing, &all);
        assert!(!added.is_empty(), "{crossing}");
        graph.get_mut(&file).unwrap().extend(added);
        let found = cycle(&graph).expect(crossing);
        assert!(found.contains(&file) && found.contains(&PathBuf::from("context.rs")), "{crossing}: {found:?}");
    }
}
