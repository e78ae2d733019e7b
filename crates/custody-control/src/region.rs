//! The regions there are. A region's name ends up in host names, so that only those of this table exist.

use std::fmt;

use custody_kms::{LOCAL_REGION, Partition, Provider};

/// A region of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    provider: Provider,
    partition: Partition,
    name: &'static str,
    city: &'static str,
}

const fn aws(name: &'static str, city: &'static str) -> Region {
    Region { provider: Provider::Aws, partition: Partition::Aws, name, city }
}

const fn china(name: &'static str, city: &'static str) -> Region {
    Region { provider: Provider::Aws, partition: Partition::AwsCn, name, city }
}

const fn gov(name: &'static str, city: &'static str) -> Region {
    Region { provider: Provider::Aws, partition: Partition::AwsUsGov, name, city }
}

/// AWS's regions with KMS, as of 2026, and the one of the development keys.
const REGIONS: [Region; 39] = [
    aws("us-east-1", "N. Virginia"),
    aws("us-east-2", "Ohio"),
    aws("us-west-1", "N. California"),
    aws("us-west-2", "Oregon"),
    aws("af-south-1", "Cape Town"),
    aws("ap-east-1", "Hong Kong"),
    aws("ap-east-2", "Taipei"),
    aws("ap-northeast-1", "Tokyo"),
    aws("ap-northeast-2", "Seoul"),
    aws("ap-northeast-3", "Osaka"),
    aws("ap-south-1", "Mumbai"),
    aws("ap-south-2", "Hyderabad"),
    aws("ap-southeast-1", "Singapore"),
    aws("ap-southeast-2", "Sydney"),
    aws("ap-southeast-3", "Jakarta"),
    aws("ap-southeast-4", "Melbourne"),
    aws("ap-southeast-5", "Malaysia"),
    aws("ap-southeast-6", "New Zealand"),
    aws("ap-southeast-7", "Thailand"),
    aws("ca-central-1", "Montreal"),
    aws("ca-west-1", "Calgary"),
    aws("eu-central-1", "Frankfurt"),
    aws("eu-central-2", "Zurich"),
    aws("eu-north-1", "Stockholm"),
    aws("eu-south-1", "Milan"),
    aws("eu-south-2", "Spain"),
    aws("eu-west-1", "Ireland"),
    aws("eu-west-2", "London"),
    aws("eu-west-3", "Paris"),
    aws("il-central-1", "Tel Aviv"),
    aws("me-central-1", "UAE"),
    aws("me-south-1", "Bahrain"),
    aws("mx-central-1", "Mexico"),
    aws("sa-east-1", "São Paulo"),
    china("cn-north-1", "Beijing"),
    china("cn-northwest-1", "Ningxia"),
    gov("us-gov-east-1", "US-East"),
    gov("us-gov-west-1", "US-West"),
    Region { provider: Provider::Local, partition: Partition::Custody, name: LOCAL_REGION, city: "this machine" },
];

/// There is no such region.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no region {0:?}: GET /v2/regions lists them, such as aws-us-west-2 or local-dev")]
pub struct UnknownRegion(String);

impl Region {
    /// All regions, those of one provider together.
    pub fn all() -> &'static [Self] {
        &REGIONS
    }

    /// The region of an id such as `aws-us-west-2` or `local-dev`.
    pub fn parse(id: &str) -> Result<Self, UnknownRegion> {
        REGIONS.iter().find(|region| region.id() == id).copied().ok_or_else(|| UnknownRegion(id.to_owned()))
    }

    /// A provider's first region.
    pub(crate) fn first(provider: Provider) -> Result<Self, UnknownRegion> {
        let found = REGIONS.iter().find(|region| region.provider == provider).copied();
        found.ok_or_else(|| UnknownRegion(provider.to_string()))
    }

    /// The region that a provider calls by a name such as `us-west-2`.
    pub fn named(provider: Provider, name: &str) -> Result<Self, UnknownRegion> {
        let found = REGIONS.iter().find(|region| region.provider == provider && region.name == name);
        found.copied().ok_or_else(|| UnknownRegion(name.to_owned()))
    }

    /// As it stands in the API.
    pub fn id(&self) -> String {
        match self.provider {
            Provider::Aws => format!("aws-{}", self.name),
            _ => self.name.to_owned(),
        }
    }

    /// Who has it.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// The partition, between which no trust is possible.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The provider's own name for it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where it is, for people.
    pub fn city(&self) -> &'static str {
        self.city
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_region_is_there_once_and_is_found_by_its_id() {
        let ids: BTreeSet<String> = Region::all().iter().map(Region::id).collect();
        assert_eq!(ids.len(), Region::all().len());
        for region in Region::all() {
            assert_eq!(Region::parse(&region.id()).unwrap(), *region);
            assert_eq!(Region::named(region.provider(), region.name()).unwrap(), *region);
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_no_region() {
        for id in ["us-west-2", "aws-us-west-9", "aws-us-west-2.evil.example", "aws-", "", "AWS-us-west-2"] {
            assert!(Region::parse(id).is_err(), "{id}");
        }
    }

    #[test]
    fn the_names_of_a_partition_are_its_own() {
        let key = |region: &Region| {
            let account = "000000000000";
            let (partition, name) = (region.partition().as_str(), region.name());
            format!("arn:{partition}:kms:{name}:{account}:key/1234abcd-12ab-34cd-56ef-1234567890ab")
        };
        for region in Region::all() {
            assert!(key(region).parse::<custody_kms::KeyArn>().is_ok(), "{region}");
        }
    }
}
