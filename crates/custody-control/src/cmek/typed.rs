//! What has been typed of a key so far, and what its owner is to set up for it.

use custody_kms::{AliasArn, Provider, RoleArn};

use super::{KeyName, Place, RoleName, Setup, SetupRequest, clean, shell::command};
use crate::{
    Control,
    access::Caller,
    refusal::{Kind, Refused},
    region::Region,
};

/// What has been typed into the dialog so far.
#[derive(Clone, Debug)]
pub struct Typed {
    /// `aws` or `local`.
    pub provider: String,
    /// Where the key is or will be; the provider's first region if it is left out.
    pub region_id: Option<String>,
    /// The name of the role that is to be made, or is extended.
    pub role_name: Option<String>,
    /// The role's ARN, once there is a role. It names the role, whatever was typed before there was one.
    pub role_arn: Option<String>,
    /// The key's ARN, once there is a key.
    pub key_arn: Option<String>,
}

impl Control {
    /// What to set up for a key, with what has been typed so far.
    pub async fn key_setup(&self, caller: &Caller, project: &str, typed: &Typed) -> Result<Setup, Refused> {
        let project = self.key_project(caller, project).await?;
        let provider: Provider = clean(&typed.provider).parse()?;
        if !Setup::has_roles(provider) {
            return Ok(Setup::local());
        }
        let region = match typed_text(typed.region_id.as_ref()) {
            Some(id) => Region::parse(&id)?,
            None => Region::first(provider)?,
        };
        if region.provider() != provider {
            return Err(Refused::invalid(format!("region {region} is not one of provider {provider}")));
        }
        let key = match typed_text(typed.key_arn.as_ref()) {
            None => None,
            Some(text) => {
                let place = Place { partition: region.partition(), region: region.name(), account: None };
                match KeyName::parse(&text, place)? {
                    KeyName::Key(key) => Some(key),
                    KeyName::Alias(alias) => {
                        return Err(Refused::invalid(format!(
                            "a policy names the key itself, and this is an alias: give the ARN of its key ({})",
                            tell_key(&alias)
                        )));
                    }
                }
            }
        };
        let (role_name, role_arn) = role(typed, region)?;
        let request = SetupRequest { region, role_name, role_arn, key };
        let principal = self.options.principal.as_ref().ok_or_else(|| {
            Refused::new(
                Kind::Unavailable,
                "it is not known whom a role has to trust: give this service AWS credentials, or set principal_arn",
            )
        })?;
        Ok(Setup::aws(&request, principal, &project.external_id)?)
    }
}

/// What is typed of a field, if anything.
fn typed_text(text: Option<&String>) -> Option<String> {
    text.map(|text| clean(text)).filter(|text| !text.is_empty())
}

/// The role that is to be made or extended: the name as it was typed, or the ARN with the name in it.
fn role(typed: &Typed, region: Region) -> Result<(Option<RoleName>, Option<RoleArn>), Refused> {
    let name = typed_text(typed.role_name.as_ref()).map(|name| name.parse()).transpose()?;
    let Some(arn) = typed_text(typed.role_arn.as_ref()) else { return Ok((name, None)) };
    let arn: RoleArn = arn.parse()?;
    if arn.partition() != region.partition() {
        return Err(Refused::invalid(format!("the role is of another AWS partition than region {region}")));
    }
    // What follows the last slash is the name; a path may stand before it.
    let name = arn.as_str().rsplit('/').next().unwrap_or_default().parse()?;
    Ok((Some(name), Some(arn)))
}

/// The command that tells an alias's key.
fn tell_key(alias: &AliasArn) -> String {
    let (query, alias, region) = ("KeyMetadata.Arn", alias.as_str(), alias.region());
    command(&["aws", "kms", "describe-key", "--region", region, "--key-id", alias, "--query", query])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_that_there_is_counts_whole_and_one_that_is_not_by_its_name() {
        let read = |name: Option<&str>, arn: Option<&str>| {
            let typed = Typed {
                provider: "aws".to_owned(),
                region_id: None,
                role_name: name.map(str::to_owned),
                role_arn: arn.map(str::to_owned),
                key_arn: None,
            };
            let found = role(&typed, Region::first(Provider::Aws).unwrap());
            found.map(|(name, arn)| (name.map(|it| it.as_str().to_owned()), arn.map(|it| it.to_string())))
        };
        let arn = "arn:aws:iam::444455556666:role/a/path/r";
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read(None, None).unwrap(), (None, None));
        assert_eq!(read(Some("r"), Some(" ")).unwrap(), (some("r"), None));
        for name in [None, Some("r"), Some("another")] {
            assert_eq!(read(name, Some(arn)).unwrap(), (some("r"), some(arn)));
        }
        for (name, arn) in [(Some("a b"), Some(arn)), (None, Some("arn:aws-cn:iam::444455556666:role/r"))] {
            assert_eq!(read(name, arn).unwrap_err().kind, Kind::Invalid);
        }
    }
}
