//! Roles, and what each may do.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::refusal::Refused;

/// A role, in one project or in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub enum Role {
    /// Everything, in every project.
    Owner,
    /// A project, its clusters and its alerts; not its keys.
    ProjectAdmin,
    /// Reads and writes the data of a project's clusters.
    ProjectReadWrite,
    /// Reads a project and the data of its clusters.
    ProjectReadOnly,
    /// Keys, grace and seal; reads no data (rule 26).
    KeyCustodian,
}

/// Something that not everybody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Projects, users and API keys of the whole installation.
    Organisation,
    /// See a project, its clusters and its jobs.
    SeeProject,
    /// Change a project.
    ManageProject,
    /// See a project's keys.
    SeeKeys,
    /// Add, change, check and delete keys.
    ManageKeys,
    /// Make, change and drop clusters.
    ManageClusters,
    /// Put a cluster or a database under a key that the project has.
    UseKeys,
    /// Seal a cluster by hand, and unseal it.
    Seal,
    /// Alert rules.
    ManageAlerts,
    /// Read rows.
    ReadData,
    /// Write rows.
    WriteData,
}

const ROLES: [Role; 5] =
    [Role::Owner, Role::ProjectAdmin, Role::ProjectReadWrite, Role::ProjectReadOnly, Role::KeyCustodian];

impl Role {
    /// Whether the role includes a privilege.
    pub fn allows(self, privilege: Privilege) -> bool {
        use Privilege as P;
        match self {
            Self::Owner => true,
            Self::ProjectAdmin => matches!(
                privilege,
                P::SeeProject
                    | P::ManageProject
                    | P::SeeKeys
                    | P::ManageClusters
                    | P::UseKeys
                    | P::ManageAlerts
                    | P::ReadData
                    | P::WriteData
            ),
            Self::ProjectReadWrite => matches!(privilege, P::SeeProject | P::ReadData | P::WriteData),
            Self::ProjectReadOnly => matches!(privilege, P::SeeProject | P::ReadData),
            Self::KeyCustodian => matches!(privilege, P::SeeProject | P::SeeKeys | P::ManageKeys | P::Seal),
        }
    }

    /// As it stands in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "Owner",
            Self::ProjectAdmin => "ProjectAdmin",
            Self::ProjectReadWrite => "ProjectReadWrite",
            Self::ProjectReadOnly => "ProjectReadOnly",
            Self::KeyCustodian => "KeyCustodian",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        ROLES.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            let names: Vec<&str> = ROLES.into_iter().map(Role::as_str).collect();
            Refused::invalid(format!("{text:?} is no role: {}", names.join(", ")))
        })
    }
}

impl Privilege {
    /// What it lets one do, to complete "you may not ...".
    pub fn what(self) -> &'static str {
        match self {
            Self::Organisation => "manage projects, users and API keys: that takes the role Owner",
            Self::SeeProject => "see this project",
            Self::ManageProject => "change this project: that takes the role ProjectAdmin or Owner",
            Self::SeeKeys => "see this project's keys: that takes the role KeyCustodian, ProjectAdmin or Owner",
            Self::ManageKeys => {
                "manage this project's keys: that takes the role KeyCustodian or Owner, also of a ProjectAdmin"
            }
            Self::ManageClusters => "manage this project's clusters: that takes the role ProjectAdmin or Owner",
            Self::UseKeys => "put anything under a key of this project: that takes the role ProjectAdmin or Owner",
            Self::Seal => "seal or unseal a cluster: that takes the role KeyCustodian or Owner",
            Self::ManageAlerts => "manage this project's alerts: that takes the role ProjectAdmin or Owner",
            Self::ReadData => "read the data of this project's clusters",
            Self::WriteData => "write the data of this project's clusters",
        }
    }
}

/// A role that somebody has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// The project; every project if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// The role.
    pub role: Role,
}

impl Grant {
    /// A role in a project, or in all. An owner is one of all.
    pub fn new(role: Role, project_id: Option<String>) -> Result<Self, Refused> {
        if role == Role::Owner && project_id.is_some() {
            return Err(Refused::invalid(
                "an Owner is one of every project: leave the project out, or give another role",
            ));
        }
        Ok(Self { project_id, role })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_keeps_the_keys_reads_no_data_and_who_manages_clusters_keeps_no_keys() {
        assert!(Role::KeyCustodian.allows(Privilege::ManageKeys) && Role::KeyCustodian.allows(Privilege::Seal));
        assert!(!Role::KeyCustodian.allows(Privilege::ReadData) && !Role::KeyCustodian.allows(Privilege::UseKeys));
        assert!(Role::ProjectAdmin.allows(Privilege::ManageClusters) && Role::ProjectAdmin.allows(Privilege::UseKeys));
        assert!(!Role::ProjectAdmin.allows(Privilege::ManageKeys) && !Role::ProjectAdmin.allows(Privilege::Seal));
    }

    #[test]
    fn a_reader_changes_nothing() {
        for privilege in [
            Privilege::Organisation,
            Privilege::ManageProject,
            Privilege::ManageKeys,
            Privilege::ManageClusters,
            Privilege::UseKeys,
            Privilege::Seal,
            Privilege::ManageAlerts,
            Privilege::WriteData,
        ] {
            assert!(!Role::ProjectReadOnly.allows(privilege), "{privilege:?}");
        }
    }

    #[test]
    fn every_role_is_known_by_its_name() {
        for role in ROLES {
            assert_eq!(role.as_str().parse::<Role>().unwrap(), role);
        }
        assert!("owner".parse::<Role>().unwrap_err().to_string().contains("KeyCustodian"));
    }
}
