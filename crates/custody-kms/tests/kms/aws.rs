//! AWS KMS, against a stand-in for AWS on loopback that enforces trust policies, role policies and key states.
//!
//! `CUSTODY_TEST_AWS_ENDPOINT` names it (a 12-digit access key id with secret `test` is root of that account), and
//! `CUSTODY_TEST_PYTHON` a Python with `awscli`, which makes users and roles as their owner would.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{Subject, conforms, context, decrypt, expect, secret, session};
use async_trait::async_trait;
use aws_sdk_kms::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kms::types::{KeySpec, KeyUsageType};
use custody_kms::{
    Action, AwsKms, AwsOptions, Cause, KmsError, MemoryLedger, Outcome, Purpose, RetryPolicy, RoleArn, RootKeyRef,
    RootKms, SessionName, Step, confirmed, probe,
};

const SERVICE: &str = "111111111111";
const CUSTOMER: &str = "222222222222";
const REGION: &str = "us-west-2";
const EXTERNAL_ID: &str = "external-id-of-the-project";
const ALL: [&str; 3] = ["kms:Encrypt", "kms:Decrypt", "kms:DescribeKey"];

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// The stand-in, or a word that it is not there.
struct Cloud {
    endpoint: String,
    python: String,
}

impl Cloud {
    fn find() -> Option<Self> {
        let found = (std::env::var("CUSTODY_TEST_AWS_ENDPOINT"), std::env::var("CUSTODY_TEST_PYTHON"));
        if let (Ok(endpoint), Ok(python)) = found {
            return Some(Self { endpoint, python });
        }
        let why = "set CUSTODY_TEST_AWS_ENDPOINT and CUSTODY_TEST_PYTHON to test against a stand-in for AWS";
        assert!(std::env::var_os("CUSTODY_TEST_NO_SKIPS").is_none(), "nothing may be skipped here, and {why}");
        eprintln!("SKIPPED: {why}");
        None
    }

    /// Runs the AWS command line as root of `account`.
    fn aws(&self, account: &str, arguments: &[&str]) -> String {
        let output = Command::new(&self.python)
            .args(["-m", "awscli", "--output", "text"])
            .args(arguments)
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_ACCESS_KEY_ID", account)
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_DEFAULT_REGION", REGION)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// KMS as root of the customer's account.
    fn customer_kms(&self) -> aws_sdk_kms::Client {
        let config = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(&self.endpoint)
            .credentials_provider(Credentials::new(CUSTOMER, "test", None, None, "test"))
            .build();
        aws_sdk_kms::Client::from_conf(config)
    }
}

/// A customer with a key and a role for us, and our own user.
struct World {
    cloud: Cloud,
    owner: aws_sdk_kms::Client,
    kms: AwsKms,
    ledger: Arc<MemoryLedger>,
    base: Credentials,
    user_arn: String,
    role: String,
    role_arn: String,
    key_arn: String,
}

impl World {
    async fn new() -> Option<Self> {
        let cloud = Cloud::find()?;
        let id = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let (user, role) = (format!("custody-{id}"), format!("role-{id}"));
        let user_arn = cloud.aws(SERVICE, &["iam", "create-user", "--user-name", &user, "--query", "User.Arn"]);
        let query = "AccessKey.[AccessKeyId,SecretAccessKey]";
        let keys = cloud.aws(SERVICE, &["iam", "create-access-key", "--user-name", &user, "--query", query]);
        let (id, secret) = keys.split_once('\t').unwrap();
        let base = Credentials::new(id, secret, None, None, "test");
        // Across accounts both sides have to allow it, here as in AWS.
        let policy =
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}"#;
        let may =
            ["iam", "put-user-policy", "--user-name", &user, "--policy-name", "assume", "--policy-document", policy];
        cloud.aws(SERVICE, &may);
        let policy = trust(&user_arn, EXTERNAL_ID);
        let role_arn = cloud.aws(
            CUSTOMER,
            &[
                "iam",
                "create-role",
                "--role-name",
                &role,
                "--assume-role-policy-document",
                &policy,
                "--query",
                "Role.Arn",
            ],
        );
        let owner = cloud.customer_kms();
        let key = owner.create_key().send().await.unwrap().key_metadata.unwrap();
        let ledger = Arc::new(MemoryLedger::new(1000));
        let kms = kms(&cloud, base.clone(), ledger.clone());
        let key_arn = key.arn.unwrap();
        let world = Self { cloud, owner, kms, ledger, base, user_arn, role, role_arn, key_arn };
        world.grant(&ALL, &world.key_arn);
        Some(world)
    }

    /// The customer's role policy: these actions on this key and nothing else.
    fn grant(&self, actions: &[&str], key: &str) {
        let actions = format!("[\"{}\"]", actions.join("\",\""));
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":{actions},"Resource":"{key}"}}]}}"#
        );
        self.cloud.aws(
            CUSTOMER,
            &[
                "iam",
                "put-role-policy",
                "--role-name",
                &self.role,
                "--policy-name",
                "kms",
                "--policy-document",
                &policy,
            ],
        );
    }

    fn set_trust(&self, policy: &str) {
        let arguments = ["iam", "update-assume-role-policy", "--role-name", &self.role, "--policy-document", policy];
        self.cloud.aws(CUSTOMER, &arguments);
    }

    fn key_named(&self, key: &str, external_id: Option<&str>) -> RootKeyRef {
        RootKeyRef::parse("aws", key, Some(&self.role_arn), external_id).unwrap()
    }

    /// Why the key can't be used, as a lease would learn it.
    async fn refused(&self, kms: &AwsKms, key: &RootKeyRef) -> KmsError {
        let found = probe(kms, key, &"in01-test".parse().unwrap(), async {}).await;
        found.result().expect_err("the key was to be refused")
    }
}

fn trust(principal: &str, external_id: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"AWS":"{principal}"}},"Action":"sts:AssumeRole","Condition":{{"StringEquals":{{"sts:ExternalId":"{external_id}"}}}}}}]}}"#
    )
}

fn options(cloud: &Cloud, base: Credentials) -> AwsOptions {
    let name = SessionName::of(&"in01-test".parse().unwrap()).unwrap();
    AwsOptions { endpoint: Some(cloud.endpoint.clone()), ..AwsOptions::new(name) }.with_base(base)
}

fn kms(cloud: &Cloud, base: Credentials, ledger: Arc<MemoryLedger>) -> AwsKms {
    AwsKms::new(options(cloud, base), ledger).unwrap()
}

#[async_trait]
impl Subject for World {
    fn kms(&self) -> &dyn RootKms {
        &self.kms
    }

    fn key(&self) -> RootKeyRef {
        self.key_named(&self.key_arn, Some(EXTERNAL_ID))
    }

    fn unknown_key(&self) -> RootKeyRef {
        let arn = format!("arn:aws:kms:{REGION}:{CUSTOMER}:key/00000000-0000-4000-8000-000000000000");
        self.key_named(&arn, Some(EXTERNAL_ID))
    }

    async fn disable(&self) {
        self.owner.disable_key().key_id(&self.key_arn).send().await.unwrap();
    }

    async fn enable(&self) {
        self.owner.enable_key().key_id(&self.key_arn).send().await.unwrap();
    }

    async fn schedule_deletion(&self) {
        self.owner.schedule_key_deletion().key_id(&self.key_arn).pending_window_in_days(7).send().await.unwrap();
    }

    async fn cancel_deletion(&self) {
        self.owner.cancel_key_deletion().key_id(&self.key_arn).send().await.unwrap();
        self.enable().await;
    }

    fn blind_to_tampering(&self) -> Option<&'static str> {
        Some("the stand-in's ciphertext is XOR without a tag; the keyring's own MAC covers it, and is tested there")
    }
}

#[tokio::test]
async fn aws_kms_conforms() {
    let Some(world) = World::new().await else { return };
    // The suite also asks for a key that does not exist, which only who may use it is told.
    world.grant(&ALL, &format!("arn:aws:kms:{REGION}:{CUSTOMER}:key/*"));
    conforms(&world).await;
}

#[tokio::test]
async fn every_call_is_recorded_with_the_request_id_and_the_session_that_cloudtrail_shows() {
    let Some(world) = World::new().await else { return };
    let wrapped = session(&world.kms, &world.key()).await.unwrap().encrypt(&secret(), &context(1)).await.unwrap();
    decrypt(&world.kms, &world.key(), &wrapped).await.unwrap();
    let entries = world.ledger.entries();
    let actions: Vec<_> = entries.iter().map(|entry| entry.action).collect();
    assert_eq!(actions, [Action::AssumeRole, Action::Encrypt, Action::AssumeRole, Action::Decrypt]);
    let expected = format!("arn:aws:sts::{CUSTOMER}:assumed-role/{}/custody-in01-test", world.role);
    for entry in &entries {
        assert_eq!(entry.session.as_deref(), Some(expected.as_str()));
        assert!(entry.request_id.as_ref().is_some_and(|id| !id.is_empty()), "{entry:?}");
        assert_eq!(entry.role.as_ref().map(RoleArn::as_str), Some(world.role_arn.as_str()));
    }
    let mut ids: Vec<_> = entries.iter().filter_map(|entry| entry.request_id.clone()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), entries.len(), "each call has a request id of its own");
    assert!(!format!("{entries:?}").contains(EXTERNAL_ID));
}

#[tokio::test]
async fn a_wrong_or_missing_external_id_is_refused_by_the_role() {
    let Some(world) = World::new().await else { return };
    for external_id in [Some("external-id-of-another"), None] {
        let error = world.refused(&world.kms, &world.key_named(&world.key_arn, external_id)).await;
        assert_eq!((error.outcome(), error.cause()), (Outcome::Revoked, &Cause::RoleRefused), "{error}");
    }
}

#[tokio::test]
async fn each_missing_permission_is_told_by_name() {
    let Some(world) = World::new().await else { return };
    for missing in [Action::Encrypt, Action::Decrypt, Action::DescribeKey] {
        let granted: Vec<_> = ALL.into_iter().filter(|action| *action != missing.as_str()).collect();
        world.grant(&granted, &world.key_arn);
        let found = probe(&world.kms, &world.key(), &"in01-test".parse().unwrap(), async {}).await;
        let error = found.result().unwrap_err();
        assert_eq!((error.outcome(), error.cause()), (Outcome::Revoked, &Cause::PermissionMissing(missing)), "{error}");
        assert_eq!(found.session, Step::Passed);
        assert!(error.text().is_some(), "AWS's own text is kept: {error}");
    }
}

#[tokio::test]
async fn an_edit_of_the_trust_policy_shuts_out_the_next_session_while_an_old_one_still_works() {
    let Some(world) = World::new().await else { return };
    let old = session(&world.kms, &world.key()).await.unwrap();
    let wrapped = old.encrypt(&secret(), &context(1)).await.unwrap();
    world.set_trust(&trust(&world.user_arn, "external-id-after-the-edit"));
    assert!(old.decrypt(&wrapped, &context(1)).await.is_ok(), "which is why no session renews a lease");
    let wrapped = &wrapped;
    let key = world.key();
    let renewal = confirmed(&world.kms, &key, Purpose::Renew, async {}, |session| async move {
        session.decrypt(wrapped, &context(1)).await
    });
    expect(renewal.await, Outcome::Revoked, &Cause::RoleRefused);
    world.set_trust(&trust(&world.user_arn, EXTERNAL_ID));
    assert!(decrypt(&world.kms, &world.key(), wrapped).await.is_ok());
}

#[tokio::test]
async fn a_deleted_role_is_a_revocation() {
    let Some(world) = World::new().await else { return };
    world.cloud.aws(CUSTOMER, &["iam", "delete-role-policy", "--role-name", &world.role, "--policy-name", "kms"]);
    world.cloud.aws(CUSTOMER, &["iam", "delete-role", "--role-name", &world.role]);
    let error = world.refused(&world.kms, &world.key()).await;
    assert_eq!((error.outcome(), error.cause()), (Outcome::Revoked, &Cause::RoleRefused), "{error}");
}

#[tokio::test]
async fn a_key_is_only_looked_for_in_the_region_of_its_arn() {
    let Some(world) = World::new().await else { return };
    let elsewhere = world.key_arn.replace(REGION, "us-east-1");
    world.grant(&ALL, &elsewhere);
    let error = world.refused(&world.kms, &world.key_named(&elsewhere, Some(EXTERNAL_ID))).await;
    assert_eq!((error.outcome(), error.cause()), (Outcome::Revoked, &Cause::KeyNotFound), "{error}");
}

#[tokio::test]
async fn an_hmac_key_is_of_the_wrong_usage() {
    let Some(world) = World::new().await else { return };
    let made = world.owner.create_key().key_spec(KeySpec::Hmac256).key_usage(KeyUsageType::GenerateVerifyMac);
    let hmac = made.send().await.unwrap().key_metadata.unwrap().arn.unwrap();
    world.grant(&ALL, &hmac);
    let key = world.key_named(&hmac, Some(EXTERNAL_ID));
    let error = world.refused(&world.kms, &key).await;
    assert_eq!(error.outcome(), Outcome::Misconfigured, "{error}");
    assert!(error.to_string().contains("HMAC_256"), "{error}");
    let result = session(&world.kms, &key).await.unwrap().encrypt(&secret(), &context(1)).await;
    let usage = Cause::WrongKeyUsage("InvalidKeyUsageException".to_owned());
    expect(result, Outcome::Misconfigured, &usage);
}

#[tokio::test]
async fn our_own_bad_credentials_are_our_own_fault() {
    let Some(world) = World::new().await else { return };
    let nobody = Credentials::new("AKIAIOSFODNN7EXAMPLE", "not-a-secret", None, None, "test");
    let forged = Credentials::new(world.base.access_key_id(), "not-the-secret", None, None, "test");
    for base in [nobody, expired(&world).await, forged] {
        let ours = kms(&world.cloud, base, world.ledger.clone());
        let error = world.refused(&ours, &world.key()).await;
        assert_eq!(error.outcome(), Outcome::Ours, "{error}");
        assert!(matches!(error.cause(), Cause::BaseCredential | Cause::BadSignature), "{error}");
    }
}

/// Credentials of a session that is over.
async fn expired(world: &World) -> Credentials {
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(&world.cloud.endpoint)
        .credentials_provider(world.base.clone())
        .build();
    let role = aws_sdk_sts::Client::from_conf(config).assume_role().role_arn(&world.role_arn).external_id(EXTERNAL_ID);
    let given = role.role_session_name("short").duration_seconds(1).send().await.unwrap().credentials.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let token = Some(given.session_token);
    Credentials::new(given.access_key_id, given.secret_access_key, token, None, "test")
}

#[tokio::test]
async fn without_a_role_the_base_credentials_are_used_directly() {
    let Some(world) = World::new().await else { return };
    let root = Credentials::new(CUSTOMER, "test", None, None, "test");
    let ledger = Arc::new(MemoryLedger::new(10));
    let direct = kms(&world.cloud, root, ledger.clone());
    let key = RootKeyRef::parse("aws", &world.key_arn, None, None).unwrap();
    let wrapped = session(&direct, &key).await.unwrap().encrypt(&secret(), &context(1)).await.unwrap();
    assert!(decrypt(&direct, &key, &wrapped).await.unwrap().matches(&secret()));
    assert!(ledger.entries().iter().all(|entry| entry.action != Action::AssumeRole && entry.role.is_none()));
}

#[tokio::test]
async fn an_endpoint_where_nobody_listens_is_unreachable() {
    let name = SessionName::of(&"in01-test".parse().unwrap()).unwrap();
    let retry = RetryPolicy { attempts: 2, base: Duration::ZERO, cap: Duration::ZERO };
    let endpoint = Some("http://127.0.0.1:9".to_owned());
    let base = Credentials::new("AKIAIOSFODNN7EXAMPLE", "not-a-secret", None, None, "test");
    let ledger = Arc::new(MemoryLedger::new(10));
    let kms = AwsKms::new(AwsOptions { retry, endpoint, ..AwsOptions::new(name) }.with_base(base), ledger.clone());
    let role = "arn:aws:iam::222222222222:role/custody";
    let arn = "arn:aws:kms:us-west-2:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let key = RootKeyRef::parse("aws", arn, Some(role), None).unwrap();
    let error = session(&kms.unwrap(), &key).await.err().unwrap();
    assert_eq!((error.outcome(), error.cause()), (Outcome::Unreachable, &Cause::NoConnection), "{error}");
    assert_eq!(ledger.entries().len(), 2, "both tries are recorded");
}

#[test]
fn a_plain_http_endpoint_off_loopback_is_refused_before_anything_is_sent() {
    let name = SessionName::of(&"in01-test".parse().unwrap()).unwrap();
    let options = AwsOptions { endpoint: Some("http://192.0.2.1".to_owned()), ..AwsOptions::new(name) };
    let error = AwsKms::new(options, Arc::new(MemoryLedger::new(1))).err().unwrap();
    assert!(error.to_string().contains("https only"), "{error}");
}

/// Runs one ignored test of this module in a process of its own, with only these variables.
fn in_a_process(test: &str, variables: &[(&str, &str)]) {
    let (_, module) = module_path!().split_once("::").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::{test}"), "--ignored", "--nocapture"])
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

#[tokio::test]
async fn the_standard_credential_chain_and_endpoint_variable_are_respected() {
    let Some(world) = World::new().await else { return };
    let variables = [
        ("AWS_ACCESS_KEY_ID", world.base.access_key_id()),
        ("AWS_SECRET_ACCESS_KEY", world.base.secret_access_key()),
        ("AWS_ENDPOINT_URL", world.cloud.endpoint.as_str()),
        ("TEST_KEY", world.key_arn.as_str()),
        ("TEST_ROLE", world.role_arn.as_str()),
    ];
    in_a_process("child_uses_the_standard_chain", &variables);
}

#[tokio::test]
#[ignore = "run in a process of its own, with AWS's variables set"]
async fn child_uses_the_standard_chain() {
    let of = |name: &str| std::env::var(name).unwrap();
    let name = SessionName::of(&"in01-test".parse().unwrap()).unwrap();
    let kms = AwsKms::new(AwsOptions::new(name), Arc::new(MemoryLedger::new(10))).unwrap();
    let key = RootKeyRef::parse("aws", &of("TEST_KEY"), Some(&of("TEST_ROLE")), Some(EXTERNAL_ID)).unwrap();
    assert_eq!(probe(&kms, &key, &"in01-test".parse().unwrap(), async {}).await.result(), Ok(()));
}

#[test]
fn a_plain_http_endpoint_in_the_variables_or_in_a_profile_is_refused() {
    let directory = tempfile::TempDir::new().unwrap();
    let profile = directory.path().join("profile");
    std::fs::write(&profile, "[default]\nendpoint_url = http://192.0.2.1\n").unwrap();
    let services = directory.path().join("services");
    let text = "[default]\nservices = s\n[services s]\nkms =\n  endpoint_url = http://192.0.2.1\n";
    std::fs::write(&services, text).unwrap();
    let credentials = [("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "not-a-secret")];
    let services_sts = directory.path().join("services-sts");
    std::fs::write(&services_sts, text.replace("kms =", "sts =")).unwrap();
    for (name, value) in [
        ("AWS_ENDPOINT_URL", "http://192.0.2.1"),
        ("AWS_ENDPOINT_URL_KMS", "http://192.0.2.1"),
        ("AWS_ENDPOINT_URL_STS", "http://192.0.2.1"),
        ("AWS_CONFIG_FILE", profile.to_str().unwrap()),
        ("AWS_CONFIG_FILE", services.to_str().unwrap()),
    ] {
        let found = if name == "AWS_CONFIG_FILE" { "later" } else { "at once" };
        in_a_process(
            "child_refuses_plain_http",
            &[credentials[0], credentials[1], (name, value), ("TEST_FOUND", found)],
        );
    }
    let role = ("TEST_ROLE", "arn:aws:iam::222222222222:role/custody");
    let sts = ("AWS_CONFIG_FILE", services_sts.to_str().unwrap());
    in_a_process("child_refuses_plain_http", &[credentials[0], credentials[1], role, sts]);
    // The chain that finds our own credentials calls STS by itself.
    let chain = directory.path().join("chain");
    let text = "[default]\nrole_arn = arn:aws:iam::111111111111:role/base\nsource_profile = source\nservices = s\n\
        [profile source]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = not-a-secret\n\
        [services s]\nsts =\n  endpoint_url = http://192.0.2.1\n";
    std::fs::write(&chain, text).unwrap();
    in_a_process("child_refuses_plain_http", &[("AWS_CONFIG_FILE", chain.to_str().unwrap())]);
}

#[tokio::test]
#[ignore = "run in a process of its own, with AWS's variables set"]
async fn child_refuses_plain_http() {
    let name = SessionName::of(&"in01-test".parse().unwrap()).unwrap();
    let ledger = Arc::new(MemoryLedger::new(10));
    let made = AwsKms::new(AwsOptions::new(name), ledger);
    if std::env::var("TEST_FOUND").is_ok_and(|found| found == "at once") {
        assert!(made.is_err(), "a variable is looked at before anything else");
        return;
    }
    let kms = made.unwrap();
    let arn = "arn:aws:kms:us-west-2:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let role = std::env::var("TEST_ROLE").ok();
    let key = RootKeyRef::parse("aws", arn, role.as_deref(), None).unwrap();
    let error = probe(&kms, &key, &"in01-test".parse().unwrap(), async {}).await.result().unwrap_err();
    let insecure = Cause::InsecureEndpoint("http://192.0.2.1".to_owned());
    let with_path = Cause::InsecureEndpoint("http://192.0.2.1/".to_owned());
    assert!([insecure, with_path].contains(error.cause()), "{error}");
    assert_eq!(error.outcome(), Outcome::Ours);
}
