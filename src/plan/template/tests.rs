use super::*;
use std::time::{Duration, Instant};

const TOKEN: &str = "se/cret+tök\"en";

fn templates(source: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("key".to_owned(), source.to_owned())])
}

fn render_one(source: &str, previous: Option<&str>) -> Result<String, FieldError> {
    let token = SecretString::from(TOKEN);
    let previous = previous.map(SecretString::from);
    let variables = Variables {
        token: &token,
        issued_at: "2026-11-22T10:00:00Z".parse().unwrap(),
        expires_at: "2026-11-22T11:30:05.25Z".parse().unwrap(),
        name: "lobby",
        namespace: "analytics",
        secret_name: "lobby-token",
        previous_token: previous.as_ref(),
    };
    let mut data = render(&templates(source), &variables)?;
    Ok(data.remove("key").unwrap().expose_secret().to_owned())
}

#[test]
fn templates_render_their_variables_and_filters() {
    let cases = [
        ("plain", "plain"),
        ("kept\n", "kept\n"),
        ("{{ token }}", TOKEN),
        ("{{ name }}.{{ namespace }}/{{ secret_name }}", "lobby.analytics/lobby-token"),
        ("{{ issued_at }} {{ expires_at }}", "2026-11-22T10:00:00Z 2026-11-22T11:30:05Z"),
        ("{{ expires_at | unix }}", "1795347005"),
        ("{{ expires_at | date('%d.%m.%Y %H:%M') }}", "22.11.2026 11:30"),
        (r#"{"t": {{ token | tojson }}}"#, r#"{"t": "se/cret+tök\"en"}"#),
        ("{{ {'a': [1, name]} | tojson }}", r#"{"a":[1,"lobby"]}"#),
        ("{{ '<b>' }}{{ '<&>' | tojson }}", "<b>\"<&>\""),
        ("{{ token | urlencode }}", "se/cret%2Bt%C3%B6k%22en"),
        ("{{ 'user:' ~ name | b64encode }}", "user:bG9iYnk="),
        ("{{ ('user:' ~ name) | b64encode }}", "dXNlcjpsb2JieQ=="),
        ("{{ 'bG9iYnk=' | b64decode }}{{ 'bG9iYnk' | b64decode }}{{ '8J-YgA' | b64decode }}", "lobbylobby😀"),
        ("{% if previous_token is defined %}old{% else %}none{% endif %}", "none"),
        ("{{ previous_token | default('none') }}", "none"),
        ("{% raw %}{{ kept }}{% endraw %}", "{{ kept }}"),
    ];
    for (source, expected) in cases {
        assert_eq!(render_one(source, None).as_deref(), Ok(expected), "{source}");
    }
    assert_eq!(render_one("{{ previous_token }}", Some("old")).as_deref(), Ok("old"));
}

#[test]
fn errors_name_the_key_the_line_and_the_expression() {
    let large = "{{ token }}".repeat(30_000);
    let cases = [
        ("\n{{ toekn }}", "line 2: `toekn` is not known; use one of token, expires_at"),
        ("{{ toekn | urlencode }}", "line 1: `toekn` is not known"),
        ("{% if toekn is defined %}{% endif %}", "line 1: `toekn` is not known"),
        ("\n\n{{ previous_token }}", "line 3: `previous_token` is undefined while there is no previous token; write"),
        ("{{ previous_token | tojson }}", "is undefined while there is no previous token"),
        ("{{ previous_token | urlencode }}", "is undefined while there is no previous token"),
        ("{{ token.kid }}", "line 1: `token.kid` is undefined"),
        ("{{ token", "line 1: syntax error: "),
        ("x\n{% endfor %}", "line 2: syntax error: "),
        ("{{ token | rot13 }}", "line 1: `token | rot13` uses an unknown filter"),
        ("{{ expires_at | date('%Q') }}", "has a format that strftime doesn't know"),
        ("{{ name | unix }}", "line 1: `name | unix` is no RFC 3339 timestamp"),
        ("{{ expires_at | date }}", "lacks an argument"),
        ("{{ token | b64decode }}", "line 1: `token | b64decode` is not base64"),
        ("{{ 'gA==' | b64decode }}", "is base64 of bytes that are no text"),
        ("{{ debug() }}", "`debug` is not known"),
        (large.as_str(), "renders to more than 256 KiB"),
    ];
    for (source, expected) in cases {
        let error = render_one(source, None).expect_err(source);
        assert_eq!(error.field, "spec.secret.template.data[key]");
        assert!(error.message.contains(expected), "{error} lacks {expected}");
    }
}

#[test]
fn p11_no_error_holds_the_token() {
    let sources = [
        "{{ [1] | map(token) | list }}",
        "{{ [1] | select(token) | list }}",
        "{{ [1] | map('default', **{token: 1}) | list }}",
        "{{ expires_at | date(token) }}",
        "{{ token | int }}",
        "{{ token | float }}",
        "{{ token | date('%Y') }}",
        "{{ token | b64decode }}",
        "{{ token() }}",
        "{{ token.x() }}",
        "{{ {}[token].x }}",
        "{{ token % 3 }}",
        "{{ token + 3 }}",
        "{{ token | round }}",
        "{{ -token }}",
        "{% for a, b in token %}{% endfor %}",
        "{{ name is sameas(token).x }}",
        "{% include token %}",
        "{{ token | format('%d') }}",
        "{{ '%d' | format(token) }}",
        "{{ {token: 1} | dictsort(by=token) }}",
        "{{ token | indent(width=token) }}",
        "{{ token | tojson(token) }}",
        "{{ token | replace(**{token: token}) }}",
        "{{ [{'a': 1}] | groupby(token) }}",
        "{{ [1] | sum(token) }}",
    ];
    for source in sources {
        if let Err(error) = render_one(source, None) {
            assert!(!format!("{error} {error:?}").contains("cret"), "{source}: {error}");
        }
    }
}

#[test]
fn no_template_takes_much_time_or_room() {
    let double = "{% set x = token %}".to_owned() + &"{% set x = x ~ x %}".repeat(60) + "{{ x | length }}";
    let replace = format!("{{{{ 'a'{} | length }}}}", " | replace('a', 'aaaaaaaaaa')".repeat(30));
    let nested = format!(
        "{{% set s = 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' | list %}}{}x{}",
        "{% for i in s %}".repeat(20),
        "{% endfor %}".repeat(20)
    );
    let empty_loops = nested.replace("%}x{%", "%}{%");
    let lists = "{% set x = [1] %}".to_owned() + &"{% set x = x + x %}".repeat(60);
    let parts = "{{ token ~ ".to_owned() + &"token ~ ".repeat(50_000) + "token }}";
    let sources = [
        double.as_str(),
        replace.as_str(),
        nested.as_str(),
        empty_loops.as_str(),
        lists.as_str(),
        parts.as_str(),
        "{{ ('x' * 100000000) | length }}",
        "{{ ([1] * 100000000) | length }}",
        "{{ ('x' * 90000000 * 1000) | length }}",
        "{{ 'a\nb' | indent(1000000000) | length }}",
        "{{ '%1000000000d' | format(1) | length }}",
        "{{ '%.1000000000f' | format(1.5) | length }}",
        "{{ [[[1]]] | tojson(indent=1000000000) | length }}",
        "{{ [1] | batch(1000000000, 'x') | list | length }}",
        "{{ [1] | slice(1000000000) | list | length }}",
        "{{ 1.5 | round(1000000000) }}",
        "{{ ('ab' * 100000 | list | sort) | length }}",
        "{{ 2 ** 100000000 }}",
        "{{ ('x' * 90000) | replace('', 'y' * 90000) | length }}",
        "{{ '{{' * 100000 | title | upper | reverse | length }}",
    ];
    for source in sources {
        let began = Instant::now();
        let result = render_one(source, None);
        let took = began.elapsed();
        let source: String = source.chars().take(60).collect();
        assert!(took < Duration::from_secs(2), "{source}: {took:?}");
        if let Ok(text) = result {
            assert!(text.len() < 1000, "{source}");
        }
    }
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    for source in ["(", "[", "not ", "-", "{'a':", "1 if "] {
        let deep = format!("{{{{ {} }}}}", source.repeat(20_000));
        assert!(render_one(&deep, None).is_err(), "{source}");
    }
    let deep = "{% if token %}".repeat(20_000);
    assert!(render_one(&deep, None).is_err());
    let _ = render_one(&format!("{{{{ {}1 }}}}", "1 ~ ".repeat(20_000)), None);
    let _ = render_one(&format!("{{{{ token{} }}}}", " | upper".repeat(20_000)), None);
    let _ = render_one(&format!("{{{{ token{} }}}}", ".a".repeat(20_000)), None);
}

#[test]
fn all_keys_together_fit_a_secret() {
    let big = "x".repeat(LARGEST_KEY);
    let mut templates: BTreeMap<_, _> = (0..3).map(|n| (format!("k{n}"), big.clone())).collect();
    assert_eq!(check(&templates), Ok(()));
    templates.insert("k3".into(), big);
    let error = check(&templates).unwrap_err();
    assert_eq!(error.field, "spec.secret.template.data");
    assert!(error.message.contains("900 KiB"), "{error}");
}

#[test]
fn a_check_finds_what_only_the_first_or_only_a_later_issue_would_hit() {
    let cases = [
        ("{{ token }}{% if previous_token is defined %}{{ previous_token }}{% endif %}", None),
        ("{{ (token | split('.') | list)[1] | b64decode }}", None),
        ("{{ previous_token }}", Some("is undefined while there is no previous token")),
        ("{% if previous_token is defined %}{{ previous_token | rot13 }}{% endif %}", Some("an unknown filter")),
    ];
    for (source, expected) in cases {
        let message = check(&templates(source)).err().map(|error| error.message);
        assert_eq!(message.is_some(), expected.is_some(), "{source}: {message:?}");
        assert!(message.unwrap_or_default().contains(expected.unwrap_or_default()), "{source}");
    }
    assert_eq!(check(&BTreeMap::new()), Ok(()));
}

#[test]
fn zz_deep() {
    let which = std::env::var("W").unwrap();
    let n: usize = std::env::var("N").unwrap().parse().unwrap();
    let s = match which.as_str() {
        "concat" => format!("{{{{ {}1 }}}}", "1 ~ ".repeat(n)),
        "pow" => format!("{{{{ {}1 }}}}", "1 ** ".repeat(n)),
        "add" => format!("{{{{ {}1 }}}}", "1 + ".repeat(n)),
        "and" => format!("{{{{ {}1 }}}}", "1 and ".repeat(n)),
        "filter" => format!("{{{{ token{} }}}}", " | upper".repeat(n)),
        "attr" => format!("{{{{ token{} }}}}", ".a".repeat(n)),
        "item" => format!("{{{{ token{} }}}}", "[0]".repeat(n)),
        "call" => format!("{{{{ token{} }}}}", "()".repeat(n)),
        "is" => format!("{{{{ token{} }}}}", " is defined".repeat(n)),
        "cmp" => format!("{{{{ 1{} }}}}", " < 1".repeat(n)),
        "else" => format!("{{{{ 1{} }}}}", " if 1 else 1".repeat(n)),
        "elif" => format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(n)),
        "not" => format!("{{{{ {}1 }}}}", "not ".repeat(n)),
        "neg" => format!("{{{{ {}1 }}}}", "-".repeat(n)),
        "paren" => format!("{{{{ {}1{} }}}}", "(".repeat(n), ")".repeat(n)),
        "list" => format!("{{{{ {}1{} }}}}", "[".repeat(n), "]".repeat(n)),
        "ifs" => format!("{}{}", "{% if 1 %}".repeat(n), "{% endif %}".repeat(n)),
        "fblock" => format!("{}{}", "{% filter upper %}".repeat(n), "{% endfilter %}".repeat(n)),
        "slice" => format!("{{{{ token{} }}}}", "[0:]".repeat(n)),
        "notin" => format!("{{{{ 1{} }}}}", " not in token".repeat(n)),
        "setattr" => format!("{{% set x = [1] %}}{}", "{% set x = [x] %}".repeat(n)),
        "setnest" => format!("{{% set x = [1] %}}{}{{{{ x | tojson }}}}", "{% set x = [x] %}".repeat(n)),
        "setstr" => format!("{{% set x = [1] %}}{}{{{{ x }}}}", "{% set x = [x] %}".repeat(n)),
        "setcmp" => format!("{{% set x = [1] %}}{{% set y = [1] %}}{}{{{{ x == y }}}}", "{% set x = [x] %}{% set y = [y] %}".repeat(n)),
        _ => panic!(),
    };
    let r = std::thread::Builder::new().stack_size(2 << 20).spawn(move || { let began = Instant::now(); let r = render_one(&s, None).map(|t| t.len()); eprintln!("{:?}", began.elapsed()); r }).unwrap().join();
    eprintln!("{:?}", r.map(|r| r.map_err(|e| e.to_string().chars().take(200).collect::<String>())));
}
