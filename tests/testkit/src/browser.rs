//! A real Chromium without a window, spoken to by its `DevTools` protocol over two pipes.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::stand::controlplane::built;
use crate::stand::process::{Process, Scratch};
use crate::stand::wait::poll;

/// What any answer may take, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_mins(1);

/// Nothing but what the test asks for: no update, no background request, no state of before.
const FLAGS: [&str; 12] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
];

/// The shell gives Chromium the two ends where it looks for them.
const PIPED: &str = r#"exec "$@" 3<in 4>out"#;

/// A browser. Gone when this is dropped.
#[derive(Debug)]
pub struct Browser {
    pipes: Mutex<Pipes>,
    process: Process,
    _directory: Scratch,
}

#[derive(Debug)]
struct Pipes {
    to: pipe::Sender,
    from: BufReader<pipe::Receiver>,
    asked: u64,
    events: Vec<Value>,
}

/// One page in it.
#[derive(Debug)]
pub struct Tab<'a> {
    browser: &'a Browser,
    session: String,
}

impl Browser {
    /// Starts one; installs it where it is missing and root is there.
    pub async fn start() -> Result<Self> {
        let chromium = tokio::task::spawn_blocking(|| built("tests/tools/chromium.sh")).await??;
        let directory = Scratch::new("vto-browser-")?;
        let (to, from) = (directory.file("in"), directory.file("out"));
        let made = Command::new("mkfifo").args([&to, &from]).status().context("mkfifo")?;
        if !made.success() {
            bail!("mkfifo ended with {made}");
        }
        // both directions, so that no open waits for the other side
        let to = pipe::OpenOptions::new().read_write(true).open_sender(to)?;
        let from = pipe::OpenOptions::new().read_write(true).open_receiver(from)?;
        let mut args = vec!["-c".to_owned(), PIPED.to_owned(), "sh".to_owned(), chromium.display().to_string()];
        args.extend(FLAGS.map(str::to_owned));
        args.push(format!("--user-data-dir={}", directory.file("profile").display()));
        let shell = PathBuf::from("sh");
        let home = [("HOME".to_owned(), directory.path().display().to_string())];
        let process = Process::spawn(&shell, args, home, directory.path(), &directory.file("log"))?;
        let pipes = Pipes { to, from: BufReader::new(from), asked: 0, events: Vec::new() };
        Ok(Self { pipes: Mutex::new(pipes), process, _directory: directory })
    }

    /// Its version.
    pub async fn version(&self) -> Result<String> {
        let version = self.ask(None, "Browser.getVersion", json!({})).await?;
        Ok(version["product"].as_str().unwrap_or_default().to_owned())
    }

    /// Opens a page of this size.
    pub async fn tab(&self, width: u32, height: u32) -> Result<Tab<'_>> {
        let target = self.ask(None, "Target.createTarget", json!({"url": "about:blank"})).await?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.ask(None, "Target.attachToTarget", attach).await?;
        let session = attached["sessionId"].as_str().context("a session")?.to_owned();
        let tab = Tab { browser: self, session };
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            tab.ask(domain, json!({})).await?;
        }
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        tab.ask("Emulation.setDeviceMetricsOverride", size).await?;
        Ok(tab)
    }

    async fn ask(&self, session: Option<&str>, method: &str, params: Value) -> Result<Value> {
        let mut pipes = self.pipes.lock().await;
        let answer = timeout(PATIENCE, pipes.ask(session, method, params)).await;
        match answer {
            Ok(answer) => answer.with_context(|| method.to_owned()),
            Err(_) => Err(anyhow!("{method}: no answer; the browser says: {}", self.process.log_tail(20))),
        }
    }
}

impl Pipes {
    async fn ask(&mut self, session: Option<&str>, method: &str, params: Value) -> Result<Value> {
        self.asked += 1;
        let mut message = json!({"id": self.asked, "method": method, "params": params});
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let mut bytes = serde_json::to_vec(&message)?;
        bytes.push(0);
        self.to.write_all(&bytes).await?;
        loop {
            let mut bytes = Vec::new();
            self.from.read_until(0, &mut bytes).await?;
            bytes.pop();
            let mut said: Value = serde_json::from_slice(&bytes)?;
            if said["id"] != self.asked {
                self.events.push(said);
            } else if said["error"].is_null() {
                return Ok(said["result"].take());
            } else {
                bail!("{}", said["error"]);
            }
        }
    }
}

impl Tab<'_> {
    async fn ask(&self, method: &str, params: Value) -> Result<Value> {
        self.browser.ask(Some(&self.session), method, params).await
    }

    /// Goes there, and waits until all of it is loaded.
    pub async fn go(&self, url: &str) -> Result<()> {
        let gone = self.ask("Page.navigate", json!({"url": url})).await?;
        if let Some(error) = gone["errorText"].as_str() {
            bail!("{url}: {error}");
        }
        self.until(&format!("{url} is loaded"), "document.readyState === 'complete'").await
    }

    /// What an expression comes to in the page.
    pub async fn evaluate(&self, expression: &str) -> Result<Value> {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.ask("Runtime.evaluate", params).await?;
        if !answer["exceptionDetails"].is_null() {
            bail!("{expression}: {}", answer["exceptionDetails"]);
        }
        Ok(answer["result"]["value"].take())
    }

    /// Waits until an expression is true.
    pub async fn until(&self, what: &str, expression: &str) -> Result<()> {
        poll(PATIENCE, what, async || match self.evaluate(expression).await {
            Ok(Value::Bool(true)) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await
    }

    /// Scripts run, or don't.
    pub async fn set_scripts(&self, run: bool) -> Result<()> {
        self.ask("Emulation.setScriptExecutionDisabled", json!({"value": !run})).await.map(drop)
    }

    /// The user prefers this colour scheme, `light` or `dark`.
    pub async fn set_scheme(&self, scheme: &str) -> Result<()> {
        let params = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.ask("Emulation.setEmulatedMedia", params).await.map(drop)
    }

    /// Types into what has the focus.
    pub async fn type_text(&self, text: &str) -> Result<()> {
        self.ask("Input.insertText", json!({"text": text})).await.map(drop)
    }

    /// What is seen of it, as PNG.
    pub async fn screenshot(&self) -> Result<Vec<u8>> {
        let shot = self.ask("Page.captureScreenshot", json!({"format": "png"})).await?;
        Ok(STANDARD.decode(shot["data"].as_str().context("no picture")?)?)
    }

    /// What the browser had to complain of so far: errors of scripts, and what a policy stopped.
    pub async fn complaints(&self) -> Vec<String> {
        let pipes = self.browser.pipes.lock().await;
        let mine = pipes.events.iter().filter(|event| event["sessionId"] == self.session.as_str());
        let bad = mine.filter(|event| match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" | "Page.javascriptDialogOpening" => true,
            "Log.entryAdded" => event["params"]["entry"]["level"] == "error",
            _ => false,
        });
        bad.map(ToString::to_string).collect()
    }
}
