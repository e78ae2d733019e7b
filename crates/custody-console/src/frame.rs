//! What stands around the content of every page: who is signed in, the project, the way to the others.

use custody_control::{
    Control, Project, Refused,
    access::{Privilege, Visitor},
};

use crate::{
    assets::{ASSETS, Assets},
    markup::plan_name,
};

/// What somebody may do in a project, so that no button is shown that would be refused.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one for each privilege that a button asks for")]
pub(crate) struct May {
    pub(crate) own: bool,
    pub(crate) manage_project: bool,
    pub(crate) see_keys: bool,
    pub(crate) manage_keys: bool,
    pub(crate) manage_clusters: bool,
    pub(crate) use_keys: bool,
    pub(crate) seal: bool,
    pub(crate) manage_alerts: bool,
}

impl May {
    fn of(visitor: &Visitor, project: Option<&str>) -> Self {
        let may = |privilege| visitor.caller.may(privilege, project);
        Self {
            own: visitor.caller.must_own().is_ok(),
            manage_project: may(Privilege::ManageProject),
            see_keys: may(Privilege::SeeKeys),
            manage_keys: may(Privilege::ManageKeys),
            manage_clusters: may(Privilege::ManageClusters),
            use_keys: may(Privilege::UseKeys),
            seal: may(Privilege::Seal),
            manage_alerts: may(Privilege::ManageAlerts),
        }
    }
}

/// The entries of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Projects,
    Clusters,
    Backups,
    Jobs,
    Alerts,
    Activities,
    ApiKeys,
    Cmek,
}

/// What stands around a page's content.
pub(crate) struct Frame {
    pub(crate) title: String,
    pub(crate) assets: &'static Assets,
    pub(crate) csrf: String,
    pub(crate) user: String,
    pub(crate) at: At,
    pub(crate) project: Option<Project>,
    pub(crate) may: May,
}

impl Frame {
    /// Around a page of no project.
    pub(crate) fn outside(visitor: &Visitor, title: &str) -> Self {
        Self {
            title: title.to_owned(),
            assets: &ASSETS,
            csrf: visitor.csrf().to_owned(),
            user: visitor.name.clone(),
            at: At::Projects,
            project: None,
            may: May::of(visitor, None),
        }
    }

    /// Around a page of a project.
    pub(crate) async fn inside(
        control: &Control,
        visitor: &Visitor,
        project: &str,
        at: At,
        title: &str,
    ) -> Result<Self, Refused> {
        let project = control.project(&visitor.caller, project).await?;
        let may = May::of(visitor, Some(&project.project_id));
        Ok(Self { at, project: Some(project), may, ..Self::outside(visitor, title) })
    }

    /// The project's id; empty outside of one.
    pub(crate) fn id(&self) -> &str {
        self.project.as_ref().map_or("", |project| &project.project_id)
    }

    /// The project's plan, as people say it.
    pub(crate) fn plan(&self) -> &'static str {
        self.project.as_ref().map_or("", |project| plan_name(project.plan))
    }

    /// Whether the project's plan offers keys of the customer's own.
    pub(crate) fn offers_cmek(&self) -> bool {
        self.project.as_ref().is_some_and(|project| project.plan.offers_cmek())
    }

    /// Whether it has dedicated clusters.
    pub(crate) fn has_dedicated(&self) -> bool {
        self.project.as_ref().is_some_and(|project| project.plan.has_dedicated())
    }

    /// Whether the page is below an entry of the navigation.
    pub(crate) fn is_at(&self, name: &str) -> bool {
        let at = match self.at {
            At::Projects => "projects",
            At::Clusters => "clusters",
            At::Backups => "backups",
            At::Jobs => "jobs",
            At::Alerts => "alerts",
            At::Activities => "activities",
            At::ApiKeys => "api-keys",
            At::Cmek => "cmek",
        };
        at == name
    }
}
