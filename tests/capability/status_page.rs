//! The status page in a real browser: what it shows, that it keeps up, and that nobody's words become markup.

use crate::OPERATOR;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::browser::{Browser, Tab};
use testkit::emulator::{Fault, Life, Rule};
use testkit::scene::{SOON, Scene, client_secret};
use testkit::stand::controlplane::repository;
use testkit::stand::wait::until_past;
use testkit::stand::{Matcher, Operator, eventually};
use video_token_operator::http_server::{Health, Scrape, Server};
use video_token_operator::status_page::{Page, Provider, Source, TokenEntry};
use videotoken_core::summary::{State, TokenSummary};
use videotoken_providers::clock;

/// What breaks out of a text, where one is not escaped.
const HOSTILE: &str = "<img src=x onerror=\"window.taken=1\"><script>window.taken=2</script>'\"";

const NAMES: &str = "[...document.querySelectorAll('#tokens tbody th')].map(cell => cell.textContent)";

async fn open<'a>(browser: &'a Browser, url: &str) -> Tab<'a> {
    let tab = browser.tab(1360, 960).await.unwrap();
    tab.go(url).await.unwrap();
    tab
}

/// The names in the table, in their order.
async fn names(tab: &Tab<'_>) -> Vec<String> {
    let names = tab.evaluate(NAMES).await.unwrap();
    names.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

async fn get(url: &str) -> reqwest::Response {
    reqwest::Client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap()
}

/// Takes pictures of what is seen and, where they are asked for, writes them, once lives are partly over.
async fn pictures(tab: &Tab<'_>) {
    let wanted = std::env::var_os("UPDATE").is_some();
    if wanted {
        tokio::time::sleep(Duration::from_secs(40)).await;
    }
    for (scheme, name) in [("dark", "status-page-dark.png"), ("light", "status-page.png")] {
        tab.set_scheme(scheme).await.unwrap();
        let png = tab.screenshot().await.unwrap();
        assert!(png.starts_with(b"\x89PNG") && png.len() > 10_000, "{} bytes", png.len());
        contrast(tab).await;
        if wanted {
            let folder = repository().join("docs/images");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), png).unwrap();
        }
    }
}

fn refused(code: &str, message: &str) -> Fault {
    let body = json!({"error": {"code": code, "message": message}}).to_string();
    Fault::Status { code: 403, body, headers: Vec::new() }
}

/// Tokens in every state but expired.
async fn furnish(scene: &Scene) {
    let control = scene.azure.video_indexer.control();
    for (name, life) in [("lobby-camera", 3600), ("atrium-screen", 180), ("garage-gate", 120), ("player-web", 90)] {
        control.set_life(Life::Seconds(life));
        scene.ready_token(name, &json!({})).await.unwrap();
    }
    control.set_life(Life::Promised);
    control.play_once(refused("AuthorizationFailed", "no such role"));
    scene.apply(&scene.token("archive-export", &json!({}))).await.unwrap();
    scene.until("archive-export", "Stalled", "True", "Forbidden").await.unwrap();
    scene.apply(&scene.provider("unfinished", &client_secret("not-there"))).await.unwrap();
    scene.apply(&scene.token("loading-dock", &json!({"providerRef": {"name": "unfinished"}}))).await.unwrap();
    scene.until("loading-dock", "Stalled", "True", "CredentialsMissing").await.unwrap();
    scene.apply(&scene.token("stage-left", &json!({"suspend": true}))).await.unwrap();
    control.play(Rule::new(Fault::Status { code: 503, body: "{}".to_owned(), headers: Vec::new() }));
    scene.force_renewal("garage-gate").await.unwrap();
    let failed = |object: &Value| object["status"]["failedAttempts"].as_u64() > Some(0);
    scene.until_that("garage-gate", "fails", failed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_the_tokens_of_an_operator_keeps_up_with_them_and_runs_nobodys_text() {
    let mut scene = Scene::new("studio", OPERATOR).await.unwrap();
    scene.options.args.push("--status-page".to_owned());
    let operator = scene.operator().await.unwrap();
    furnish(&scene).await;
    let browser = Browser::start().await.unwrap();
    let tab = open(&browser, &operator.url("/")).await;
    tab.until("all seven", &format!("{NAMES}.length === 7")).await.unwrap();
    let shown = names(&tab).await;
    assert_eq!(shown[..2], ["archive-export", "loading-dock"], "what needs a hand comes first: {shown:?}");
    assert_eq!(shown[2], "garage-gate", "then what fails: {shown:?}");
    let text = tab.evaluate("document.getElementById('tables').innerText").await.unwrap();
    let text = text.as_str().unwrap();
    for word in ["Forbidden", "CredentialsMissing", "Suspended", "TokenProvider/indexer", "This process leads"] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    pictures(&tab).await;
    hostile(&scene, &tab).await;
    keeps_up(&scene, &tab).await;
    narrows(&tab, &operator).await;
    assert_eq!(tab.evaluate("window.taken ?? null").await.unwrap(), Value::Null);
    assert_eq!(tab.complaints().await, Vec::<String>::new());
    without_scripts(&browser, &operator).await;
    headers(&scene, &operator).await;
}

/// What a provider says stands there as it was said.
async fn hostile(scene: &Scene, tab: &Tab<'_>) {
    let control = scene.azure.video_indexer.control();
    control.clear_faults();
    control.play_once(refused("Hostile", HOSTILE));
    scene.apply(&scene.token("hostile", &json!({}))).await.unwrap();
    scene.until("hostile", "Stalled", "True", "Forbidden").await.unwrap();
    let said = "document.getElementById('tables').innerText.includes('<img src=x onerror=')";
    tab.until("what the provider said", said).await.unwrap();
    let parts = "document.querySelectorAll('img, #tables script, iframe').length";
    assert_eq!(tab.evaluate(parts).await.unwrap(), 0);
    scene.delete_token("hostile").await.unwrap();
}

/// A renewal and a deletion are seen without a reload.
async fn keeps_up(scene: &Scene, tab: &Tab<'_>) {
    tab.evaluate("window.here = true").await.unwrap();
    let expires = "[...document.querySelectorAll('#tokens tbody tr')].find(row => \
                   row.querySelector('th').textContent === 'lobby-camera').querySelector('time').dateTime";
    let before = tab.evaluate(expires).await.unwrap();
    // in another second, so that another time stands there
    let object = scene.tokens().get("lobby-camera").await.unwrap();
    let issued: DateTime<Utc> = object.data["status"]["issuedAt"].as_str().unwrap().parse().unwrap();
    until_past(issued + TimeDelta::seconds(1)).await;
    scene.force_renewal("lobby-camera").await.unwrap();
    scene.until_that("lobby-camera", "renewed", |object| object["status"]["issuances"] == 2).await.unwrap();
    tab.until("the renewal", &format!("{expires} !== {before}")).await.unwrap();
    scene.delete_token("player-web").await.unwrap();
    tab.until("the deletion", &format!("!{NAMES}.includes('player-web')")).await.unwrap();
    assert_eq!(tab.evaluate("window.here").await.unwrap(), true, "the page was not loaded anew");
    assert_eq!(tab.evaluate("document.querySelector('[role=status]').textContent").await.unwrap(), "live");
}

/// By typing, by a click on a state, by going back; and by an address that was made by another hand.
async fn narrows(tab: &Tab<'_>, operator: &Operator) {
    tab.evaluate("document.querySelector('input[name=name]').focus()").await.unwrap();
    tab.type_text("camera").await.unwrap();
    tab.until("one by its name", &format!("JSON.stringify({NAMES}) === '[\"lobby-camera\"]'")).await.unwrap();
    assert_eq!(tab.evaluate("location.search").await.unwrap(), "?name=camera");
    tab.evaluate("document.querySelector('input[name=name]').select()").await.unwrap();
    tab.evaluate("document.execCommand('delete')").await.unwrap();
    tab.until("all again", &format!("{NAMES}.length > 4")).await.unwrap();
    tab.evaluate("document.getElementById('state-Stalled').click()").await.unwrap();
    let states = "[...document.querySelectorAll('#tokens td.state')].map(cell => cell.textContent)";
    tab.until("the stalled", &format!("{states}.join('').match(/^(Stalled)+$/) !== null")).await.unwrap();
    let current = "document.querySelector('[aria-current]').id";
    assert_eq!(tab.evaluate(current).await.unwrap(), "state-Stalled");
    tab.evaluate("history.back()").await.unwrap();
    tab.until("all again", &format!("{NAMES}.length > 4")).await.unwrap();
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("name", HOSTILE), ("namespace", HOSTILE), ("state", HOSTILE), ("page", HOSTILE)])
        .finish();
    tab.go(&operator.url(&format!("/?{query}"))).await.unwrap();
    let none = "document.querySelector('.empty').textContent";
    assert_eq!(tab.evaluate(none).await.unwrap(), "No token matches.");
    assert_eq!(tab.evaluate("document.querySelector('input[name=name]').value").await.unwrap(), HOSTILE);
    assert_eq!(tab.evaluate("window.taken ?? null").await.unwrap(), Value::Null);
}

/// Every text has a contrast of 4.5 at least with what is behind it.
async fn contrast(tab: &Tab<'_>) {
    let script = "(() => {
        const channels = colour => colour.match(/[\\d.]+/g).map(Number);
        const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
            .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
        const behind = element => { for (let at = element; at; at = at.parentElement) {
            const colour = channels(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] > 0) return colour; } return [255, 255, 255]; };
        const poor = [];
        for (const element of document.querySelectorAll('body *')) {
            const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
            if (!own || element.closest('script, style, noscript, option')) continue;
            const [a, b] = [light(channels(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
            const ratio = (a + 0.05) / (b + 0.05);
            if (ratio < 4.5) poor.push(element.tagName + ' ' + element.className + ' ' + ratio.toFixed(2));
        }
        return poor; })()";
    assert_eq!(tab.evaluate(script).await.unwrap(), json!([]));
}

/// The server's own HTML is whole, and the form works.
async fn without_scripts(browser: &Browser, operator: &Operator) {
    let tab = browser.tab(1360, 800).await.unwrap();
    tab.set_scripts(false).await.unwrap();
    tab.go(&operator.url("/?name=camera&state=ready")).await.unwrap();
    assert_eq!(names(&tab).await, ["lobby-camera"]);
    let button = tab.evaluate("getComputedStyle(document.querySelector('form button')).display").await.unwrap();
    assert_ne!(button, "none");
}

async fn headers(scene: &Scene, operator: &Operator) {
    let answer = get(&operator.url("/")).await;
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("cache-control"), "no-store");
    assert_eq!(header("x-content-type-options"), "nosniff");
    let policy = header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    let html = answer.text().await.unwrap();
    for name in ["lobby-camera", "atrium-screen", "garage-gate"] {
        assert!(html.contains(name));
        assert!(!html.contains(&scene.held(name).await.unwrap()), "a token on the page");
    }
    let written = reqwest::Client::builder().no_proxy().build().unwrap().post(operator.url("/")).send().await.unwrap();
    assert_eq!(written.status(), 405, "it is read-only");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_page_unless_it_is_asked_for_and_a_standby_has_the_same_one() {
    // a watch that begins anew lists once; a page that asked would ask each time
    const LOOKS: u64 = 20;
    let mut scene = Scene::new("page-standby", OPERATOR).await.unwrap();
    scene.options.leader_elect = true;
    let plain = scene.operator().await.unwrap();
    assert_eq!(get(&plain.url("/")).await.status(), 404);
    scene.ready_token("lobby", &json!({})).await.unwrap();
    scene.options.args.push("--status-page=true".to_owned());
    let standby = scene.operator().await.unwrap();
    eventually(SOON, "the token on the standby's page", async || {
        let html = get(&standby.url("/")).await.text().await.unwrap();
        let shows = html.contains(">lobby</th>") && html.contains("This process stands by");
        if shows && html.contains("% of its lifetime is left") { Ok(()) } else { Err(html) }
    })
    .await;
    let reads = || -> u64 {
        let count = |resource| scene.proxy.count(&Matcher::get(resource)) + scene.proxy.count(&Matcher::list(resource));
        ["videoaccesstokens", "secrets"].map(count).iter().sum()
    };
    let before = reads();
    for _ in 0..LOOKS {
        assert!(get(&standby.url("/")).await.text().await.unwrap().contains(">lobby</th>"));
    }
    let more = reads() - before;
    assert!(more < LOOKS / 2, "{more} reads: what it shows is in memory");
}

/// As many tokens as a large cluster has, without the cluster.
struct Many(Vec<TokenEntry>);

impl Source for Many {
    fn tokens(&self) -> Vec<TokenEntry> {
        self.0.clone()
    }

    fn providers(&self) -> Vec<Provider> {
        Vec::new()
    }

    fn leads(&self) -> bool {
        true
    }
}

fn many(count: usize) -> Many {
    let now = clock::now().wall;
    let seconds = |n: usize| chrono::TimeDelta::seconds(i64::try_from(n).unwrap());
    let entry = |n: usize| TokenEntry {
        row: TokenSummary {
            namespace: format!("team-{:02}", n % 40),
            name: format!("camera-{n:05}"),
            reported_state: if n.is_multiple_of(97) { State::Failing } else { State::Ready },
            reason: "TokenIssued".to_owned(),
            suspended: false,
            provider: "ClusterTokenProvider/indexer".to_owned(),
            secret_name: format!("camera-{n:05}"),
            issued_at: Some(now - seconds(n % 2000)),
            expires_at: Some(now + seconds(3600 - n % 2000)),
            renew_at: Some(now + seconds(2400 - n % 2000)),
            next_attempt_at: None,
            created_at: Some(now - seconds(100_000)),
        },
        message: String::new(),
        request_id: None,
    };
    Many((0..count).map(entry).collect())
}

/// Prints how long it takes: a figure for people, not a limit.
#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::print_stdout)]
async fn ten_thousand_tokens_stay_usable() {
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.local_addr();
    let scrape: Scrape = Arc::new(|_| String::new());
    let page = Page::default();
    page.set_source(Arc::new(many(10_000)));
    let serving = tokio::spawn(server.run(Health::new(&[]), scrape, page.routes(), std::future::pending()));
    let browser = Browser::start().await.unwrap();

    let begun = Instant::now();
    let tab = open(&browser, &format!("http://{address}/")).await;
    let loaded = begun.elapsed();
    let count = "document.querySelector('#state-All b').textContent";
    assert_eq!(tab.evaluate(count).await.unwrap(), "10,000");
    assert_eq!(names(&tab).await.len(), 100);
    tab.evaluate("document.querySelector('input[name=name]').focus()").await.unwrap();
    let begun = Instant::now();
    tab.type_text("camera-09999").await.unwrap();
    tab.until("one of them", &format!("JSON.stringify({NAMES}) === '[\"camera-09999\"]'")).await.unwrap();
    let filtered = begun.elapsed();
    tab.go(&format!("http://{address}/?page=100")).await.unwrap();
    assert_eq!(names(&tab).await.len(), 100);
    assert_eq!(
        tab.evaluate("document.querySelector('.pages span').textContent").await.unwrap(),
        "9,901–10,000 of 10,000"
    );
    let begun = Instant::now();
    let html = get(&format!("http://{address}/?namespace=team-07")).await.text().await.unwrap();
    let answered = begun.elapsed();
    assert!(html.contains("1–100 of 250") && html.len() < 200_000, "{} bytes", html.len());
    let version = browser.version().await.unwrap();
    println!(
        "10,000 tokens in {version}: loaded in {loaded:?}, filtered in {filtered:?} from the key to the row, one answer in \
         {answered:?} and {} bytes",
        html.len()
    );
    assert_eq!(tab.complaints().await, Vec::<String>::new());
    serving.abort();
}
