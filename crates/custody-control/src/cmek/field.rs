//! What people paste into the fields of the dialog, and the strict names that come of it.

use std::{fmt, str::FromStr};

use custody_kms::{AliasArn, KeyArn, Partition, RoleArn};

/// A field without what copying brings along: spaces and quotes around it, and characters that can't be seen.
pub fn clean(text: &str) -> String {
    const AROUND: &[char] = &['"', '\'', '`', '“', '”', '‘', '’'];
    let seen: String = text.chars().filter(|character| !is_invisible(*character)).collect();
    seen.trim_matches(|character: char| character.is_whitespace() || AROUND.contains(&character)).to_owned()
}

/// Zero-width characters and marks of writing direction.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{00ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
    )
}

/// Why a field was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// Not the name of an IAM role.
    #[error("{0:?} can't be the name of an IAM role: it has 1 to 64 letters, digits or any of +=,.@_-")]
    RoleName(String),
    /// Not the name of a key.
    #[error(
        "{0:?} names no KMS key: give the key's ARN (arn:aws:kms:us-west-2:111122223333:key/…), its id, or an alias of it \
         (alias/…)"
    )]
    Key(String),
    /// A key that AWS manages.
    #[error("{0:?} is a key that AWS manages: it can't be shared by a role. Make a key of your own")]
    AwsManaged(String),
    /// An alias where there are none.
    #[error("{0:?} is an alias, and development keys have none: give the key's ARN (custody kms list shows it)")]
    LocalAlias(String),
    /// A key of another region than the one that was chosen.
    #[error("the key is in {found}, and {chosen} was chosen: {hint}")]
    OtherRegion {
        /// The region in the ARN.
        found: String,
        /// The chosen one.
        chosen: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// Two names of different partitions.
    #[error("{first} and {second} are of different AWS partitions, between which no trust is possible")]
    Partitions {
        /// One name.
        first: String,
        /// The other.
        second: String,
    },
    /// Not a principal that a trust policy can name.
    #[error("{0:?} is not the ARN of an IAM user, role or account (arn:aws:iam::111122223333:user/custody)")]
    Principal(String),
}

/// The name of an IAM role, without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleName(String);

impl RoleName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RoleName {
    type Err = FieldError;

    /// IAM's own rule.
    fn from_str(text: &str) -> Result<Self, FieldError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
        // A name that begins with a dash would be read as an option.
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('-');
        if fits { Ok(Self(text.to_owned())) } else { Err(FieldError::RoleName(text.to_owned())) }
    }
}

/// Whom a customer's trust policy names: us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    text: String,
    partition: Partition,
}

impl Principal {
    /// The whole ARN.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The partition in which it can be trusted.
    pub fn partition(&self) -> Partition {
        self.partition
    }
}

impl FromStr for Principal {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let refused = || FieldError::Principal(text.to_owned());
        // The same characters as in a role's ARN, whose parser is the strict one.
        let resource = ["user/", "role/"].into_iter().find_map(|kind| {
            let (before, after) = text.split_once(&format!(":{kind}"))?;
            Some(format!("{before}:role/{after}"))
        });
        let as_role = match (resource, text.strip_suffix(":root")) {
            (Some(role), _) => role,
            (None, Some(account)) => format!("{account}:role/root"),
            (None, None) => return Err(refused()),
        };
        let role: RoleArn = as_role.parse().map_err(|_| refused())?;
        Ok(Self { text: text.to_owned(), partition: role.partition() })
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a key was called: by its own ARN, or by a name that its region's KMS has to resolve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyName {
    /// The key itself.
    Key(KeyArn),
    /// An alias, which names a key now and may name another tomorrow.
    Alias(AliasArn),
}

/// Where names without a region and an account are looked for.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The partition.
    pub partition: Partition,
    /// The region.
    pub region: &'static str,
    /// The account of the role.
    pub account: Option<&'a str>,
}

impl KeyName {
    /// Reads an ARN, a key id or an alias, as it is pasted.
    pub fn parse(text: &str, place: Place<'_>) -> Result<Self, FieldError> {
        let text = &clean(text);
        let refused = || FieldError::Key(text.clone());
        let full = if text.starts_with("arn:") {
            text.clone()
        } else {
            let account = place.account.ok_or_else(refused)?;
            let resource = if text.starts_with("alias/") { text.clone() } else { format!("key/{text}") };
            format!("arn:{}:kms:{}:{account}:{resource}", place.partition.as_str(), place.region)
        };
        let name = match full.rsplit_once(":alias/") {
            Some((before, alias)) => Self::alias(before, alias, &full)?,
            None => Self::Key(full.parse().map_err(|_| refused())?),
        };
        name.check_place(place)?;
        Ok(name)
    }

    fn alias(before: &str, alias: &str, full: &str) -> Result<Self, FieldError> {
        if alias.starts_with("aws/") {
            return Err(FieldError::AwsManaged(full.to_owned()));
        }
        if before.starts_with("arn:custody:") {
            return Err(FieldError::LocalAlias(full.to_owned()));
        }
        full.parse().map(Self::Alias).map_err(|_| FieldError::Key(full.to_owned()))
    }

    fn check_place(&self, place: Place<'_>) -> Result<(), FieldError> {
        let text = self.as_str();
        let partition = text.split(':').nth(1).unwrap_or_default();
        if partition != place.partition.as_str() {
            let second = format!("region {}", place.region);
            return Err(FieldError::Partitions { first: text.to_owned(), second });
        }
        let found = text.split(':').nth(3).unwrap_or_default();
        if found == place.region {
            return Ok(());
        }
        let hint = if text.contains(":key/mrk-") {
            "it is a multi-region key; make a replica of it in the chosen region and give the replica's ARN"
        } else {
            "choose the key's region, or give a key of the chosen one"
        };
        Err(FieldError::OtherRegion { found: found.to_owned(), chosen: place.region, hint })
    }

    /// The ARN, of the key or of the alias.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Key(key) => key.as_str(),
            Self::Alias(alias) => alias.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
    const PLACE: Place<'_> = Place { partition: Partition::Aws, region: "us-west-2", account: Some("111122223333") };

    fn parse(text: &str) -> Result<String, FieldError> {
        KeyName::parse(text, PLACE).map(|name| name.as_str().to_owned())
    }

    #[test]
    fn what_copying_brings_along_is_taken_off() {
        for text in [" x ", "\"x\"", "'x'", "\u{200b}x\u{feff}", "“x”", "\tx\n", " ' x ' "] {
            assert_eq!(clean(text), "x", "{text:?}");
        }
        assert_eq!(clean("a\u{200b}b"), "ab");
    }

    #[test]
    fn a_key_is_named_by_its_arn_its_id_or_an_alias() {
        let arn = format!("arn:aws:kms:us-west-2:111122223333:key/{ID}");
        assert_eq!(parse(&format!(" \"{arn}\" ")).unwrap(), arn);
        assert_eq!(parse(ID).unwrap(), arn);
        let alias = "arn:aws:kms:us-west-2:111122223333:alias/my/key";
        assert_eq!(parse(alias).unwrap(), alias);
        assert_eq!(parse("alias/my/key").unwrap(), alias);
        let without_account = Place { account: None, ..PLACE };
        assert!(matches!(KeyName::parse(ID, without_account), Err(FieldError::Key(_))));
    }

    #[test]
    fn what_names_no_key_of_the_place_is_refused() {
        let arn = |partition: &str, region: &str, resource: &str| {
            format!("arn:{partition}:kms:{region}:111122223333:{resource}")
        };
        for text in
            ["", "key", "alias/", "alias/$(x)", "arn:aws:kms:us-west-2:111122223333:alias/a b", "arn:aws:s3:::x"]
        {
            assert!(matches!(parse(text), Err(FieldError::Key(_))), "{text:?}");
        }
        assert!(matches!(parse("alias/aws/s3"), Err(FieldError::AwsManaged(_))));
        assert!(matches!(parse("arn:aws:kms:us-west-2:111122223333:alias/aws/s3"), Err(FieldError::AwsManaged(_))));
        let local = Place { partition: Partition::Custody, region: "local-dev", account: Some("000000000000") };
        assert!(matches!(KeyName::parse("alias/x", local), Err(FieldError::LocalAlias(_))));
        let elsewhere = parse(&arn("aws", "eu-west-1", &format!("key/{ID}"))).unwrap_err().to_string();
        assert!(elsewhere.contains("eu-west-1") && !elsewhere.contains("replica"), "{elsewhere}");
        let replica = parse(&arn("aws", "eu-west-1", "key/mrk-1234abcd12ab34cd56ef1234567890ab")).unwrap_err();
        assert!(replica.to_string().contains("replica"), "{replica}");
        let foreign = parse(&arn("aws-cn", "cn-north-1", &format!("key/{ID}"))).unwrap_err();
        assert!(matches!(foreign, FieldError::Partitions { .. }), "{foreign}");
    }

    #[test]
    fn role_names_are_iams_and_no_options() {
        for name in ["custody", "a+b=c,d.e@f_g-h", &"x".repeat(64)] {
            assert_eq!(name.parse::<RoleName>().unwrap().as_str(), name);
        }
        for name in ["", "a b", "a/b", "a'b", "$(id)", "a\nb", "-rf", "rôle", &"x".repeat(65)] {
            assert!(name.parse::<RoleName>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_principal_is_a_user_a_role_or_an_account_with_its_partition() {
        for (text, partition) in [
            ("arn:aws:iam::111122223333:user/path/custody", Partition::Aws),
            ("arn:aws-cn:iam::111122223333:role/custody", Partition::AwsCn),
            ("arn:aws-us-gov:iam::111122223333:root", Partition::AwsUsGov),
        ] {
            assert_eq!(text.parse::<Principal>().unwrap().partition(), partition, "{text}");
        }
        for text in [
            "*",
            "111122223333",
            "arn:aws:sts::111122223333:assumed-role/a/b",
            "arn:aws:iam::1:root",
            "arn:aws:iam::111122223333:user/a\"b",
        ] {
            assert!(text.parse::<Principal>().is_err(), "{text}");
        }
    }
}
