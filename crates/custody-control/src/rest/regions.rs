//! Providers and regions.

use std::sync::Arc;

use custody_kms::Provider;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    answer::{Data, Error, data},
    body::Parameters,
    who::Who,
};
use crate::{Control, Refused, Region};

pub(super) fn router() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new().routes(routes!(clouds)).routes(routes!(regions))
}

/// A provider of regions and keys.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Cloud {
    cloud_id: &'static str,
    description: &'static str,
}

/// The providers.
#[utoipa::path(
    get,
    path = "/v2/clouds",
    tag = "regions",
    responses((status = 200, body = Data<Vec<Cloud>>), (status = 401, body = Error)),
    security(("apiKey" = []))
)]
async fn clouds(_: Who) -> axum::Json<Data<Vec<Cloud>>> {
    data(vec![
        Cloud { cloud_id: "aws", description: "Amazon Web Services" },
        Cloud { cloud_id: "local", description: "the development KMS of this machine" },
    ])
}

/// A region, as the API tells it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RegionInfo {
    region_id: String,
    cloud_id: &'static str,
    region_name: &'static str,
    api_base_url: String,
}

#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct OfCloud {
    /// Only regions of this provider.
    cloud_id: Option<String>,
}

/// The regions.
#[utoipa::path(
    get,
    path = "/v2/regions",
    tag = "regions",
    params(OfCloud),
    responses(
        (status = 200, body = Data<Vec<RegionInfo>>),
        (status = 400, body = Error),
        (status = 401, body = Error),
    ),
    security(("apiKey" = []))
)]
async fn regions(_: Who, Parameters(of): Parameters<OfCloud>) -> Result<axum::Json<Data<Vec<RegionInfo>>>, Refused> {
    let provider: Option<Provider> = of.cloud_id.as_deref().map(str::parse).transpose()?;
    let regions = Region::all().iter().filter(|region| provider.is_none_or(|provider| region.provider() == provider));
    let told = |region: &Region| RegionInfo {
        region_id: region.id(),
        cloud_id: region.provider().as_str(),
        region_name: region.city(),
        api_base_url: String::new(),
    };
    Ok(data(regions.map(told).collect()))
}
