//! What the sources of a room may not contain, where no crate boundary keeps it out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A room, and texts that must not be in its code.
const WALLS: [(&str, &[&str]); 8] = [
    (
        "crates/core/src",
        &[
            "std::env",
            "std::fs",
            "std::thread",
            "std::process",
            "std::net",
            "tokio::net",
            "tokio::fs",
            "tokio::spawn",
            "SystemTime::now",
            "Instant::now",
            "Utc::now",
            "static mut",
            "OnceLock",
            "LazyLock",
            "Mutex",
            "thread_local!",
        ],
    ),
    ("crates/api/src", &["std::env", "std::fs", "std::thread", "SystemTime::now", "Instant::now", "Utc::now"]),
    ("crates/videotoken/src/manifest", &["videotoken_api", "videotoken_core", "videotoken_providers"]),
    ("crates/videotoken/src/check", &["std::fs", "std::env", "tokio::", "kube::"]),
    ("src/controller", &["reqwest", "providers::http::Call", "SystemTime::now", "Utc::now", "std::fs"]),
    (
        "src/lease",
        &[
            "crate::controller",
            "crate::metrics",
            "crate::http_server",
            "crate::telemetry",
            "videotoken_providers::http",
        ],
    ),
    (
        "src/metrics",
        &["crate::controller", "crate::lease", "crate::http_server", "crate::telemetry", "crate::status_page"],
    ),
    (
        "src/telemetry",
        &["crate::controller", "crate::lease", "crate::http_server", "crate::metrics", "crate::status_page"],
    ),
];

/// The code of a file without comments, and without the tests at its end.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\n#[allow").next().unwrap_or_default();
    let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn sources(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_test =
            path.file_stem().is_some_and(|stem| stem == "tests" || stem.to_string_lossy().ends_with("_tests"));
        if path.is_dir() && !is_test {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
            found.insert(path.clone(), code(&fs::read_to_string(path).unwrap()));
        }
    }
}

fn crossings(files: &BTreeMap<PathBuf, String>, forbidden: &[&str]) -> Vec<String> {
    let of = |(file, code): (&PathBuf, &String)| {
        let found = forbidden.iter().filter(|text| code.contains(**text));
        found.map(|text| format!("{}: {text}", file.display())).collect::<Vec<_>>()
    };
    files.iter().flat_map(of).collect()
}

#[test]
fn no_room_contains_what_its_wall_keeps_out() {
    for (room, forbidden) in WALLS {
        let mut files = BTreeMap::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(room), &mut files);
        assert!(files.len() > 1, "{room}");
        assert_eq!(crossings(&files, forbidden), [""; 0], "{room}");
        // each wall is found to be crossed
        for text in forbidden {
            let crossing = format!("fn crossing() {{ {text} }}\n");
            files.insert(PathBuf::from("crossing.rs"), code(&crossing));
            assert_eq!(crossings(&files, &[text]), [format!("crossing.rs: {text}")]);
        }
    }
}
