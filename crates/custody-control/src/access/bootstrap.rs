//! The first start: the user `admin` and one API key, both owners.

use custody_password as password;
use zeroize::Zeroizing;

use super::{Grant, NewApiKey, Role, api_keys, users};
use crate::{
    audit::{Deed, append},
    db::Db,
    random,
    refusal::Refused,
};

/// The console's first user.
pub const ADMIN: &str = "admin";

/// The credentials of an owner, from the operator's settings. What is not given is made, once.
#[derive(Default)]
pub struct AdminCredentials {
    /// The password of the user `admin`.
    pub password: Option<Zeroizing<String>>,
    /// An API key.
    pub api_key: Option<Zeroizing<String>>,
}

/// What was made at the first start: to be shown once.
#[derive(Default)]
pub struct FirstCredentials {
    /// The password of `admin`, if it was made by us.
    pub password: Option<Zeroizing<String>>,
    /// The API key, if it was made by us.
    pub api_key: Option<Zeroizing<String>>,
}

/// Makes the first owner's credentials where there are none yet. Credentials that are given count from this start on, also
/// where there were others: that is how an operator gets in again who has lost them.
pub(crate) async fn bootstrap(db: &Db, given: AdminCredentials) -> Result<FirstCredentials, Refused> {
    let mut first = FirstCredentials::default();
    let users = sqlx::query_scalar!("SELECT count(*) FROM users").fetch_one(db.pool()).await?;
    let keys = sqlx::query_scalar!("SELECT count(*) FROM api_keys").fetch_one(db.pool()).await?;
    let new = users == 0;
    let password = match given.password {
        Some(password) => Some(password),
        None if new => Some(first.password.insert(Zeroizing::new(random::digits()?)).clone()),
        None => None,
    };
    let api_key = match given.api_key {
        Some(key) => Some(key),
        None if new && keys == 0 => {
            let made = Zeroizing::new(format!("{}{}", api_keys::PREFIX, *random::key_digits()?));
            Some(first.api_key.insert(made).clone())
        }
        None => None,
    };
    let hash = match password {
        Some(password) => Some(password::hash(password).await?),
        None => None,
    };
    store(db, hash, api_key).await?;
    Ok(first)
}

fn by_operator<'a>(action: &'static str, subject: &'a str) -> Deed<'a> {
    Deed { project: None, actor: "operator", action, subject, detail: Role::Owner.as_str() }
}

async fn store(db: &Db, hash: Option<String>, api_key: Option<Zeroizing<String>>) -> Result<(), Refused> {
    let mut change = db.change().await?;
    let grant = Grant::new(Role::Owner, None)?;
    if let Some(hash) = hash {
        let admin =
            sqlx::query_scalar!("SELECT id FROM users WHERE name = ?", ADMIN).fetch_optional(&mut *change).await?;
        let id = match admin {
            Some(id) => {
                sqlx::query!("UPDATE users SET password = ? WHERE id = ?", hash, id).execute(&mut *change).await?;
                id
            }
            None => users::insert(&mut change, ADMIN, &hash, &grant).await?,
        };
        append(&mut change, by_operator("user.password", &id)).await?;
    }
    if let Some(secret) = api_key {
        let digest = random::digest(secret.as_bytes());
        let known = sqlx::query_scalar!("SELECT count(*) FROM api_keys WHERE digest = ?", digest);
        if known.fetch_one(&mut *change).await? == 0 {
            let new = NewApiKey { name: ADMIN.to_owned(), grant, expires_at: None };
            let id = api_keys::insert(&mut change, "operator", &new, &secret).await?;
            append(&mut change, by_operator("apiKey.create", &id)).await?;
        }
    }
    Ok(change.commit().await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{access::Gatekeeper, db::tests::fresh};

    #[tokio::test]
    async fn the_first_start_makes_an_owner_and_the_next_makes_nothing() {
        let (db, _directory) = fresh().await;
        let first = bootstrap(&db, AdminCredentials::default()).await.unwrap();
        let (password, key) = (first.password.unwrap(), first.api_key.unwrap());
        assert!(Gatekeeper::default().sign_in(&db, ADMIN, password).await.is_ok());
        api_keys::check(&db, &key).await.unwrap().must_own().unwrap();
        let second = bootstrap(&db, AdminCredentials::default()).await.unwrap();
        assert!(second.password.is_none() && second.api_key.is_none());
        assert!(api_keys::check(&db, &key).await.is_ok());
    }

    #[tokio::test]
    async fn given_credentials_count_and_are_not_shown_again() {
        let (db, _directory) = fresh().await;
        let secret = |text: &str| Some(Zeroizing::new(text.to_owned()));
        for password in ["from-settings", "changed-later"] {
            let given = AdminCredentials { password: secret(password), api_key: secret("any string at all") };
            let first = bootstrap(&db, given).await.unwrap();
            assert!(first.password.is_none() && first.api_key.is_none());
            assert!(Gatekeeper::default().sign_in(&db, ADMIN, secret(password).unwrap()).await.is_ok());
            api_keys::check(&db, "any string at all").await.unwrap().must_own().unwrap();
        }
    }
}
