//! API keys that reach a project.

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use custody_control::{
    Control,
    access::{ApiKeyInfo, Grant, NewApiKey},
};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::record::SecretPage;
use crate::{
    answer::{Answer, Done, Page},
    frame::{At, Frame},
    markup::{Moment, role_name},
    session::{Ids, Meant, Nothing, Signed},
};

pub(super) fn router() -> Router<Arc<Control>> {
    Router::new()
        .route("/{project}/api-keys", get(list).post(make))
        .route("/{project}/api-keys/{key}/delete", post(delete))
}

struct Row {
    roles: String,
    /// Whether it reaches every project.
    everywhere: bool,
    created: Moment,
    expires: Option<Moment>,
    used: Option<Moment>,
    key: ApiKeyInfo,
}

#[derive(Template)]
#[template(path = "api_keys.html")]
struct ApiKeysPage {
    frame: Frame,
    keys: Vec<Row>,
}

async fn list(
    State(control): State<Arc<Control>>,
    Signed(visitor): Signed,
    Ids(project): Ids<String>,
) -> Answer<Page<ApiKeysPage>> {
    let frame = Frame::inside(&control, &visitor, &project, At::ApiKeys, "API Keys").await?;
    let here = |grant: &Grant| grant.project_id.as_deref().is_none_or(|of| of == project);
    let keys = control.api_keys(&visitor.caller).await?.into_iter().filter(|key| key.grants.iter().any(here));
    let row = |key: ApiKeyInfo| Row {
        roles: key
            .grants
            .iter()
            .filter(|grant| here(grant))
            .map(|it| role_name(it.role))
            .collect::<Vec<_>>()
            .join(", "),
        everywhere: key.grants.iter().any(|grant| grant.project_id.is_none()),
        created: Moment(key.created_at),
        expires: key.expires_at.map(Moment),
        used: key.last_used_at.map(Moment),
        key,
    };
    Ok(Page(ApiKeysPage { frame, keys: keys.map(row).collect() }))
}

#[derive(Deserialize)]
struct Wanted {
    name: String,
    role: String,
    password: String,
}

async fn make(
    State(control): State<Arc<Control>>,
    Ids(project): Ids<String>,
    form: Meant<Wanted>,
) -> Answer<Page<SecretPage>> {
    let Meant { visitor, given } = form;
    let grant = Grant::new(given.role.parse()?, Some(project.clone()))?;
    let new = NewApiKey { name: given.name.clone(), grant, expires_at: None };
    let sure = control.confirm(&visitor, Zeroizing::new(given.password)).await?;
    let (_, secret) = control.create_api_key(&sure, new).await?;
    Ok(Page(SecretPage {
        frame: Frame::inside(&control, &visitor, &project, At::ApiKeys, "API key").await?,
        what: "The API key was made",
        purpose: "Send it as 'Authorization: Bearer …', or give it as the token of a Milvus client. It is shown this once.",
        name: given.name,
        secret: secret.to_string(),
        back: format!("/projects/{project}/api-keys"),
    }))
}

async fn delete(
    State(control): State<Arc<Control>>,
    Ids((project, key)): Ids<(String, String)>,
    Meant { visitor, given: Nothing {} }: Meant<Nothing>,
) -> Answer<Done> {
    control.delete_api_key(&visitor.caller, &key).await?;
    Ok(Done::at(format!("/projects/{project}/api-keys")))
}
