use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn manifest(text: &str) -> Manifest {
    read(&Text { name: "file.yaml".to_owned(), text: text.to_owned() })
}

fn place(line: usize, column: usize) -> SourceLocation {
    SourceLocation { line, column }
}

#[test]
fn words_are_what_kubectl_takes_them_for() {
    for (word, expected) in [
        ("text", json!("text")),
        ("yes", json!(true)),
        ("off", json!(false)),
        ("y", json!(true)),
        ("\"yes\"", json!("yes")),
        ("~", Value::Null),
        ("", Value::Null),
        ("12", json!(12)),
        ("-12", json!(-12)),
        ("+12", json!(12)),
        ("0777", json!(511)),
        ("0o17", json!(15)),
        ("0xff", json!(255)),
        ("0b11", json!(3)),
        ("089", json!(89)),
        ("1_000", json!(1000)),
        ("1.5", json!(1.5)),
        ("33.0", json!(33)),
        ("1e3", json!(1000)),
        (".5", json!(0.5)),
        ("12h", json!("12h")),
        ("1.2.3", json!("1.2.3")),
        ("-", json!("-")),
        ("2026-01-01", json!("2026-01-01")),
        ("18446744073709551615", json!(18_446_744_073_709_551_615.0)),
        ("!!str 12", json!("12")),
    ] {
        let manifest = manifest(&format!("a: {word}\n"));
        if word == "-" {
            assert!(!manifest.faults.is_empty(), "{word}");
            continue;
        }
        assert_eq!(manifest.faults, [], "{word}");
        assert_eq!(manifest.objects[0].value["a"], expected, "{word}");
    }
}

#[test]
fn each_field_has_its_place_and_an_absent_one_that_of_what_is_around_it() {
    let manifest =
        manifest("# first\n---\nspec:\n  scope: {a: 1,\n    b: [x, {c: 2}]}\n  data:\n    a.json: |\n      {}\n");
    let [object] = &manifest.objects[..] else { panic!("{} objects", manifest.objects.len()) };
    for (path, at) in [
        ("spec", (3, 1)),
        ("spec.scope", (4, 3)),
        ("spec.scope.a", (4, 14)),
        ("spec.scope.b[1].c", (5, 16)),
        ("spec.scope.b[1].d", (5, 12)),
        ("spec.lifetime", (3, 1)),
        ("spec.data[a.json]", (8, 7)),
        ("", (3, 1)),
    ] {
        let path_read = Path::parse(path);
        assert_eq!(path_read.to_string(), path);
        assert_eq!(object.place(&path_read), place(at.0, at.1), "{path}");
    }
}

#[test]
fn documents_lists_and_anchors_are_read() {
    let text = "---\n---\nkind: List\nitems:\n- &a {kind: A, spec: {x: 1}}\n- {<<: *a, kind: B}\n---\nkind: C\n...\n";
    let manifest = manifest(text);
    assert_eq!(manifest.faults, []);
    let kinds: Vec<_> = manifest.objects.iter().map(|object| (object.kind(), object.start().line)).collect();
    assert_eq!(kinds, [("A", 5), ("B", 6), ("C", 8)]);
    assert_eq!(manifest.objects[1].value["spec"]["x"], 1);
}

#[test]
fn what_is_no_object_is_a_fault_with_its_place() {
    for (text, at, message) in [
        ("a: [1\n", (2, 1), "not YAML"),
        ("a: 1\nb: 2\na: 3\n", (3, 1), "the key a is duplicated"),
        ("just text\n", (1, 1), "not an object"),
        ("a: .nan\n", (1, 4), "is not a number that JSON supports"),
        ("a: !mine x\n", (1, 4), "has a tag that no object needs"),
        ("? [a]\n: b\n", (1, 3), "a key must be a string"),
        ("a: *b\n", (1, 4), "not YAML"),
        ("a:\n  ttl: {{ lifetime }}\nb: 1\n", (2, 8), "Put the template in quotes: \"{{ lifetime }}\"."),
        ("a:\n- {{ lifetime }}\n", (2, 3), "in quotes: \"{{ lifetime }}\"."),
        ("a: {{ room }}-x\nb: 1\n", (1, 4), "in quotes: \"{{ room }}-x\"."),
        ("a: {{ uuid() | replace(\"-\", \"\") }}\n", (1, 4), "in quotes: '{{ uuid() | replace(\"-\", \"\") }}'."),
    ] {
        let faults = manifest(text).faults;
        assert_eq!(faults.len(), 1, "{text}: {faults:?}");
        assert!(faults[0].message.contains(message), "{text}: {faults:?}");
        assert_eq!(faults[0].place.line, at.0, "{text}: {faults:?}");
        assert!(!message.contains("{{") || faults[0].place.column == at.1, "{text}: {faults:?}");
    }
}

#[test]
fn aliases_of_aliases_end() {
    let line = |n: usize| format!("a{n}: &a{n} [{}]\n", [format!("*a{}", n - 1).as_str(); 10].join(", "));
    let text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned() + &(1..12).map(line).collect::<Vec<_>>().concat();
    assert!(manifest(&text).faults[0].message.contains("too many values"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_a_fault(text in "[ -~\n]{0,200}") {
        let _ = manifest(&text);
    }

    #[test]
    fn what_json_says_is_read_as_it_says(value in any_json()) {
        let text = json!({"kind": "A", "value": value}).to_string();
        let manifest = manifest(&text);
        prop_assert_eq!(&manifest.faults, &[]);
        prop_assert_eq!(&manifest.objects[0].value["value"], &value);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[ -~]{0,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[test]
fn a_tab_after_a_colon_separates_and_moves_nothing() {
    let manifest = manifest("a:\tb\nc:\t\td # x:\ty\ne: \"f:\tg\"\nh: {i:\tj}\nk: |\n  l:\tm\n");
    assert_eq!(manifest.faults, []);
    let expected = json!({"a": "b", "c": "d", "e": "f:\tg", "h": {"i": "j"}, "k": "l:\tm\n"});
    assert_eq!(manifest.objects[0].value, expected);
    assert_eq!(manifest.objects[0].place(&Path::parse("c")), place(2, 5));
}

#[test]
fn json_objects_may_follow_each_other_and_keep_their_places() {
    let text = "{\"kind\": \"A\"}\n {\"kind\": \"B\",\n  \"n\": 33.0}{\"kind\": \"C\", \"t\": \"\\ud83c\\udfa5\"}";
    let manifest = manifest(text);
    assert_eq!(manifest.faults, []);
    let starts: Vec<_> = manifest.objects.iter().map(|object| (object.kind(), object.start())).collect();
    assert_eq!(starts, [("A", place(1, 1)), ("B", place(2, 2)), ("C", place(3, 13))]);
    let second = &manifest.objects[1];
    assert_eq!((second.place(&Path::parse("n")), &second.value["n"]), (place(3, 8), &json!(33)));
    assert_eq!(manifest.objects[2].value["t"], "\u{1f3a5}");
}

#[test]
fn what_is_no_utf8_is_a_fault_in_a_value_and_none_in_a_comment() {
    let text = |value: &str| format!("a: {value} # caf\u{fffd}\n");
    assert_eq!(manifest(&text("x")).faults, []);
    let faults = manifest(&text("caf\u{fffd}")).faults;
    assert!(faults.len() == 1 && faults[0].message.contains("the text isn't UTF-8"), "{faults:?}");
    assert_eq!(faults[0].place, place(1, 4));
}

/// Texts that YAML readers take for something else unless they are quoted, or with unusual line breaks and spaces.
#[rustfmt::skip]
const TEXTS: [&str; 71] = [
    "", "~", "null", "y", "yes", "on", "Off", "true", "0777", "0x1f", "0b1", "1_000", "12e03", "1.5", ".5", "-.inf",
    ".nan", "1:30", "190:20:30", "2026-11-27", "2026-11-27T01:02:03Z", "=", "<<", "-", "- a", "? a", "a: b", "a:",
    ": a", "#", "a #b", "'", "\"", "@a", "`a", "%a", "!a", "&a", "*a", "[a", "{a", "|", ">", "---", "...", "--- a",
    "a\n--- b", " a", "a ", "\ta", "a\n", "\na", "\n", "\n\n", "  a\nb", "a\n\n", "a\n b\n", "a \nb", "a\r\nb",
    "a\tb", "a\u{85}b", "a\u{2028}b\nc", "\u{1f3a5}", "\u{0}", "\u{7f}", "\u{feff}", "a\u{feff}\nb", "ü",
    "key: |\n  a\n", "a\n\tb", "\ta\nb",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => proptest::sample::select(&TEXTS).prop_map(str::to_owned),
        2 => proptest::collection::vec(proptest::sample::select(&TEXTS), 2..5).prop_map(|texts| texts.concat()),
        1 => "[ -~\n\t]{0,20}",
        1 => proptest::string::string_regex("(x{1,30} ){2,12}x\n?").unwrap(),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => text().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => (-1_000_000i32..1_000_000).prop_map(|number| Value::from(f64::from(number) + 0.25)),
        1 => Just(Value::Null),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(text(), inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

#[test]
fn each_text_is_read_back_from_yaml_as_key_and_as_value() {
    for text in TEXTS {
        let object = json!({"kind": "Secret", "spec": {text: [text, {text: text}]}});
        let written = videotoken_runtime::yaml::to_string(&object).unwrap();
        assert_eq!(manifest(&written).objects[0].value, object, "{written}");
        assert_eq!(serde_yaml_ng::from_str::<Value>(&written).unwrap(), object, "{written}");
    }
}

proptest! {
    /// `-o yaml` is applied with kubectl, and other programs read it: both kinds of readers get the values that were written.
    #[test]
    fn yaml_is_read_back_as_the_values_that_were_written(spec in value()) {
        let object = json!({"kind": "Secret", "spec": spec});
        let written = videotoken_runtime::yaml::to_string(&object).unwrap();
        let text = Text { name: "a.yaml".to_owned(), text: written.clone() };
        let manifest = read(&text);
        prop_assert!(manifest.faults.is_empty(), "{:?} in\n{written}", manifest.faults);
        prop_assert_eq!(manifest.objects.len(), 1, "{}", &written);
        prop_assert_eq!(&manifest.objects[0].value, &object, "{}", &written);
        let other: Value = serde_yaml_ng::from_str(&written).unwrap();
        prop_assert_eq!(&other, &object, "{}", &written);
    }
}
