//! Randomness, from the operating system through aws-lc.

/// The system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's random number generator failed: no key can be made until it works")]
pub struct RandomError;

/// Fills `buffer` with random bytes that are fit to be keys.
pub(crate) fn fill(buffer: &mut [u8]) -> Result<(), RandomError> {
    aws_lc_rs::rand::fill(buffer).map_err(|_| RandomError)
}

/// `N` random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}
