//! What names keys, and what holds them.

use std::sync::LazyLock;

use custody_keyring::fuzzing as keyring_doors;
use custody_kms::{ContextId, EncryptionContext, ExternalId, KeyArn, Provider, RoleArn, RootKeyRef, Secret, fuzzing};
use custody_seal::{ClusterId, ZoneId, ZoneKey};

pub(crate) const KEY_ARN: &str = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
pub(crate) const ROLE_ARN: &str = "arn:aws:iam::111122223333:role/custody";
pub(crate) const LOCAL_ARN: &str = "arn:custody:kms:local-dev:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const MATERIAL: [u8; 32] = [0x22; 32];
const SECRET: [u8; 32] = [0x33; 32];

fn zone_key() -> ZoneKey {
    ZoneKey::from_slice(&[0x11; 32]).unwrap()
}

/// A keyring object: what is read encodes to itself, and only what was written is authentic.
pub fn keyring(bytes: &[u8]) {
    static WRITTEN: LazyLock<Vec<Vec<u8>>> = LazyLock::new(objects);
    let key = zone_key();
    match keyring_doors::read(bytes, &key) {
        Ok(read) => {
            let mac = bytes.len() - 32;
            assert_eq!(read.again[..mac], bytes[..mac], "an object has two encodings");
            assert_eq!(read.authentic, WRITTEN.iter().any(|written| written == bytes), "an object that nobody wrote");
        }
        Err(error) => assert!(!WRITTEN.iter().any(|written| written == bytes), "an object is refused: {error}"),
    }
}

/// Keyring objects, with a role and without.
pub(crate) fn objects() -> Vec<Vec<u8>> {
    let object = |role: Option<&str>| {
        let role = role.map(|role| role.parse().unwrap());
        keyring_doors::object("in01-example".parse().unwrap(), KEY_ARN.parse().unwrap(), role, &zone_key())
    };
    vec![object(None), object(Some(ROLE_ARN))]
}

/// The local KMS's file of keys: what is read is written so that it reads as the same.
pub fn kms_file(bytes: &[u8]) {
    if let Ok(written) = fuzzing::file_of_keys(bytes) {
        assert!(fuzzing::file_of_keys(&written) == Ok(written), "a file of keys changed when it was written again");
    }
}

/// A file of keys.
pub(crate) fn file_of_keys() -> Vec<u8> {
    let material = "22".repeat(32);
    let keys = ["\"enabled\"", "\"pending_deletion\", \"deletionAt\": 1800000000"].map(|state| {
        format!(r#"{{"arn": "{LOCAL_ARN}", "state": {state}, "createdAt": 1700000000, "material": "{material}"}}"#)
    });
    format!(r#"{{"format": "custody local KMS keys", "version": 1, "keys": [{}]}}"#, keys.join(", ")).into_bytes()
}

fn context() -> EncryptionContext {
    EncryptionContext::zone_key(ContextId::from([0xaa; 16]), ContextId::from([0xbb; 16]), 1)
}

/// A ciphertext of the local KMS: only what was wrapped under this key and context opens.
pub fn kms_envelope(bytes: &[u8]) {
    if let Some(secret) = fuzzing::open(MATERIAL, &LOCAL_ARN.parse().unwrap(), bytes, &context()) {
        assert!(secret.expose() == SECRET, "a ciphertext opened that nobody made");
    }
}

/// A ciphertext.
pub(crate) fn envelope() -> Vec<u8> {
    fuzzing::seal(MATERIAL, &LOCAL_ARN.parse().unwrap(), &Secret::new(SECRET.to_vec()), &context()).unwrap()
}

/// Names as they come from flags, requests and stored objects, and what a KMS answers: what is taken reads back as
/// itself, and is as narrow as it says.
pub fn name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(arn) = text.parse::<KeyArn>() {
        assert_eq!(arn.as_str(), text);
        assert!(!arn.id().is_empty() && text.contains(arn.account()) && text.contains(arn.region()));
    }
    if let Ok(arn) = text.parse::<RoleArn>() {
        assert_eq!(arn.as_str(), text);
    }
    if let Ok(id) = text.parse::<ExternalId>() {
        assert_eq!(id.expose(), text);
        // A short one may be part of the type's own name.
        assert!(text.len() < 16 || !format!("{id:?}").contains(text), "an external id shows itself");
    }
    if let Ok(id) = text.parse::<ZoneId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(id) = text.parse::<ClusterId>() {
        assert_eq!(id.as_str(), text);
        assert!(text.len() <= 63 && text.is_ascii() && !text.contains('/'));
    }
    if let Ok(id) = text.parse::<ContextId>() {
        assert_eq!(id.as_str(), text);
    }
    if let Ok(provider) = text.parse::<Provider>() {
        assert_eq!(provider.as_str(), text);
    }
    let mut parts = text.split('\n');
    let mut next = || parts.next().unwrap_or_default();
    let (provider, key, role, external) = (next(), next(), next(), next());
    let optional = |part| Some(part).filter(|part: &&str| !part.is_empty());
    if let Ok(reference) = RootKeyRef::parse(provider, key, optional(role), optional(external)) {
        assert_eq!(reference.key_arn().as_str(), key);
        assert_eq!(reference.role_arn().map(RoleArn::as_str), optional(role));
        assert_eq!(reference.external_id().map(ExternalId::expose), optional(external));
    }
    let _ = fuzzing::conclusion(provider, u16::try_from(bytes.len()).unwrap_or(500), key);
    if fuzzing::endpoint(text) {
        assert!(text.contains("://"), "an endpoint without a scheme is let in");
    }
}
