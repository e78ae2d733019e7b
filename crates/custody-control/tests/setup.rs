//! What the dialog shows is run as it is shown, by a customer with the AWS command line, on a stand-in for AWS that enforces
//! trust policies, role policies and key states. Then each thing that can be wrong, alone.
//!
//! `CUSTODY_TEST_AWS_ENDPOINT` names the stand-in (a 12-digit access key id with secret `test` is root of that account), and
//! `CUSTODY_TEST_PYTHON` a Python beside whose program the `aws` command lies.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    path::Path,
    process::Command,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use custody_control::{
    Region,
    cmek::{CheckName, Setup, SetupRequest, Validation, Wanted, validate},
};
use custody_kms::{AwsKms, AwsOptions, MemoryLedger, Provider, RetryPolicy, RootKeyRef, SessionName};
use serde_json::Value;

const SERVICE: &str = "111111111111";
const CUSTOMER: &str = "222222222222";
const REGION: &str = "aws-us-west-2";
const EXTERNAL_ID: &str = "3a1f-external-id-of-the-project";

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// The stand-in and a directory in which commands are run.
struct Cloud {
    endpoint: String,
    path: String,
    directory: tempfile::TempDir,
}

impl Cloud {
    fn find() -> Option<Self> {
        let found = (std::env::var("CUSTODY_TEST_AWS_ENDPOINT"), std::env::var("CUSTODY_TEST_PYTHON"));
        let (Ok(endpoint), Ok(python)) = found else {
            let why = "set CUSTODY_TEST_AWS_ENDPOINT and CUSTODY_TEST_PYTHON to test against a stand-in for AWS";
            assert!(std::env::var_os("CUSTODY_TEST_NO_SKIPS").is_none(), "nothing may be skipped here, and {why}");
            eprintln!("SKIPPED: {why}");
            return None;
        };
        let programs = Path::new(&python).parent().unwrap().display();
        let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
        Some(Self { endpoint, path, directory: tempfile::tempdir().unwrap() })
    }

    /// Runs a command in a shell as root of an account, just as it stands.
    fn run(&self, account: &str, command: &str) -> Value {
        let output = Command::new("sh")
            .args(["-c", command])
            .current_dir(self.directory.path())
            .env("PATH", &self.path)
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_ACCESS_KEY_ID", account)
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_DEFAULT_REGION", "eu-central-1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        if output.stdout.is_empty() { Value::Null } else { serde_json::from_slice(&output.stdout).unwrap() }
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.directory.path().join(file), text).unwrap();
    }
}

/// A customer who has done what the dialog says.
struct World {
    cloud: Cloud,
    principal: String,
    role: String,
    role_arn: String,
    key_arn: String,
    kms: AwsKms,
}

impl World {
    fn new() -> Option<Self> {
        let cloud = Cloud::find()?;
        let unique = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let user = format!("custody-control-{unique}");
        let principal = cloud.run(SERVICE, &format!("aws iam create-user --user-name {user}"))["User"]["Arn"].clone();
        cloud.write(
            "ours.json",
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}"#,
        );
        let policy = "--policy-name custody --policy-document file://ours.json";
        cloud.run(SERVICE, &format!("aws iam put-user-policy --user-name {user} {policy}"));
        let access = cloud.run(SERVICE, &format!("aws iam create-access-key --user-name {user}"))["AccessKey"].clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut options = AwsOptions::new(SessionName::of(&"proj-test".parse().unwrap()).unwrap())
            .with_base_keys(&text(&access["AccessKeyId"]), &text(&access["SecretAccessKey"]));
        options.endpoint = Some(cloud.endpoint.clone());
        options.retry = RetryPolicy::NONE;
        let kms = AwsKms::new(options, Arc::new(MemoryLedger::new(100))).unwrap();
        let role = format!("custody=role+{unique}");
        let (role_arn, key_arn) = (String::new(), String::new());
        let mut world = Self { cloud, principal: text(&principal), role, role_arn, key_arn, kms };
        world.set_up();
        Some(world)
    }

    fn shown(&self) -> Setup {
        let request = SetupRequest {
            region: Region::parse(REGION).unwrap(),
            role_name: Some(self.role.parse().unwrap()),
            role_arn: Some(self.role_arn.as_str()).filter(|role| !role.is_empty()).map(|role| role.parse().unwrap()),
            key: Some(self.key_arn.as_str()).filter(|key| !key.is_empty()).map(|key| key.parse().unwrap()),
        };
        Setup::aws(&request, &self.principal.parse().unwrap(), &EXTERNAL_ID.parse().unwrap()).unwrap()
    }

    /// The three steps of the dialog, each as it is shown.
    fn set_up(&mut self) {
        let first = self.shown();
        self.cloud.write(first.trust_policy_file.unwrap(), &first.trust_policy.unwrap());
        let made = self.cloud.run(CUSTOMER, &first.create_role_command.unwrap());
        made["Role"]["Arn"].as_str().unwrap().clone_into(&mut self.role_arn);
        let made = self.cloud.run(CUSTOMER, &first.create_key_command);
        made["KeyMetadata"]["Arn"].as_str().unwrap().clone_into(&mut self.key_arn);
        self.give_policy();
    }

    fn give_policy(&self) {
        let shown = self.shown();
        self.cloud.write(shown.role_policy_file.unwrap(), &shown.role_policy.unwrap());
        self.cloud.run(CUSTOMER, &shown.put_role_policy_command.unwrap());
    }

    /// The role's policy for the key without one of its actions.
    fn take_away(&self, action: &str) {
        let shown = self.shown();
        let policy = shown.role_policy.unwrap().replace(&format!("\"{action}\""), "\"kms:ListAliases\"");
        self.cloud.write(shown.role_policy_file.unwrap(), &policy);
        self.cloud.run(CUSTOMER, &shown.put_role_policy_command.unwrap());
    }

    fn set_trust(&self, policy: &str) {
        self.cloud.write("changed.json", policy);
        let role = &self.role;
        self.cloud.run(
            CUSTOMER,
            &format!("aws iam update-assume-role-policy --role-name {role} --policy-document file://changed.json"),
        );
    }

    async fn validate_key(&self, key_arn: &str) -> Validation {
        let external_id = Some(EXTERNAL_ID.parse().unwrap());
        let (key, role) = (key_arn.parse().unwrap(), Some(self.role_arn.parse().unwrap()));
        let key = RootKeyRef::new(Provider::Aws, key, role, external_id).unwrap();
        let id = "proj-test".parse().unwrap();
        validate(&self.kms, &Wanted::Key(key), &id, Duration::ZERO, &|_| {}).await.unwrap().0
    }

    /// Validates, and finds this check to be the first that fails, with these words.
    #[track_caller]
    fn expect(found: &Validation, name: CheckName, words: &str) {
        let failed = found.checks.iter().find(|check| !check.ok && !check.skipped);
        let failed = failed.unwrap_or_else(|| panic!("nothing failed: {found:?}"));
        let said = failed.message.as_deref().unwrap();
        assert!(failed.name == name && said.contains(words), "{found:?}");
        assert!(!found.valid);
    }

    async fn refused(&self, name: CheckName, words: &str) {
        Self::expect(&self.validate_key(&self.key_arn).await, name, words);
    }

    async fn accepted(&self) {
        let found = self.validate_key(&self.key_arn).await;
        assert!(found.valid, "{found:?}");
    }

    /// Another key of the customer's, which the role may use as the policy shown for it says.
    async fn validate_other(&mut self, arguments: &str) -> Validation {
        let made = self.cloud.run(CUSTOMER, &format!("aws kms create-key --region us-west-2 {arguments}"));
        let first = std::mem::replace(&mut self.key_arn, made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned());
        self.give_policy();
        let found = self.validate_key(&self.key_arn).await;
        self.key_arn = first;
        found
    }
}

#[tokio::test]
async fn what_is_shown_works_as_pasted_and_each_thing_that_is_wrong_is_named() {
    let Some(mut world) = World::new() else { return };
    world.accepted().await;

    let trust = world.shown().trust_policy.unwrap();
    world.set_trust(&trust.replace(EXTERNAL_ID, "another-external-id"));
    world.refused(CheckName::AssumeRole, "external id").await;
    let mut open: Value = serde_json::from_str(&trust).unwrap();
    open["Statement"][0].as_object_mut().unwrap().remove("Condition");
    world.set_trust(&open.to_string());
    world.refused(CheckName::ExternalId, "without an external id").await;
    world.set_trust(&trust.replace(&world.principal, &format!("arn:aws:iam::{CUSTOMER}:root")));
    world.refused(CheckName::AssumeRole, "trust policy").await;
    world.set_trust(&trust);
    world.accepted().await;

    for (action, name) in [
        ("kms:DescribeKey", CheckName::DescribeKey),
        ("kms:Encrypt", CheckName::Encrypt),
        ("kms:Decrypt", CheckName::Decrypt),
    ] {
        world.take_away(action);
        world.refused(name, &format!("missing permission {action}")).await;
    }
    world.give_policy();
    world.accepted().await;

    let key = world.key_arn.clone();
    world.cloud.run(CUSTOMER, &format!("aws kms disable-key --region us-west-2 --key-id {key}"));
    world.refused(CheckName::DescribeKey, "disabled").await;
    world.cloud.run(CUSTOMER, &format!("aws kms enable-key --region us-west-2 --key-id {key}"));
    world.accepted().await;
    world.cloud.run(
        CUSTOMER,
        &format!("aws kms schedule-key-deletion --region us-west-2 --pending-window-in-days 7 --key-id {key}"),
    );
    world.refused(CheckName::DescribeKey, "pending deletion").await;

    let rsa = world.validate_other("--key-spec RSA_2048 --key-usage ENCRYPT_DECRYPT").await;
    World::expect(&rsa, CheckName::DescribeKey, "RSA_2048");
    let hmac = world.validate_other("--key-spec HMAC_256 --key-usage GENERATE_VERIFY_MAC").await;
    World::expect(&hmac, CheckName::DescribeKey, "HMAC_256");
    // The role may use it, so that KMS says what is wrong with it.
    "arn:aws:kms:us-west-2:222222222222:key/00000000-1111-2222-3333-444444444444".clone_into(&mut world.key_arn);
    world.give_policy();
    world.refused(CheckName::DescribeKey, "no such key in its region").await;
}

#[tokio::test]
async fn a_second_key_of_a_role_takes_nothing_from_the_first() {
    let Some(mut world) = World::new() else { return };
    let second = world.validate_other("--key-spec SYMMETRIC_DEFAULT").await;
    assert!(second.valid, "{second:?}");
    world.accepted().await;
}
