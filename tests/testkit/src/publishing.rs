//! A real OCI registry over TLS, and releases into it by `make release`'s own script.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use std::process::Command;

use crate::chart::{publisher, run};
use crate::stand::controlplane::repository;
use crate::stand::operator::beside;
use crate::stand::process::{Process, Scratch, free_port};
use crate::stand::wait::poll;
use crate::tls::CertificateAuthority;

/// distribution's registry, over TLS, with a certificate of an authority of its own. Dropped, it is killed.
#[derive(Debug)]
pub struct Registry {
    address: SocketAddr,
    directory: Scratch,
    program: Process,
}

/// What a release printed, and where it left its files.
#[derive(Debug)]
pub struct Release {
    /// `host:port/path/video-token-operator@sha256:…`.
    pub image: String,
    /// The same of the chart.
    pub chart: String,
    /// The folder of the other files.
    pub files: PathBuf,
    /// The chain of the certificate that its signatures are verified by: that of an authority.
    pub certificate: PathBuf,
    /// The certificate of the registry's authority.
    pub ca: PathBuf,
}

impl Release {
    /// Verifies the signature of what a reference with a digest names, by a certificate. Returns what the verifier said.
    ///
    /// # Errors
    ///
    /// Fails where nothing is signed, or by another.
    pub fn verify(&self, certificate: &Path, reference: &str) -> Result<String> {
        let notary = publisher("notary")?.display().to_string();
        let certificate = certificate.display().to_string();
        let ca = format!("CA_FILE={}", self.ca.display());
        run("env".as_ref(), &[&ca, &notary, "verify", &certificate, reference], "")
    }
}

/// Adds the archive of the tool to a folder with an image, from the program that cargo built for the tests, without its
/// symbols.
///
/// # Errors
///
/// Fails with all that a program said.
pub fn archive_tool(dist: &Path) -> Result<()> {
    let scratch = Scratch::new("vto-tool-")?;
    let program = scratch.file("videotoken").display().to_string();
    run("strip".as_ref(), &["-o", &program, &beside("videotoken")?.display().to_string()], "")?;
    let (out, program) = (format!("OUT={}", dist.display()), format!("PROGRAM={program}"));
    run("env".as_ref(), &[&out, &program, "image/tool.sh"], "").map(drop)
}

impl Registry {
    /// Starts one on a free port of an address for which the authority's certificates hold.
    ///
    /// # Errors
    ///
    /// Fails if it doesn't answer within half a minute; the error has the end of its log.
    pub async fn start(address: Ipv4Addr) -> Result<Self> {
        let address = SocketAddr::from((address, free_port()?));
        let directory = Scratch::new("vto-registry-")?;
        let authority = CertificateAuthority::generate()?;
        let [certificate, key] = authority.server_pem()?;
        directory.write("ca.crt", &authority.ca_pem())?;
        let certificate = directory.write("server.crt", &certificate)?;
        let key = directory.write("server.key", &key)?;
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '{address}', secret: none, tls: {{certificate: {}, key: {}}}}}\n",
            directory.file("storage").display(),
            certificate.display(),
            key.display()
        );
        let config = directory.write("config.yaml", &config)?;
        let program = tokio::task::spawn_blocking(|| publisher("registry")).await??;
        let args = ["serve", config.to_str().context("the configuration's path")?];
        let log = directory.file("registry.log");
        let program = Process::spawn(&program, &args, Vec::<(String, String)>::new(), directory.path(), &log)?;
        let registry = Self { address, directory, program };
        let client = authority.client()?;
        let answers = poll(Duration::from_secs(30), "the registry answers", async || {
            let response = client.get(format!("https://{}/v2/", registry.host())).send().await?;
            response.error_for_status().map(drop).map_err(anyhow::Error::from)
        });
        answers.await.with_context(|| registry.program.log_tail(30))?;
        Ok(registry)
    }

    /// Host and port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The certificate of its authority, which a client must trust.
    pub fn ca(&self) -> PathBuf {
        self.directory.file("ca.crt")
    }

    /// The key of its release.
    pub fn key_file(&self) -> PathBuf {
        self.directory.file("release.key")
    }

    /// Makes a key with a certificate that an authority issued, and releases what is in this folder, as `make image` and
    /// `make archive` left it there.
    ///
    /// # Errors
    ///
    /// Fails with all that the script said.
    pub fn release(&self, dist: &Path) -> Result<Release> {
        let (key, certificate) = (self.key_file(), self.directory.file("release.crt"));
        notary("chain", &key, &certificate)?;
        let made = Command::new("image/release.sh")
            .current_dir(repository())
            .envs([("OUT", dist), ("KEY", &key), ("CERTIFICATE", &certificate)])
            .env("REGISTRY", format!("{}/video", self.host()))
            .env("CA_FILE", self.ca())
            .output()?;
        let said = String::from_utf8_lossy(&made.stdout).into_owned();
        anyhow::ensure!(made.status.success(), "{said}{}", String::from_utf8_lossy(&made.stderr));
        let line = |name: &str| {
            let found = said.lines().find_map(|line| line.strip_prefix(name));
            found.map(|rest| rest.trim().to_owned()).with_context(|| format!("no {name} in {said}"))
        };
        let (image, chart) = (line("image:")?, line("chart:")?);
        // the digest names it; the tag between is for people
        let (name, digest) = image.split_once('@').context("the image's digest")?;
        let name = name.rsplit_once(':').map_or(name, |(name, _)| name);
        Ok(Release {
            image: format!("{name}@{digest}"),
            chart,
            files: line("files:")?.into(),
            certificate,
            ca: self.ca(),
        })
    }

    /// Makes a key and a certificate that nobody else trusts.
    ///
    /// # Errors
    ///
    /// Fails if a file can't be written.
    pub fn key(&self, key: &Path, certificate: &Path) -> Result<()> {
        notary("key", key, certificate)
    }
}

/// Makes a key and a certificate: of its own (`key`) or of an authority (`chain`).
fn notary(kind: &str, key: &Path, certificate: &Path) -> Result<()> {
    let files = [key, certificate].map(|file| file.display().to_string());
    run(&publisher("notary")?, &[kind, &files[0], &files[1]], "").map(drop)
}
