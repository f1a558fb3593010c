//! The five token APIs, the examples of deploy/examples pointed at them, and the command as a process.

use crate::TOOL;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use testkit::emulator::{
    Access, ArcgisVideoServer, Azure, BlendVision, CognitiveServices, Control, Emulator, Operations, Serving,
    VideoIndexerClassic, arcgis_example, classic_example, cognitive_example,
};
use testkit::stand::controlplane::repository;
use testkit::stand::process::Scratch;
use testkit::stand::yaml;

/// Every example.
pub(crate) const EXAMPLES: [&str; 6] = [
    "arcgis-video-server",
    "blend-vision",
    "cognitive-services",
    "own-account",
    "video-indexer-classic",
    "video-indexer",
];

/// The secret of the account in own-account.yaml.
pub(crate) const OWN_SECRET: &str = "own+account~secret=of:the/cinema";

/// The emulators, and a folder for the test's files.
pub(crate) struct Providers {
    pub(crate) folder: Scratch,
    hosts: Vec<String>,
    ca_pem: String,
    api_token: String,
    azure: [String; 2],
    video_indexer: Arc<Control>,
    classic: Serving<VideoIndexerClassic>,
    cognitive: Serving<CognitiveServices>,
    blend_vision: Serving<BlendVision>,
    arcgis: Serving<ArcgisVideoServer>,
}

impl Providers {
    /// The others beside this Azure, which learns the account of own-account.yaml.
    pub(crate) async fn beside(azure: &Azure) -> Self {
        let ca = azure.ca();
        let (tenant, client) = ("9f0ad2f4-5a8b-4c1e-8e36-1d2f6a7b3c40", "7d1f0a52-7f1d-4a9e-9a53-0b8e4d2f6a12");
        let own = object(&documents("own-account"), "TokenProvider")["spec"]["videoIndexer"].clone();
        let account = format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.VideoIndexer/accounts/{}",
            own["subscriptionId"].as_str().unwrap(),
            own["resourceGroup"].as_str().unwrap(),
            own["accountName"].as_str().unwrap()
        );
        assert_eq!(own["auth"]["clientSecret"]["tenantId"], tenant);
        azure.entra.register_application(tenant, client);
        azure.entra.add_secret(client, OWN_SECRET);
        azure.video_indexer.add_account(&account);
        azure.video_indexer.assign_role(client, &account, Operations::All);
        let classic = VideoIndexerClassic::new().unwrap();
        classic.gateway().add_key(classic_example::OWNERS_KEY, "owner");
        classic.add_account("trial", classic_example::ACCOUNT_ID);
        classic.add_member(classic_example::ACCOUNT_ID, "owner", Access::Own);
        classic.add_video(classic_example::ACCOUNT_ID, classic_example::VIDEO_ID);
        let (blend_vision, api_token) = BlendVision::furnished().unwrap();
        let classic = Serving::start(classic, ca).await.unwrap();
        let cognitive = Serving::start(CognitiveServices::furnished().unwrap(), ca).await.unwrap();
        let blend_vision = Serving::start(blend_vision, ca).await.unwrap();
        let arcgis = Serving::start(ArcgisVideoServer::furnished(), ca).await.unwrap();
        let urls = [azure.resource_manager_url(), azure.authority_url()];
        let host = |url: &String| url.trim_start_matches("https://").trim_end_matches('/').to_owned();
        let mut hosts: Vec<_> = urls.iter().map(host).collect();
        hosts.extend([classic.host(), cognitive.host(), blend_vision.host(), arcgis.host()]);
        Self {
            folder: Scratch::new("vto-offline-").unwrap(),
            hosts,
            ca_pem: azure.ca_pem(),
            api_token,
            azure: urls,
            video_indexer: azure.video_indexer.control().clone(),
            classic,
            cognitive,
            blend_vision,
            arcgis,
        }
    }

    /// Where they are, as `--allowed-endpoint` names them.
    pub(crate) fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// The control of the API that an example is of.
    pub(crate) fn control(&self, example: &str) -> &Arc<Control> {
        match example {
            "arcgis-video-server" => self.arcgis.control(),
            "blend-vision" => self.blend_vision.control(),
            "cognitive-services" => self.cognitive.control(),
            "video-indexer-classic" => self.classic.control(),
            _ => &self.video_indexer,
        }
    }

    pub(crate) fn arcgis(&self) -> &ArcgisVideoServer {
        &self.arcgis
    }

    /// Returns all secret values by Secret and key.
    pub(crate) fn keys(&self) -> Vec<(&'static str, &'static str, String)> {
        vec![
            ("video-server-user", "username", arcgis_example::USERNAME.to_owned()),
            ("video-server-user", "password", arcgis_example::PASSWORD.to_owned()),
            ("blend-vision", "api-token", self.api_token.clone()),
            ("ai-keys", "face", cognitive_example::KEY.to_owned()),
            ("ai-keys", "speech", cognitive_example::KEY.to_owned()),
            ("entra-credential", "client-secret", OWN_SECRET.to_owned()),
            ("video-indexer-key", "subscription-key", classic_example::OWNERS_KEY.to_owned()),
        ]
    }

    /// An example as it is, but for where its provider is and what its credential Secret holds.
    pub(crate) fn example(&self, name: &str) -> Vec<Value> {
        let mut documents = documents(name);
        for document in &mut documents {
            match document["kind"].as_str().unwrap() {
                "Secret" => self.fill(document),
                "TokenProvider" | "ClusterTokenProvider" => self.point(document),
                _ => {}
            }
        }
        documents
    }

    fn fill(&self, secret: &mut Value) {
        secret["metadata"]["annotations"]["videotoken.dev/allowed-hosts"] = self.hosts.join(",").into();
        let name = secret["metadata"]["name"].as_str().unwrap().to_owned();
        for (_, key, value) in self.keys().into_iter().filter(|(secret, _, _)| *secret == name) {
            secret["stringData"][key] = value.into();
        }
    }

    fn point(&self, provider: &mut Value) {
        let spec = provider["spec"].as_object_mut().unwrap();
        spec.remove("caBundleRef");
        spec.insert("caBundle".to_owned(), self.ca_pem.as_str().into());
        for (type_, account) in spec {
            match type_.as_str() {
                "videoIndexer" => {
                    account["endpoints"] = json!({"resourceManager": self.azure[0], "authority": self.azure[1]});
                    if account["auth"]["clientSecret"].is_object() {
                        account["auth"]["clientSecret"]["clientId"] = "7d1f0a52-7f1d-4a9e-9a53-0b8e4d2f6a12".into();
                    }
                }
                "videoIndexerClassic" => account["endpoint"] = self.classic.url().into(),
                "cognitiveServices" => account["endpoint"] = self.cognitive.url().into(),
                "blendVision" => account["endpoint"] = self.blend_vision.url().into(),
                "arcgisVideoServer" => {
                    account["url"] = format!("{}{}", self.arcgis.url(), arcgis_example::ADMIN_ROOT).into();
                }
                _ => {}
            }
        }
    }

    /// Writes the documents into a file of the test's folder.
    pub(crate) fn file(&self, name: &str, documents: &[Value]) -> PathBuf {
        let path = self.folder.path().join(name);
        let text: Vec<_> = documents.iter().map(|document| serde_yaml_ng::to_string(document).unwrap()).collect();
        fs::write(&path, text.join("---\n")).unwrap();
        path
    }

    /// `issue` on this file, with what these emulators need.
    pub(crate) fn issue(&self, file: &Path) -> Command {
        let mut command = command("issue");
        command.arg("-f").arg(file).arg(format!("--allowed-endpoint={}", self.hosts.join(",")));
        command
    }
}

fn documents(example: &str) -> Vec<Value> {
    let path = repository().join(format!("deploy/examples/{example}.yaml"));
    let objects = yaml::parse(&fs::read_to_string(path).unwrap()).unwrap();
    objects.iter().map(|object| serde_json::to_value(object).unwrap()).collect()
}

/// The first document of this kind.
pub(crate) fn object<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|document| document["kind"] == kind).unwrap()
}

/// The first document of this kind, to be changed.
pub(crate) fn object_mut<'a>(documents: &'a mut [Value], kind: &str) -> &'a mut Value {
    documents.iter_mut().find(|document| document["kind"] == kind).unwrap()
}

/// The names of the tokens.
pub(crate) fn tokens(documents: &[Value]) -> Vec<String> {
    let tokens = documents.iter().filter(|document| document["kind"] == "VideoAccessToken");
    tokens.map(|document| document["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// A subcommand, with nothing of the test's environment.
pub(crate) fn command(subcommand: &str) -> Command {
    let mut command = Command::new(TOOL);
    command.arg(subcommand).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.current_dir(repository()).stdin(Stdio::null());
    command
}

/// Output and exit code of a process.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs it to its end, while the emulators answer.
pub(crate) async fn run(mut command: Command) -> Ran {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
