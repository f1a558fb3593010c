//! Checks the words of code and documentation: each pattern matches at most as many lines as its limit.

use crate::pages::{repository, title};
use regex::Regex;
use std::fs;
use std::path::{Path, PathBuf};
use testkit::chart::folder;

/// A pattern for lines that are hard to read.
struct Rule {
    pattern: &'static str,
    /// Maximum number of lines that match.
    limit: usize,
    /// Advice for the author of a line.
    instead: &'static str,
    /// A line that matches.
    example: &'static str,
    /// A line that doesn't match, although it is similar.
    allowed: &'static str,
    /// Folders whose lines don't count.
    except: &'static [&'static str],
}

const RULES: [Rule; 13] = [
    Rule {
        pattern: r"[Aa]nother hand|way out|[Tt]o be rid of|\bajar\b|against (it|them|him|an account)\b|stands? in the way",
        limit: 0,
        instead: "name the client and the action",
        example: "Another hand changed the Secret.",
        allowed: "Another client changed the Secret.",
        except: &[],
    },
    Rule {
        pattern: r"^\s*//[/!] (It|One|What|That|Of|Here) ",
        limit: 40,
        instead: "start with the noun or the verb",
        example: "    /// What is known of a token.",
        allowed: "    /// Facts of a token.",
        except: &[],
    },
    Rule {
        pattern: r"^\s*//[/!] (Who|Whose|Whether|As|The same|All|So|From|Until|Nothing|None|By|In|At|Not|No) ",
        limit: 40,
        instead: "start with the noun or the verb",
        example: "/// Whether the call succeeded.",
        allowed: "/// True if the call succeeded.",
        except: &[],
    },
    Rule {
        pattern: r"\b(tells?|told|untold|speaks?|wish(es|ed)?|blames?|goes by)\b",
        limit: 10,
        instead: "things report, show, return, contain or reject",
        example: "/// The answer tells the expiry.",
        allowed: "/// The response contains the expiry.",
        except: &[],
    },
    Rule {
        pattern: r"\b(whoever|nobody|somebody|everybody|anybody|who (may|can|lacks|reaches|listens|looks|stops|starts|deletes))\b",
        limit: 10,
        instead: "name the actor, such as \"a user with permission to\"",
        example: "Whoever reads it, nobody writes it.",
        allowed: "A user with read permission can't write it.",
        except: &[],
    },
    Rule {
        pattern: r"\b(mend(s|ed)?|anew|meanwhile|save (for|what|where)|beside|by and by|lets? go|ever more rarely|taken? up again|at hand)\b",
        limit: 0,
        instead: "repair, again, in the meantime, except, next to, resume",
        example: "It is built anew.",
        allowed: "It is built again.",
        except: &[],
    },
    Rule {
        pattern: r"\b(is|are|has|have) to be\b",
        limit: 0,
        instead: "use must, or the imperative",
        example: "The result has to be applied.",
        allowed: "Apply the result.",
        except: &[],
    },
    Rule {
        pattern: r"\b(live token|real life|lives?|life)\b",
        limit: 20,
        instead: "valid token, lifetime",
        example: "the life of a token",
        allowed: "the lifetime of a token",
        except: &[],
    },
    Rule {
        pattern: r"\b(the|a|an|its|our|your) (look|turn|word|hand|crowd|room|door|gate)s?\b",
        limit: 5,
        instead: "read, grant, name, client, queue, module",
        example: "when its turn comes",
        allowed: "when the budget allows it",
        // Cameras have doors and rooms.
        except: &["deploy/examples", "docs/providers"],
    },
    Rule {
        pattern: r"(^|\s)//[/!]? (.*[^.\w%])?(ours?|we|us)\b",
        limit: 0,
        instead: "the operator",
        example: "    // a Secret of ours",
        allowed: "/// such as <https://virginia.api.cognitive.microsoft.us>.",
        except: &[],
    },
    Rule {
        pattern: r#"\b[0-9]+ (min|h)\b|[0-9] %(["'.,;:)]|$| [a-z])"#,
        limit: 1,
        instead: "5 minutes and 80% in sentences, 5m in literals",
        example: "after 15 min, at 80 % of the limit",
        allowed: "seconds / 60 % 60, {% if 1 %}",
        except: &[],
    },
    Rule {
        pattern: r"^\|(.*\|)?\s+\|",
        limit: 0,
        instead: "a dash in a cell without content",
        example: "| `a` | | b |",
        allowed: "| `a` | - | `b || c` |",
        except: &[],
    },
    Rule {
        pattern: r"fn (of|at|look|tell|told|note|keep|stand|serve|settle|follow|gone|take|leave|ask|act)\(",
        limit: 15,
        instead: "a verb with its object",
        example: "    fn ask(&self) {",
        allowed: "    fn enqueue(&self) {",
        except: &[],
    },
];

/// Adds the texts below a folder.
fn texts(path: &Path, found: &mut Vec<PathBuf>) {
    if let Ok(entries) = fs::read_dir(path) {
        for entry in entries {
            texts(&entry.unwrap().path(), found);
        }
    } else if path.extension().is_some_and(|extension| {
        ["rs", "md", "yaml", "tpl", "txt", "js", "css"].iter().any(|known| extension == *known)
    }) {
        found.push(path.to_owned());
    }
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for place in ["README.md", "CONTRIBUTING.md", "docs", "deploy/examples", "src"] {
        texts(&repository().join(place), &mut found);
    }
    for place in ["README.md", "values.yaml", "templates", "rules"] {
        texts(&folder().join(place), &mut found);
    }
    for entry in fs::read_dir(repository().join("crates")).unwrap() {
        texts(&entry.unwrap().path().join("src"), &mut found);
    }
    found.sort();
    found
}

#[test]
fn words_that_are_hard_to_read_stay_rare() {
    let files: Vec<_> = sources().into_iter().map(|path| (title(&path), fs::read_to_string(path).unwrap())).collect();
    assert!(files.len() > 300, "{} files", files.len());
    let mut findings = Vec::new();
    for Rule { pattern, limit, instead, except, .. } in RULES {
        let regex = Regex::new(pattern).unwrap();
        let counted = files.iter().filter(|(file, _)| !except.iter().any(|folder| file.starts_with(folder)));
        let lines = counted
            .flat_map(|(file, text)| text.lines().enumerate().map(move |(number, line)| (file, number + 1, line)));
        let lines: Vec<_> = lines.filter(|(_, _, line)| regex.is_match(line)).collect();
        if lines.len() > limit {
            let lines: Vec<_> =
                lines.iter().map(|(file, number, line)| format!("{file}:{number}: {}", line.trim())).collect();
            findings.push(format!(
                "{} lines, at most {limit}; {instead}: {pattern}\n{}",
                lines.len(),
                lines.join("\n")
            ));
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n\n"));
}

#[test]
fn each_pattern_finds_its_example() {
    for Rule { pattern, example, allowed, .. } in RULES {
        let regex = Regex::new(pattern).unwrap();
        assert!(regex.is_match(example), "{pattern}: {example}");
        assert!(!regex.is_match(allowed), "{pattern}: {allowed}");
    }
}
