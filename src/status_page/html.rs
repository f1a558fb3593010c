//! The status page as HTML. Constant text is written without changes, all other text by [`Html::text`], which escapes
//! it.

use super::view::{PageQuery, Provider, QueryResult, Snapshot, TokenEntry};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use url::form_urlencoded::Serializer;
use videotoken_api::wire_time;
use videotoken_core::summary::{State, text};
use videotoken_providers::clock::Timestamp;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Returns the content security policy: it permits this script, this style and requests to the page's own origin, and
/// nothing else.
pub(super) fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
}

/// HTML in progress.
struct Html(String);

impl Html {
    /// Appends constant HTML.
    fn raw(&mut self, html: &'static str) -> &mut Self {
        self.0.push_str(html);
        self
    }

    /// Appends escaped text, which is safe between tags and within double quotes.
    fn text(&mut self, text: impl AsRef<str>) -> &mut Self {
        for c in text.as_ref().chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // HTML doesn't permit these characters.
                '\0' | '\u{1}'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        self
    }

    fn count(&mut self, count: usize) -> &mut Self {
        let digits = count.to_string();
        for (place, digit) in digits.char_indices() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                self.0.push(',');
            }
            self.0.push(digit);
        }
        self
    }
}

/// Returns the whole page.
pub(super) fn page(snapshot: &Snapshot, result: &QueryResult<'_>) -> String {
    let mut html = Html(String::with_capacity(96 * 1024));
    html.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>");
    let expired = result.counts[0];
    if expired > 0 {
        html.count(expired).raw(" expired · ");
    }
    html.raw(
        "video-token-operator</title>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
    );
    html.raw(
        "<link rel=\"icon\" href=\"data:,\">\n<noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript>\n",
    );
    html.raw("<style>").raw(STYLE).raw("</style>\n</head>\n<body>\n<header><h1>Video access tokens</h1>");
    html.raw("<p class=\"soft\">video-token-operator ").raw(env!("CARGO_PKG_VERSION")).raw("</p>");
    html.raw("<p role=\"status\">as of the last reload</p></header>\n");
    form(&mut html, snapshot, &result.query);
    html.raw("<main id=\"tables\">\n");
    states(&mut html, result);
    tokens(&mut html, snapshot, result);
    pages(&mut html, result);
    providers(&mut html, snapshot);
    html.raw("<footer>");
    html.raw(if snapshot.leads { "This process leads" } else { "This process stands by; another leads" });
    html.raw(". What is shown is what it knew at ");
    time(&mut html, snapshot.now, &wire_time::text(snapshot.now));
    html.raw(". No token and no Secret's data is on this page.</footer>\n</main>\n<script>");
    html.raw(SCRIPT).raw("</script>\n</body>\n</html>\n");
    html.0
}

/// Appends the form that filters the rows. A script submits it during typing; without scripts, the button submits it.
fn form(html: &mut Html, snapshot: &Snapshot, query: &PageQuery) {
    html.raw("<form method=\"get\"><input type=\"hidden\" name=\"state\" value=\"").text(&query.state);
    html.raw("\"><label>Name <input type=\"search\" name=\"name\" maxlength=\"253\" autocomplete=\"off\" value=\"");
    html.text(&query.name)
        .raw("\"></label><label>Namespace <select name=\"namespace\"><option value=\"\">all</option>");
    let known = snapshot.namespaces.keys().map(String::as_str);
    let unknown = Some(query.namespace.as_str()).filter(|name| !name.is_empty());
    let unknown = unknown.filter(|name| !snapshot.namespaces.contains_key(*name));
    for namespace in known.chain(unknown) {
        html.raw("<option");
        if namespace == query.namespace {
            html.raw(" selected");
        }
        html.raw(">").text(namespace).raw("</option>");
    }
    html.raw("</select></label><button>Show</button></form>\n");
}

/// Appends the number of tokens in each state. Each number links to its rows.
fn states(html: &mut Html, result: &QueryResult<'_>) {
    html.raw("<nav aria-label=\"States\"><ul class=\"states\">");
    let all = result.counts.iter().sum();
    let chosen = result.query.state();
    let states = State::ALL.into_iter().zip(result.counts);
    for (state, count) in [(None, all)].into_iter().chain(states.map(|(state, count)| (Some(state), count))) {
        let word = state.map_or("All", State::as_str);
        html.raw("<li><a id=\"state-").text(word).raw("\" href=\"");
        let wanted = state.map(State::as_str).unwrap_or_default().to_owned();
        address(html, &PageQuery { state: wanted, page: String::new(), ..result.query.clone() });
        html.raw("\"");
        if state == chosen {
            html.raw(" aria-current=\"true\"");
        }
        html.raw(if count == 0 { " class=\"none\">" } else { ">" }).raw("<b class=\"").raw(class(state)).raw("\">");
        html.count(count).raw("</b>").text(word).raw("</a></li>");
    }
    html.raw("</ul></nav>\n");
}

fn class(state: Option<State>) -> &'static str {
    match state {
        None => "all",
        Some(State::Expired) => "expired",
        Some(State::Stalled) => "stalled",
        Some(State::Failing) => "failing",
        Some(State::Pending) => "pending",
        Some(State::Ready) => "ready",
    }
}

/// Appends `?` and the query, as the value of an attribute.
fn address(html: &mut Html, query: &PageQuery) {
    let mut pairs = Serializer::new(String::new());
    let page = if query.page == "1" { "" } else { query.page.as_str() };
    let fields = [("state", &*query.state), ("namespace", &query.namespace), ("name", &query.name), ("page", page)];
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        pairs.append_pair(name, value);
    }
    html.raw("?").text(pairs.finish());
}

fn tokens(html: &mut Html, snapshot: &Snapshot, result: &QueryResult<'_>) {
    html.raw("<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Tokens\"><table id=\"tokens\"><caption>");
    html.raw("Video access tokens, the most urgent first</caption><thead><tr><th scope=\"col\">State</th>");
    html.raw("<th scope=\"col\">Namespace</th><th scope=\"col\">Name</th><th scope=\"col\">Life left</th>");
    html.raw("<th scope=\"col\">Expires</th><th scope=\"col\">Renewal</th><th scope=\"col\">Provider</th>");
    html.raw("<th scope=\"col\">Why</th></tr></thead><tbody>\n");
    for entry in &result.rows {
        token(html, entry, snapshot.now);
    }
    if result.rows.is_empty() {
        html.raw("<tr><td class=\"empty\" colspan=\"8\">");
        html.raw(if snapshot.len() == 0 { "There are no tokens." } else { "No token matches." }).raw("</td></tr>");
    }
    html.raw("</tbody></table></div>\n");
}

fn token(html: &mut Html, entry: &TokenEntry, now: Timestamp) {
    let row = &entry.row;
    let state = row.state(now);
    html.raw("<tr><td class=\"state ").raw(class(Some(state))).raw("\">").raw(state.as_str()).raw("</td><td>");
    html.text(&row.namespace).raw("</td><th scope=\"row\">").text(&row.name).raw("</th><td class=\"lifetime ");
    html.raw(class(Some(state))).raw("\">");
    if let Some(left) = row.lifetime_left(now) {
        let percent = format!("{:.1}", left * 100.0);
        html.raw("<svg viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"").text(&percent);
        html.raw("% of its lifetime is left\"><rect class=\"track\" width=\"100\" height=\"8\" rx=\"2\"/>");
        html.raw("<rect class=\"left\" height=\"8\" rx=\"2\" width=\"").text(&percent).raw("\"/></svg>");
    }
    for at in [row.expires_at, row.renew_at.filter(|_| !row.suspended)] {
        html.raw("</td><td class=\"number\">");
        if let Some(at) = at {
            time(html, at, &text::relative_time(at, now));
        }
    }
    html.raw("</td><td>").text(&row.provider).raw("</td><td class=\"why\">").text(&row.reason);
    if !entry.message.is_empty() {
        html.raw("<bdi class=\"soft\" title=\"").text(&entry.message).raw("\">").text(&entry.message);
        if let Some(id) = &entry.request_id {
            html.raw(" (request ").text(id).raw(")");
        }
        html.raw("</bdi>");
    }
    if let Some(next) = row.next_attempt_at.filter(|_| state != State::Ready) {
        html.raw("<span class=\"soft\">next attempt ");
        time(html, next, &text::relative_time(next, now));
        html.raw("</span>");
    }
    html.raw("</td></tr>\n");
}

fn time(html: &mut Html, at: Timestamp, shown: &str) {
    let exact = wire_time::text(at);
    html.raw("<time datetime=\"").text(&exact).raw("\" title=\"").text(&exact).raw("\">").text(shown).raw("</time>");
}

fn pages(html: &mut Html, result: &QueryResult<'_>) {
    let ((from, to, all), (page, pages)) = (result.span, result.page);
    if all == 0 {
        return;
    }
    html.raw("<nav class=\"pages\" aria-label=\"Pages\"><span>").count(from).raw("–").count(to).raw(" of ").count(all);
    html.raw("</span>");
    let steps = [("first", "First", 1, page > 2), ("before", "Before", page.saturating_sub(1), page > 1)];
    let more = [("next", "Next", page + 1, page < pages), ("last", "Last", pages, page + 1 < pages)];
    for (id, word, to, there) in steps.into_iter().chain(more) {
        if there {
            html.raw("<a id=\"page-").raw(id).raw("\" href=\"");
            address(html, &PageQuery { page: to.to_string(), ..result.query.clone() });
            html.raw("\">").raw(word).raw("</a>");
        }
    }
    html.raw("</nav>\n");
}

fn providers(html: &mut Html, snapshot: &Snapshot) {
    html.raw("<h2 id=\"of-providers\">Providers</h2><div class=\"wide\" tabindex=\"0\" role=\"region\" ");
    html.raw("aria-labelledby=\"of-providers\"><table id=\"providers\"><caption>Providers, those that can't issue ");
    html.raw("first</caption><thead><tr><th scope=\"col\">Ready</th><th scope=\"col\">Namespace</th>");
    html.raw("<th scope=\"col\">Name</th><th scope=\"col\">Kind</th><th scope=\"col\">Type</th>");
    html.raw("<th scope=\"col\">Tokens</th><th scope=\"col\">Credential ends</th><th scope=\"col\">Why</th>");
    html.raw("</tr></thead><tbody>\n");
    for provider in &snapshot.providers {
        self::provider(html, provider, snapshot.now);
    }
    if snapshot.providers.is_empty() {
        html.raw("<tr><td class=\"empty\" colspan=\"8\">There are no providers.</td></tr>");
    }
    html.raw("</tbody></table></div>\n");
}

fn provider(html: &mut Html, provider: &Provider, now: Timestamp) {
    let (class, word) = if provider.ready { ("ready", "Yes") } else { ("expired", "No") };
    html.raw("<tr><td class=\"state ").raw(class).raw("\">").raw(word).raw("</td><td>").text(&provider.namespace);
    html.raw("</td><th scope=\"row\">").text(&provider.name).raw("</th><td>").raw(provider.kind).raw("</td><td>");
    html.text(&provider.type_).raw("</td><td class=\"number\">");
    html.text(provider.tokens.map(|count| count.to_string()).unwrap_or_default()).raw("</td><td class=\"number\">");
    if let Some(ends) = provider.credential_expires_at {
        time(html, ends, &text::relative_time(ends, now));
    }
    html.raw("</td><td class=\"why\">").text(&provider.reason);
    if !provider.ready && !provider.message.is_empty() {
        html.raw("<bdi class=\"soft\" title=\"")
            .text(&provider.message)
            .raw("\">")
            .text(&provider.message)
            .raw("</bdi>");
    }
    html.raw("</td></tr>\n");
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::{at, token};
    use super::*;

    /// Text that breaks out of its context wherever it is not escaped.
    const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&lt;\u{202e}\0";

    fn hostile() -> Snapshot {
        let mut entry = token(HOSTILE, HOSTILE, State::Failing, Some(60));
        entry.message = HOSTILE.to_owned();
        entry.request_id = Some(HOSTILE.to_owned());
        entry.row.reason = HOSTILE.to_owned();
        entry.row.provider = HOSTILE.to_owned();
        entry.row.next_attempt_at = Some(at(10));
        let provider = Provider {
            ready: false,
            kind: "TokenProvider",
            namespace: HOSTILE.to_owned(),
            name: HOSTILE.to_owned(),
            type_: HOSTILE.to_owned(),
            tokens: Some(3),
            credential_expires_at: Some(at(86_400)),
            reason: HOSTILE.to_owned(),
            message: HOSTILE.to_owned(),
        };
        Snapshot::new(vec![entry], vec![provider], false, at(0))
    }

    #[test]
    fn no_text_of_anybody_becomes_markup() {
        let snapshot = hostile();
        let query = PageQuery {
            state: HOSTILE.to_owned(),
            namespace: HOSTILE.to_owned(),
            name: String::new(),
            page: HOSTILE.to_owned(),
        };
        for query in [PageQuery::default(), query.clone(), PageQuery { name: HOSTILE.to_owned(), ..query }] {
            let html = page(&snapshot, &snapshot.answer(&query));
            assert_eq!(html.matches("<script").count(), 1, "only the page's own");
            assert_eq!(html.matches("</script").count(), 1);
            assert_eq!(html.matches("<img").count(), 0);
            assert_eq!(html.matches("onerror=alert").count(), html.matches("src=x onerror=alert").count());
            assert!(!html.contains("\"'>") && !html.contains('\0'), "{html}");
            assert!(html.contains("&quot;&#39;&gt;&lt;script&gt;"), "{html}");
        }
    }

    #[test]
    fn the_policy_admits_this_script_and_this_style_alone() {
        let policy = policy();
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        for never in ["unsafe", "*", "http"] {
            assert!(!policy.contains(never), "{policy}");
        }
        let snapshot = hostile();
        let html = page(&snapshot, &snapshot.answer(&PageQuery::default()));
        // The policy blocks inline code, so the page must not contain any.
        for inline in [" style=\"", " onclick", " onload", "javascript:"] {
            assert!(!html.contains(inline), "{inline}");
        }
    }

    #[test]
    fn a_row_shows_its_state_its_lifetime_and_its_expiry() {
        let snapshot = Snapshot::new(vec![token("lobby", "screen", State::Ready, Some(1800))], Vec::new(), true, at(0));
        let html = page(&snapshot, &snapshot.answer(&PageQuery::default()));
        for part in [
            "<td class=\"state ready\">Ready</td><td>lobby</td><th scope=\"row\">screen</th>",
            "aria-label=\"50.0% of its lifetime is left\"",
            ">in 30m</time>",
            ">in 10m</time>",
            "1–1 of 1",
            "This process leads",
            "There are no providers.",
        ] {
            assert!(html.contains(part), "{part} is not in {html}");
        }
    }

    #[test]
    fn counts_are_told_in_thousands() {
        for (count, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            let mut html = Html(String::new());
            assert_eq!(html.count(count).0, expected);
        }
    }
}
