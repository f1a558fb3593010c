//! Providers that misbehave, and whoever reaches the metrics' port.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use super::{again, for_ever, names};
use crate::emulator::Fault;
use crate::isolation::attack::Attack;
use crate::isolation::ground::Ground;

/// Longer than the operator waits for a provider.
const STALL: Duration = Duration::from_mins(2);

/// A provider that hangs, or is too busy, and many tokens that ask it.
pub(super) async fn provider(ground: &Ground, attack: Attack) -> Result<()> {
    let fault =
        if attack == Attack::ProviderHangs { Fault::Stall(STALL) } else { Fault::Throttle { retry_after: None } };
    ground.attacker.control().play(fault);
    ground.attacker.make_tokens(names("asking", 100), &json!({})).await?;
    for_ever().await
}

/// Scrapers that ask and don't read; each goes after a while and comes again. Many tokens, each with its own series,
/// make a scrape long.
pub(super) async fn scrapers(ground: &Ground) -> Result<()> {
    ground.attacker.make_tokens(names("scraped", ground.size.of(1_500, 200)), &json!({})).await?;
    let url = ground.url("/metrics").await;
    let address = url.trim_start_matches("http://").trim_end_matches("/metrics");
    let address: SocketAddr = address.parse().context("the operator's address")?;
    again(Duration::from_secs(10), async |_| {
        let mut scrapers = Vec::new();
        for _ in 0..300 {
            if let Ok(scraper) = ask(address).await {
                scrapers.push(scraper);
            }
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
    })
    .await
}

/// Asks for the metrics over a connection that holds little of the answer.
async fn ask(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(2_048)?;
    let connected = tokio::time::timeout(Duration::from_secs(2), socket.connect(address));
    let mut stream = connected.await??;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nAccept: text/plain\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}
