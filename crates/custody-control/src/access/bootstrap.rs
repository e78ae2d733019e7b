//! The first start: the user `admin` and one API key, both owners.

use custody_password as password;
use zeroize::Zeroizing;

use super::{Grant, NewApiKey, Role, api_keys, users};
use crate::{
    audit::{Deed, append},
    db::{Change, Db},
    random,
    refusal::Refused,
};

/// The console's first user.
pub const ADMIN: &str = "admin";

/// Who makes these credentials.
const OPERATOR: &str = "operator";

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
/// where there were others, which then end: that is how an operator gets in again who has lost them, or knows them stolen.
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
        Some(password) => hash_if_new(db, password).await?,
        None => None,
    };
    store(db, hash, api_key).await?;
    Ok(first)
}

/// What is to be stored of a password; nothing if it is the admin's already: a restart alone signs nobody out.
async fn hash_if_new(db: &Db, password: Zeroizing<String>) -> Result<Option<String>, Refused> {
    let stored = sqlx::query_scalar!("SELECT password FROM users WHERE name = ?", ADMIN).fetch_optional(db.pool());
    if let Some(stored) = stored.await?
        && password::verify(password.clone(), stored).await
    {
        return Ok(None);
    }
    Ok(Some(password::hash(password).await?))
}

fn by_operator<'a>(action: &'static str, subject: &'a str) -> Deed<'a> {
    Deed { project: None, actor: OPERATOR, action, subject, detail: Role::Owner.as_str() }
}

async fn store(db: &Db, hash: Option<String>, api_key: Option<Zeroizing<String>>) -> Result<(), Refused> {
    let mut change = db.change().await?;
    let grant = Grant::new(Role::Owner, None)?;
    if let Some(hash) = hash {
        let admin =
            sqlx::query_scalar!("SELECT id FROM users WHERE name = ?", ADMIN).fetch_optional(&mut *change).await?;
        let id = match admin {
            Some(id) => {
                users::replace_password(&mut change, &id, &hash).await?;
                id
            }
            None => users::insert(&mut change, ADMIN, &hash, &grant).await?,
        };
        append(&mut change, by_operator("user.password", &id)).await?;
    }
    if let Some(secret) = api_key {
        let digest = random::digest(secret.as_bytes());
        retire_all_but(&mut change, &digest).await?;
        let known = sqlx::query_scalar!("SELECT count(*) FROM api_keys WHERE digest = ?", digest);
        if known.fetch_one(&mut *change).await? == 0 {
            let new = NewApiKey { name: ADMIN.to_owned(), grant, expires_at: None };
            let id = api_keys::insert(&mut change, OPERATOR, &new, &secret).await?;
            append(&mut change, by_operator("apiKey.create", &id)).await?;
        }
    }
    Ok(change.commit().await?)
}

/// The operator has one API key. An earlier one would stay an owner's for ever, and nobody would think of it.
async fn retire_all_but(change: &mut Change, digest: &str) -> Result<(), Refused> {
    let earlier = sqlx::query_scalar!("SELECT id FROM api_keys WHERE created_by = ? AND digest <> ?", OPERATOR, digest);
    for id in earlier.fetch_all(&mut **change).await? {
        api_keys::remove(change, &id).await?;
        append(change, by_operator("apiKey.delete", &id)).await?;
        tracing::warn!(api_key = id, "an API key of the operator's is given, and the earlier one counts no more");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        access::{Gatekeeper, sessions},
        db::tests::fresh,
    };

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

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
        for password in ["from-settings", "changed-later"] {
            let given =
                AdminCredentials { password: Some(secret(password)), api_key: Some(secret("any string at all")) };
            let first = bootstrap(&db, given).await.unwrap();
            assert!(first.password.is_none() && first.api_key.is_none());
            assert!(Gatekeeper::default().sign_in(&db, ADMIN, secret(password)).await.is_ok());
            api_keys::check(&db, "any string at all").await.unwrap().must_own().unwrap();
        }
    }

    #[tokio::test]
    async fn another_password_signs_the_admin_out_and_the_same_does_not() {
        let (db, _directory) = fresh().await;
        let given = |password| AdminCredentials { password: Some(secret(password)), api_key: None };
        bootstrap(&db, given("the-first")).await.unwrap();
        let signed = Gatekeeper::default().sign_in(&db, ADMIN, secret("the-first")).await.unwrap();
        bootstrap(&db, given("the-first")).await.unwrap();
        assert!(sessions::visitor(&db, &signed.cookie).await.is_ok());
        bootstrap(&db, given("the-second")).await.unwrap();
        assert!(sessions::visitor(&db, &signed.cookie).await.is_err(), "whoever knew the first is out");
    }

    #[tokio::test]
    async fn another_api_key_of_the_operators_ends_the_earlier_ones_and_no_other() {
        let (db, _directory) = fresh().await;
        let given = |key| AdminCredentials { password: None, api_key: Some(secret(key)) };
        let made = bootstrap(&db, AdminCredentials::default()).await.unwrap().api_key.unwrap();
        let owner = api_keys::check(&db, &made).await.unwrap();
        let new = NewApiKey { name: "ci".into(), grant: Grant::new(Role::Owner, None).unwrap(), expires_at: None };
        let (_, others) = api_keys::create(&db, &owner, new).await.unwrap();
        for (now, before) in [("the-first", made.as_str()), ("the-second", "the-first"), ("the-second", "the-first")] {
            bootstrap(&db, given(now)).await.unwrap();
            assert!(api_keys::check(&db, now).await.is_ok() && api_keys::check(&db, before).await.is_err());
        }
        assert!(api_keys::check(&db, &others).await.is_ok());
        bootstrap(&db, AdminCredentials::default()).await.unwrap();
        assert!(api_keys::check(&db, "the-second").await.is_ok(), "where none is given, the last one stays");
        let told = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM activities WHERE action = 'apiKey.delete'");
        assert_eq!(told.fetch_one(db.pool()).await.unwrap(), 2);
    }
}
