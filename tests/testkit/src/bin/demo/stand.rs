//! What the demo runs on: a control plane, emulators, the operator, and an observer that trusts none of them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use serde_json::Value;
use testkit::emulator::{Azure, Federation, KeySource, Life, TOKEN_EXCHANGE_AUDIENCE, example};
use testkit::stand::controlplane::OPERATOR;
use testkit::stand::process::Scratch;
use testkit::stand::{
    ControlPlane, ControlPlaneOptions, Observer, ObserverOptions, Operator, OperatorOptions, operator,
};

use crate::NAMESPACE;
use crate::kubectl::Kubectl;
use crate::others::Others;
use crate::screen::Screen;

/// The life of the emulators' tokens: renewal at two thirds of it is soon.
pub(crate) const LIFE_SECONDS: u32 = 45;

const ISSUER: &str = "https://kubernetes.default.svc";
const LOG_TAIL: usize = 30;

/// All that runs. Dropping it ends and removes everything.
pub(crate) struct Stand {
    // Dropped in this order: who looks and who asks before who answers.
    pub(crate) observer: Observer,
    pub(crate) operator: Operator,
    pub(crate) azure: Azure,
    pub(crate) others: Others,
    pub(crate) plane: ControlPlane,
    pub(crate) kubectl: Kubectl,
    pub(crate) scratch: Scratch,
}

impl Stand {
    /// Starts it, step by step.
    pub(crate) async fn start(screen: &mut Screen) -> Result<Self> {
        screen.step("A control plane: etcd, kube-apiserver and kube-controller-manager, nothing of it fake");
        let plane = ControlPlane::start(ControlPlaneOptions::default()).await?;
        let scratch = Scratch::new("vto-demo-")?;
        let kubectl = login(&plane, &scratch)?;
        let version = plane.client()?.apiserver_version().await?.git_version;
        let took = plane.startup().as_secs_f64();
        screen.note(format_args!("Kubernetes {version} at {}, in {took:.1} s", plane.api_url()));
        screen.note("deploy/rbac.yaml and crds/ are applied.");

        screen.step("Emulators of Entra, of Azure Video Indexer and of the other token APIs, over TLS");
        let azure = start_azure(&plane).await?;
        screen.note(format_args!("Entra at {}; it trusts this cluster's ServiceAccounts.", azure.authority_url()));
        screen.note(format_args!("Resource Manager with Video Indexer at {}.", azure.resource_manager_url()));
        let others = Others::start(azure.ca()).await?;
        screen.note(format_args!(
            "Whatever life is asked for, its tokens live {LIFE_SECONDS} s, so that one is renewed soon."
        ));

        screen.step("The operator, as a ServiceAccount that may do what deploy/rbac.yaml says and no more");
        let operator = start_operator(&plane, &others, &scratch).await?;
        screen.note(format_args!("Process {} is ready.", operator.pid()));
        let observer = observe(&plane, &azure)?;
        Ok(Self { observer, operator, azure, others, plane, kubectl, scratch })
    }

    /// The end of the operator's log.
    pub(crate) fn log_tail(&self) -> String {
        let log = self.operator.logs();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
    }
}

/// The administrator's login, with the example's namespace as the default.
fn login(plane: &ControlPlane, scratch: &Scratch) -> Result<Kubectl> {
    let kubeconfig = scratch.file("kubeconfig");
    let mut admin = plane.admin().clone();
    NAMESPACE.clone_into(&mut admin.namespace);
    admin.write(&kubeconfig)?;
    Kubectl::new(plane.binaries().join("kubectl"), kubeconfig, scratch.path(), &operator::beside("videotoken")?)
}

async fn start_azure(plane: &ControlPlane) -> Result<Azure> {
    let azure = Azure::start().await?;
    azure.video_indexer.control().set_life(Life::Seconds(LIFE_SECONDS));
    // What `az identity federated-credential create` does: the application trusts the operator's ServiceAccount.
    let keys: Value = plane.client()?.request(http::Request::get("/openid/v1/jwks").body(Vec::new())?).await?;
    azure.entra.set_issuer_keys(ISSUER, KeySource::Document(keys));
    azure.entra.add_federation(example::CLIENT_ID, Federation::service_account(ISSUER, OPERATOR, OPERATOR));
    Ok(azure)
}

async fn start_operator(plane: &ControlPlane, others: &Others, scratch: &Scratch) -> Result<Operator> {
    let token = assertion(plane).await?;
    let file = scratch.write("azure-identity-token", &token)?;
    let mut options = OperatorOptions::new(operator_binary()?, plane.operator_kubeconfig().await?, OPERATOR);
    options.watch_namespaces.clear();
    options.leader_elect = true;
    // The examples' namespaced providers call loopback addresses here.
    options.allowed_endpoints.extend(others.hosts());
    // A kubelet projects this file into the Pod, and Azure's webhook names it.
    options.env.push(("AZURE_FEDERATED_TOKEN_FILE".to_owned(), file.to_string_lossy().into_owned()));
    Operator::start(&options).await
}

/// The operator's `ServiceAccount` token for Entra.
async fn assertion(plane: &ControlPlane) -> Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(plane.client()?, OPERATOR);
    let asked = TokenRequest {
        spec: TokenRequestSpec { audiences: vec![TOKEN_EXCHANGE_AUDIENCE.to_owned()], ..TokenRequestSpec::default() },
        ..TokenRequest::default()
    };
    let issued = accounts.create_token_request(OPERATOR, &PostParams::default(), &asked).await?;
    Ok(issued.status.context("a TokenRequest without a status")?.token)
}

fn operator_binary() -> Result<PathBuf> {
    operator::binary().context("run `make demo`, which builds the operator")
}

/// An observer that asks the emulator what each token is worth.
fn observe(plane: &ControlPlane, azure: &Azure) -> Result<Observer> {
    let truth = azure.video_indexer.control().clone();
    let options = ObserverOptions { namespace: Some(NAMESPACE.to_owned()), every: Duration::from_secs(1) };
    Observer::start(plane.admin(), options, move |token| truth.knows(token).map(|known| known.expires_at))
}
