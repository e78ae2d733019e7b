//! What AWS is told, word for word: a listener on loopback stands for KMS and STS and notes every request. The stand-in
//! for AWS decrypts whatever key a call names, so that it can't show that the call names one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{context, expect, secret, session};
use aws_sdk_kms::config::Credentials;
use custody_kms::{
    AliasRef, AwsKms, AwsOptions, Cause, MemoryLedger, Outcome, Provider, Purpose, RetryPolicy, RootKeyRef, RootKms,
    SessionName, confirmed, probe,
};
use serde_json::{Value, json};

const KEY: &str = "arn:aws:kms:us-west-2:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const OTHER: &str = "arn:aws:kms:us-west-2:333333333333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const ROLE: &str = "arn:aws:iam::222222222222:role/custody";

/// STS and KMS as far as these tests need them. KMS answers in the name of `answers_as`; its ciphertext is its plaintext.
struct Listener {
    heard: Arc<Mutex<Vec<(String, String)>>>,
    kms: AwsKms,
}

impl Listener {
    fn start(answers_as: Option<&'static str>) -> Self {
        Self::with_headers(answers_as, "")
    }

    /// The same, with more headers in each answer.
    fn with_headers(answers_as: Option<&'static str>, headers: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (action, body) = hear(stream.as_ref().unwrap());
                let answer = answer(&action, &body, answers_as);
                notes.lock().unwrap().push((action, body));
                let length = answer.len();
                let start =
                    format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
                stream.unwrap().write_all(format!("{start}{answer}").as_bytes()).unwrap();
            }
        });
        let name = SessionName::of(&"in01-test".parse().unwrap()).unwrap();
        let base = Credentials::new("AKIAIOSFODNN7EXAMPLE", "not-a-secret", None, None, "test");
        let options = AwsOptions { retry: RetryPolicy::NONE, endpoint, ..AwsOptions::new(name) }.with_base(base);
        Self { heard, kms: AwsKms::new(options, Arc::new(MemoryLedger::new(10))).unwrap() }
    }

    /// The bodies of all requests of one kind so far.
    fn heard(&self, action: &str) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|(of, _)| of == action).map(|(_, body)| body.clone()).collect()
    }

    fn heard_json(&self, action: &str) -> Vec<Value> {
        self.heard(action).iter().map(|body| serde_json::from_str(body).unwrap()).collect()
    }
}

/// Reads one request: KMS names its action in a header, STS in the body.
fn hear(stream: &TcpStream) -> (String, String) {
    let mut reader = BufReader::new(stream);
    let (mut target, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim().to_ascii_lowercase().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(("x-amz-target", _)) => target = line.trim().rsplit('.').next().map(ToOwned::to_owned),
            None if line.trim().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    (target.unwrap_or_else(|| field(&body, "Action").unwrap().to_owned()), body)
}

/// A field of a form.
fn field<'a>(form: &'a str, name: &str) -> Option<&'a str> {
    form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn answer(action: &str, body: &str, key: Option<&str>) -> String {
    let asked: Value = serde_json::from_str(body).unwrap_or_default();
    match action {
        "AssumeRole" => "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
             <Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
             <Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
            .to_owned(),
        "Encrypt" => json!({ "CiphertextBlob": asked["Plaintext"], "KeyId": key }).to_string(),
        "Decrypt" => json!({ "Plaintext": asked["CiphertextBlob"], "KeyId": key }).to_string(),
        _ => json!({ "KeyMetadata": {
            "KeyId": "1234abcd-12ab-34cd-56ef-1234567890ab", "Arn": key, "KeyState": "Enabled",
            "KeyUsage": "ENCRYPT_DECRYPT", "KeySpec": "SYMMETRIC_DEFAULT",
        } })
        .to_string(),
    }
}

fn key() -> RootKeyRef {
    RootKeyRef::parse("aws", KEY, Some(ROLE), Some("external-id-of-the-project")).unwrap()
}

#[tokio::test]
async fn every_call_names_the_full_arn_of_the_pinned_key() {
    let aws = Listener::start(Some(KEY));
    let session = session(&aws.kms, &key()).await.unwrap();
    let wrapped = session.encrypt(&secret(), &context(1)).await.unwrap();
    assert!(session.decrypt(&wrapped, &context(1)).await.unwrap().matches(&secret()));
    session.describe().await.unwrap();
    for action in ["Encrypt", "Decrypt", "DescribeKey"] {
        let named: Vec<_> = aws.heard_json(action).into_iter().map(|asked| asked["KeyId"].clone()).collect();
        assert_eq!(named, [KEY], "{action}");
    }
}

#[tokio::test]
async fn an_answer_of_another_key_or_of_none_is_refused() {
    for named in [Some(OTHER), Some("1234abcd-12ab-34cd-56ef-1234567890ab"), None] {
        let aws = Listener::start(named);
        let session = session(&aws.kms, &key()).await.unwrap();
        let other = Cause::WrongKeyReturned(named.unwrap_or_default().to_owned());
        expect(session.encrypt(&secret(), &context(1)).await, Outcome::Misconfigured, &other);
        expect(session.decrypt(b"wrapped", &context(1)).await, Outcome::Misconfigured, &other);
        expect(session.describe().await, Outcome::Misconfigured, &other);
    }
}

#[tokio::test]
async fn the_context_that_aws_sees_has_the_four_documented_keys_and_no_other() {
    let aws = Listener::start(Some(KEY));
    let session = session(&aws.kms, &key()).await.unwrap();
    let wrapped = session.encrypt(&secret(), &context(3)).await.unwrap();
    session.decrypt(&wrapped, &context(3)).await.unwrap();
    assert_eq!(probe(&aws.kms, &key(), &"in01-test".parse().unwrap(), async {}).await.result(), Ok(()));
    let seen = |zone: &str, version: &str, purpose: &str| {
        json!({
            "custody:cluster": "in01-test", "custody:zone": zone, "custody:version": version, "custody:purpose": purpose,
        })
    };
    let expected = [seen(&"07".repeat(16), "3", "zone-key"), seen(&"00".repeat(16), "0", "validate")];
    for action in ["Encrypt", "Decrypt"] {
        let contexts: Vec<_> =
            aws.heard_json(action).into_iter().map(|asked| asked["EncryptionContext"].clone()).collect();
        assert_eq!(contexts, expected, "{action}");
    }
}

#[tokio::test]
async fn each_renewal_assumes_the_role_anew_for_the_shortest_time() {
    let (aws, key) = (Listener::start(Some(KEY)), key());
    for renewals in 1..=3 {
        let decrypt = confirmed(&aws.kms, &key, Purpose::Renew, async {}, |session| async move {
            session.decrypt(secret().expose(), &context(1)).await
        });
        assert!(decrypt.await.unwrap().matches(&secret()));
        assert_eq!((aws.heard("AssumeRole").len(), aws.heard("Decrypt").len()), (renewals, renewals));
    }
    for asked in aws.heard("AssumeRole") {
        assert_eq!(field(&asked, "DurationSeconds"), Some("900"));
        assert_eq!(field(&asked, "ExternalId"), Some("external-id-of-the-project"));
        assert_eq!(field(&asked, "RoleSessionName"), Some("custody-in01-test"));
        assert_eq!(
            field(&asked, "RoleArn").map(|arn| arn.replace("%3A", ":").replace("%2F", "/")).as_deref(),
            Some(ROLE)
        );
    }
}

fn alias() -> AliasRef {
    let alias = "arn:aws:kms:us-west-2:222222222222:alias/team/x".parse().unwrap();
    let external_id = Some("external-id-of-the-project".parse().unwrap());
    AliasRef::new(Provider::Aws, alias, ROLE.parse().unwrap(), external_id)
}

#[tokio::test]
async fn an_aliass_key_is_asked_for_by_the_alias_in_a_session_that_can_do_nothing_else() {
    let aws = Listener::start(Some(KEY));
    assert_eq!(aws.kms.resolve(&alias()).await.unwrap().as_str(), KEY);
    let asked = aws.heard_json("DescribeKey");
    assert_eq!(asked.iter().map(|it| &it["KeyId"]).collect::<Vec<_>>(), [alias().alias().as_str()]);
    let assumed = aws.heard("AssumeRole");
    assert_eq!((assumed.len(), field(&assumed[0], "ExternalId")), (1, Some("external-id-of-the-project")));
    let policy = field(&assumed[0], "Policy").unwrap();
    assert!(
        policy.contains("kms%3ADescribeKey") && !policy.contains("Decrypt") && !policy.contains("Encrypt"),
        "{policy}"
    );
}

#[tokio::test]
async fn a_key_of_another_account_or_none_is_no_answer_to_an_alias() {
    for named in [Some(OTHER), Some("1234abcd-12ab-34cd-56ef-1234567890ab"), None] {
        let aws = Listener::start(named);
        let other = Cause::WrongKeyReturned(named.unwrap_or_default().to_owned());
        expect(aws.kms.resolve(&alias()).await, Outcome::Misconfigured, &other);
    }
}

#[tokio::test]
async fn our_clock_is_measured_by_the_date_of_aws_and_of_nobody_else() {
    const AGES_AGO: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let years = Duration::from_hours(24 * 365);
    let aws = Listener::with_headers(
        Some(KEY),
        "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nx-amzn-RequestId: 3b1f2a77-c0de-4f9a-8e5d-6c7b8a901234\r\n",
    );
    assert_eq!(aws.kms.clock_skew(Provider::Aws), None);
    session(&aws.kms, &key()).await.unwrap();
    let skew = aws.kms.clock_skew(Provider::Aws).unwrap();
    assert!(skew.is_ahead() && skew.apart() > 30 * years, "{skew}");
    // An answer without a request id is that of something in between.
    let other = Listener::with_headers(Some(KEY), AGES_AGO);
    session(&other.kms, &key()).await.unwrap();
    assert_eq!(other.kms.clock_skew(Provider::Aws), None);
}
