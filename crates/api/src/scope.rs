//! What a token may do: one member per provider type.

use super::arcgis_video_server::ArcgisVideoServerScope;
use super::blend_vision::BlendVisionScope;
use super::cel::union;
use super::cognitive_services::CognitiveServicesScope;
use super::video_indexer::VideoIndexerScope;
use super::video_indexer_classic::VideoIndexerClassicScope;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the token may do: exactly one member, named as the provider's type.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = union)]
pub struct Scope {
    /// A token of Azure Video Indexer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video_indexer: Option<VideoIndexerScope>,
    /// A token of Azure Video Indexer's classic Authorization API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video_indexer_classic: Option<VideoIndexerClassicScope>,
    /// A token of BlendVision One.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blend_vision: Option<BlendVisionScope>,
    /// A token of Azure Cognitive Services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cognitive_services: Option<CognitiveServicesScope>,
    /// A token of ArcGIS Video Server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arcgis_video_server: Option<ArcgisVideoServerScope>,
}
