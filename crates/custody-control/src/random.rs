//! What nobody can guess, and what stands for it where it must not be kept.

use aws_lc_rs::{digest, rand};
use zeroize::Zeroizing;

use crate::hex;

/// The system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no random bytes")]
pub struct NoRandomness;

/// 128 random bits in lower-case hexadecimal digits.
pub(crate) fn digits() -> Result<String, NoRandomness> {
    bytes().map(|bytes: [u8; 16]| hex::digits(&bytes).collect())
}

/// 256 random bits in lower-case hexadecimal digits: a key that is handed out as text.
pub(crate) fn key_digits() -> Result<Zeroizing<String>, NoRandomness> {
    let mut bytes = Zeroizing::new([0; 32]);
    rand::fill(&mut *bytes).map_err(|_| NoRandomness)?;
    // Of its full length from the start: text that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    text.extend(hex::digits(&*bytes));
    Ok(text)
}

/// An id: what it is of, and 80 random bits.
pub(crate) fn id(prefix: &str) -> Result<String, NoRandomness> {
    bytes().map(|bytes: [u8; 10]| format!("{prefix}-{}", hex::digits(&bytes).collect::<String>()))
}

fn bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// What is stored in place of a secret of 256 random bits: its SHA-256, in hexadecimal digits.
pub(crate) fn digest(secret: &[u8]) -> String {
    hex::digits(digest::digest(&digest::SHA256, secret).as_ref()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_say_what_they_are_of_and_are_never_the_same() {
        let (first, second) = (id("proj").unwrap(), id("proj").unwrap());
        assert!(first.starts_with("proj-") && first.len() == 25, "{first}");
        assert_ne!(first, second);
        assert_eq!(key_digits().unwrap().len(), 64);
    }

    #[test]
    fn a_digest_is_sha_256() {
        assert_eq!(digest(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
