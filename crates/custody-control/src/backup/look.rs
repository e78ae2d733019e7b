//! Looking at backups.

use super::{Backup, BackupKind, CreationMethod, row};
use crate::{
    Control,
    access::{Caller, Privilege},
    project,
    refusal::Refused,
};

/// Which backups are wanted: those that fit all that is given.
#[derive(Clone, Debug, Default)]
pub struct BackupFilter {
    /// Of this project.
    pub project_id: Option<String>,
    /// Of this cluster.
    pub cluster_id: Option<String>,
    /// Made by hand, or by a policy.
    pub method: Option<CreationMethod>,
    /// Of the whole cluster, or of collections.
    pub kind: Option<BackupKind>,
    /// Asked for at this time or later, in milliseconds since 1970.
    pub since: Option<i64>,
    /// Asked for at this time or earlier.
    pub until: Option<i64>,
}

impl BackupFilter {
    fn wants(&self, row: &row::Row) -> bool {
        self.project_id.as_ref().is_none_or(|id| *id == row.project_id)
            && self.method.is_none_or(|method| method == row.method)
            && self.kind.is_none_or(|kind| kind == row.kind)
            && self.since.is_none_or(|since| row.created_at >= since)
            && self.until.is_none_or(|until| row.created_at <= until)
    }
}

impl Control {
    /// The backups that the caller may see and asks for, newest first.
    pub async fn backups(&self, caller: &Caller, wanted: &BackupFilter) -> Result<Vec<Backup>, Refused> {
        if let Some(project) = &wanted.project_id {
            project::get(&self.db, caller, project, Privilege::SeeProject).await?;
        }
        let rows = row::all(&self.db, wanted.cluster_id.as_deref()).await?.into_iter();
        let seen = rows.filter(|row| caller.may(Privilege::SeeProject, Some(&row.project_id)) && wanted.wants(row));
        Ok(seen.map(row::Row::shown).collect())
    }

    /// A backup of a cluster.
    pub async fn backup(&self, caller: &Caller, cluster: &str, id: &str) -> Result<Backup, Refused> {
        Ok(self.backup_for(caller, cluster, id, Privilege::SeeProject).await?.shown())
    }

    /// A backup of a cluster, for a caller with a privilege in its project. Of another project's backup not even that it
    /// exists is told.
    pub(super) async fn backup_for(
        &self,
        caller: &Caller,
        cluster: &str,
        id: &str,
        privilege: Privilege,
    ) -> Result<row::Row, Refused> {
        let found = row::find(&self.db, id).await?.filter(|row| row.cluster_id == cluster);
        let visible = found.filter(|row| caller.may(Privilege::SeeProject, Some(&row.project_id)));
        let row = visible.ok_or_else(|| Refused::not_found("backup", id))?;
        caller.must(privilege, &row.project_id)?;
        Ok(row)
    }
}
