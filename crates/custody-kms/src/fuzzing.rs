//! Doors to the readers of what comes from outside, for the fuzz targets alone.
//!
//! What AWS answers is read by AWS's own SDK; what reaches us of it are error codes and texts, from which
//! [`conclusion`] draws what they say about a key.

use zeroize::Zeroizing;

use crate::arn::KeyArn;
use crate::aws::is_secure;
use crate::classify::classify;
use crate::context::EncryptionContext;
use crate::error::{Action, Outcome};
use crate::local::file;
use crate::secret::Secret;
use crate::wire::{Failure, FailureKind};
use crate::{envelope, wire};

/// Reads a file of development keys and writes it again.
pub fn file_of_keys(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let keys = file::parse(bytes)?;
    file::text(&keys).map(|text| text.to_vec()).map_err(|error| error.to_string())
}

/// Unwraps a ciphertext of the local KMS; `None` where it refuses.
pub fn open(material: [u8; 32], key: &KeyArn, wrapped: &[u8], context: &EncryptionContext) -> Option<Secret> {
    envelope::open(&Zeroizing::new(material), key, wrapped, context).ok()
}

/// Wraps as the local KMS does.
pub fn seal(material: [u8; 32], key: &KeyArn, secret: &Secret, context: &EncryptionContext) -> Option<Vec<u8>> {
    envelope::seal(&Zeroizing::new(material), key, secret, context).ok()
}

/// What a service's error says about a key.
pub fn conclusion(code: &str, status: u16, text: &str) -> Outcome {
    let kind = FailureKind::Service { code: Some(code.to_owned()), status: Some(status) };
    let failure: wire::Failure = Failure::new(kind, text);
    classify(Action::Decrypt, &failure).0
}

/// Whether an endpoint may be used.
pub fn endpoint(text: &str) -> bool {
    is_secure(text)
}
