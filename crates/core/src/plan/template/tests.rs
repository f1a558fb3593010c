use super::*;
use crate::tests::cpu_time;
use std::time::Duration;

const TOKEN: &str = "hunter/2+tök\"en";

fn templates(source: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("key".to_owned(), source.to_owned())])
}

/// Runs `work` on a thread that has [`STACK`].
fn on_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).unwrap().join().unwrap()
    })
}

fn render_one(source: &str, previous: Option<&str>) -> Result<String, FieldError> {
    on_stack(|| render_here(source, previous))
}

/// As [`render_one`], on the stack of the caller.
fn render_here(source: &str, previous: Option<&str>) -> Result<String, FieldError> {
    let token = SecretString::from(TOKEN);
    let previous = previous.map(SecretString::from);
    let values = BTreeMap::from([("refresh".to_owned(), SecretString::from("r-1"))]);
    let variables = Variables {
        token: &token,
        issued_at: "2026-11-22T10:00:00Z".parse().unwrap(),
        expires_at: "2026-11-22T11:30:05.25Z".parse().unwrap(),
        name: "lobby",
        namespace: "analytics",
        secret_name: "lobby-token",
        previous_token: previous.as_ref(),
        values: Some(&values),
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
        (r#"{"t": {{ token | tojson }}}"#, r#"{"t": "hunter/2+tök\"en"}"#),
        ("{{ {'a': [1, name]} | tojson }}", r#"{"a":[1,"lobby"]}"#),
        ("{{ '<b>' }}{{ '<&>' | tojson }}", "<b>\"<&>\""),
        ("{{ token | urlencode }}", "hunter/2%2Bt%C3%B6k%22en"),
        ("{{ 'user:' ~ name | b64encode }}", "user:bG9iYnk="),
        ("{{ ('user:' ~ name) | b64encode }}", "dXNlcjpsb2JieQ=="),
        ("{{ 'bG9iYnk=' | b64decode }}{{ 'bG9iYnk' | b64decode }}{{ '8J-YgA' | b64decode }}", "lobbylobby😀"),
        ("{% if previous_token is defined %}old{% else %}none{% endif %}", "none"),
        ("{{ previous_token | default('none') }}", "none"),
        ("{% raw %}{{ kept }}{% endraw %}", "{{ kept }}"),
        ("{{ (expires_at | unix) * 1000 + 5 }}", "1795347005005"),
        ("{{ '-' * 3 }}{{ (name | upper)[:2] * 2 }}", "---LOLO"),
        ("{{ '%s:%05d' | format(name, 7) }}", "lobby:00007"),
        ("{{ 'a,b' | split(',') | join('+') }}{{ ('a\nb' | lines)[1] }}", "a+bb"),
        ("{{ '<&>' | e }}", "&lt;&amp;&gt;"),
        ("{{ values.refresh }}{% if values.refresh is defined %}!{% endif %}", "r-1!"),
        ("{{ 61 | minutes }} {{ 7 | round_up(5) }} {{ -7 | round_up(5) }}", "2 10 -5"),
    ];
    for (source, expected) in cases {
        assert_eq!(render_one(source, None).as_deref(), Ok(expected), "{source}");
    }
    assert_eq!(render_one("{{ previous_token }}", Some("old")).as_deref(), Ok("old"));
}

#[test]
fn errors_name_the_key_the_line_and_the_expression() {
    let large = "{{ 'x' * 9000 }}".repeat(30);
    let long = "x".repeat(16_385);
    let cases = [
        ("\n{{ toekn }}", "line 2: `toekn` is not known. Use one of token, expires_at"),
        ("{{ toekn | urlencode }}", "line 1: `toekn` is not known"),
        ("{% if toekn is defined %}{% endif %}", "line 1: `toekn` is not known"),
        ("\n\n{{ previous_token }}", "line 3: `previous_token` is undefined if the Secret has no previous token. Put"),
        ("{{ previous_token | tojson }}", "line 1: `previous_token` is undefined if the Secret has no previous token"),
        (
            "{{ previous_token | urlencode }}",
            "line 1: `previous_token` is undefined if the Secret has no previous token",
        ),
        ("{{ token.kid }}", "line 1: `token.kid` is undefined"),
        ("{{ token", "line 1: syntax error: "),
        ("x\n{% endif %}", "line 2: syntax error: "),
        ("\n{%- for c in token %}{{ c }}{% endfor %}", "line 2: `{% for %}` is not available. Use if, elif, else"),
        ("{% set x = token %}", "line 1: `{% set %}` is not available"),
        ("{{ token | rot13 }}", "line 1: `rot13` is an unknown filter"),
        ("{{ expires_at | date('%Q') }}", "has an invalid strftime format"),
        ("{{ name | unix }}", "` is not an RFC 3339 timestamp"),
        ("{{ expires_at | date }}", "needs another argument"),
        ("{{ expires_at | date('%d' * 33) }}", "has a format that is longer than 64 bytes"),
        ("{{ [1] * 2 }}", "line 1: lists can't be multiplied"),
        ("{{ [1] | map('upper') | list }}", "line 1: `map` is an unknown filter"),
        ("{{ 1 is sameas(1) }}", "line 1: `sameas` is an unknown test"),
        ("{{ '%(a)s' | format(a=1) }}", "takes its values by position, not by name"),
        ("{{ token | b64decode }}", "` is not base64"),
        ("{{ 'gA==' | b64decode }}", "is base64 of bytes that are not UTF-8 text"),
        ("{{ debug() }}", "`debug` is not known"),
        (long.as_str(), "is longer than 16 KiB"),
        (large.as_str(), "renders to more than 256 KiB"),
    ];
    for (source, expected) in cases {
        let error = render_one(source, None).map(|text| text.len()).expect_err(source);
        assert_eq!(error.field, "spec.secret.template.data[key]");
        assert!(error.message.contains(expected), "{error} lacks {expected}");
    }
}

#[test]
fn p11_no_error_holds_the_token() {
    let mut failed = 0;
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
        let result = render_one(source, None);
        failed += usize::from(result.is_err());
        if let Err(error) = result {
            assert!(!format!("{error} {error:?}").contains("hunter"), "{source}: {error}");
        }
    }
    assert!(failed > 15, "{failed} failed: the cases must be errors");
}

#[test]
fn no_template_takes_much_time_or_room() {
    let replace = format!("{{{{ 'a'{} | length }}}}", " | replace('a', 'aaaaaaaaaa')".repeat(30));
    let parts = "{{ token ~ ".to_owned() + &"token ~ ".repeat(2_000) + "token }}";
    let listed = format!("{{{{ [token]{} | length }}}}", " * 1000".repeat(30));
    let constants = format!("{{{{ 'a' ~ {}'a' }}}}", "'a' ~ ".repeat(2_000));
    let compared = format!("{{{{ {}1 }}}}", "1 < 2 == ".repeat(1_700));
    let sources = [
        replace.as_str(),
        parts.as_str(),
        listed.as_str(),
        constants.as_str(),
        compared.as_str(),
        "{{ expires_at | date('%c' * 3000000) | length }}",
        "{{ expires_at | date('%c' * 32) | length }}",
        "{{ ([1] * 100000000) | tojson | length }}",
        "{{ ([1] * 100000000) ~ 'x' }}",
        "{{ ([1] * 100000000) | string | length }}",
        "{{ ([1] * 100000000) | upper | length }}",
        "{{ ([1] * 100000000) | b64encode | length }}",
        "{{ ([1] * 100000000) | urlencode | length }}",
        "{{ [[1] * 100000000] == [[1] * 100000000] }}",
        "{{ 1 in ([2] * 100000000) }}",
        "{{ {'a': 1} | tojson | replace('', 'x' * 100000) | tojson | length }}",
        "{{ ('a' * 1900000) | split('') | length }}",
        "{{ ('a' * 1900000) | list | tojson | length }}",
        "{{ ('%(a)s' * 10000) | format(a='x' * 100000) | length }}",
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
        let (result, took) = on_stack(|| {
            let began = cpu_time();
            (render_here(source, None), cpu_time().saturating_sub(began))
        });
        let source: String = source.chars().take(60).collect();
        assert!(took < Duration::from_secs(2), "{source}: {took:?}");
        if let Ok(text) = result {
            assert!(text.len() < 1000, "{source}");
        }
    }
}

#[test]
fn no_template_nests_deeper_than_the_stack() {
    let chains = [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("{'a':", "1", "}"),
        ("-", "1", ""),
        ("not ", "1", ""),
        ("1 ~ ", "1", ""),
        ("1 ** ", "1", ""),
        ("1 and ", "1", ""),
        ("", "token", " | upper"),
        ("", "[1]", " | batch(1) | list"),
        ("", "token", ".a"),
        ("", "token", "()"),
        ("", "token", "[0:]"),
        ("", "1", " is defined"),
        ("", "1", " if 1 else 1"),
    ];
    for (before, middle, after) in chains {
        for length in [2_000, 4_000, 16_000] {
            let times = length / (before.len() + after.len());
            let source = format!("{{{{ {}{middle}{} }}}}", before.repeat(times), after.repeat(times));
            let _ = render_one(&source, None);
            let _ = render_one(&source.replace("}}", "| tojson }}"), None);
        }
    }
    for statement in ["{% if token %}{% endif %}", "{% if token %}", "{% if 1 %}{% elif 1 %}", "{% elif 1 %}"] {
        for length in [2_000, 16_000] {
            let times = length / statement.len();
            let _ = render_one(&format!("{{% if 0 %}}{}{{% endif %}}", statement.repeat(times)), None);
        }
    }
}

#[test]
fn p21_all_keys_together_have_a_budget() {
    // each of them has room by itself
    let heavy = "{{ ('x' * 150000) | b64encode | length }}".repeat(2);
    let templates: BTreeMap<_, _> = (0..32).map(|n| (format!("k{n}"), heavy.clone())).collect();
    let one = BTreeMap::from([("k".to_owned(), heavy)]);
    assert_eq!(check(&one).err(), None);
    let (checked, took) = on_stack(|| {
        let began = cpu_time();
        (check(&templates), cpu_time().saturating_sub(began))
    });
    let error = checked.unwrap_err();
    assert!(error.message.contains("exceed the work limit"), "{error}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn all_keys_together_fit_a_secret() {
    let big = "{{ 'x' * 4096 }}".repeat(60);
    let mut templates: BTreeMap<_, _> = (0..3).map(|n| (format!("k{n}"), big.clone())).collect();
    assert!(check(&templates).is_ok());
    templates.insert("k3".into(), big);
    let error = check(&templates).unwrap_err();
    assert_eq!(error.field, "spec.secret.template.data");
    assert!(error.message.contains("900 KiB"), "{error}");
    let long = (0..5).map(|n| (format!("k{n}"), "x".repeat(LARGEST_TEMPLATE))).collect();
    assert!(on_stack(|| check(&long)).unwrap_err().message.contains("64 KiB"));
}

#[test]
fn further_values_are_read_by_name_and_known_before_a_call() {
    for (source, expected) in [
        ("{{ token }}", Ok(vec![])),
        ("{{ values.a }}{% if 0 %}{{ values.b | upper }}{% endif %}{{ values.a }}", Ok(vec!["a", "b"])),
        ("{% if values.c is defined %}{% endif %}values.d", Ok(vec!["c"])),
        ("{{ values }}", Err("Write values.NAME")),
        ("{{ values['a'] }}", Err("Write values.NAME")),
        ("{{ values | tojson }}", Err("Write values.NAME")),
        (
            "{{ values.a ~ values.b ~ values.c ~ values.d ~ values.e ~ values.f ~ values.g ~ values.h ~ values.i }}",
            Err("more than 8"),
        ),
    ] {
        assert_eq!(check(&templates(source)).err(), None, "{source}");
        let read = values_read(&templates(source));
        match expected {
            Ok(names) => assert_eq!(read, Ok(names.into_iter().map(str::to_owned).collect()), "{source}"),
            Err(part) => assert!(read.unwrap_err().message.contains(part), "{source}"),
        }
    }
    let error = render_one("{{ values.other }}", None).unwrap_err();
    assert!(error.message.contains("`values.other` is undefined"), "{error}");
}

#[test]
fn a_check_finds_what_only_the_first_or_only_a_later_issue_would_hit() {
    let cases = [
        ("{{ token }}{% if previous_token is defined %}{{ previous_token }}{% endif %}", None),
        ("{{ (token | split('.') | list)[1] | b64decode }}", None),
        ("{{ previous_token }}", Some("line 1: `previous_token` is undefined if the Secret has no previous token")),
        ("{% if previous_token is defined %}{{ previous_token | rot13 }}{% endif %}", Some("is an unknown filter")),
    ];
    for (source, expected) in cases {
        let message = check(&templates(source)).err().map(|error| error.message);
        assert_eq!(message.is_some(), expected.is_some(), "{source}: {message:?}");
        assert!(message.unwrap_or_default().contains(expected.unwrap_or_default()), "{source}");
    }
    assert!(check(&BTreeMap::new()).is_ok());
}
