//! Benches measure the operator, so the emulators must not be what is slow.

use super::{Client, simplest};
use futures::{StreamExt as _, stream};
use std::time::Instant;

/// Run by hand: `cargo test --release -p testkit --test azure -- --ignored --nocapture throughput`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput() {
    const TOKENS: usize = 20_000;
    let client = Client::start().await;
    let client = &client;
    let start = Instant::now();
    let calls = stream::iter(0..TOKENS).map(|_| async move {
        let answer = client.request("generateAccessToken", &simplest()).send().await.unwrap();
        answer.bytes().await.unwrap().len()
    });
    let bytes: usize = calls.buffer_unordered(32).fold(0, |sum, length| async move { sum + length }).await;
    let elapsed = start.elapsed();
    assert_eq!(client.azure.video_indexer.control().counters().issued, TOKENS as u64);
    let line = format!("{TOKENS} tokens, {bytes} bytes, in {elapsed:?}, client and server on 2 threads\n");
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes()).unwrap();
}
