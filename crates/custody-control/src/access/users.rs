//! Users of the console.

use custody_password as password;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{Caller, Grant, caller::grants_of};
use crate::{
    audit::{Deed, append},
    db::{Change, Db, now},
    random,
    refusal::{self, Refused},
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
    if let Some(project) = &grant.project_id {
        let known = sqlx::query_scalar!("SELECT count(*) FROM projects WHERE id = ?", project);
        if known.fetch_one(&mut **change).await? == 0 {
            return Err(Refused::not_found("project", project));
        }
    }
    let (id, now, role) = (random::id("user")?, now(), grant.role.as_str());
    sqlx::query!("INSERT INTO users (id, name, password, created_at) VALUES (?, ?, ?, ?)", id, name, hash, now)
        .execute(&mut **change)
        .await?;
    sqlx::query!("INSERT INTO grants (holder, project_id, role) VALUES (?, ?, ?)", id, grant.project_id, role)
        .execute(&mut **change)
        .await?;
    Ok(id)
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

/// Sets a password. Its owner gives the old one; an owner of the installation may help who forgot. Everywhere the user was
/// signed in, that ends.
pub(crate) async fn set_password(
    db: &Db,
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
    let stored = sqlx::query_scalar!("SELECT password FROM users WHERE id = ?", id).fetch_optional(db.pool()).await?;
    let stored = stored.ok_or_else(|| Refused::not_found("user", id))?;
    if own && !password::verify(old.unwrap_or_default(), stored).await {
        return Err(Refused::invalid("the old password is wrong"));
    }
    let hash = password::hash(new).await?;
    let mut change = db.change().await?;
    sqlx::query!("UPDATE users SET password = ? WHERE id = ?", hash, id).execute(&mut *change).await?;
    sqlx::query!("DELETE FROM sessions WHERE user_id = ?", id).execute(&mut *change).await?;
    let deed = Deed { project: None, actor: caller.id(), action: "user.password", subject: id, detail: "" };
    append(&mut change, deed).await?;
    Ok(change.commit().await?)
}
