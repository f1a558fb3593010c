//! The real kubectl, shown as one would type it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use crate::screen::Screen;

/// kubectl with a login of its own; nothing of the user's kubeconfig or cache is touched.
pub(crate) struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Kubectl {
    /// `home` is where it may keep its cache, and where it finds `plugin` as `kubectl videotoken`.
    pub(crate) fn new(program: PathBuf, kubeconfig: PathBuf, home: &Path, plugin: &Path) -> Result<Self> {
        std::os::unix::fs::symlink(plugin, home.join("kubectl-videotoken"))?;
        Ok(Self { program, kubeconfig, home: home.to_owned() })
    }

    /// The program.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Its login.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs it, shows command and output, and returns the output. `line` has no quotes.
    pub(crate) async fn show(&self, screen: &Screen, line: &str) -> Result<String> {
        screen.command(&format!("kubectl {line}"));
        let said = tokio::process::Command::new(&self.program)
            .args(line.split_whitespace())
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.home)
            .env("PATH", &self.home)
            .env_remove("KUBECTL_KUBERC")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("run {}", self.program.display()))?;
        let output = String::from_utf8_lossy(&said.stdout).into_owned();
        screen.note(&output);
        screen.note(String::from_utf8_lossy(&said.stderr));
        if !said.status.success() {
            bail!("kubectl {line}: {}", said.status);
        }
        Ok(output)
    }
}
