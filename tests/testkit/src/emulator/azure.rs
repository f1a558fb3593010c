//! Entra and Resource Manager together, ready to be used.

use super::{Control, Entra, Operations, VideoIndexer};
use crate::tls::{CertificateAuthority, Server, serve_on};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

/// What [`Azure::start`] sets up, as Microsoft's own examples name it.
pub mod example {
    /// The tenant.
    pub const TENANT_ID: &str = "9f0ad2f4-5a8b-4c1e-8e36-1d2f6a7b3c40";
    /// The application, which may perform all operations within the resource group.
    pub const CLIENT_ID: &str = "6c1f0a52-7f1d-4a9e-9a53-0b8e4d2f6a11";
    /// Its secret. It needs escaping in a form, as real ones do.
    pub const CLIENT_SECRET: &str = "Xy7~example+secret/with=signs&more.8Q";
    /// The machine's own managed identity, with the same role.
    pub const MANAGED_IDENTITY_CLIENT_ID: &str = "b7a0c3d1-2e4f-4d65-8a97-3c5e1f9b0d22";
    /// The subscription.
    pub const SUBSCRIPTION_ID: &str = "24237b72-8546-4da5-b204-8c3cb76dd930";
    /// The resource group.
    pub const RESOURCE_GROUP: &str = "contoso-rg";
    /// The Video Indexer account.
    pub const ACCOUNT_NAME: &str = "contoso-videoanalyzer";
    /// The Arc extension connected to it. Its subscription is no GUID, as in the reference's own example.
    pub const EXTENSION_ID: &str = "/subscriptions/contoso-edge/resourceGroups/contoso-rg\
        /providers/Microsoft.Kubernetes/ConnectedClusters/contoso-edge-cluster\
        /providers/Microsoft.KubernetesConfiguration/extensions/video-indexer";

    /// The resource group's id.
    pub fn resource_group_id() -> String {
        format!("/subscriptions/{SUBSCRIPTION_ID}/resourceGroups/{RESOURCE_GROUP}")
    }

    /// The account's id.
    pub fn account_id() -> String {
        format!("{}/providers/Microsoft.VideoIndexer/accounts/{ACCOUNT_NAME}", resource_group_id())
    }
}

/// Where to listen, and whose certificates to use.
pub struct AzureOptions {
    /// Address of Entra; port 0 takes a free one.
    pub authority: SocketAddr,
    /// Address of Resource Manager; port 0 takes a free one.
    pub resource_manager: SocketAddr,
    /// An authority that is there already, or a new one.
    pub ca: Option<Arc<CertificateAuthority>>,
}

impl Default for AzureOptions {
    fn default() -> Self {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { authority: free, resource_manager: free, ca: None }
    }
}

/// A running Azure: Entra, and Resource Manager with Video Indexer. Dropping it ends both.
pub struct Azure {
    /// Entra.
    pub entra: Arc<Entra>,
    /// Resource Manager.
    pub video_indexer: Arc<VideoIndexer>,
    ca: Arc<CertificateAuthority>,
    authority: Server,
    resource_manager: Server,
}

impl Azure {
    /// Starts both on free loopback ports, with what [`example`] names.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(AzureOptions::default()).await
    }

    /// Starts both as asked, with what [`example`] names. Errors: an address is taken.
    pub async fn start_with(options: AzureOptions) -> anyhow::Result<Self> {
        let ca = options.ca.map_or_else(|| CertificateAuthority::generate().map(Arc::new), Ok)?;
        let entra = Entra::new()?;
        let video_indexer = VideoIndexer::new(entra.clone())?;
        let authority = serve_on(options.authority, entra.router(), &ca).await?;
        let resource_manager = serve_on(options.resource_manager, video_indexer.router(), &ca).await?;
        let azure = Self { entra, video_indexer, ca, authority, resource_manager };
        azure.furnish();
        Ok(azure)
    }

    fn furnish(&self) {
        let Self { entra, video_indexer, .. } = self;
        entra.register_application(example::TENANT_ID, example::CLIENT_ID);
        entra.add_secret(example::CLIENT_ID, example::CLIENT_SECRET);
        entra.add_managed_identity(example::TENANT_ID, example::MANAGED_IDENTITY_CLIENT_ID, true);
        video_indexer.add_account(&example::account_id());
        video_indexer.add_extension(&example::account_id(), example::EXTENSION_ID);
        for client_id in [example::CLIENT_ID, example::MANAGED_IDENTITY_CLIENT_ID] {
            video_indexer.assign_role(client_id, &example::resource_group_id(), Operations::All);
        }
        let port = self.resource_manager.addr().port();
        for audience in [self.resource_manager_url(), format!("https://localhost:{port}")] {
            entra.add_resource(&audience);
            video_indexer.add_audience(&audience);
        }
        entra.add_resource("https://management.azure.com");
    }

    /// Entra's URL: the authority host. The instance metadata service stands there too.
    pub fn authority_url(&self) -> String {
        self.authority.url()
    }

    /// Resource Manager's URL; with `/.default`, the scope of its Entra tokens.
    pub fn resource_manager_url(&self) -> String {
        self.resource_manager.url()
    }

    /// The certificate that clients of both must trust.
    pub fn ca_pem(&self) -> String {
        self.ca.ca_pem()
    }

    /// The authority that signed both certificates, for further servers.
    pub fn ca(&self) -> &Arc<CertificateAuthority> {
        &self.ca
    }

    /// A client that trusts both.
    pub fn client(&self) -> anyhow::Result<reqwest::Client> {
        self.ca.client()
    }

    /// The controls of both.
    pub fn controls(&self) -> [Arc<Control>; 2] {
        [self.entra.control().clone(), self.video_indexer.control().clone()]
    }
}
