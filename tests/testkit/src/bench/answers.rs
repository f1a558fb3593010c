//! What the operator's own server takes to answer with all tokens: a scrape, and the status page.

use std::time::Instant;

use anyhow::Result;

use super::report::Figures;
use super::say;
use super::stage::Running;

/// So many of each; the median counts.
const ROUNDS: usize = 9;

/// Measures both; the operator serves the page.
pub(super) async fn measure(operator: &Running, figures: &mut Figures) -> Result<()> {
    say("scrapes and the status page");
    let median = async |path: &str| -> Result<(f64, usize)> {
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let bytes = operator.get(path).await?.len();
            took.push((begun.elapsed(), bytes));
        }
        took.sort_unstable();
        let (time, bytes) = took[ROUNDS / 2];
        Ok((time.as_secs_f64() * 1_000.0, bytes))
    };
    let (scrape, scraped) = median("/metrics").await?;
    let (page, shown) = median("/").await?;
    (figures.scrape_ms, figures.status_page_ms) = (Some(scrape), Some(page));
    figures.note(format!("a scrape has {} KB, the status page's first answer {} KB", scraped / 1000, shown / 1000));
    Ok(())
}
