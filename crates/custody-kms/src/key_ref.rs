//! What names a root key, and everything needed to reach it.

use std::fmt;
use std::str::FromStr;

use crate::arn::{AliasArn, ArnError, KeyArn, Partition, RoleArn};

/// Who keeps a root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Provider {
    /// AWS KMS.
    Aws,
    /// The local development KMS: a file of keys on this machine.
    Local,
    /// The scripted fake of the tests.
    Scripted,
}

impl Provider {
    /// As it stands in settings and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Local => "local",
            Self::Scripted => "scripted",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Provider {
    type Err = KeyRefError;

    /// `aws` or `local`; the scripted fake can't be asked for by name.
    fn from_str(text: &str) -> Result<Self, KeyRefError> {
        match text {
            "aws" => Ok(Self::Aws),
            "local" => Ok(Self::Local),
            _ => Err(KeyRefError::UnknownProvider(text.to_owned())),
        }
    }
}

/// The external id that a role's trust policy demands. Redacted in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalId(String);

impl ExternalId {
    /// The id, for the one call that needs it and for the trust policy shown to its owner.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for ExternalId {
    type Err = KeyRefError;

    /// STS's own rule: 2 to 1,224 letters, digits and `+=,.@:/-_`.
    fn from_str(text: &str) -> Result<Self, KeyRefError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@:/-_".contains(&byte);
        if (2..=1224).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(KeyRefError::ExternalId)
        }
    }
}

impl fmt::Debug for ExternalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExternalId(redacted)")
    }
}

/// Why a reference to a root key was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyRefError {
    /// One of its names does not parse.
    #[error(transparent)]
    Arn(#[from] ArnError),
    /// No such provider.
    #[error("unknown KMS provider {0:?}; known are aws and local")]
    UnknownProvider(String),
    /// The provider does not keep keys of this partition.
    #[error("{key} is not a key of the {provider} provider")]
    WrongProvider {
        /// The provider asked for.
        provider: Provider,
        /// The key that is not its.
        key: KeyArn,
    },
    /// Key and role are of two partitions, between which no trust is possible.
    #[error("key {key} and role {role} are of different AWS partitions, and no role works across them")]
    Partitions {
        /// The key.
        key: KeyArn,
        /// The role.
        role: RoleArn,
    },
    /// Not an external id.
    #[error("the external id must be 2 to 1224 letters, digits or any of +=,.@:/-_")]
    ExternalId,
    /// An external id without a role would be silently unused.
    #[error("an external id was given without a role; it is only sent when a role is assumed: name the role too")]
    ExternalIdWithoutRole,
    /// Two keys that are not one multi-region key.
    #[error(
        "{key} is no replica of {primary}: only a multi-region key (mrk-…) of the same id and account opens in one region what \
         was wrapped in another"
    )]
    NoReplica {
        /// The key.
        key: KeyArn,
        /// What it was to be a replica of.
        primary: KeyArn,
    },
    /// A role where none can be assumed.
    #[error("the local provider knows no roles; leave the role out")]
    LocalRole,
}

/// A root key and the way to it: who keeps it, its full ARN, and the role and external id by which we are let in.
///
/// It always comes from outside the storage it opens: from the control plane, or from the operator's flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootKeyRef {
    provider: Provider,
    key_arn: KeyArn,
    role_arn: Option<RoleArn>,
    external_id: Option<ExternalId>,
    /// Of a multi-region key, the replica that keyrings name where they were made.
    replica_of: Option<KeyArn>,
}

impl RootKeyRef {
    /// Names a key, refusing what can't work: a key of another provider, a role of another partition, an external id
    /// that nothing would send.
    pub fn new(
        provider: Provider,
        key_arn: KeyArn,
        role_arn: Option<RoleArn>,
        external_id: Option<ExternalId>,
    ) -> Result<Self, KeyRefError> {
        let local = key_arn.partition() == Partition::Custody;
        if (provider == Provider::Aws && local) || (provider == Provider::Local && !local) {
            return Err(KeyRefError::WrongProvider { provider, key: key_arn });
        }
        match &role_arn {
            Some(_) if provider == Provider::Local => return Err(KeyRefError::LocalRole),
            Some(role) if role.partition() != key_arn.partition() => {
                return Err(KeyRefError::Partitions { key: key_arn, role: role.clone() });
            }
            None if external_id.is_some() => return Err(KeyRefError::ExternalIdWithoutRole),
            _ => {}
        }
        Ok(Self { provider, key_arn, role_arn, external_id, replica_of: None })
    }

    /// The same key where it stands in for a replica of it in another region: keyrings that name that one are opened with this
    /// one.
    pub fn replica_of(self, primary: KeyArn) -> Result<Self, KeyRefError> {
        let key = &self.key_arn;
        let place = |key: &KeyArn| (key.partition(), key.account().to_owned(), key.id().to_owned());
        if !key.id().starts_with("mrk-") || place(key) != place(&primary) {
            return Err(KeyRefError::NoReplica { key: self.key_arn, primary });
        }
        Ok(Self { replica_of: Some(primary), ..self })
    }

    /// The key's ARN as keyrings name it: where it was when they were made.
    pub fn stored_arn(&self) -> &KeyArn {
        self.replica_of.as_ref().unwrap_or(&self.key_arn)
    }

    /// The same from text, as it comes from flags and requests.
    pub fn parse(
        provider: &str,
        key_arn: &str,
        role_arn: Option<&str>,
        external_id: Option<&str>,
    ) -> Result<Self, KeyRefError> {
        Self::new(
            provider.parse()?,
            key_arn.parse()?,
            role_arn.map(str::parse).transpose()?,
            external_id.map(str::parse).transpose()?,
        )
    }

    /// Who keeps the key.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// The key's full ARN, named in every call.
    pub fn key_arn(&self) -> &KeyArn {
        &self.key_arn
    }

    /// The role to assume first; without one, the base credentials are used directly.
    pub fn role_arn(&self) -> Option<&RoleArn> {
        self.role_arn.as_ref()
    }

    /// The external id to show when assuming the role.
    pub fn external_id(&self) -> Option<&ExternalId> {
        self.external_id.as_ref()
    }
}

/// An alias whose key is to be asked for, and the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasRef {
    provider: Provider,
    alias: AliasArn,
    role_arn: RoleArn,
    external_id: Option<ExternalId>,
}

impl AliasRef {
    /// Names an alias, and the role by which its key is asked for.
    pub fn new(provider: Provider, alias: AliasArn, role_arn: RoleArn, external_id: Option<ExternalId>) -> Self {
        Self { provider, alias, role_arn, external_id }
    }

    /// Who keeps the key.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// The alias.
    pub fn alias(&self) -> &AliasArn {
        &self.alias
    }

    /// The role to assume.
    pub fn role_arn(&self) -> &RoleArn {
        &self.role_arn
    }

    /// The external id to show when assuming the role.
    pub fn external_id(&self) -> Option<&ExternalId> {
        self.external_id.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AWS: &str = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    const LOCAL: &str = "arn:custody:kms:local-dev:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    const ROLE: &str = "arn:aws:iam::111122223333:role/custody";

    #[test]
    fn the_external_id_is_not_in_debug_output() {
        let key = RootKeyRef::parse("aws", AWS, Some(ROLE), Some("very-private-id")).unwrap();
        let printed = format!("{key:?}");
        assert!(printed.contains("redacted") && !printed.contains("very-private-id"), "{printed}");
    }

    #[test]
    fn references_that_cannot_work_are_refused() {
        assert!(matches!(RootKeyRef::parse("aws", LOCAL, None, None), Err(KeyRefError::WrongProvider { .. })));
        assert!(matches!(RootKeyRef::parse("local", AWS, None, None), Err(KeyRefError::WrongProvider { .. })));
        assert!(matches!(RootKeyRef::parse("gcp", AWS, None, None), Err(KeyRefError::UnknownProvider(_))));
        assert!(matches!(RootKeyRef::parse("scripted", AWS, None, None), Err(KeyRefError::UnknownProvider(_))));
        assert_eq!(RootKeyRef::parse("aws", AWS, None, Some("id-1")), Err(KeyRefError::ExternalIdWithoutRole));
        assert_eq!(RootKeyRef::parse("local", LOCAL, Some(ROLE), None), Err(KeyRefError::LocalRole));
        let foreign = "arn:aws-cn:iam::111122223333:role/custody";
        assert!(matches!(RootKeyRef::parse("aws", AWS, Some(foreign), None), Err(KeyRefError::Partitions { .. })));
    }

    #[test]
    fn only_a_multi_region_key_stands_in_for_its_replica() {
        let key = |region: &str, id: &str| format!("arn:aws:kms:{region}:111122223333:key/{id}");
        let (mrk, other) = ("mrk-1234abcd12ab34cd56ef1234567890ab", "mrk-0000abcd12ab34cd56ef1234567890ab");
        let west = RootKeyRef::parse("aws", &key("us-west-2", mrk), Some(ROLE), None).unwrap();
        assert_eq!(west.stored_arn(), west.key_arn());
        let primary: KeyArn = key("eu-central-1", mrk).parse().unwrap();
        let stands_in = west.clone().replica_of(primary.clone()).unwrap();
        assert_eq!((stands_in.stored_arn(), stands_in.key_arn()), (&primary, west.key_arn()));
        for stranger in [key("eu-central-1", other), key("eu-central-1", mrk).replace("1111", "2222"), AWS.to_owned()] {
            let refused = west.clone().replica_of(stranger.parse().unwrap());
            let Err(refused @ KeyRefError::NoReplica { .. }) = refused else { panic!("{stranger}") };
            assert!(!refused.to_string().contains("  "), "{refused}");
        }
        let single = RootKeyRef::parse("aws", AWS, None, None).unwrap();
        let elsewhere = AWS.replace("us-west-2", "eu-central-1").parse().unwrap();
        assert!(matches!(single.replica_of(elsewhere), Err(KeyRefError::NoReplica { .. })));
    }

    #[test]
    fn external_ids_that_sts_would_refuse_are_refused_here() {
        for text in ["", "x", "has space", "quote'", &"x".repeat(1225)] {
            assert_eq!(RootKeyRef::parse("aws", AWS, Some(ROLE), Some(text)), Err(KeyRefError::ExternalId), "{text:?}");
        }
    }
}
