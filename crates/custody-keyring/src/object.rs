//! The stored form of one version of a zone's key: `docs/keyring.md`, byte by byte.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use custody_kms::{KeyArn, Provider, RoleArn};
use custody_seal::{ClusterId, ZoneId, ZoneKey};

const MAGIC: &[u8; 8] = b"CUSTKEYR";
const FORMAT: u8 = 1;
const MAC: usize = 32;
/// The largest ciphertext that KMS makes is 6,144 bytes long.
const LONGEST_WRAPPED: usize = 6144;
/// Nothing longer can be a keyring object.
pub(crate) const LONGEST_OBJECT: u64 = 16 * 1024;

/// What a keyring object says, before anything in it is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyringObject {
    pub(crate) cluster: ClusterId,
    pub(crate) zone: ZoneId,
    pub(crate) version: u32,
    pub(crate) provider: Provider,
    pub(crate) key: KeyArn,
    pub(crate) role: Option<RoleArn>,
    /// Whole milliseconds.
    pub(crate) created_at: SystemTime,
    pub(crate) wrapped: Vec<u8>,
}

/// A keyring object as read, with the bytes that its MAC covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) object: KeyringObject,
    bytes: Vec<u8>,
}

/// Bytes that are no keyring object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// Cut short.
    #[error("it is cut short")]
    Short,
    /// Longer than what it says.
    #[error("{0} bytes follow its end")]
    Trailing(usize),
    /// Longer than any keyring object.
    #[error("it is {0} bytes long, more than any keyring object")]
    Long(u64),
    /// Not a keyring object at all.
    #[error("it does not begin as a keyring object does")]
    Magic,
    /// Of a format that this version does not read.
    #[error("its format is {0}, and this version reads format 1")]
    Format(u8),
    /// A field holds what it can't.
    #[error("its {0} is malformed")]
    Field(&'static str),
}

impl KeyringObject {
    /// The object's bytes, authenticated under the zone key that it carries wrapped.
    pub(crate) fn seal(self, key: &ZoneKey) -> Sealed {
        let mut bytes = self.encode();
        let mac = key.keyring_mac(&bytes);
        bytes.extend(mac);
        Sealed { object: self, bytes }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(MAGIC);
        bytes.extend([FORMAT, provider_code(self.provider), 0, 0]);
        bytes.extend(self.zone.as_bytes());
        bytes.extend(self.version.to_be_bytes());
        bytes.extend(millis(self.created_at).to_be_bytes());
        let role = self.role.as_ref().map_or("", RoleArn::as_str);
        for field in [self.cluster.as_str().as_bytes(), self.key.as_str().as_bytes(), role.as_bytes(), &self.wrapped] {
            // ARNs and ids are parsed to at most a few hundred bytes, and a wrapped key was checked when it was made.
            bytes.extend(u16::try_from(field.len()).unwrap_or(u16::MAX).to_be_bytes());
            bytes.extend(field);
        }
        bytes
    }

    /// Whether `wrapped` can stand in a keyring object.
    pub(crate) fn fits(wrapped: &[u8]) -> bool {
        (1..=LONGEST_WRAPPED).contains(&wrapped.len())
    }
}

impl Sealed {
    /// All bytes, as stored.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether `key`, as KMS unwrapped it, is the key that authenticated this object.
    pub(crate) fn verify(&self, key: &ZoneKey) -> bool {
        let (body, mac) = self.bytes.split_at(self.bytes.len() - MAC);
        key.verify_keyring_mac(body, mac).is_ok()
    }

    /// Parses strictly: every byte has one meaning, and what is parsed encodes to the same bytes again.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ObjectError> {
        let mut reader = Reader(bytes);
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(ObjectError::Magic);
        }
        let format = reader.take(1)?[0];
        if format != FORMAT {
            return Err(ObjectError::Format(format));
        }
        let provider = provider(reader.take(1)?[0]).ok_or(ObjectError::Field("provider"))?;
        if reader.take(2)? != [0, 0] {
            return Err(ObjectError::Field("reserved field"));
        }
        let zone = ZoneId::new(reader.array()?);
        let version = u32::from_be_bytes(reader.array()?);
        let created_at = UNIX_EPOCH.checked_add(Duration::from_millis(u64::from_be_bytes(reader.array()?)));
        let cluster = reader.text("cluster id")?.parse().map_err(|_| ObjectError::Field("cluster id"))?;
        let key = reader.text("key ARN")?.parse().map_err(|_| ObjectError::Field("key ARN"))?;
        let role = match reader.text("role ARN")? {
            "" => None,
            role => Some(role.parse().map_err(|_| ObjectError::Field("role ARN"))?),
        };
        let wrapped = reader.field()?.to_vec();
        reader.take(MAC)?;
        if !reader.0.is_empty() {
            return Err(ObjectError::Trailing(reader.0.len()));
        }
        if version == 0 {
            return Err(ObjectError::Field("zone key version"));
        }
        if !KeyringObject::fits(&wrapped) {
            return Err(ObjectError::Field("wrapped key"));
        }
        let created_at = created_at.ok_or(ObjectError::Field("creation time"))?;
        let object = KeyringObject { cluster, zone, version, provider, key, role, created_at, wrapped };
        Ok(Self { object, bytes: bytes.to_vec() })
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], ObjectError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(ObjectError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ObjectError> {
        self.take(N)?.try_into().map_err(|_| ObjectError::Short)
    }

    fn field(&mut self) -> Result<&'a [u8], ObjectError> {
        let length = u16::from_be_bytes(self.array()?);
        self.take(usize::from(length))
    }

    fn text(&mut self, name: &'static str) -> Result<&'a str, ObjectError> {
        std::str::from_utf8(self.field()?).map_err(|_| ObjectError::Field(name))
    }
}

fn provider_code(provider: Provider) -> u8 {
    match provider {
        Provider::Aws => 1,
        Provider::Local => 2,
        Provider::Scripted => 255,
    }
}

fn provider(code: u8) -> Option<Provider> {
    [Provider::Aws, Provider::Local, Provider::Scripted].into_iter().find(|provider| provider_code(*provider) == code)
}

fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// `time` without what the format has no room for.
pub(crate) fn whole_millis(time: SystemTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY_ARN: &str = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    const ROLE_ARN: &str = "arn:aws:iam::111122223333:role/custody";

    fn object() -> KeyringObject {
        KeyringObject {
            cluster: "in01-example".parse().unwrap(),
            zone: ZoneId::new([0xab; 16]),
            version: 7,
            provider: Provider::Aws,
            key: KEY_ARN.parse().unwrap(),
            role: Some(ROLE_ARN.parse().unwrap()),
            created_at: UNIX_EPOCH + Duration::from_millis(1_767_225_600_123),
            wrapped: b"wrapped".to_vec(),
        }
    }

    fn key() -> ZoneKey {
        ZoneKey::from_slice(&[0x11; 32]).unwrap()
    }

    /// The example of `docs/keyring.md`.
    const EXAMPLE: &str = "435553544b45595201010000abababababababababababababababab000000070000019b76daa87b000c696e30312d657861\
        6d706c65004b61726e3a6177733a6b6d733a75732d776573742d323a3131313132323232333333333a6b65792f3132333461\
        6263642d313261622d333463642d353665662d313233343536373839306162002661726e3a6177733a69616d3a3a31313131\
        32323232333333333a726f6c652f637573746f6479000777726170706564243df33518fcfe77ff70703e913db6f7f12a926b\
        57cf1a79fdd03f07932d85f4";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let sealed = object().seal(&key());
        assert_eq!(hex(sealed.bytes()), EXAMPLE);
        let documented = include_str!("../../../docs/keyring.md").split_whitespace().collect::<String>();
        assert!(documented.contains(EXAMPLE), "docs/keyring.md shows other bytes");
    }

    #[test]
    fn what_is_written_parses_to_the_same_and_verifies_under_its_key_alone() {
        for role in [None, Some(ROLE_ARN.parse().unwrap())] {
            let written = KeyringObject { role, ..object() };
            let sealed = written.clone().seal(&key());
            let parsed = Sealed::parse(sealed.bytes()).unwrap();
            assert_eq!(parsed, sealed);
            assert_eq!(parsed.object, written);
            assert!(parsed.verify(&key()));
            assert!(!parsed.verify(&ZoneKey::from_slice(&[0x12; 32]).unwrap()));
        }
    }

    #[test]
    fn each_malformed_field_is_told_by_name() {
        let good = object().seal(&key()).bytes().to_vec();
        let with = |at: usize, bytes: &[u8]| {
            let mut changed = good.clone();
            changed[at..at + bytes.len()].copy_from_slice(bytes);
            Sealed::parse(&changed).unwrap_err()
        };
        assert_eq!(with(0, b"X"), ObjectError::Magic);
        assert_eq!(with(8, &[2]), ObjectError::Format(2));
        assert_eq!(with(8, &[0]), ObjectError::Format(0));
        assert_eq!(with(9, &[0]), ObjectError::Field("provider"));
        assert_eq!(with(10, &[1]), ObjectError::Field("reserved field"));
        assert_eq!(with(11, &[1]), ObjectError::Field("reserved field"));
        assert_eq!(with(28, &[0; 4]), ObjectError::Field("zone key version"));
        assert_eq!(with(42, b"I"), ObjectError::Field("cluster id"));
        assert_eq!(with(42, &[0xff]), ObjectError::Field("cluster id"));
        assert_eq!(with(56, b"x"), ObjectError::Field("key ARN"));
        assert_eq!(with(56 + KEY_ARN.len() + 2, b"x"), ObjectError::Field("role ARN"));
    }

    #[test]
    fn lengths_that_lead_past_the_end_or_leave_bytes_over_are_refused() {
        let good = object().seal(&key()).bytes().to_vec();
        for length in 0..good.len() {
            assert!(Sealed::parse(&good[..length]).is_err(), "{length}");
        }
        let longer = [good.clone(), vec![0; 3]].concat();
        assert_eq!(Sealed::parse(&longer), Err(ObjectError::Trailing(3)));
        let wrapped_length = 56 + KEY_ARN.len() + 2 + ROLE_ARN.len();
        for (length, error) in
            [(6_u16, ObjectError::Trailing(1)), (8, ObjectError::Short), (0xffff, ObjectError::Short)]
        {
            let mut changed = good.clone();
            changed[wrapped_length..wrapped_length + 2].copy_from_slice(&length.to_be_bytes());
            assert_eq!(Sealed::parse(&changed), Err(error), "{length}");
        }
        let empty = KeyringObject { wrapped: Vec::new(), ..object() }.seal(&key());
        assert_eq!(Sealed::parse(empty.bytes()), Err(ObjectError::Field("wrapped key")));
        let large = KeyringObject { wrapped: vec![1; LONGEST_WRAPPED + 1], ..object() }.seal(&key());
        assert_eq!(Sealed::parse(large.bytes()), Err(ObjectError::Field("wrapped key")));
    }
}
