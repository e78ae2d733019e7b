//! Strict names of keys and roles.
//!
//! Region and account end up in host names, policies and commands that people paste into a shell, so what does not
//! parse is refused here and nowhere later.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The partition of an ARN: one of AWS's, or Custody's own for development keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Partition {
    /// The commercial regions, `aws`.
    Aws,
    /// China, `aws-cn`.
    AwsCn,
    /// GovCloud (US), `aws-us-gov`.
    AwsUsGov,
    /// Development keys of the `local` provider, `custody`.
    Custody,
}

impl Partition {
    /// As it stands in an ARN.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::AwsCn => "aws-cn",
            Self::AwsUsGov => "aws-us-gov",
            Self::Custody => "custody",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Aws, Self::AwsCn, Self::AwsUsGov, Self::Custody].into_iter().find(|partition| partition.as_str() == text)
    }

    /// Whether `region` is one of this partition's by its name.
    fn holds(self, region: &str) -> bool {
        let of = |prefix: &str| region.starts_with(prefix);
        match self {
            Self::Aws => !of("cn-") && !of("us-gov-") && !of("us-iso") && !of("eu-isoe-"),
            Self::AwsCn => of("cn-"),
            Self::AwsUsGov => of("us-gov-"),
            Self::Custody => region == LOCAL_REGION,
        }
    }
}

/// Region of every development key.
pub const LOCAL_REGION: &str = "local-dev";
/// Account of every development key.
pub const LOCAL_ACCOUNT: &str = "000000000000";

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArnError {
    /// Not of the shape of an ARN of this kind.
    #[error("{text:?} is not {expected}; copy the full ARN, without spaces or quotes")]
    Shape {
        /// What was given.
        text: String,
        /// What would have been right, as an example.
        expected: &'static str,
    },
    /// An alias names a key that can change under it.
    #[error(
        "{text:?} is an alias, which can be pointed at another key later; give the ARN of the key itself \
         (`aws kms describe-key --key-id ALIAS --query KeyMetadata.Arn`)"
    )]
    Alias {
        /// What was given.
        text: String,
    },
    /// A region that is not of the ARN's partition.
    #[error("region {region:?} does not belong to partition {partition:?} in {text:?}")]
    Region {
        /// What was given.
        text: String,
        /// Its region.
        region: String,
        /// Its partition.
        partition: &'static str,
    },
}

/// The full ARN of one KMS key: `arn:aws:kms:REGION:ACCOUNT:key/ID`, or `arn:custody:kms:local-dev:000000000000:key/ID`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyArn {
    text: Arc<str>,
    partition: Partition,
}

const KEY_SHAPE: &str =
    "the ARN of a KMS key (arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab)";
const ROLE_SHAPE: &str = "the ARN of an IAM role (arn:aws:iam::111122223333:role/custody)";

impl KeyArn {
    /// The ARN of a development key.
    pub(crate) fn local(id: &str) -> Result<Self, ArnError> {
        format!("arn:custody:kms:{LOCAL_REGION}:{LOCAL_ACCOUNT}:key/{id}").parse()
    }

    /// The whole ARN.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The partition.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The region, the only one whose KMS is ever asked about this key.
    pub fn region(&self) -> &str {
        self.part(3)
    }

    /// The twelve digits of the account that owns the key.
    pub fn account(&self) -> &str {
        self.part(4)
    }

    /// The key's id: a UUID, or `mrk-` and 32 hex digits for a multi-region key.
    pub fn id(&self) -> &str {
        self.part(5).trim_start_matches("key/")
    }

    fn part(&self, index: usize) -> &str {
        // It was parsed into six parts, so there is one.
        self.text.split(':').nth(index).unwrap_or_default()
    }
}

impl FromStr for KeyArn {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, ArnError> {
        let shape = || ArnError::Shape { text: text.to_owned(), expected: KEY_SHAPE };
        let [partition, region, account, resource] = split(text, "kms").ok_or_else(shape)?;
        if resource.starts_with("alias/") {
            return Err(ArnError::Alias { text: text.to_owned() });
        }
        resource.strip_prefix("key/").filter(|id| is_key_id(id)).ok_or_else(shape)?;
        let partition = Partition::parse(partition).ok_or_else(shape)?;
        let local = partition == Partition::Custody;
        if !is_account(account) || !(local || is_region(region)) || (local && account != LOCAL_ACCOUNT) {
            return Err(shape());
        }
        if !partition.holds(region) {
            let (text, region) = (text.to_owned(), region.to_owned());
            return Err(ArnError::Region { text, region, partition: partition.as_str() });
        }
        Ok(Self { text: text.into(), partition })
    }
}

impl fmt::Display for KeyArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The ARN of an alias: `arn:aws:kms:REGION:ACCOUNT:alias/NAME`. It names a key now and may name another tomorrow, so that
/// nothing is ever stored or trusted by it: it is resolved once, and the key's own ARN is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AliasArn {
    text: Arc<str>,
}

const ALIAS_SHAPE: &str = "the ARN of a KMS alias (arn:aws:kms:us-west-2:111122223333:alias/NAME)";

impl AliasArn {
    /// The whole ARN.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The region, in which its key is too.
    pub fn region(&self) -> &str {
        self.text.split(':').nth(3).unwrap_or_default()
    }

    /// Everything before the resource: what its key's ARN begins with as well.
    fn place(&self) -> &str {
        self.text.rsplit_once(':').map_or("", |(place, _)| place)
    }

    /// Whether `key` may be its key: an alias and its key are of one account and region.
    pub(crate) fn may_name(&self, key: &KeyArn) -> bool {
        key.as_str().rsplit_once(':').is_some_and(|(place, _)| place == self.place())
    }
}

impl FromStr for AliasArn {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, ArnError> {
        let shape = || ArnError::Shape { text: text.to_owned(), expected: ALIAS_SHAPE };
        let (place, name) = text.split_once(":alias/").ok_or_else(shape)?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte);
        if !(1..=250).contains(&name.len()) || !name.bytes().all(allowed) {
            return Err(shape());
        }
        // Partition, region and account are as strict as in a key's ARN.
        let key: KeyArn = format!("{place}:key/00000000-0000-0000-0000-000000000000").parse()?;
        if key.partition() == Partition::Custody {
            return Err(shape());
        }
        Ok(Self { text: text.into() })
    }
}

impl fmt::Display for AliasArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a call is about: a key, or an alias whose key is being asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Named {
    /// A key.
    Key(KeyArn),
    /// An alias.
    Alias(AliasArn),
}

impl Named {
    /// The whole ARN.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Key(key) => key.as_str(),
            Self::Alias(alias) => alias.as_str(),
        }
    }
}

impl From<KeyArn> for Named {
    fn from(key: KeyArn) -> Self {
        Self::Key(key)
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The ARN of an IAM role: `arn:aws:iam::ACCOUNT:role/PATH/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleArn {
    text: Arc<str>,
    partition: Partition,
}

impl RoleArn {
    /// The whole ARN.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The partition.
    pub fn partition(&self) -> Partition {
        self.partition
    }
}

impl FromStr for RoleArn {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, ArnError> {
        let shape = || ArnError::Shape { text: text.to_owned(), expected: ROLE_SHAPE };
        let [partition, region, account, resource] = split(text, "iam").ok_or_else(shape)?;
        let partition = Partition::parse(partition).filter(|it| *it != Partition::Custody).ok_or_else(shape)?;
        let path = resource.strip_prefix("role/").ok_or_else(shape)?;
        if !region.is_empty() || !is_account(account) || !is_role_path(path) {
            return Err(shape());
        }
        Ok(Self { text: text.into(), partition })
    }
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE` without `arn` and the service, which must be `service`.
fn split<'a>(text: &'a str, service: &str) -> Option<[&'a str; 4]> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        ["arn", partition, name, region, account, resource] if name == service => {
            Some([partition, region, account, resource])
        }
        _ => None,
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `us-west-2`, `us-gov-east-1`, `ap-southeast-7`: nothing that could reach out of its place in a host name.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let Some((number, words)) = parts.split_last() else { return false };
    let word = |part: &&str| (2..=16).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_lowercase());
    (1..=2).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && (2..=3).contains(&words.len())
        && words.iter().all(word)
}

fn is_key_id(id: &str) -> bool {
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    if let Some(multi_region) = id.strip_prefix("mrk-") {
        return hex(multi_region, 32);
    }
    let parts: Vec<&str> = id.split('-').collect();
    parts.len() == 5 && parts.iter().zip([8, 4, 4, 4, 12]).all(|(part, length)| hex(part, length))
}

fn is_role_path(path: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-/".contains(&byte);
    let name = path.rsplit('/').next().unwrap_or_default();
    path.len() <= 512 && path.bytes().all(allowed) && (1..=64).contains(&name.len()) && !path.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

    #[test]
    fn an_alias_is_as_strict_as_a_key_and_names_keys_of_its_own_place_alone() {
        let alias: AliasArn = "arn:aws:kms:eu-central-1:111122223333:alias/team/a-b_c".parse().unwrap();
        assert_eq!((alias.region(), alias.to_string()), ("eu-central-1", alias.as_str().to_owned()));
        let key = |region: &str, account: &str| format!("arn:aws:kms:{region}:{account}:key/{ID}").parse().unwrap();
        assert!(alias.may_name(&key("eu-central-1", "111122223333")));
        assert!(!alias.may_name(&key("eu-west-1", "111122223333")));
        assert!(!alias.may_name(&key("eu-central-1", "111122223334")));
        for text in [
            "alias/x",
            "arn:aws:kms:eu-central-1:111122223333:alias/",
            "arn:aws:kms:eu-central-1:111122223333:alias/a b",
            "arn:aws:kms:eu-central-1:111122223333:alias/$(x)",
            "arn:aws:kms:eu-central-1:111122223333:alias/x:alias/y",
            "arn:aws:kms:cn-north-1:111122223333:alias/x",
            "arn:aws:kms:eu-central-1:1:alias/x",
            "arn:aws:iam:eu-central-1:111122223333:alias/x",
            "arn:custody:kms:local-dev:000000000000:alias/x",
        ] {
            assert!(text.parse::<AliasArn>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_full_key_arn_gives_its_parts() {
        let arn: KeyArn = format!("arn:aws:kms:eu-central-1:111122223333:key/{ID}").parse().unwrap();
        assert_eq!(arn.partition(), Partition::Aws);
        assert_eq!((arn.region(), arn.account(), arn.id()), ("eu-central-1", "111122223333", ID));
        assert_eq!(arn.to_string(), format!("arn:aws:kms:eu-central-1:111122223333:key/{ID}"));
    }

    #[test]
    fn multi_region_gov_china_and_local_keys_are_keys() {
        for text in [
            "arn:aws:kms:us-east-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab".to_owned(),
            format!("arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/{ID}"),
            format!("arn:aws-cn:kms:cn-northwest-1:111122223333:key/{ID}"),
            format!("arn:custody:kms:local-dev:000000000000:key/{ID}"),
        ] {
            assert!(text.parse::<KeyArn>().is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_not_exactly_a_key_arn_is_refused() {
        for text in [
            String::new(),
            ID.to_owned(),
            format!(" arn:aws:kms:us-east-1:111122223333:key/{ID}"),
            format!("arn:aws:kms:us-east-1:111122223333:key/{ID} "),
            format!("arn:aws:kms:us-east-1:111122223333:key/{ID}\n"),
            format!("arn:aws:kms:us-east-1:111122223333:key/{ID};rm"),
            format!("arn:aws:kms:us-east-1:11112222333:key/{ID}"),
            format!("arn:aws:kms:us-east-1.evil.example/:111122223333:key/{ID}"),
            format!("arn:aws:kms:evil:111122223333:key/{ID}"),
            format!("arn:aws:kms::111122223333:key/{ID}"),
            format!("arn:aws:iam:us-east-1:111122223333:key/{ID}"),
            format!("arn:aws-iso:kms:us-iso-east-1:111122223333:key/{ID}"),
            format!("arn:custody:kms:local-dev:111122223333:key/{ID}"),
            format!("arn:aws:kms:us-east-1:111122223333:key/{}", ID.to_uppercase()),
            "arn:aws:kms:us-east-1:111122223333:key/mrk-12".to_owned(),
        ] {
            assert!(matches!(text.parse::<KeyArn>(), Err(ArnError::Shape { .. })), "{text:?}");
        }
    }

    #[test]
    fn an_alias_is_refused_with_the_way_to_its_key() {
        let error = "arn:aws:kms:us-east-1:111122223333:alias/mine".parse::<KeyArn>().unwrap_err();
        assert!(matches!(error, ArnError::Alias { .. }));
        assert!(error.to_string().contains("describe-key"));
    }

    #[test]
    fn a_region_of_another_partition_is_refused() {
        for (partition, region) in [
            ("aws", "cn-north-1"),
            ("aws", "us-gov-east-1"),
            ("aws-cn", "us-east-1"),
            ("aws-us-gov", "us-east-1"),
            ("custody", "us-east-1"),
        ] {
            let text = format!("arn:{partition}:kms:{region}:000000000000:key/{ID}");
            assert!(matches!(text.parse::<KeyArn>(), Err(ArnError::Region { .. })), "{text}");
        }
    }

    #[test]
    fn role_arns_may_have_a_path_but_nothing_a_shell_would_read() {
        for text in ["arn:aws:iam::111122223333:role/custody", "arn:aws-cn:iam::111122223333:role/a/b/c+=,.@-_d"] {
            assert_eq!(text.parse::<RoleArn>().unwrap().as_str(), text);
        }
        for text in [
            "arn:aws:iam::111122223333:user/custody",
            "arn:aws:iam::111122223333:role/",
            "arn:aws:iam::111122223333:role//x",
            "arn:aws:iam::111122223333:role/a`id`",
            "arn:aws:iam::111122223333:role/a'b",
            "arn:aws:iam::111122223333:role/a b",
            "arn:aws:iam:us-east-1:111122223333:role/a",
            "arn:custody:iam::000000000000:role/a",
            "arn:aws:sts::111122223333:assumed-role/a/b",
        ] {
            assert!(text.parse::<RoleArn>().is_err(), "{text:?}");
        }
    }
}
