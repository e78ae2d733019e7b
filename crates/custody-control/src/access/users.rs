//! Users of the console.

use custody_password as password;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{Caller, Gatekeeper, Grant, Role, caller::grants_of};
use crate::{
    audit::{Deed, append},
    db::{Change, Db, now},
    random,
    refusal::{self, Kind, Refused},
};

/// A user, without the password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserInfo {
    /// The user's id.
    pub user_id: String,
    /// The name to sign in with.
    pub name: String,
    /// What the user may do.
    pub grants: Vec<Grant>,
    /// Since when there is this user, in milliseconds since 1970.
    pub created_at: i64,
}

impl From<password::PasswordError> for Refused {
    fn from(error: password::PasswordError) -> Self {
        match error {
            password::PasswordError::Length(_) => Self::invalid(error.to_string()),
            password::PasswordError::Hash(_) => Self::internal(error),
        }
    }
}

/// Makes a user; returns the id.
pub(crate) async fn create(
    db: &Db,
    caller: &Caller,
    name: &str,
    password: Zeroizing<String>,
    grant: Grant,
) -> Result<String, Refused> {
    caller.must_own()?;
    caller.must_have_confirmed()?;
    let hash = password::hash(password).await?;
    let mut change = db.change().await?;
    let id = insert(&mut change, name, &hash, &grant).await?;
    let project = grant.project_id.as_deref();
    let deed = Deed { project, actor: caller.id(), action: "user.create", subject: &id, detail: grant.role.as_str() };
    append(&mut change, deed).await?;
    change.commit().await?;
    Ok(id)
}

/// Stores a user whose password is hashed.
pub(super) async fn insert(change: &mut Change, name: &str, hash: &str, grant: &Grant) -> Result<String, Refused> {
    let name = refusal::name("a user's name", name)?;
    let taken = sqlx::query_scalar!("SELECT count(*) FROM users WHERE name = ?", name).fetch_one(&mut **change).await?;
    if taken > 0 {
        return Err(Refused::conflict(format!("there is a user {name:?} already")));
    }
    must_be_somewhere(change, grant).await?;
    let (id, now, role) = (random::id("user")?, now(), grant.role.as_str());
    sqlx::query!("INSERT INTO users (id, name, password, created_at) VALUES (?, ?, ?, ?)", id, name, hash, now)
        .execute(&mut **change)
        .await?;
    sqlx::query!("INSERT INTO grants (holder, project_id, role) VALUES (?, ?, ?)", id, grant.project_id, role)
        .execute(&mut **change)
        .await?;
    Ok(id)
}

/// Refuses a role in a project that there is not.
async fn must_be_somewhere(change: &mut Change, grant: &Grant) -> Result<(), Refused> {
    let Some(project) = &grant.project_id else { return Ok(()) };
    let known = sqlx::query_scalar!("SELECT count(*) FROM projects WHERE id = ?", project);
    if known.fetch_one(&mut **change).await? == 0 {
        return Err(Refused::not_found("project", project));
    }
    Ok(())
}

/// Gives a user one more role, which counts from the next request on. One that the user has already stays.
pub(crate) async fn give_role(db: &Db, caller: &Caller, id: &str, grant: &Grant) -> Result<UserInfo, Refused> {
    caller.must_own()?;
    caller.must_have_confirmed()?;
    let mut change = db.change().await?;
    let known = sqlx::query_scalar!("SELECT count(*) FROM users WHERE id = ?", id).fetch_one(&mut *change).await?;
    if known == 0 {
        return Err(Refused::not_found("user", id));
    }
    must_be_somewhere(&mut change, grant).await?;
    let role = grant.role.as_str();
    let given = sqlx::query!(
        "INSERT INTO grants (holder, project_id, role) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        id,
        grant.project_id,
        role
    );
    if given.execute(&mut *change).await?.rows_affected() > 0 {
        append(&mut change, of_role(caller, "user.giveRole", id, grant)).await?;
    }
    change.commit().await?;
    get(db, id).await
}

/// Takes a role from a user, which ends with the next request. Nobody takes Owner from himself: the last owner could not come
/// back.
pub(crate) async fn take_role(db: &Db, caller: &Caller, id: &str, grant: &Grant) -> Result<UserInfo, Refused> {
    caller.must_own()?;
    if caller.id() == id && grant.role == Role::Owner {
        return Err(Refused::conflict("you can't take the role Owner from yourself: another owner has to"));
    }
    let mut change = db.change().await?;
    let role = grant.role.as_str();
    let taken = sqlx::query!(
        "DELETE FROM grants WHERE holder = ? AND project_id IS ? AND role = ?
         AND holder IN (SELECT id FROM users)",
        id,
        grant.project_id,
        role
    );
    if taken.execute(&mut *change).await?.rows_affected() == 0 {
        change.rollback().await?;
        let user = get(db, id).await?;
        return Err(Refused::new(Kind::NotFound, format!("user {:?} has no such role there", user.user_id)));
    }
    append(&mut change, of_role(caller, "user.takeRole", id, grant)).await?;
    change.commit().await?;
    get(db, id).await
}

fn of_role<'a>(caller: &'a Caller, action: &'static str, id: &'a str, grant: &'a Grant) -> Deed<'a> {
    let project = grant.project_id.as_deref();
    Deed { project, actor: caller.id(), action, subject: id, detail: grant.role.as_str() }
}

/// A user.
async fn get(db: &Db, id: &str) -> Result<UserInfo, Refused> {
    let row = sqlx::query!("SELECT id, name, created_at FROM users WHERE id = ?", id).fetch_optional(db.pool()).await?;
    let row = row.ok_or_else(|| Refused::not_found("user", id))?;
    let grants = grants_of(db, &row.id).await?;
    Ok(UserInfo { user_id: row.id, name: row.name, grants, created_at: row.created_at })
}

/// All users.
pub(crate) async fn list(db: &Db, caller: &Caller) -> Result<Vec<UserInfo>, Refused> {
    caller.must_own()?;
    let rows = sqlx::query!("SELECT id, name, created_at FROM users ORDER BY created_at, id");
    let mut users = Vec::new();
    for row in rows.fetch_all(db.pool()).await? {
        let grants = grants_of(db, &row.id).await?;
        users.push(UserInfo { user_id: row.id, name: row.name, grants, created_at: row.created_at });
    }
    Ok(users)
}

/// Deletes a user, who is signed out everywhere. Nobody deletes himself: the last owner could not come back.
pub(crate) async fn delete(db: &Db, caller: &Caller, id: &str) -> Result<(), Refused> {
    caller.must_own()?;
    if caller.id() == id {
        return Err(Refused::conflict("you can't delete yourself: another owner has to"));
    }
    let mut change = db.change().await?;
    let deleted = sqlx::query!("DELETE FROM users WHERE id = ?", id).execute(&mut *change).await?;
    if deleted.rows_affected() == 0 {
        return Err(Refused::not_found("user", id));
    }
    sqlx::query!("DELETE FROM grants WHERE holder = ?", id).execute(&mut *change).await?;
    let deed = Deed { project: None, actor: caller.id(), action: "user.delete", subject: id, detail: "" };
    append(&mut change, deed).await?;
    Ok(change.commit().await?)
}

/// Sets a password. Its owner gives the old one, which is looked at as at the sign-in: whoever finds a session open may not
/// guess it faster than there. An owner of the installation may help who forgot. Everywhere the user was signed in, that ends.
pub(crate) async fn set_password(
    db: &Db,
    gatekeeper: &Gatekeeper,
    caller: &Caller,
    id: &str,
    old: Option<Zeroizing<String>>,
    new: Zeroizing<String>,
) -> Result<(), Refused> {
    let own = caller.id() == id;
    if !own {
        caller.must_own()?;
        caller.must_have_confirmed()?;
    }
    let name = sqlx::query_scalar!("SELECT name FROM users WHERE id = ?", id).fetch_optional(db.pool()).await?;
    let name = name.ok_or_else(|| Refused::not_found("user", id))?;
    if own && gatekeeper.check(db, &name, old.unwrap_or_default()).await?.as_deref() != Some(id) {
        return Err(Refused::invalid("the old password is wrong"));
    }
    let hash = password::hash(new).await?;
    let mut change = db.change().await?;
    replace_password(&mut change, id, &hash).await?;
    let deed = Deed { project: None, actor: caller.id(), action: "user.password", subject: id, detail: "" };
    append(&mut change, deed).await?;
    Ok(change.commit().await?)
}

/// Stores another password, and ends what was begun with the old one.
pub(super) async fn replace_password(change: &mut Change, id: &str, hash: &str) -> Result<(), Refused> {
    sqlx::query!("UPDATE users SET password = ? WHERE id = ?", hash, id).execute(&mut **change).await?;
    sqlx::query!("DELETE FROM sessions WHERE user_id = ?", id).execute(&mut **change).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        access::{
            Privilege,
            caller::tests::{in_session, owner, with},
        },
        db::tests::fresh,
        project::{self, Plan},
    };

    /// A project, and somebody who manages it.
    async fn with_an_admin() -> (Db, tempfile::TempDir, String, String) {
        let (db, directory) = fresh().await;
        let project = project::create(&db, &owner(), "project", Plan::BusinessCritical).await.unwrap();
        let grant = Grant::new(Role::ProjectAdmin, Some(project.clone())).unwrap();
        let ann = create(&db, &owner(), "ann", Zeroizing::new("correct horse".to_owned()), grant).await.unwrap();
        (db, directory, project, ann)
    }

    async fn may(db: &Db, user: &str, project: &str) -> bool {
        let caller = Caller::of_session(user.to_owned(), grants_of(db, user).await.unwrap());
        assert!(caller.may(Privilege::ManageClusters, Some(project)), "the first role is not touched");
        caller.may(Privilege::ManageKeys, Some(project))
    }

    #[tokio::test]
    async fn a_project_admin_manages_keys_from_when_that_role_is_given_too_until_it_is_taken() {
        let (db, _directory, project, ann) = with_an_admin().await;
        let custodian = Grant::new(Role::KeyCustodian, Some(project.clone())).unwrap();
        assert!(!may(&db, &ann, &project).await);
        for _ in 0..2 {
            assert_eq!(give_role(&db, &owner(), &ann, &custodian).await.unwrap().grants.len(), 2);
        }
        assert!(may(&db, &ann, &project).await);
        assert_eq!(take_role(&db, &owner(), &ann, &custodian).await.unwrap().grants.len(), 1);
        assert!(!may(&db, &ann, &project).await);
        assert_eq!(take_role(&db, &owner(), &ann, &custodian).await.unwrap_err().kind, Kind::NotFound);
        let told = sqlx::query_as::<_, (String, String, String)>(
            "SELECT action, subject, detail FROM activities WHERE project_id = ? AND action LIKE 'user.%Role' ORDER BY seq",
        );
        let told = told.bind(&project).fetch_all(db.pool()).await.unwrap();
        let deed = |action: &str| (action.to_owned(), ann.clone(), "KeyCustodian".to_owned());
        assert_eq!(told, [deed("user.giveRole"), deed("user.takeRole")], "what changed nothing is not told");
    }

    #[tokio::test]
    async fn nobody_but_an_owner_gives_or_takes_roles_and_none_takes_his_own_ownership() {
        let (db, _directory, project, ann) = with_an_admin().await;
        let custodian = Grant::new(Role::KeyCustodian, Some(project.clone())).unwrap();
        for caller in [with(Role::ProjectAdmin, &project), in_session(Role::ProjectAdmin, &project)] {
            assert_eq!(give_role(&db, &caller, &ann, &custodian).await.unwrap_err().kind, Kind::Forbidden);
            assert_eq!(take_role(&db, &caller, &ann, &custodian).await.unwrap_err().kind, Kind::Forbidden);
        }
        let everywhere = Grant::new(Role::Owner, None).unwrap();
        let session = Caller::of_session("user-owner".to_owned(), vec![everywhere.clone()]);
        assert_eq!(give_role(&db, &session, &ann, &custodian).await.unwrap_err().kind, Kind::Forbidden);
        assert_eq!(take_role(&db, &owner(), owner().id(), &everywhere).await.unwrap_err().kind, Kind::Conflict);
        let nowhere = Grant::new(Role::KeyCustodian, Some("proj-none".to_owned())).unwrap();
        assert_eq!(give_role(&db, &owner(), &ann, &nowhere).await.unwrap_err().kind, Kind::NotFound);
        assert_eq!(give_role(&db, &owner(), "user-none", &custodian).await.unwrap_err().kind, Kind::NotFound);
        assert!(!may(&db, &ann, &project).await);
    }
}
