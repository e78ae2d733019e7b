//! The real encryption inside the adapters that have no KMS behind them: AES-256-GCM bound to key ARN and context.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

use crate::arn::KeyArn;
use crate::context::EncryptionContext;
use crate::secret::Secret;
use crate::wire::Failure;

/// Opens every ciphertext: format and version.
const MAGIC: &[u8; 4] = b"CLK1";

/// The material of one key.
pub(crate) type Material = Zeroizing<[u8; 32]>;

/// Fresh material.
pub(crate) fn generate() -> Result<Material, Failure> {
    let mut material = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(material.as_mut_slice()).map_err(|_| internal())?;
    Ok(material)
}

/// Wraps `secret`: magic, length and text of the key's id, nonce, ciphertext with tag.
pub(crate) fn seal(
    material: &Material,
    key: &KeyArn,
    secret: &Secret,
    context: &EncryptionContext,
) -> Result<Vec<u8>, Failure> {
    // The buffer has room for the tag from the start: growing it would leave a copy of the plaintext behind.
    let mut body = Zeroizing::new(Vec::with_capacity(secret.expose().len() + AES_256_GCM.tag_len()));
    body.extend_from_slice(secret.expose());
    let cipher = RandomizedNonceKey::new(&AES_256_GCM, material.as_slice()).map_err(|_| internal())?;
    let nonce = cipher.seal_in_place_append_tag(Aad::from(aad(key, context)), &mut *body).map_err(|_| internal())?;
    Ok([&prefix(key)[..], nonce.as_ref(), &body].concat())
}

/// Unwraps what [`seal`] made with the same key and context.
pub(crate) fn open(
    material: &Material,
    key: &KeyArn,
    wrapped: &[u8],
    context: &EncryptionContext,
) -> Result<Secret, Failure> {
    let damaged = || Failure::code("InvalidCiphertextException", "not a ciphertext of this key under this context");
    let rest = wrapped.strip_prefix(MAGIC).ok_or_else(damaged)?;
    let rest = rest
        .strip_prefix(&prefix(key)[MAGIC.len()..])
        .ok_or_else(|| Failure::code("IncorrectKeyException", "the ciphertext names another key than the request"))?;
    let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or_else(damaged)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
    let cipher = RandomizedNonceKey::new(&AES_256_GCM, material.as_slice()).map_err(|_| internal())?;
    let mut body = Zeroizing::new(body.to_vec());
    let plain = cipher.open_in_place(nonce, Aad::from(aad(key, context)), &mut body).map_err(|_| damaged())?;
    Ok(Secret::from(&*plain))
}

fn prefix(key: &KeyArn) -> Vec<u8> {
    // A key's id is a UUID or an `mrk-` id: its length always fits a byte.
    let length = u8::try_from(key.id().len()).unwrap_or(u8::MAX);
    [&MAGIC[..], &[length], key.id().as_bytes()].concat()
}

fn aad(key: &KeyArn, context: &EncryptionContext) -> Vec<u8> {
    [b"custody local kms v1\0", key.as_str().as_bytes(), b"\0", &context.canonical()].concat()
}

fn internal() -> Failure {
    Failure::code("KMSInternalException", "the cryptographic library failed")
}
