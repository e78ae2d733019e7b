//! The signature by which a receiver knows that a body is ours, and of now.

use std::fmt;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::{
    hex,
    random::{self, NoRandomness},
};

const PREFIX: &str = "whsec_";

/// What a receiver and the control plane share: `whsec_` and 64 hexadecimal digits. A project member sees it once.
pub struct Secret(Zeroizing<String>);

/// Not a secret of ours. What was given is not repeated: it may be another secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a webhook's secret: it is whsec_ and 64 lower-case hexadecimal digits")]
pub struct SecretError;

impl Secret {
    /// A new one.
    pub fn generate() -> Result<Self, NoRandomness> {
        let digits = random::key_digits()?;
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + digits.len()));
        text.push_str(PREFIX);
        text.push_str(&digits);
        Ok(Self(text))
    }

    /// One that was made earlier.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let digits = text.strip_prefix(PREFIX).ok_or(SecretError)?;
        let fits = digits.len() == 64 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if fits { Ok(Self(Zeroizing::new(text.to_owned()))) } else { Err(SecretError) }
    }

    /// As text, to show it once and to store it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The header `Custody-Signature` of a body that is sent at a time, in seconds since 1970. The time is signed too, so
    /// that an old message can't be sent again as a new one.
    pub(crate) fn sign(&self, seconds: u64, body: &[u8]) -> String {
        // The whole text is the key: nobody has to decode anything before he can verify.
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes());
        let mut context = hmac::Context::with_key(&key);
        context.update(format!("{seconds}.").as_bytes());
        context.update(body);
        let digits: String = hex::digits(context.sign().as_ref()).collect();
        format!("t={seconds},v1={digits}")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_new_each_time_and_read_back() {
        let (one, two) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        assert_ne!(one.reveal(), two.reveal());
        assert_eq!(Secret::parse(one.reveal()).unwrap().reveal(), one.reveal());
    }

    #[test]
    fn a_secret_is_shown_by_nothing_but_its_own_door() {
        let secret = Secret::generate().unwrap();
        assert_eq!(format!("{secret:?} {:#?}", Some(&secret)).matches(&secret.reveal()[6..]).count(), 0);
        let digits = "0".repeat(63);
        for text in
            ["", "whsec_", &format!("whsec_{digits}"), &format!("whsec_{digits}A"), &format!("whsec_{digits}00")]
        {
            assert_eq!(Secret::parse(text).unwrap_err(), SecretError, "{text}");
        }
    }

    /// The expected value is Python's: `hmac.new(secret, b"1700000000." + body, "sha256").hexdigest()`.
    #[test]
    fn the_signature_is_what_another_implementation_computes() {
        let secret = Secret::parse(&format!("whsec_{}", "0123456789abcdef".repeat(4))).unwrap();
        let header = secret.sign(1_700_000_000, br#"{"id":"evt-1"}"#);
        assert_eq!(header, "t=1700000000,v1=87628cb5571e47d3890403b4080083d68ab99fb5d937e463d6847236e071b994");
    }
}
