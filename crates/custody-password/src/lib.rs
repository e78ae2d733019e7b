//! Passwords, of a cluster's users and of the console's: their rules, their hashes (argon2id, as PHC strings), how they are
//! compared, and the back-off for whoever guesses.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod throttle;

pub use throttle::{Tag, Throttle};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use zeroize::Zeroizing;

/// What a password may be long, in bytes; Milvus has the same bounds.
const LENGTH: std::ops::RangeInclusive<usize> = 6..=72;

/// A password that can't be taken, or could not be hashed.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// It is too short or too long.
    #[error("invalid password: it has {0} bytes, it must have 6 to 72")]
    Length(usize),
    /// The hash function failed.
    #[error("the password could not be hashed: {0}")]
    Hash(String),
}

/// Hashes a password with a fresh salt; takes tens of milliseconds of a processor, on a thread of its own.
pub async fn hash(password: Zeroizing<String>) -> Result<String, PasswordError> {
    if !LENGTH.contains(&password.len()) {
        return Err(PasswordError::Length(password.len()));
    }
    let hashed = tokio::task::spawn_blocking(move || {
        Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string())
    });
    match hashed.await {
        Ok(Ok(hash)) => Ok(hash),
        Ok(Err(error)) => Err(PasswordError::Hash(error.to_string())),
        Err(error) => Err(PasswordError::Hash(error.to_string())),
    }
}

/// Whether a text is a hash that [`verify`] can compare with.
pub fn is_hash(text: &str) -> bool {
    text.starts_with("$argon2id$") && PasswordHash::new(text).is_ok()
}

/// Whether the password is the one that was hashed; a hash that can't be read fits none.
pub async fn verify(password: Zeroizing<String>, hash: String) -> bool {
    let verified = tokio::task::spawn_blocking(move || {
        PasswordHash::new(&hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
    });
    verified.await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_hash_is_argon2id_and_fits_its_password_alone() {
        let phc = hash(secret("correct horse")).await.unwrap();
        assert!(is_hash(&phc) && !is_hash("correct horse") && !is_hash("$argon2id$"));
        assert!(verify(secret("correct horse"), phc.clone()).await);
        assert!(!verify(secret("correct horsf"), phc.clone()).await);
        assert!(!verify(secret(""), phc).await);
    }

    #[tokio::test]
    async fn two_hashes_of_a_password_differ() {
        assert_ne!(hash(secret("correct horse")).await.unwrap(), hash(secret("correct horse")).await.unwrap());
    }

    #[tokio::test]
    async fn a_damaged_hash_fits_no_password() {
        assert!(!verify(secret("correct horse"), "$argon2id$".into()).await);
        assert!(!verify(secret(""), String::new()).await);
    }

    #[tokio::test]
    async fn passwords_that_are_too_short_or_too_long_are_refused() {
        assert!(matches!(hash(secret("12345")).await, Err(PasswordError::Length(5))));
        assert!(matches!(hash(secret(&"x".repeat(73))).await, Err(PasswordError::Length(73))));
    }
}
