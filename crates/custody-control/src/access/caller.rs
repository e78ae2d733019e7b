//! Whoever asks for something.

use super::role::{Grant, Privilege};
use crate::{
    db::Db,
    refusal::{Kind, Refused},
};

/// A user or an API key, known by its credential, with its roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    id: String,
    grants: Vec<Grant>,
    /// Whether more than a browser's session stands behind it: an API key, or a password given for this very request.
    confirmed: bool,
}

impl Caller {
    pub(super) fn new(id: String, grants: Vec<Grant>) -> Self {
        Self { id, grants, confirmed: true }
    }

    /// Somebody known by a browser's session alone.
    pub(super) fn of_session(id: String, grants: Vec<Grant>) -> Self {
        Self { id, grants, confirmed: false }
    }

    /// The same, who has given the password for this request.
    pub(super) fn confirmed(self) -> Self {
        Self { confirmed: true, ..self }
    }

    /// The id of the user or the API key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The roles.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Whether the caller may do this in a project; `None` asks for all projects.
    pub fn may(&self, privilege: Privilege, project: Option<&str>) -> bool {
        self.grants.iter().any(|grant| {
            let there = grant.project_id.is_none() || grant.project_id.as_deref() == project;
            there && grant.role.allows(privilege)
        })
    }

    /// Refuses what the caller may not do in a project. Of a project that the caller may not see, nothing is told, not
    /// even that it exists.
    pub fn must(&self, privilege: Privilege, project: &str) -> Result<(), Refused> {
        if self.may(privilege, Some(project)) {
            return Ok(());
        }
        if !self.may(Privilege::SeeProject, Some(project)) {
            return Err(Refused::not_found("project", project));
        }
        Err(Refused::new(Kind::Forbidden, format!("you may not {}", privilege.what())))
    }

    /// Refuses what a browser's session alone must not do: whoever finds one open does not drop a cluster, nor makes a
    /// credential that could (rule 32).
    pub fn must_have_confirmed(&self) -> Result<(), Refused> {
        if self.confirmed {
            return Ok(());
        }
        Err(Refused::new(
            Kind::Forbidden,
            "a session alone does not drop a cluster, delete a backup or a key, change a key's grace, restore or allow to restore without \
             encryption, or give anybody access: do it in the console, which asks for your password again, or with an API key",
        ))
    }

    /// Refuses what only an owner may do.
    pub fn must_own(&self) -> Result<(), Refused> {
        if self.may(Privilege::Organisation, None) {
            return Ok(());
        }
        Err(Refused::new(Kind::Forbidden, format!("you may not {}", Privilege::Organisation.what())))
    }
}

/// The roles of a user or an API key.
pub(super) async fn grants_of(db: &Db, holder: &str) -> Result<Vec<Grant>, Refused> {
    let rows =
        sqlx::query!("SELECT project_id, role FROM grants WHERE holder = ?", holder).fetch_all(db.pool()).await?;
    rows.into_iter().map(|row| Grant::new(row.role.parse()?, row.project_id)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::access::Role;

    pub(crate) fn owner() -> Caller {
        Caller::new("user-owner".into(), vec![Grant { project_id: None, role: Role::Owner }])
    }

    pub(crate) fn with(role: Role, project: &str) -> Caller {
        Caller::new("apikey-other".into(), vec![Grant { project_id: Some(project.into()), role }])
    }

    /// The same by a browser's session alone.
    pub(crate) fn in_session(role: Role, project: &str) -> Caller {
        Caller::of_session("user-other".into(), vec![Grant { project_id: Some(project.into()), role }])
    }

    #[test]
    fn another_project_is_not_even_admitted_to_exist() {
        let caller = with(Role::ProjectAdmin, "proj-a");
        assert!(caller.must(Privilege::ManageClusters, "proj-a").is_ok());
        assert_eq!(caller.must(Privilege::ManageKeys, "proj-a").unwrap_err().kind, Kind::Forbidden);
        assert_eq!(caller.must(Privilege::ManageClusters, "proj-b").unwrap_err().kind, Kind::NotFound);
        assert_eq!(caller.must_own().unwrap_err().kind, Kind::Forbidden);
        assert!(owner().must(Privilege::ManageKeys, "proj-b").is_ok() && owner().must_own().is_ok());
    }
}
