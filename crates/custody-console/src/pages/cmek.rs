//! Network > CMEK: a project's keys, and a page for each. The dialog that adds one talks with REST, which answers as it
//! validates.

use std::{collections::HashMap, sync::Arc};

use askama::Template;
use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use custody_control::{
    Control, Refused, Region,
    access::Visitor,
    backup::BackupFilter,
    cmek::{Key, KeyChange, KeyCount, KmsCall, Recovery},
};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{
    answer::{Answer, Done, Page},
    frame::{At, Frame},
    markup::{Badge, KEY, Moment, of_call, of_key, of_this_key, provider_name, region_name, seconds_name},
    session::{Ids, Meant, Signed},
};

/// How many calls to KMS a key's page shows.
const CALLS: i64 = 20;

pub(super) fn router() -> Router<Arc<Control>> {
    Router::new()
        .route("/{project}/cmek", get(list))
        .route("/{project}/cmek/local", post(make_local))
        .route("/{project}/cmek/{key}", get(describe))
        .route("/{project}/cmek/{key}/check", post(check))
        .route("/{project}/cmek/{key}/change", post(change))
        .route("/{project}/cmek/{key}/grace", post(set_grace))
        .route("/{project}/cmek/{key}/delete", post(delete))
}

/// A key as it is shown.
struct KeyRow {
    badge: Badge,
    provider: &'static str,
    region: String,
    checked: Moment,
    next: Moment,
    is_local: bool,
    in_use: bool,
    reason: Option<String>,
    warning: Option<String>,
    /// What the backups that need it are called.
    backups: Vec<String>,
    key: Key,
}

impl KeyRow {
    /// `names`: what the project's backups are called, by their ids.
    fn of(key: Key, names: &HashMap<String, String>) -> Self {
        let told = |text: &Option<String>| text.as_deref().map(|text| of_this_key(text, &key.key_arn));
        Self {
            badge: of_key(key.status),
            provider: provider_name(&key.provider),
            region: region_name(&key.region_id),
            checked: Moment(key.last_checked_at),
            next: Moment(key.next_check_at),
            is_local: key.provider == "local",
            in_use: !key.clusters.is_empty() || !key.backups.is_empty(),
            reason: told(&key.reason),
            warning: told(&key.warning),
            backups: key.backups.iter().map(|id| names.get(id).unwrap_or(id).clone()).collect(),
            key,
        }
    }

    /// Whether there is more to be told of it than fits into a cell.
    fn is_told(&self) -> bool {
        self.reason.is_some() || self.warning.is_some()
    }
}

/// What the backups of a project are called, by their ids.
async fn backup_names(control: &Control, visitor: &Visitor, project: &str) -> Result<HashMap<String, String>, Refused> {
    let wanted = BackupFilter { project_id: Some(project.to_owned()), ..BackupFilter::default() };
    let backups = control.backups(&visitor.caller, &wanted).await?;
    Ok(backups.into_iter().map(|backup| (backup.backup_id, backup.backup_name)).collect())
}

struct RegionRow {
    id: String,
    city: &'static str,
}

#[derive(Template)]
#[template(path = "cmek.html")]
struct CmekPage {
    frame: Frame,
    keys: Vec<KeyRow>,
    count: KeyCount,
    /// The roles that keys of the project are reached by.
    roles: Vec<String>,
    regions: Vec<RegionRow>,
    offers_local: bool,
}

impl CmekPage {
    fn is_full(&self) -> bool {
        self.count.used >= self.count.limit
    }

    /// What the next development key is called: it is made in one click, and can be renamed.
    fn next_local(&self) -> String {
        let taken = |name: &str| self.keys.iter().any(|row| row.key.name == name);
        let names =
            std::iter::once("development".to_owned()).chain((2..).map(|number| format!("development {number}")));
        names.into_iter().find(|name| !taken(name)).unwrap_or_default()
    }
}

async fn list(
    State(control): State<Arc<Control>>,
    Signed(visitor): Signed,
    Ids(project): Ids<String>,
) -> Answer<Page<CmekPage>> {
    let frame = Frame::inside(&control, &visitor, &project, At::Cmek, "CMEK").await?;
    let names = backup_names(&control, &visitor, &project).await?;
    let keys = control.keys(&visitor.caller, &project).await?.into_iter();
    let keys = keys.map(|key| KeyRow::of(key, &names)).collect();
    let aws = Region::all().iter().filter(|region| region.provider().as_str() == "aws");
    Ok(Page(CmekPage {
        frame,
        keys,
        count: control.key_count(&visitor.caller, &project).await?,
        roles: control.key_roles(&visitor.caller, &project).await?,
        regions: aws.map(|region| RegionRow { id: region.id(), city: region.city() }).collect(),
        offers_local: control.offers_local_keys(),
    }))
}

#[derive(Deserialize)]
struct NewLocalKey {
    name: String,
}

async fn make_local(
    State(control): State<Arc<Control>>,
    Ids(project): Ids<String>,
    form: Meant<NewLocalKey>,
) -> Answer<Done> {
    control.create_local_key(&form.visitor.caller, &project, &form.given.name).await?;
    Ok(keys_of(&project))
}

struct CallRow {
    at: Moment,
    badge: Badge,
    call: KmsCall,
}

#[derive(Template)]
#[template(path = "key.html")]
struct KeyPage {
    frame: Frame,
    row: KeyRow,
    grace: String,
    grace_minutes: i64,
    is_manual: bool,
    calls: Vec<CallRow>,
}

async fn describe(
    State(control): State<Arc<Control>>,
    Signed(visitor): Signed,
    Ids((project, id)): Ids<(String, String)>,
) -> Answer<Page<KeyPage>> {
    let key = control.key(&visitor.caller, &project, &id).await?;
    let frame = Frame::inside(&control, &visitor, &project, At::Cmek, &key.name).await?;
    let calls = control.key_ledger(&visitor.caller, &project, &id, CALLS).await?.into_iter();
    Ok(Page(KeyPage {
        frame,
        grace: seconds_name(key.grace_seconds),
        grace_minutes: key.grace_seconds / 60,
        is_manual: key.recovery == Recovery::Manual,
        calls: calls.map(|call| CallRow { at: Moment(call.at), badge: of_call(&call.outcome), call }).collect(),
        row: KeyRow::of(key, &backup_names(&control, &visitor, &project).await?),
    }))
}

#[derive(Deserialize)]
struct Check {
    /// Whether it was asked for on the key's own page.
    on_page: Option<String>,
}

async fn check(
    State(control): State<Arc<Control>>,
    Ids((project, id)): Ids<(String, String)>,
    form: Meant<Check>,
) -> Answer<Done> {
    control.check_key(&form.visitor.caller, &project, &id).await?;
    Ok(if form.given.on_page.is_some() { key_of(&project, &id) } else { keys_of(&project) })
}

#[derive(Deserialize)]
struct Change {
    name: String,
    recovery: String,
}

async fn change(
    State(control): State<Arc<Control>>,
    Ids((project, id)): Ids<(String, String)>,
    form: Meant<Change>,
) -> Answer<Done> {
    let recovery = match form.given.recovery.as_str() {
        "auto" => Recovery::Auto,
        "manual" => Recovery::Manual,
        other => return Err(Refused::invalid(format!("recovery is auto or manual, not {other:?}")).into()),
    };
    let wanted = KeyChange { name: Some(form.given.name), recovery: Some(recovery), ..KeyChange::default() };
    control.change_key(&form.visitor.caller, &project, &id, wanted).await?;
    Ok(key_of(&project, &id))
}

#[derive(Deserialize)]
struct Grace {
    minutes: i64,
    password: String,
}

async fn set_grace(
    State(control): State<Arc<Control>>,
    Ids((project, id)): Ids<(String, String)>,
    form: Meant<Grace>,
) -> Answer<Done> {
    let sure = control.confirm(&form.visitor, Zeroizing::new(form.given.password)).await?;
    let seconds = form.given.minutes.saturating_mul(60);
    let wanted = KeyChange { grace_seconds: Some(seconds), ..KeyChange::default() };
    control.change_key(&sure, &project, &id, wanted).await?;
    Ok(key_of(&project, &id))
}

#[derive(Deserialize)]
struct Sure {
    password: String,
}

async fn delete(
    State(control): State<Arc<Control>>,
    Ids((project, id)): Ids<(String, String)>,
    form: Meant<Sure>,
) -> Answer<Done> {
    let sure = control.confirm(&form.visitor, Zeroizing::new(form.given.password)).await?;
    control.delete_key(&sure, &project, &id, &[]).await?;
    Ok(keys_of(&project))
}

fn keys_of(project: &str) -> Done {
    Done::at(format!("/projects/{project}/cmek"))
}

fn key_of(project: &str, id: &str) -> Done {
    Done::at(format!("/projects/{project}/cmek/{id}"))
}
