//! A door to the reader of keyring objects, for the fuzz targets alone.

use std::time::{Duration, UNIX_EPOCH};

use custody_kms::{KeyArn, Provider, RoleArn};
use custody_seal::{ClusterId, ZoneId, ZoneKey};

use crate::ObjectError;
use crate::object::{KeyringObject, Sealed};

/// What was read.
pub struct Read {
    /// What it encodes to again, under the key it was read with.
    pub again: Vec<u8>,
    /// Whether that key authenticated it.
    pub authentic: bool,
}

/// Reads a keyring object.
pub fn read(bytes: &[u8], key: &ZoneKey) -> Result<Read, ObjectError> {
    let sealed = Sealed::parse(bytes)?;
    let authentic = sealed.verify(key);
    Ok(Read { again: sealed.object.seal(key).bytes().to_vec(), authentic })
}

/// A keyring object.
pub fn object(cluster: ClusterId, arn: KeyArn, role: Option<RoleArn>, key: &ZoneKey) -> Vec<u8> {
    let object = KeyringObject {
        cluster,
        zone: ZoneId::new([0xab; 16]),
        version: 7,
        provider: Provider::Aws,
        key: arn,
        role,
        created_at: UNIX_EPOCH + Duration::from_millis(1_767_225_600_123),
        wrapped: b"wrapped".to_vec(),
    };
    object.seal(key).bytes().to_vec()
}
