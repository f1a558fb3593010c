//! `kubectl videotoken status -A` beside the raw list: the same pages by a bare client that reads none of them.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::report::Figures;
use super::say;
use super::stage::Stage;
use crate::stand::operator;

/// So many of each, in turns; the median counts.
const ROUNDS: usize = 5;

/// Measures both.
pub(super) async fn measure(stage: &Stage, figures: &mut Figures) -> Result<()> {
    say("status of all tokens");
    let (mut raw, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let (pages, bytes) = raw_list(stage).await?;
        raw.push((begun.elapsed(), pages, bytes));
        whole.push(status(stage).await?);
    }
    raw.sort_unstable();
    whole.sort_unstable();
    let (raw, pages, bytes) = raw[ROUNDS / 2];
    let whole = whole[ROUNDS / 2];
    figures.raw_list_seconds = Some(raw.as_secs_f64());
    figures.status_seconds = Some(whole.as_secs_f64());
    figures.note(format!(
        "status -A: {:.2} s; the raw list: {:.2} s, {pages} pages, {} KB",
        whole.as_secs_f64(),
        raw.as_secs_f64(),
        bytes / 1000
    ));
    Ok(())
}

/// All pages, unread; how many, and their bytes.
async fn raw_list(stage: &Stage) -> Result<(usize, usize)> {
    let client = stage.plane.client()?;
    let (mut more, mut pages, mut bytes) = (String::new(), 0, 0);
    loop {
        let path = format!("/apis/videotoken.dev/v1alpha1/videoaccesstokens?limit=500&continue={more}");
        let page = client.request_text(http::Request::get(path).body(Vec::new())?).await?;
        (pages, bytes) = (pages + 1, bytes + page.len());
        // no object of the bench's holds that word
        let next = page.rsplit_once(r#""continue":""#).and_then(|(_, rest)| rest.split('"').next());
        match next.filter(|next| !next.is_empty()) {
            Some(next) => next.clone_into(&mut more),
            None => return Ok((pages, bytes)),
        }
    }
}

/// From the start of the program to its end, its table in a pipe.
async fn status(stage: &Stage) -> Result<Duration> {
    let kubeconfig = stage.plane.kubeconfig_path();
    let program = operator::beside("videotoken")?;
    let begun = Instant::now();
    let ran = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(program);
        command.args(["kubectl", "status", "-A", "--kubeconfig"]).arg(kubeconfig).env_clear();
        command.stdin(Stdio::null()).output()
    });
    let output = ran.await?.context("run the plugin")?;
    let took = begun.elapsed();
    let lines = String::from_utf8_lossy(&output.stdout).lines().count();
    if !output.status.success() || lines < stage.options.n {
        bail!("status -A: {}, {lines} lines: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(took)
}
