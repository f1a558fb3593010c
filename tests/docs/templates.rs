//! Checks that templates accept each variable and each filter of docs/reference/templates.md.

use crate::pages::repository;
use std::collections::BTreeMap;
use std::fs;
use videotoken_core::plan::template;

/// Returns the names in the first column of the table below a heading.
fn names(heading: &str) -> Vec<String> {
    let page = fs::read_to_string(repository().join("docs/reference/templates.md")).unwrap();
    let section = page.split_once(&format!("\n## {heading}\n")).unwrap().1.split("\n## ").next().unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    cells.flat_map(|cell| cell.split('`').step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn assert_renders(source: &str) {
    let templates = BTreeMap::from([("key".to_owned(), source.to_owned())]);
    let rendered = template::check(&templates);
    assert!(rendered.is_ok(), "{source}: {rendered:?}");
}

#[test]
fn a_template_may_use_each_variable_of_the_page() {
    let variables = names("Variables");
    assert_eq!(variables.len(), 8, "{variables:?}");
    for variable in variables {
        // of further values, each has a name
        let variable = variable.replace("NAME", "poster");
        assert_renders(&format!("{{% if {variable} is defined %}}{{{{ {variable} }}}}{{% endif %}}"));
    }
}

#[test]
fn a_template_may_use_each_filter_of_the_page() {
    let filters = names("Filters");
    assert!(filters.len() > 30, "{filters:?}");
    for filter in filters {
        let name = filter.split('(').next().unwrap();
        let expression = match name {
            "date" => format!("expires_at | {filter}"),
            "unix" => "expires_at | unix".to_owned(),
            "b64decode" => "token | b64encode | b64decode".to_owned(),
            "format" => "'%s' | format(name)".to_owned(),
            "indent" => "name | indent(2)".to_owned(),
            "replace" => "name | replace('a', 'b')".to_owned(),
            "minutes" | "round_up" => format!("61 | {filter}"),
            "abs" | "bool" | "float" | "int" | "round" => format!("1 | {name}"),
            "first" | "last" | "length" => format!("['a'] | {name}"),
            "join" | "list" => format!("['a'] | {name} | join"),
            "split" | "lines" => format!("name | {name} | first"),
            _ => format!("name | {name}"),
        };
        assert_renders(&format!("{{{{ {expression} }}}}"));
    }
}
