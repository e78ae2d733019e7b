//! The documents and commands of the dialog, with what has been typed so far.
//!
//! Every command works as pasted. What can't be said yet, because a field is still empty, is left out rather than filled
//! with something that a shell would run.

use custody_kms::{ExternalId, KeyArn, Provider, RoleArn};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    field::{FieldError, Principal, RoleName},
    shell::command,
};
use crate::region::Region;

const TRUST_POLICY_FILE: &str = "role-trust-policy.json";
const ROLE_POLICY_FILE: &str = "role-policy.json";
const POLICY_VERSION: &str = "2012-10-17";
/// All that the service ever asks of a key.
const ACTIONS: [&str; 3] = ["kms:Encrypt", "kms:Decrypt", "kms:DescribeKey"];

/// What has been typed so far.
#[derive(Clone, Debug)]
pub struct SetupRequest {
    /// Where the key is or will be.
    pub region: Region,
    /// The role that is to be made, or is extended.
    pub role_name: Option<RoleName>,
    /// The same role's ARN, once there is a role: it may have a path, and be of another account than the key.
    pub role_arn: Option<RoleArn>,
    /// The key, once there is one.
    pub key: Option<KeyArn>,
}

impl SetupRequest {
    /// The role as a policy names it. One that is still to be made will be where the key is, without a path.
    fn role_in_policies(&self) -> Option<String> {
        let (name, key) = self.role_name.as_ref().zip(self.key.as_ref())?;
        let new = || format!("arn:{}:iam::{}:role/{}", key.partition().as_str(), key.account(), name.as_str());
        Some(self.role_arn.as_ref().map_or_else(new, ToString::to_string))
    }
}

/// What a customer runs and pastes. Policies are JSON as text, to be put into a file as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Setup {
    /// Whom the role trusts: us. None where the provider knows no roles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal_arn: Option<String>,
    /// The project's external id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The name of the file for the trust policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_policy_file: Option<&'static str>,
    /// The role's trust policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_policy: Option<String>,
    /// Makes the role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create_role_command: Option<String>,
    /// Makes a key.
    pub create_key_command: String,
    /// The name of the file for the role's policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_policy_file: Option<&'static str>,
    /// The role's policy for exactly this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_policy: Option<String>,
    /// Gives the role that policy, beside those that it has for other keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub put_role_policy_command: Option<String>,
    /// A statement for the key's own policy, where that does not leave the decision to IAM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_policy_statement: Option<String>,
}

impl Setup {
    /// What to do in AWS. The principal and the region have to be of one partition.
    pub fn aws(request: &SetupRequest, principal: &Principal, external_id: &ExternalId) -> Result<Self, FieldError> {
        let region = request.region;
        if principal.partition() != region.partition() {
            let second = format!("region {}", region.name());
            return Err(FieldError::Partitions { first: principal.to_string(), second });
        }
        let role = request.role_name.as_ref();
        let key = request.key.as_ref();
        Ok(Self {
            principal_arn: Some(principal.to_string()),
            external_id: Some(external_id.expose().to_owned()),
            trust_policy_file: Some(TRUST_POLICY_FILE),
            trust_policy: Some(trust_policy(principal, external_id)),
            create_role_command: role.map(create_role),
            create_key_command: create_key(region),
            role_policy_file: key.map(|_| ROLE_POLICY_FILE),
            role_policy: key.map(role_policy),
            put_role_policy_command: role.zip(key).map(|(role, key)| put_role_policy(role, key)),
            key_policy_statement: request.role_in_policies().map(|role| key_policy_statement(&role)),
        })
    }

    /// What to do on this machine: development keys need neither a role nor a policy.
    pub fn local() -> Self {
        Self {
            principal_arn: None,
            external_id: None,
            trust_policy_file: None,
            trust_policy: None,
            create_role_command: None,
            create_key_command: command(&["custody", "kms", "create-key"]),
            role_policy_file: None,
            role_policy: None,
            put_role_policy_command: None,
            key_policy_statement: None,
        }
    }

    /// Whether a provider's keys are reached through roles.
    pub fn has_roles(provider: Provider) -> bool {
        provider == Provider::Aws
    }
}

fn trust_policy(principal: &Principal, external_id: &ExternalId) -> String {
    policy(json!({
        "Effect": "Allow",
        "Principal": { "AWS": principal.as_str() },
        "Action": "sts:AssumeRole",
        "Condition": { "StringEquals": { "sts:ExternalId": external_id.expose() } },
    }))
}

fn role_policy(key: &KeyArn) -> String {
    policy(json!({ "Effect": "Allow", "Action": ACTIONS, "Resource": key.as_str() }))
}

fn policy(statement: Value) -> String {
    pretty(&json!({ "Version": POLICY_VERSION, "Statement": [statement] }))
}

fn key_policy_statement(role: &str) -> String {
    pretty(&json!({
        "Sid": "AllowCustody",
        "Effect": "Allow",
        "Principal": { "AWS": role },
        "Action": ACTIONS,
        "Resource": "*",
    }))
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

fn create_role(role: &RoleName) -> String {
    let document = format!("file://{TRUST_POLICY_FILE}");
    command(&["aws", "iam", "create-role", "--role-name", role.as_str(), "--assume-role-policy-document", &document])
}

fn create_key(region: Region) -> String {
    command(&[
        "aws",
        "kms",
        "create-key",
        "--region",
        region.name(),
        "--key-spec",
        "SYMMETRIC_DEFAULT",
        "--key-usage",
        "ENCRYPT_DECRYPT",
    ])
}

/// One policy a key: under one name, the second key's policy would replace the first one's and darken its clusters.
fn put_role_policy(role: &RoleName, key: &KeyArn) -> String {
    // Replicas of a multi-region key have one id: the region tells them apart.
    let name = format!("custody-{}-{}", key.region(), key.id());
    let document = format!("file://{ROLE_POLICY_FILE}");
    command(&[
        "aws",
        "iam",
        "put-role-policy",
        "--role-name",
        role.as_str(),
        "--policy-name",
        &name,
        "--policy-document",
        &document,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

    fn request(role: Option<&str>, key: Option<&str>) -> SetupRequest {
        SetupRequest {
            region: Region::parse("aws-us-west-2").unwrap(),
            role_name: role.map(|role| role.parse().unwrap()),
            role_arn: None,
            key: key.map(|key| key.parse().unwrap()),
        }
    }

    fn setup(role: Option<&str>, key: Option<&str>) -> Setup {
        shown(&request(role, key))
    }

    fn shown(request: &SetupRequest) -> Setup {
        let principal = "arn:aws:iam::999988887777:user/custody".parse().unwrap();
        Setup::aws(request, &principal, &"external-0123".parse().unwrap()).unwrap()
    }

    #[test]
    fn the_trust_policy_lets_in_us_alone_under_the_external_id_alone() {
        let policy: Value = serde_json::from_str(&setup(None, None).trust_policy.unwrap()).unwrap();
        assert_eq!(
            policy["Statement"],
            json!([{
                "Effect": "Allow",
                "Principal": { "AWS": "arn:aws:iam::999988887777:user/custody" },
                "Action": "sts:AssumeRole",
                "Condition": { "StringEquals": { "sts:ExternalId": "external-0123" } },
            }])
        );
    }

    #[test]
    fn the_role_policy_allows_three_actions_on_one_key() {
        let policy: Value = serde_json::from_str(&setup(Some("r"), Some(KEY)).role_policy.unwrap()).unwrap();
        let actions = ["kms:Encrypt", "kms:Decrypt", "kms:DescribeKey"];
        assert_eq!(policy["Statement"], json!([{ "Effect": "Allow", "Action": actions, "Resource": KEY }]));
    }

    #[test]
    fn a_keys_policy_names_the_role_that_there_is_with_its_path_and_its_account() {
        let named = |role_arn: Option<&str>| {
            let role_arn = role_arn.map(|arn| arn.parse().unwrap());
            let statement = shown(&SetupRequest { role_arn, ..request(Some("r"), Some(KEY)) }).key_policy_statement;
            serde_json::from_str::<Value>(&statement.unwrap()).unwrap()["Principal"]["AWS"].clone()
        };
        for arn in ["arn:aws:iam::111122223333:role/a/path/r", "arn:aws:iam::444455556666:role/r"] {
            assert_eq!(named(Some(arn)), arn);
        }
        assert_eq!(named(None), "arn:aws:iam::111122223333:role/r", "a new one is made beside the key");
    }

    #[test]
    fn what_is_not_typed_yet_makes_no_command() {
        let nothing = setup(None, None);
        assert_eq!(
            (nothing.create_role_command, nothing.put_role_policy_command, nothing.role_policy),
            (None, None, None)
        );
        assert!(nothing.create_key_command.contains("--region us-west-2"));
        let role = setup(Some("r"), None);
        assert!(role.create_role_command.is_some() && role.put_role_policy_command.is_none());
    }

    #[test]
    fn each_key_has_a_policy_of_its_own_replicas_too() {
        let command = |key: &str| setup(Some("r"), Some(key)).put_role_policy_command.unwrap();
        let replica = |region| format!("arn:aws:kms:{region}:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab");
        let commands = [command(KEY), command(&replica("us-west-2")), command(&replica("us-east-1"))];
        let names: std::collections::BTreeSet<&str> =
            commands.iter().map(|it| it.split("--policy-name ").nth(1).unwrap().split(' ').next().unwrap()).collect();
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(names.iter().all(|name| name.len() <= 128));
    }

    #[test]
    fn a_principal_of_another_partition_is_refused() {
        let request = SetupRequest { region: Region::parse("aws-cn-north-1").unwrap(), ..request(None, None) };
        let principal = "arn:aws:iam::999988887777:user/custody".parse().unwrap();
        let refused = Setup::aws(&request, &principal, &"external-0123".parse().unwrap()).unwrap_err();
        assert!(matches!(refused, FieldError::Partitions { .. }), "{refused}");
    }
}
