//! The DNS of a cluster: a real `CoreDNS` beside a [`Node`](crate::node::Node), with the Services of the cluster and a zone
//! of its own, and what it was asked.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::node::Network;
use crate::stand::ControlPlane;
use crate::stand::controlplane::built;
use crate::stand::process::{Process, Scratch};
use crate::stand::wait::poll;

/// The zone beside that of the cluster: no other name server, and no hosts file, knows its names.
pub const ZONE: &str = "video.example";

/// One question, as `CoreDNS` logs it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// Who asks.
    pub from: IpAddr,
    /// The whole name, with its final dot.
    pub name: String,
    /// `A`, `AAAA` and so on.
    pub kind: String,
    /// `NOERROR`, `NXDOMAIN` and so on.
    pub answer: String,
}

/// A `CoreDNS` at the addresses that the kubelet names to Pods. Dropped, it is killed.
pub struct ClusterDns {
    program: Process,
    binary: PathBuf,
    directory: Scratch,
}

impl ClusterDns {
    /// Starts it with the addresses of names in [`ZONE`], and waits until it knows the Services of the cluster.
    ///
    /// # Errors
    ///
    /// Fails if it isn't ready within half a minute; the error has the end of its log.
    pub async fn start(plane: &ControlPlane, network: Network, names: &[(String, Vec<IpAddr>)]) -> Result<Self> {
        let binaries = tokio::task::spawn_blocking(|| built("tests/node/build.sh")).await??;
        let (binary, directory) = (binaries.join("coredns"), Scratch::new("vto-dns-")?);
        let kubeconfig = plane.kubeconfig_path();
        let addresses = network.families().iter().map(|family| family.dns).collect::<Vec<_>>().join(" ");
        let settings = format!(
            ".:53 {{\n  bind {addresses}\n  ready {READY}\n  errors\n  log . \"question {{type}} {{name}} {{remote}} {{rcode}}\"\n  \
             kubernetes cluster.local {{\n    kubeconfig {}\n  }}\n  file zone {ZONE}\n}}\n",
            kubeconfig.display()
        );
        directory.write("Corefile", &settings)?;
        directory.write("zone", &zone(names)?)?;
        let program = spawn(&binary, &directory)?;
        let mut dns = Self { program, binary, directory };
        dns.ready().await?;
        Ok(dns)
    }

    /// Ends it: its port is closed.
    pub fn stop(&mut self) {
        self.program.kill();
    }

    /// Starts it again, and waits until it is ready.
    pub async fn start_again(&mut self) -> Result<()> {
        self.program = spawn(&self.binary, &self.directory)?;
        self.ready().await
    }

    /// Stops it where it stands: questions arrive and nobody answers.
    pub fn pause(&mut self) -> Result<()> {
        self.program.signal("STOP")
    }

    /// Lets it go on.
    pub fn resume(&mut self) -> Result<()> {
        self.program.signal("CONT")
    }

    /// What it was asked so far, from the first.
    pub fn questions(&self) -> Result<Vec<Question>> {
        let log = std::fs::read_to_string(self.program.log()).context("CoreDNS's log")?;
        Ok(log.lines().filter_map(question).collect())
    }

    async fn ready(&mut self) -> Result<()> {
        let program = &mut self.program;
        let ready = poll(Duration::from_secs(30), "CoreDNS is ready", async || {
            program.check()?;
            let said = reqwest::get(format!("http://{READY}/ready")).await?;
            said.error_for_status().map(drop).map_err(anyhow::Error::from)
        });
        ready.await.with_context(|| self.program.log_tail(30))
    }
}

/// Where it says that it is ready: its node has a network of its own.
const READY: &str = "127.0.0.1:8181";

fn spawn(binary: &std::path::Path, directory: &Scratch) -> Result<Process> {
    let none = Vec::<(String, String)>::new();
    Process::spawn(binary, ["-conf", "Corefile"], none, directory.path(), &directory.file("coredns.log"))
}

/// The zone's file.
fn zone(names: &[(String, Vec<IpAddr>)]) -> Result<String> {
    let mut zone = format!("$ORIGIN {ZONE}.\n$TTL 5\n@ SOA ns hostmaster 1 3600 600 86400 5\n@ NS ns\n");
    for (name, addresses) in names {
        for address in addresses {
            let kind = if address.is_ipv4() { "A" } else { "AAAA" };
            writeln!(zone, "{name} {kind} {address}")?;
        }
    }
    Ok(zone)
}

/// Reads a line of the log: `[INFO] question A speech.video.example. 10.88.0.12 NOERROR`.
fn question(line: &str) -> Option<Question> {
    let (_, words) = line.split_once("question ")?;
    let mut words = words.split_whitespace();
    let (kind, name, from, answer) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let from = from.trim_matches(['[', ']']).parse().ok()?;
    Some(Question { from, name: name.to_owned(), kind: kind.to_owned(), answer: answer.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_read_from_a_line_of_the_log() -> Result<()> {
        for (line, from) in [
            ("[INFO] question AAAA speech.video.example. 10.88.0.12 NOERROR", "10.88.0.12"),
            ("[INFO] question AAAA speech.video.example. [fd00:88::12] NOERROR", "fd00:88::12"),
        ] {
            let read = question(line).context("no question")?;
            assert_eq!((read.from, &*read.kind, &*read.name), (from.parse()?, "AAAA", "speech.video.example."));
        }
        assert_eq!(question("CoreDNS-1.15.0"), None);
        Ok(())
    }
}
