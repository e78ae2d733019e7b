//! Projects and their plans.

use std::{fmt, str::FromStr};

use custody_kms::ExternalId;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Caller, Privilege},
    audit::{Deed, append},
    backup,
    db::{Change, Db, now},
    random,
    refusal::{self, Kind, Refused},
};

/// What a project may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub enum Plan {
    /// For trying out.
    Free,
    /// Shared machines.
    Serverless,
    /// Dedicated clusters.
    Standard,
    /// Dedicated clusters, with more.
    Enterprise,
    /// Dedicated clusters with customer-managed keys.
    BusinessCritical,
}

const PLANS: [Plan; 5] = [Plan::Free, Plan::Serverless, Plan::Standard, Plan::Enterprise, Plan::BusinessCritical];

impl Plan {
    /// As it stands in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Free => "Free",
            Self::Serverless => "Serverless",
            Self::Standard => "Standard",
            Self::Enterprise => "Enterprise",
            Self::BusinessCritical => "BusinessCritical",
        }
    }

    /// Whether clusters of it may live under customer-managed keys.
    pub fn offers_cmek(self) -> bool {
        self == Self::BusinessCritical
    }

    /// Whether it has dedicated clusters.
    pub fn has_dedicated(self) -> bool {
        matches!(self, Self::Standard | Self::Enterprise | Self::BusinessCritical)
    }

    /// Refuses what a plan doesn't offer.
    pub(crate) fn must_offer_cmek(self) -> Result<(), Refused> {
        if self.offers_cmek() {
            return Ok(());
        }
        Err(Refused::new(
            Kind::Forbidden,
            format!(
                "customer-managed encryption keys (CMEK) are offered to dedicated clusters of BusinessCritical projects, and \
                 this project's plan is {self}: change the plan first"
            ),
        ))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Plan {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        PLANS.into_iter().find(|plan| plan.as_str() == text).ok_or_else(|| {
            let names: Vec<&str> = PLANS.into_iter().map(Plan::as_str).collect();
            Refused::invalid(format!("{text:?} is no plan: {}", names.join(", ")))
        })
    }
}

/// Whether encrypted backups may be restored without encryption (rule 34).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DecryptedRestore {
    /// They may. Each time raises an alert.
    Allow,
    /// They may not.
    Deny,
}

impl DecryptedRestore {
    /// As it stands in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }

    /// What can't be read allows nothing.
    fn stored(text: &str) -> Result<Self, Refused> {
        let known = [Self::Allow, Self::Deny].into_iter().find(|it| it.as_str() == text);
        known.ok_or_else(|| Refused::internal(format!("a project's stored decryptedRestore is {text:?}")))
    }
}

/// A project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Project {
    /// Its id.
    pub project_id: String,
    /// What people call it.
    pub project_name: String,
    /// Its plan.
    pub plan: Plan,
    /// Whether its encrypted backups may be restored without encryption.
    pub decrypted_restore: DecryptedRestore,
    /// How many clusters it has.
    pub instance_count: i64,
    /// When it was made, in milliseconds since 1970.
    pub create_time_milli: i64,
    /// What we show when we assume a role of its owner. Not for everybody: see the setup of a key.
    #[serde(skip)]
    pub(crate) external_id: ExternalId,
}

/// Makes a project; returns its id.
pub(crate) async fn create(db: &Db, caller: &Caller, name: &str, plan: Plan) -> Result<String, Refused> {
    caller.must_own()?;
    let name = refusal::name("projectName", name)?;
    // 128 random bits of its own, beside the id: it can't be guessed from anything that is shown.
    let (id, external_id) = (random::id("proj")?, random::digits()?);
    let (now, plan_name) = (now(), plan.as_str());
    let mut change = db.change().await?;
    let taken = sqlx::query_scalar!("SELECT count(*) FROM projects WHERE name = ?", name);
    if taken.fetch_one(&mut *change).await? > 0 {
        return Err(Refused::conflict(format!("there is a project {name:?} already: choose another name")));
    }
    sqlx::query!(
        "INSERT INTO projects (id, name, plan, external_id, created_at) VALUES (?, ?, ?, ?, ?)",
        id,
        name,
        plan_name,
        external_id,
        now
    )
    .execute(&mut *change)
    .await?;
    append(&mut change, Deed::by(caller, &id, "project.create", &id).saying(plan_name)).await?;
    change.commit().await?;
    Ok(id)
}

/// The projects that a caller may see.
pub(crate) async fn list(db: &Db, caller: &Caller) -> Result<Vec<Project>, Refused> {
    let rows = sqlx::query!(
        "SELECT id, name, plan, external_id, decrypted_restore, created_at,
                (SELECT count(*) FROM clusters WHERE project_id = projects.id) AS clusters
         FROM projects ORDER BY created_at, id"
    );
    let rows = rows.fetch_all(db.pool()).await?.into_iter();
    rows.filter(|row| caller.may(Privilege::SeeProject, Some(&row.id)))
        .map(|row| {
            Ok(Project {
                project_id: row.id,
                project_name: row.name,
                plan: row.plan.parse()?,
                decrypted_restore: DecryptedRestore::stored(&row.decrypted_restore)?,
                instance_count: row.clusters,
                create_time_milli: row.created_at,
                external_id: row.external_id.parse().map_err(Refused::internal)?,
            })
        })
        .collect()
}

/// A project in which the caller has a privilege.
pub(crate) async fn get(db: &Db, caller: &Caller, id: &str, privilege: Privilege) -> Result<Project, Refused> {
    caller.must(privilege, id)?;
    known(db, id).await
}

/// A project, whoever asks.
pub(crate) async fn known(db: &Db, id: &str) -> Result<Project, Refused> {
    let row = sqlx::query!(
        "SELECT id, name, plan, external_id, decrypted_restore, created_at,
                (SELECT count(*) FROM clusters WHERE project_id = projects.id) AS clusters
         FROM projects WHERE id = ?",
        id
    );
    let row = row.fetch_optional(db.pool()).await?.ok_or_else(|| Refused::not_found("project", id))?;
    Ok(Project {
        project_id: row.id,
        project_name: row.name,
        plan: row.plan.parse()?,
        decrypted_restore: DecryptedRestore::stored(&row.decrypted_restore)?,
        instance_count: row.clusters,
        create_time_milli: row.created_at,
        external_id: row.external_id.parse().map_err(Refused::internal)?,
    })
}

/// Decides whether encrypted backups of a project may be restored without encryption: who keeps its keys does.
pub(crate) async fn set_decrypted_restore(
    db: &Db,
    caller: &Caller,
    id: &str,
    wanted: DecryptedRestore,
) -> Result<(), Refused> {
    caller.must(Privilege::ManageKeys, id)?;
    caller.must_have_confirmed()?;
    let text = wanted.as_str();
    let mut change = db.change().await?;
    let changed = sqlx::query!("UPDATE projects SET decrypted_restore = ? WHERE id = ?", text, id);
    if changed.execute(&mut *change).await?.rows_affected() == 0 {
        return Err(Refused::not_found("project", id));
    }
    append(&mut change, Deed::by(caller, id, "project.decryptedRestore", id).saying(text)).await?;
    Ok(change.commit().await?)
}

/// Whether encrypted backups of a project may be restored without encryption, as a change that is under way sees it.
pub(crate) async fn decrypted_restore(change: &mut Change, id: &str) -> Result<DecryptedRestore, Refused> {
    let text = sqlx::query_scalar!("SELECT decrypted_restore FROM projects WHERE id = ?", id);
    DecryptedRestore::stored(&text.fetch_one(&mut **change).await?)
}

/// Changes a project's plan. One that uses what the new plan doesn't offer keeps its plan.
pub(crate) async fn set_plan(db: &Db, caller: &Caller, id: &str, plan: Plan) -> Result<(), Refused> {
    caller.must(Privilege::ManageProject, id)?;
    let plan_name = plan.as_str();
    let mut change = db.change().await?;
    let keys =
        sqlx::query_scalar!("SELECT count(*) FROM keys WHERE project_id = ?", id).fetch_one(&mut *change).await?;
    if keys > 0 && !plan.offers_cmek() {
        return Err(Refused::conflict(format!(
            "the project has {keys} customer-managed keys, which the plan {plan} doesn't offer: delete them first"
        )));
    }
    let clusters = sqlx::query_scalar!("SELECT count(*) FROM clusters WHERE project_id = ?", id);
    let clusters = clusters.fetch_one(&mut *change).await?;
    if clusters > 0 && !plan.has_dedicated() {
        return Err(Refused::conflict(format!(
            "the project has {clusters} dedicated clusters, which the plan {plan} doesn't offer: drop them first"
        )));
    }
    let changed =
        sqlx::query!("UPDATE projects SET plan = ? WHERE id = ?", plan_name, id).execute(&mut *change).await?;
    if changed.rows_affected() == 0 {
        return Err(Refused::not_found("project", id));
    }
    append(&mut change, Deed::by(caller, id, "project.plan", id).saying(plan_name)).await?;
    Ok(change.commit().await?)
}

/// Deletes a project that has nothing in it any more.
pub(crate) async fn delete(db: &Db, caller: &Caller, id: &str) -> Result<(), Refused> {
    caller.must(Privilege::SeeProject, id)?;
    caller.must_own()?;
    let mut change = db.change().await?;
    let clusters = sqlx::query_scalar!("SELECT name FROM clusters WHERE project_id = ? ORDER BY name", id);
    let clusters = clusters.fetch_all(&mut *change).await?;
    let keys =
        sqlx::query_scalar!("SELECT count(*) FROM keys WHERE project_id = ?", id).fetch_one(&mut *change).await?;
    let backups = backup::of_project(&mut change, id).await?;
    if !clusters.is_empty() || keys > 0 || backups > 0 {
        return Err(Refused::conflict(format!(
            "the project still has {} clusters ({}), {backups} backups and {keys} keys: drop and delete them first",
            clusters.len(),
            clusters.join(", ")
        )));
    }
    let deleted = sqlx::query!("DELETE FROM projects WHERE id = ?", id).execute(&mut *change).await?;
    if deleted.rows_affected() == 0 {
        return Err(Refused::not_found("project", id));
    }
    append(&mut change, Deed::by(caller, id, "project.delete", id)).await?;
    Ok(change.commit().await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        access::{Role, callers},
        db::tests::fresh,
    };

    #[tokio::test]
    async fn each_project_has_an_external_id_of_its_own_that_it_does_not_show() {
        let (db, _directory) = fresh().await;
        let mut seen = std::collections::BTreeSet::new();
        for called in ["a", "b", "c"] {
            let id = create(&db, &callers::owner(), called, Plan::BusinessCritical).await.unwrap();
            let project = known(&db, &id).await.unwrap();
            let external_id = project.external_id.expose().to_owned();
            assert_eq!(external_id.len(), 32);
            assert!(!serde_json::to_string(&project).unwrap().contains(&external_id));
            assert!(!format!("{project:?}").contains(&external_id));
            seen.insert(external_id);
        }
        assert_eq!(seen.len(), 3);
    }

    #[tokio::test]
    async fn who_sees_one_project_sees_that_one_and_only_an_owner_makes_one() {
        let (db, _directory) = fresh().await;
        let owner = callers::owner();
        let first = create(&db, &owner, "first", Plan::Standard).await.unwrap();
        let second = create(&db, &owner, "second", Plan::Standard).await.unwrap();
        let reader = callers::with(Role::ProjectReadOnly, &first);
        let names = |projects: Vec<Project>| projects.into_iter().map(|it| it.project_name).collect::<Vec<_>>();
        assert_eq!(names(list(&db, &owner).await.unwrap()), ["first", "second"]);
        assert_eq!(names(list(&db, &reader).await.unwrap()), ["first"]);
        let refused = |result: Result<Project, Refused>| result.unwrap_err().kind;
        assert_eq!(refused(get(&db, &reader, &second, Privilege::SeeProject).await), Kind::NotFound);
        assert_eq!(refused(get(&db, &reader, &first, Privilege::ManageProject).await), Kind::Forbidden);
        assert_eq!(create(&db, &reader, "x", Plan::Free).await.unwrap_err().kind, Kind::Forbidden);
        assert_eq!(delete(&db, &reader, &first).await.unwrap_err().kind, Kind::Forbidden);
        delete(&db, &owner, &second).await.unwrap();
        assert_eq!(names(list(&db, &owner).await.unwrap()), ["first"]);
    }

    #[tokio::test]
    async fn names_and_plans_that_can_not_be_are_refused() {
        let (db, _directory) = fresh().await;
        let owner = callers::owner();
        create(&db, &owner, "taken", Plan::Free).await.unwrap();
        assert_eq!(create(&db, &owner, " taken ", Plan::Free).await.unwrap_err().kind, Kind::Conflict);
        for called in ["", " ", "a\nb", &"x".repeat(201)] {
            assert_eq!(create(&db, &owner, called, Plan::Free).await.unwrap_err().kind, Kind::Invalid, "{called:?}");
        }
        assert!("Premium".parse::<Plan>().unwrap_err().message.contains("BusinessCritical"));
    }
}
