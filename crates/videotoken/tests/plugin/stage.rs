//! Set-up of the tests: a scene with an operator, and the plugin under its name.

use serde_json::Value;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use testkit::scene::Scene;
use testkit::stand::Kubeconfig;
use testkit::stand::operator::binary;
use testkit::stand::process::{KEPT, Scratch};
use testkit::stand::terminal::Terminal;

/// The tool, which is the plugin under another name.
pub(crate) const TOOL: &str = env!("CARGO_BIN_EXE_videotoken");

/// The operator's program.
pub(crate) fn operator() -> String {
    binary().unwrap().to_str().unwrap().to_owned()
}

/// A scene, and the plugin on a `PATH` of its own.
pub(crate) struct Stage {
    scene: Scene,
    scratch: Scratch,
    kubeconfig: PathBuf,
}

impl Deref for Stage {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}

/// Output and exit code of the plugin.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Its output, where it went well.
    #[track_caller]
    pub(crate) fn well(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Returns the output as JSON.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.well()).unwrap()
    }

    /// Both outputs, where it ended with this code.
    #[track_caller]
    pub(crate) fn ended(self, code: i32) -> String {
        let said = self.stdout + &self.stderr;
        assert_eq!(self.code, Some(code), "{said}");
        said
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Stage {
    /// A scene with a provider, whose admin runs the plugin.
    pub(crate) async fn set(prefix: &str) -> Self {
        let scene = Scene::new(prefix, &operator()).await.unwrap();
        let scratch = Scratch::new("vto-plugin-").unwrap();
        for name in ["kubectl-videotoken", "kubectl_complete-videotoken"] {
            std::os::unix::fs::symlink(TOOL, scratch.file(name)).unwrap();
        }
        let kubeconfig = scene.plane.kubeconfig_path();
        Self { scene, scratch, kubeconfig }
    }

    /// The scene, to be changed before its operator starts.
    pub(crate) fn scene_mut(&mut self) -> &mut Scene {
        &mut self.scene
    }

    /// Runs the plugin with this login from now on.
    pub(crate) fn log_in(&mut self, login: &Kubeconfig) {
        self.kubeconfig = self.scratch.write("login.kubeconfig", &login.yaml()).unwrap();
    }

    /// A program of the plugin's by its name.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.scratch.file(name)
    }

    /// Runs the plugin in the scene's namespace, its output in pipes.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.run_program(&self.program("kubectl-videotoken"), &[&["-n", &self.namespace], args].concat(), &[])
    }

    /// Runs a program with the plugin's login.
    pub(crate) fn run_program(&self, program: &Path, args: &[&str], env: &[(&str, &str)]) -> Ran {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders = vec![self.scratch.path().to_owned(), self.plane.binaries().to_owned()];
        folders.extend(std::env::split_paths(&path));
        let output = Command::new(program)
            .args(args)
            .env_clear()
            .envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .env("PATH", std::env::join_paths(folders).unwrap())
            .env("KUBECONFIG", &self.kubeconfig)
            .envs(env.iter().copied())
            .output()
            .unwrap();
        output.into()
    }

    /// Starts the plugin at a terminal of so many columns.
    pub(crate) fn terminal(&self, args: &[&str], columns: u16, env: &[(&str, &str)]) -> Terminal {
        let kubeconfig = self.kubeconfig.to_string_lossy();
        let env = [&[("KUBECONFIG", &*kubeconfig)], env].concat();
        let args = [&["-n", &self.namespace], args].concat();
        Terminal::start(&self.program("kubectl-videotoken"), &args, &env, columns, 100).unwrap()
    }

    /// Runs the plugin at a terminal to its end. No line may be too long for it.
    pub(crate) async fn at_terminal(&self, args: &[&str], columns: u16) -> Terminal {
        let mut terminal = self.terminal(args, columns, &[]);
        terminal.end(Duration::from_secs(30)).await.unwrap();
        assert_eq!(terminal.wrapped(), None, "{args:?} at {columns} columns:\n{}", terminal.text());
        terminal
    }
}
