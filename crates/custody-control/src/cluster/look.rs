//! Looking at clusters.

use super::{Cluster, Row, row};
use crate::{
    Control,
    access::{Caller, Privilege},
    project,
    refusal::Refused,
};

impl Control {
    /// The clusters that the caller may see; those of one project, if one is named.
    pub async fn clusters(&self, caller: &Caller, of: Option<&str>) -> Result<Vec<Cluster>, Refused> {
        if let Some(project) = of {
            project::get(&self.db, caller, project, Privilege::SeeProject).await?;
        }
        let mut clusters = Vec::new();
        for row in row::all(&self.db).await? {
            let wanted = of.is_none_or(|project| project == row.project_id);
            if wanted && caller.may(Privilege::SeeProject, Some(&row.project_id)) {
                clusters.push(self.shown(row).await?);
            }
        }
        Ok(clusters)
    }

    /// A cluster.
    pub async fn cluster(&self, caller: &Caller, id: &str) -> Result<Cluster, Refused> {
        let row = self.cluster_for(caller, id, Privilege::SeeProject).await?;
        self.shown(row).await
    }

    async fn shown(&self, row: Row) -> Result<Cluster, Refused> {
        let plan = project::known(&self.db, &row.project_id).await?.plan;
        let (live, address) = (self.nodes.live(&row.id), self.nodes.settings.address(row.port));
        Ok(Cluster::of(row, plan, &live, address))
    }

    /// A cluster, for a caller with a privilege in its project. Of another project's cluster not even that it exists is
    /// told.
    pub(crate) async fn cluster_for(&self, caller: &Caller, id: &str, privilege: Privilege) -> Result<Row, Refused> {
        let found = row::find(&self.db, id).await?;
        let visible = found.filter(|row| caller.may(Privilege::SeeProject, Some(&row.project_id)));
        let row = visible.ok_or_else(|| Refused::not_found("cluster", id))?;
        caller.must(privilege, &row.project_id)?;
        Ok(row)
    }
}
