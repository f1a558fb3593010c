//! Runs the emulators until it is stopped, for a demo or by hand. Prints one line of JSON that says where they are.

use anyhow::Context as _;
use clap::Parser;
use serde_json::json;
use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};
use testkit::emulator::{
    ArcgisVideoServer, Azure, AzureOptions, BlendVision, CognitiveServices, Emulator as _, Serving,
    VideoIndexerClassic, arcgis_example, blend_vision_example, classic_example, cognitive_example, control_router,
    example,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// Emulators of the token APIs, over TLS: Entra, Azure Video Indexer behind Azure Resource Manager and in its classic
/// API, Azure's AI services, BlendVision One and ArcGIS Video Server.
#[derive(Parser)]
struct Options {
    /// Address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
    /// Port of Entra; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    authority_port: u16,
    /// Port of Resource Manager; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    resource_manager_port: u16,
    /// Port of Video Indexer's classic API; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    video_indexer_classic_port: u16,
    /// Port of Azure's AI services; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    cognitive_services_port: u16,
    /// Port of BlendVision One; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    blend_vision_port: u16,
    /// Port of ArcGIS Video Server; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    arcgis_video_server_port: u16,
    /// Port of the control endpoint (plain HTTP); 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    control_port: u16,
    /// File to write the CA certificate to.
    #[arg(long)]
    ca_file: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let at = |port| SocketAddr::new(options.address, port);
    let azure = Azure::start_with(AzureOptions {
        authority: at(options.authority_port),
        resource_manager: at(options.resource_manager_port),
        ca: None,
    })
    .await?;
    let classic = VideoIndexerClassic::furnished()?;
    let classic = Serving::start_on(at(options.video_indexer_classic_port), classic, azure.ca()).await?;
    let cognitive = CognitiveServices::furnished()?;
    let cognitive = Serving::start_on(at(options.cognitive_services_port), cognitive, azure.ca()).await?;
    let (blend_vision, api_token) = BlendVision::furnished()?;
    let blend_vision = Serving::start_on(at(options.blend_vision_port), blend_vision, azure.ca()).await?;
    let arcgis = ArcgisVideoServer::furnished();
    let arcgis = Serving::start_on(at(options.arcgis_video_server_port), arcgis, azure.ca()).await?;
    std::fs::write(&options.ca_file, azure.ca_pem())
        .with_context(|| format!("writing {}", options.ca_file.display()))?;
    let control = TcpListener::bind(at(options.control_port)).await?;
    let whereabouts = json!({
        "authority": azure.authority_url(),
        "resourceManager": azure.resource_manager_url(),
        "control": format!("http://{}", control.local_addr()?),
        "caFile": options.ca_file,
        "tenantId": example::TENANT_ID,
        "clientId": example::CLIENT_ID,
        "clientSecret": example::CLIENT_SECRET,
        "subscriptionId": example::SUBSCRIPTION_ID,
        "resourceGroup": example::RESOURCE_GROUP,
        "accountName": example::ACCOUNT_NAME,
        "extensionId": example::EXTENSION_ID,
        "videoIndexerClassic": {
            "endpoint": classic.url(),
            "location": classic_example::LOCATION,
            "accountId": classic_example::ACCOUNT_ID,
            "subscriptionKey": classic_example::OWNERS_KEY,
        },
        "cognitiveServices": {
            "endpoint": cognitive.url(),
            "key": cognitive_example::KEY,
            "targetAzureResourceId": cognitive_example::TARGET,
        },
        "blendVision": {
            "endpoint": blend_vision.url(),
            "organization": blend_vision_example::ORGANIZATION,
            "apiToken": api_token,
            "vodId": blend_vision_example::VOD_ID,
            "liveId": blend_vision_example::LIVE_ID,
        },
        "arcgisVideoServer": {
            "url": format!("{}{}", arcgis.url(), arcgis_example::ADMIN_ROOT),
            "username": arcgis_example::USERNAME,
            "password": arcgis_example::PASSWORD,
        },
    });
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{whereabouts}").and_then(|()| stdout.flush()).context("printing where the emulators are")?;
    let others = [classic.control(), cognitive.control(), blend_vision.control(), arcgis.control()].map(Clone::clone);
    let router = control_router(azure.controls().into_iter().chain(others), azure.entra.clone());
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        served = axum::serve(control, router) => served.context("serving the control endpoint"),
        _ = terminated.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted.context("waiting for an interrupt"),
    }
}
