//! API keys: 256 random bits behind a prefix that scanners find, stored as their SHA-256 alone (rule 28).

use serde::Serialize;
use zeroize::Zeroizing;

use super::{Caller, Grant, caller::grants_of};
use crate::{
    audit::{Deed, append},
    db::{Change, Db, now},
    random,
    refusal::{Kind, Refused, name},
};

/// How an API key begins.
pub(super) const PREFIX: &str = "custody_";

/// An API key that is to be made.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub grant: Grant,
    /// When it ends, in milliseconds since 1970; never, if it is not given.
    pub expires_at: Option<i64>,
}

/// An API key, without the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyInfo {
    /// Its id.
    pub api_key_id: String,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// Who made it.
    pub created_by: String,
    /// When, in milliseconds since 1970.
    pub created_at: i64,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    /// When it was last shown to us, to a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<i64>,
}

/// Makes an API key. What is returned besides its id is the key: it is shown once and can't be had again.
pub(crate) async fn create(db: &Db, caller: &Caller, new: NewApiKey) -> Result<(String, Zeroizing<String>), Refused> {
    caller.must_own()?;
    caller.must_have_confirmed()?;
    let secret = Zeroizing::new(format!("{PREFIX}{}", *random::key_digits()?));
    let mut change = db.change().await?;
    let id = insert(&mut change, caller.id(), &new, &secret).await?;
    let project = new.grant.project_id.as_deref();
    let deed =
        Deed { project, actor: caller.id(), action: "apiKey.create", subject: &id, detail: new.grant.role.as_str() };
    append(&mut change, deed).await?;
    change.commit().await?;
    Ok((id, secret))
}

/// Stores a key that is known already.
pub(super) async fn insert(change: &mut Change, by: &str, new: &NewApiKey, secret: &str) -> Result<String, Refused> {
    let name = name("an API key's name", &new.name)?;
    let now = now();
    if new.expires_at.is_some_and(|end| end <= now) {
        return Err(Refused::invalid("expiresAt is in the past: the key could never be used"));
    }
    if let Some(project) = &new.grant.project_id {
        let known = sqlx::query_scalar!("SELECT count(*) FROM projects WHERE id = ?", project);
        if known.fetch_one(&mut **change).await? == 0 {
            return Err(Refused::not_found("project", project));
        }
    }
    let (id, digest) = (random::id("apikey")?, random::digest(secret.as_bytes()));
    sqlx::query!(
        "INSERT INTO api_keys (id, name, digest, created_by, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
        id,
        name,
        digest,
        by,
        now,
        new.expires_at
    )
    .execute(&mut **change)
    .await?;
    let role = new.grant.role.as_str();
    sqlx::query!("INSERT INTO grants (holder, project_id, role) VALUES (?, ?, ?)", id, new.grant.project_id, role)
        .execute(&mut **change)
        .await?;
    Ok(id)
}

/// Who shows this key. The same refusal whether it never was, has ended, or is deleted.
pub(crate) async fn check(db: &Db, secret: &str) -> Result<Caller, Refused> {
    by_digest(db, &random::digest(secret.as_bytes())).await
}

/// Who shows the key of this SHA-256; a node that was shown one asks so.
pub(crate) async fn by_digest(db: &Db, digest: &str) -> Result<Caller, Refused> {
    let now = now();
    // Looked up by the digest of 256 random bits: how long that takes tells nothing of another key.
    let found = sqlx::query!(
        "SELECT id, last_used_at FROM api_keys WHERE digest = ? AND (expires_at IS NULL OR expires_at > ?)",
        digest,
        now
    )
    .fetch_optional(db.pool())
    .await?;
    let Some(found) = found else {
        return Err(Refused::new(Kind::Unauthenticated, "this API key is wrong, deleted or expired"));
    };
    // To a minute: a write for every request would be too much to know it better.
    if found.last_used_at.is_none_or(|last| last < now - 60_000) {
        sqlx::query!("UPDATE api_keys SET last_used_at = ? WHERE id = ?", now, found.id).execute(db.pool()).await?;
    }
    let grants = grants_of(db, &found.id).await?;
    Ok(Caller::new(found.id, grants))
}

/// All API keys.
pub(crate) async fn list(db: &Db, caller: &Caller) -> Result<Vec<ApiKeyInfo>, Refused> {
    caller.must_own()?;
    let rows = sqlx::query!(
        "SELECT id, name, created_by, created_at, expires_at, last_used_at FROM api_keys ORDER BY created_at, id"
    );
    let mut keys = Vec::new();
    for row in rows.fetch_all(db.pool()).await? {
        keys.push(ApiKeyInfo {
            grants: grants_of(db, &row.id).await?,
            api_key_id: row.id,
            name: row.name,
            created_by: row.created_by,
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
        });
    }
    Ok(keys)
}

/// Deletes an API key: from now on nobody is let in by it.
pub(crate) async fn delete(db: &Db, caller: &Caller, id: &str) -> Result<(), Refused> {
    caller.must_own()?;
    let mut change = db.change().await?;
    remove(&mut change, id).await?;
    let deed = Deed { project: None, actor: caller.id(), action: "apiKey.delete", subject: id, detail: "" };
    append(&mut change, deed).await?;
    Ok(change.commit().await?)
}

/// Removes a key with its roles.
pub(super) async fn remove(change: &mut Change, id: &str) -> Result<(), Refused> {
    let deleted = sqlx::query!("DELETE FROM api_keys WHERE id = ?", id).execute(&mut **change).await?;
    if deleted.rows_affected() == 0 {
        return Err(Refused::not_found("API key", id));
    }
    sqlx::query!("DELETE FROM grants WHERE holder = ?", id).execute(&mut **change).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        access::{Role, caller::tests::owner},
        db::tests::fresh,
    };

    fn reader(expires_at: Option<i64>) -> NewApiKey {
        NewApiKey { name: "ci".into(), grant: Grant::new(Role::ProjectReadOnly, None).unwrap(), expires_at }
    }

    #[tokio::test]
    async fn a_key_is_known_until_it_is_deleted_and_never_stored() {
        let (db, directory) = fresh().await;
        let (id, secret) = create(&db, &owner(), reader(None)).await.unwrap();
        assert!(secret.starts_with("custody_") && secret.len() == 8 + 64);
        let caller = check(&db, &secret).await.unwrap();
        assert_eq!((caller.id(), caller.grants()[0].role), (id.as_str(), Role::ProjectReadOnly));
        assert!(list(&db, &owner()).await.unwrap()[0].last_used_at.is_some());
        for file in std::fs::read_dir(directory.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains(&secret[8..]));
        }
        delete(&db, &owner(), &id).await.unwrap();
        assert_eq!(check(&db, &secret).await.unwrap_err().kind, Kind::Unauthenticated);
        assert_eq!(delete(&db, &owner(), &id).await.unwrap_err().kind, Kind::NotFound);
    }

    #[tokio::test]
    async fn a_key_that_has_ended_lets_nobody_in() {
        let (db, _directory) = fresh().await;
        assert_eq!(create(&db, &owner(), reader(Some(1))).await.unwrap_err().kind, Kind::Invalid);
        let (_, secret) = create(&db, &owner(), reader(Some(now() + 60_000))).await.unwrap();
        assert!(check(&db, &secret).await.is_ok());
        sqlx::query("UPDATE api_keys SET expires_at = 1").execute(db.pool()).await.unwrap();
        assert_eq!(check(&db, &secret).await.unwrap_err().kind, Kind::Unauthenticated);
    }
}
