//! The keys of a project: added once proven, listed, changed, deleted when nothing lives under them any more.

use std::{collections::BTreeSet, time::Duration};

use custody_kms::{
    AliasArn, AliasRef, ContextId, KeyArn, LOCAL_REGION, LocalKeys, Partition, Provider, RoleArn, RootKeyRef,
};
use serde::{Deserialize, Serialize};

use super::{
    KeyName, KeyStatus, KmsCall, Listed, Part, Place, Validation, clean,
    status::Finding,
    validate::{self, Progress, Wanted},
};
use crate::{
    Control,
    access::{Caller, Privilege},
    audit::{Deed, append},
    backup,
    db::{Change, Db, millis, now},
    project::{self, Plan, Project},
    random,
    refusal::{Kind, Refused, name},
    region::Region,
};

/// The grace of new keys, if nobody says otherwise.
pub(crate) const DEFAULT_GRACE: Duration = Duration::from_hours(1);
/// The longest grace that a key may have (rule 10), in seconds.
const LONGEST_GRACE: i64 = 24 * 3600;
const LOCAL_OFF: &str =
    "keys of the local development KMS are off: they are for a control plane that listens on this machine alone";

/// A key as it is typed in.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// `aws` or `local`.
    pub provider: String,
    /// Where it is, such as `aws-us-west-2`.
    pub region_id: String,
    /// Its ARN, its id, or an alias.
    pub key_arn: String,
    /// The role that may use it; of an AWS key.
    pub role_arn: Option<String>,
    /// What people call it; its id if they don't.
    pub name: Option<String>,
    /// What it may protect: everything, unless its owner says otherwise. One that may protect no cluster is a tenant's.
    pub allow: Option<Allow>,
}

/// How many of its keys a project has: tenants' keys don't count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyCount {
    /// Those there are.
    pub used: i64,
    /// Those it may have.
    pub limit: i64,
}

/// Whether a cluster opens again by itself when its key is back after a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Recovery {
    /// By itself.
    Auto,
    /// When somebody unseals it.
    Manual,
}

/// What a key may protect: lists of cluster ids, or `*` for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// Clusters that may be made under it.
    pub clusters: Vec<String>,
    /// Clusters whose databases may be made under it.
    pub databases: Vec<String>,
}

/// A change of a key: what is given is changed.
#[derive(Clone, Debug, Default)]
pub struct KeyChange {
    /// What people call it.
    pub name: Option<String>,
    /// How long its clusters go on without an answer of KMS, in seconds.
    pub grace_seconds: Option<i64>,
    /// Whether its clusters open again by themselves.
    pub recovery: Option<Recovery>,
    /// What it may protect.
    pub allow: Option<Allow>,
}

/// Something that lives under a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyUser {
    /// The cluster's id.
    pub cluster_id: String,
    /// Its name.
    pub cluster_name: String,
}

/// A key of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// Its id.
    pub key_id: String,
    /// What people call it.
    pub name: String,
    /// Who keeps it.
    pub provider: String,
    /// Its ARN.
    pub key_arn: String,
    /// The alias by which it was added. It may lead to another key by now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Where it is.
    pub region_id: String,
    /// The role that may use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// Whether it can be used.
    pub status: KeyStatus,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What has to be mended besides, although the key can be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// When it last decrypted, in milliseconds since 1970: its grace counts from there.
    pub last_success_at: i64,
    /// When that was found out, in milliseconds since 1970.
    pub last_checked_at: i64,
    /// When it is looked at next.
    pub next_check_at: i64,
    /// How long its clusters go on without an answer of KMS, in seconds.
    pub grace_seconds: i64,
    /// Whether its clusters open again by themselves.
    pub recovery: Recovery,
    /// What it may protect.
    pub allow: Allow,
    /// Clusters that live under it, or have databases that do.
    pub clusters: Vec<KeyUser>,
    /// Backups that need it.
    pub backups: Vec<String>,
    #[serde(skip)]
    pub(crate) project_id: String,
}

/// What goes with a proven key.
struct Typing<'a> {
    region: Region,
    /// The alias that it was named by.
    alias: Option<&'a AliasArn>,
    label: Option<String>,
    allow: Allow,
}

/// A key that is named as it should be; whether it works is another question.
struct Named {
    region: Region,
    key: KeyName,
    role: Option<RoleArn>,
}

impl Allow {
    /// Everything in the project.
    fn everything() -> Self {
        Self { clusters: vec!["*".to_owned()], databases: vec!["*".to_owned()] }
    }

    /// Whether a key that may protect this counts among a project's keys: tenants' keys, for databases alone, don't (rule 40).
    fn counts(&self) -> bool {
        !self.clusters.is_empty()
    }
}

impl Control {
    /// Proves a key: each check with what it came to. Nothing is stored.
    pub async fn validate_key(
        &self,
        caller: &Caller,
        project: &str,
        new: &NewKey,
        progress: Progress<'_>,
    ) -> Result<Validation, Refused> {
        let project = self.key_project(caller, project).await?;
        let wanted = self.wanted(&project, new)?;
        Ok(self.prove(&project, &wanted, progress).await?.0)
    }

    /// Adds a key once it is proven; returns its id.
    pub async fn add_key(&self, caller: &Caller, project: &str, new: &NewKey) -> Result<String, Refused> {
        let project = self.key_project(caller, project).await?;
        let label = new.name.as_deref().map(|text| name("a key's name", text)).transpose()?;
        let wanted = self.wanted(&project, new)?;
        let region = Region::parse(&clean(&new.region_id))?;
        let allow = new.allow.clone().unwrap_or_else(Allow::everything);
        self.check_allow(&project.project_id, &allow).await?;
        // Before KMS is asked at all; and once more when it is stored.
        if let Wanted::Key(key) = &wanted {
            let mut look = self.db.change().await?;
            self.room(&mut look, &project, key.key_arn(), &allow).await?;
            look.rollback().await?;
        }
        match self.prove(&project, &wanted, &|_| {}).await? {
            (found, Some(key)) if found.valid => {
                let alias = match &wanted {
                    Wanted::Alias(alias) => Some(alias.alias()),
                    Wanted::Key(_) => None,
                };
                let typed = Typing { region, alias, label, allow };
                self.store(caller, &project, &key, typed).await
            }
            (found, _) => Err(Refused::invalid(format!("the key was not added: {}", failures(&found)))),
        }
    }

    /// The keys of a project.
    pub async fn keys(&self, caller: &Caller, project: &str) -> Result<Vec<Key>, Refused> {
        project::get(&self.db, caller, project, Privilege::SeeKeys).await?;
        let ids = sqlx::query_scalar!("SELECT id FROM keys WHERE project_id = ? ORDER BY created_at, id", project);
        let mut keys = Vec::new();
        for id in ids.fetch_all(self.db.pool()).await? {
            // One that was deleted meanwhile is no key any more.
            keys.extend(get(&self.db, &id).await?);
        }
        Ok(keys)
    }

    /// A key of a project.
    pub async fn key(&self, caller: &Caller, project: &str, id: &str) -> Result<Key, Refused> {
        self.key_for(caller, project, id, Privilege::SeeKeys).await
    }

    /// Changes what its owner decides about a key.
    pub async fn change_key(
        &self,
        caller: &Caller,
        project: &str,
        id: &str,
        wanted: KeyChange,
    ) -> Result<Key, Refused> {
        self.key_for(caller, project, id, Privilege::ManageKeys).await?;
        if wanted.grace_seconds.is_some() {
            caller.must_have_confirmed()?;
        }
        let mut said = Vec::new();
        let name = wanted.name.as_deref().map(|text| name("a key's name", text)).transpose()?;
        if name.is_some() {
            said.push("name".to_owned());
        }
        if let Some(grace) = wanted.grace_seconds {
            if !(0..=LONGEST_GRACE).contains(&grace) {
                return Err(Refused::invalid("a key's grace is 0s to 24h: a revocation must not be outwaited"));
            }
            said.push(format!("grace {grace}s"));
        }
        let recovery = wanted.recovery.map(Recovery::as_str);
        if let Some(recovery) = recovery {
            said.push(format!("recovery {recovery}"));
        }
        let (mut clusters, mut databases) = (None, None);
        if let Some(allow) = &wanted.allow {
            self.check_allow(project, allow).await?;
            (clusters, databases) = (Some(json(&allow.clusters)?), Some(json(&allow.databases)?));
            said.push("allow".to_owned());
        }
        let mut change = self.db.change().await?;
        let was = sqlx::query_scalar!("SELECT allow_clusters FROM keys WHERE id = ?", id);
        let was_tenants = was.fetch_optional(&mut *change).await?.is_some_and(|allowed| allowed == "[]");
        if was_tenants && wanted.allow.as_ref().is_some_and(Allow::counts) {
            self.one_more(&mut change, project).await?;
        }
        // What is not given stays as it is now, whoever else changes it at this moment.
        let changed = sqlx::query!(
            "UPDATE keys SET name = ifnull(?, name), grace_seconds = ifnull(?, grace_seconds),
                             recovery = ifnull(?, recovery), allow_clusters = ifnull(?, allow_clusters),
                             allow_databases = ifnull(?, allow_databases)
             WHERE id = ?",
            name,
            wanted.grace_seconds,
            recovery,
            clusters,
            databases,
            id
        );
        if changed.execute(&mut *change).await?.rows_affected() == 0 {
            return Err(Refused::not_found("key", id));
        }
        append(&mut change, Deed::by(caller, project, "key.change", id).saying(&said.join(", "))).await?;
        change.commit().await?;
        self.push_policies(project).await;
        self.key(caller, project, id).await
    }

    /// Deletes a key that nothing lives under. The key in KMS is its owner's and stays. One that backups need is deleted only
    /// where `force` names these backups, all of them and no others: nothing watches over what opens them from then on.
    pub async fn delete_key(&self, caller: &Caller, project: &str, id: &str, force: &[String]) -> Result<(), Refused> {
        let key = self.key_for(caller, project, id, Privilege::ManageKeys).await?;
        caller.must_have_confirmed()?;
        let mut change = self.db.change().await?;
        let users = users(&mut change, id).await?;
        if !users.is_empty() {
            let names: Vec<String> =
                users.iter().map(|user| format!("{} ({})", user.cluster_name, user.cluster_id)).collect();
            return Err(Refused::conflict(format!(
                "the key is in use and can't be deleted: clusters {}. Drop them first",
                names.join(", ")
            )));
        }
        let backups = backup::ids_under(&mut change, project, &key.key_arn).await?;
        must_name(&backups, force)?;
        sqlx::query!("DELETE FROM keys WHERE id = ?", id).execute(&mut *change).await?;
        let said = backups.join(", ");
        let said = if said.is_empty() { said } else { format!("although {said} need it") };
        append(&mut change, Deed::by(caller, project, "key.delete", id).saying(&said)).await?;
        change.commit().await?;
        self.push_policies(project).await;
        Ok(())
    }

    /// The calls to KMS about a key, newest first.
    pub async fn key_ledger(
        &self,
        caller: &Caller,
        project: &str,
        id: &str,
        part: impl Into<Part>,
    ) -> Result<Listed<KmsCall>, Refused> {
        let key = self.key_for(caller, project, id, Privilege::SeeKeys).await?;
        self.ledger.written().await;
        let reference = self.stored_reference(&key).await?;
        super::ledger::list(&self.db, reference.key_arn(), key.alias.as_deref(), reference.role_arn(), part.into())
            .await
    }

    /// The roles by which keys of the project are reached.
    pub async fn key_roles(&self, caller: &Caller, project: &str) -> Result<Vec<String>, Refused> {
        project::get(&self.db, caller, project, Privilege::SeeKeys).await?;
        let roles = sqlx::query_scalar!(
            r#"SELECT DISTINCT role_arn AS "role!" FROM keys WHERE project_id = ? AND role_arn IS NOT NULL ORDER BY 1"#,
            project
        );
        Ok(roles.fetch_all(self.db.pool()).await?)
    }

    /// A key of a project, for a caller with a privilege there.
    pub(crate) async fn key_for(
        &self,
        caller: &Caller,
        project: &str,
        id: &str,
        privilege: Privilege,
    ) -> Result<Key, Refused> {
        project::get(&self.db, caller, project, privilege).await?;
        let key = get(&self.db, id).await?.filter(|key| key.project_id == project);
        key.ok_or_else(|| Refused::not_found("key", id))
    }

    /// How KMS is asked for a stored key.
    pub(crate) async fn stored_reference(&self, key: &Key) -> Result<RootKeyRef, Refused> {
        let project = project::known(&self.db, &key.project_id).await?;
        let role = key.role_arn.as_deref();
        let external_id = role.map(|_| project.external_id.expose());
        Ok(RootKeyRef::parse(&key.provider, &key.key_arn, role, external_id)?)
    }

    /// A project in which the caller may manage keys, and whose plan offers them.
    pub(super) async fn key_project(&self, caller: &Caller, project: &str) -> Result<Project, Refused> {
        let project = project::get(&self.db, caller, project, Privilege::ManageKeys).await?;
        project.plan.must_offer_cmek()?;
        Ok(project)
    }

    /// From what was typed to the key itself, or to the alias of one.
    fn wanted(&self, project: &Project, new: &NewKey) -> Result<Wanted, Refused> {
        let Named { region, key, role } = self.named(new)?;
        let external_id = role.is_some().then(|| project.external_id.clone());
        match (key, role) {
            (KeyName::Key(arn), role) => Ok(Wanted::Key(RootKeyRef::new(region.provider(), arn, role, external_id)?)),
            (KeyName::Alias(alias), Some(role)) => {
                Ok(Wanted::Alias(AliasRef::new(region.provider(), alias, role, external_id)))
            }
            (KeyName::Alias(alias), None) => {
                Err(Refused::invalid(format!("{alias} is an alias: give the ARN of its key")))
            }
        }
    }

    fn named(&self, new: &NewKey) -> Result<Named, Refused> {
        let provider: Provider = clean(&new.provider).parse()?;
        let region = Region::parse(&clean(&new.region_id))?;
        if region.provider() != provider {
            return Err(Refused::invalid(format!("region {region} is not one of provider {provider}")));
        }
        if provider == Provider::Local && !self.options.local_keys {
            return Err(Refused::invalid(LOCAL_OFF));
        }
        let role = new.role_arn.as_deref().map(clean).filter(|text| !text.is_empty());
        let role: Option<RoleArn> = role.as_deref().map(str::parse).transpose()?;
        if role.is_none() && provider == Provider::Aws {
            return Err(Refused::invalid("roleArn is missing: an AWS key is reached by assuming a role of its owner"));
        }
        if role.as_ref().is_some_and(|role| role.partition() != region.partition()) {
            return Err(Refused::invalid(format!("the role is of another AWS partition than region {region}")));
        }
        let account = role.as_ref().map(|role| role.as_str().split(':').nth(4).unwrap_or_default().to_owned());
        let local = (region.partition() == Partition::Custody).then(|| custody_kms::LOCAL_ACCOUNT.to_owned());
        let place = Place {
            partition: region.partition(),
            region: region.name(),
            account: account.as_deref().or(local.as_deref()),
        };
        let key = KeyName::parse(&new.key_arn, place)?;
        Ok(Named { region, key, role })
    }

    async fn prove(
        &self,
        project: &Project,
        wanted: &Wanted,
        progress: Progress<'_>,
    ) -> Result<(Validation, Option<RootKeyRef>), Refused> {
        let id: ContextId = project.project_id.parse().map_err(Refused::internal)?;
        Ok(validate::validate(&*self.kms, wanted, &id, self.options.patience, progress).await?)
    }

    /// Refuses a key that the project has already, and one too many; and any, should the project have lost its plan or be
    /// gone: proving a key may have taken a minute.
    async fn room(&self, change: &mut Change, project: &Project, key: &KeyArn, allow: &Allow) -> Result<(), Refused> {
        let arn = key.as_str();
        let plan = sqlx::query_scalar!("SELECT plan FROM projects WHERE id = ?", project.project_id);
        let plan = plan.fetch_optional(&mut **change).await?;
        let plan: Plan = plan.ok_or_else(|| Refused::not_found("project", &project.project_id))?.parse()?;
        plan.must_offer_cmek()?;
        let known =
            sqlx::query_scalar!("SELECT id FROM keys WHERE project_id = ? AND arn = ?", project.project_id, arn);
        if let Some(id) = known.fetch_optional(&mut **change).await? {
            return Err(Refused::conflict(format!("the project has this key already, as {id}")));
        }
        let local = sqlx::query_scalar!("SELECT count(*) FROM keys WHERE provider = 'local' AND arn = ?", arn);
        if local.fetch_one(&mut **change).await? > 0 {
            return Err(Refused::conflict("another project has this development key: make one for this project"));
        }
        if allow.counts() { self.one_more(change, &project.project_id).await } else { Ok(()) }
    }

    /// How many keys a project has, and may have.
    pub async fn key_count(&self, caller: &Caller, project: &str) -> Result<KeyCount, Refused> {
        project::get(&self.db, caller, project, Privilege::SeeKeys).await?;
        let mut look = self.db.pool().acquire().await?;
        Ok(KeyCount { used: count(&mut look, project).await?, limit: self.options.key_limit })
    }

    /// Makes a key in the local development KMS and adds it; returns its id.
    pub async fn create_local_key(&self, caller: &Caller, project: &str, label: &str) -> Result<String, Refused> {
        let found = self.key_project(caller, project).await?;
        let label = name("a key's name", label)?;
        if !self.options.local_keys {
            return Err(Refused::invalid(LOCAL_OFF));
        }
        // Before a key is made that nobody could use.
        let mut look = self.db.change().await?;
        self.one_more(&mut look, &found.project_id).await?;
        look.rollback().await?;
        let keys = LocalKeys::new(self.nodes.settings.kms_file.clone());
        let made = tokio::task::spawn_blocking(move || keys.create()).await.map_err(Refused::internal)?;
        let arn = made.map_err(|error| {
            Refused::new(Kind::Unavailable, format!("the local development KMS could not make a key: {error}"))
        })?;
        let new = NewKey {
            provider: Provider::Local.to_string(),
            region_id: LOCAL_REGION.to_owned(),
            key_arn: arn.to_string(),
            role_arn: None,
            name: Some(label),
            allow: None,
        };
        self.add_key(caller, project, &new).await
    }

    /// Refuses one key too many.
    async fn one_more(&self, change: &mut Change, project: &str) -> Result<(), Refused> {
        let (count, limit) = (count(change, project).await?, self.options.key_limit);
        if count < limit {
            return Ok(());
        }
        Err(Refused::conflict(format!(
            "the project has {count} keys, and a project may have {limit}: delete one that nothing uses. Tenants' keys, which \
             may protect databases alone (\"allow\": {{\"clusters\": [], \"databases\": [\"*\"]}}), don't count"
        )))
    }

    async fn store(
        &self,
        caller: &Caller,
        project: &Project,
        key: &RootKeyRef,
        typed: Typing<'_>,
    ) -> Result<String, Refused> {
        let Typing { region, alias, label, allow } = typed;
        let mut change = self.db.change().await?;
        self.room(&mut change, project, key.key_arn(), &allow).await?;
        let (clusters, databases) = (json(&allow.clusters)?, json(&allow.databases)?);
        let (id, now) = (random::id("cmek")?, now());
        let label = label.unwrap_or_else(|| key.key_arn().id().to_owned());
        let (provider, arn, region) = (key.provider().as_str(), key.key_arn().as_str(), region.id());
        let (role, alias) = (key.role_arn().map(RoleArn::as_str), alias.map(AliasArn::as_str));
        let status = Finding::available().status.as_str();
        let next = now + millis(self.options.check_interval);
        let strangers = now + self.next_strangers();
        let grace = i64::try_from(self.options.default_grace.as_secs()).unwrap_or(LONGEST_GRACE);
        sqlx::query!(
            "INSERT INTO keys (id, project_id, name, provider, arn, alias, region_id, role_arn, status, checked_at,
                               last_success_at, next_check_at, next_strangers_at, grace_seconds, allow_clusters,
                               allow_databases, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            id,
            project.project_id,
            label,
            provider,
            arn,
            alias,
            region,
            role,
            status,
            now,
            now,
            next,
            strangers,
            grace,
            clusters,
            databases,
            now
        )
        .execute(&mut *change)
        .await?;
        sqlx::query!("INSERT INTO key_statuses (key_id, at, status) VALUES (?, ?, ?)", id, now, status)
            .execute(&mut *change)
            .await?;
        append(&mut change, Deed::by(caller, &project.project_id, "key.add", &id).saying(arn)).await?;
        change.commit().await?;
        self.push_policies(&project.project_id).await;
        Ok(id)
    }

    async fn check_allow(&self, project: &str, allow: &Allow) -> Result<(), Refused> {
        for id in allow.clusters.iter().chain(&allow.databases).filter(|id| *id != "*") {
            let known =
                sqlx::query_scalar!("SELECT count(*) FROM clusters WHERE id = ? AND project_id = ?", id, project);
            if known.fetch_one(self.db.pool()).await? == 0 {
                return Err(Refused::invalid(format!(
                    "allow names {id:?}, which is no cluster of this project; * is all"
                )));
            }
        }
        Ok(())
    }
}

impl Recovery {
    /// What can't be read opens nothing by itself.
    pub(crate) fn stored(text: &str) -> Result<Self, Refused> {
        let known = [Self::Auto, Self::Manual].into_iter().find(|recovery| recovery.as_str() == text);
        known.ok_or_else(|| Refused::internal(format!("a key's stored recovery is {text:?}")))
    }

    /// As it stands in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Manual => "manual",
        }
    }
}

/// The keys that count among a project's.
async fn count(connection: &mut sqlx::SqliteConnection, project: &str) -> Result<i64, Refused> {
    let count =
        sqlx::query_scalar!("SELECT count(*) FROM keys WHERE project_id = ? AND allow_clusters <> '[]'", project);
    Ok(count.fetch_one(connection).await?)
}

/// Refuses where what is to be given up is not what there is.
fn must_name(backups: &[String], force: &[String]) -> Result<(), Refused> {
    let named: BTreeSet<&String> = force.iter().collect();
    if named == backups.iter().collect() {
        return Ok(());
    }
    let (all, query) = (backups.join(", "), backups.join(","));
    Err(Refused::conflict(match (backups.is_empty(), force.is_empty()) {
        (true, _) => "no backup needs the key: leave force out".to_owned(),
        (_, true) => format!(
            "backups need the key, and nobody can restore them without it: {all}. Delete them first; or, to delete the key all the \
             same, say ?force={query}"
        ),
        (_, false) => format!("force does not name exactly the backups that need the key, which are {all}"),
    }))
}

/// Every check that failed, with what it says.
fn failures(found: &Validation) -> String {
    let failed = found.checks.iter().filter(|check| !check.ok && !check.skipped);
    let said: Vec<&str> = failed.filter_map(|check| check.message.as_deref()).collect();
    said.join("; ")
}

/// A stored key, whoever asks.
pub(crate) async fn get(db: &Db, id: &str) -> Result<Option<Key>, Refused> {
    let row = sqlx::query!(
        "SELECT id, project_id, name, provider, arn, alias, region_id, role_arn, status, reason, warning, checked_at,
                last_success_at, next_check_at, grace_seconds, recovery, allow_clusters, allow_databases
         FROM keys WHERE id = ?",
        id
    );
    let Some(row) = row.fetch_optional(db.pool()).await? else { return Ok(None) };
    let mut connection = db.pool().acquire().await?;
    Ok(Some(Key {
        backups: backup::ids_under(&mut connection, &row.project_id, &row.arn).await?,
        clusters: users_on(&mut connection, &row.id).await?,
        key_id: row.id,
        name: row.name,
        provider: row.provider,
        key_arn: row.arn,
        alias: row.alias,
        region_id: row.region_id,
        role_arn: row.role_arn,
        status: KeyStatus::stored(&row.status)?,
        reason: row.reason,
        warning: row.warning,
        last_success_at: row.last_success_at,
        last_checked_at: row.checked_at,
        next_check_at: row.next_check_at,
        grace_seconds: row.grace_seconds,
        recovery: Recovery::stored(&row.recovery)?,
        allow: Allow { clusters: list(&row.allow_clusters)?, databases: list(&row.allow_databases)? },
        project_id: row.project_id,
    }))
}

/// What lives under a key.
async fn users(change: &mut Change, key: &str) -> Result<Vec<KeyUser>, Refused> {
    users_on(change, key).await
}

async fn users_on(connection: &mut sqlx::SqliteConnection, key: &str) -> Result<Vec<KeyUser>, Refused> {
    let users = sqlx::query_as!(
        KeyUser,
        "SELECT id AS cluster_id, name AS cluster_name FROM clusters
         WHERE key_id = ?1 OR id IN (SELECT cluster_id FROM cluster_keys WHERE key_id = ?1) ORDER BY name",
        key
    );
    Ok(users.fetch_all(connection).await?)
}

fn json(list: &[String]) -> Result<String, Refused> {
    serde_json::to_string(list).map_err(Refused::internal)
}

fn list(text: &str) -> Result<Vec<String>, Refused> {
    serde_json::from_str(text).map_err(Refused::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_backups_need_goes_only_if_they_are_all_named() {
        let ids = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (none, both) = (ids(&[]), ids(&["backup-a", "backup-b"]));
        assert!(must_name(&none, &none).is_ok());
        assert!(must_name(&both, &ids(&["backup-b", "backup-a"])).is_ok());
        for force in [none.clone(), ids(&["backup-a"]), ids(&["backup-a", "backup-b", "backup-c"]), ids(&["*"])] {
            let refused = must_name(&both, &force).unwrap_err();
            assert_eq!(refused.kind, Kind::Conflict);
            assert!(refused.message.contains("backup-a, backup-b"), "{refused}");
        }
        assert!(must_name(&both, &none).unwrap_err().message.contains("?force=backup-a,backup-b"));
        assert!(must_name(&none, &both).is_err(), "one who thinks there is something to give up is told");
    }

    #[test]
    fn a_stored_recovery_that_is_unknown_is_an_error_and_not_automatic() {
        assert_eq!(Recovery::stored("auto").unwrap(), Recovery::Auto);
        assert_eq!(Recovery::stored("manual").unwrap(), Recovery::Manual);
        assert!(Recovery::stored("").is_err() && Recovery::stored("Manual").is_err());
    }
}
