//! Sessions on one part of a bucket, for a process that is to reach nothing else of it.

use serde_json::json;

use crate::arn::RoleArn;
use crate::aws::connector::Assumed;
use crate::aws::handed::{HandedFailure, HandedSession};
use crate::aws::sessions::AwsSessions;
use crate::classify::{classify, is_transient};
use crate::error::Action;

/// As long as a role gives a session whose own maximum nobody has changed.
const SESSION_SECONDS: i32 = 3_600;

/// The objects of a bucket whose keys begin with a prefix and a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketPart {
    bucket: String,
    prefix: String,
    writable: bool,
}

/// What can't be the name of a part of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} can't be named in a policy: a bucket has lower case letters, digits, dots and dashes; below it only letters, digits and \
     - _ . = / are possible, with no empty part"
)]
pub struct BucketPartError(String);

impl BucketPart {
    /// The part of `bucket` below `prefix`. Nothing in either may mean more in a policy than itself.
    pub fn new(bucket: &str, prefix: &str) -> Result<Self, BucketPartError> {
        let name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
        let key = |c: char| c.is_ascii_alphanumeric() || "-_.=".contains(c);
        let named = !bucket.is_empty() && bucket.chars().all(name);
        if named && prefix.split('/').all(|part| !part.is_empty() && part.chars().all(key)) {
            Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned(), writable: true })
        } else {
            Err(BucketPartError(format!("{bucket}/{prefix}")))
        }
    }

    /// The same part, to be read alone.
    #[must_use]
    pub fn to_read(self) -> Self {
        Self { writable: false, ..self }
    }

    /// What a session may do, whatever its role allows besides: read, and unless it is to read alone write and delete the
    /// objects, and list them.
    fn policy(&self, partition: &str) -> String {
        let Self { bucket, prefix, writable } = self;
        let all = [
            "s3:GetObject",
            "s3:PutObject",
            "s3:DeleteObject",
            "s3:AbortMultipartUpload",
            "s3:ListMultipartUploadParts",
        ];
        let actions = if *writable { &all[..] } else { &all[..1] };
        let objects = format!("arn:{partition}:s3:::{bucket}/{prefix}/*");
        let listed = json!({ "StringLike": { "s3:prefix": [format!("{prefix}/*")] } });
        json!({
            "Version": "2012-10-17",
            "Statement": [
                { "Effect": "Allow", "Action": actions, "Resource": objects },
                {
                    "Effect": "Allow",
                    "Action": "s3:ListBucket",
                    "Resource": format!("arn:{partition}:s3:::{bucket}"),
                    "Condition": listed,
                },
            ],
        })
        .to_string()
    }
}

impl AwsSessions {
    /// Assumes `role`, which is the operator's own, for one part of a bucket; `region` is where STS is asked. No customer's
    /// key is concerned: the call stands in the log, and in no key's ledger.
    pub async fn on_bucket(
        &self,
        role: &RoleArn,
        part: &BucketPart,
        region: &str,
    ) -> Result<HandedSession, HandedFailure> {
        let mut attempt = 0;
        loop {
            let policy = part.policy(role.partition().as_str());
            let what = Assumed { role, external_id: None, policy, name: self.name(), seconds: SESSION_SECONDS };
            let failure = match self.connector().open(region, what).await {
                Ok(opened) => {
                    let (session, request_id) = (opened.session, opened.request_id);
                    tracing::info!(
                        bucket = part.bucket,
                        prefix = part.prefix,
                        session,
                        request_id,
                        "a session on a bucket"
                    );
                    return Ok(opened.value);
                }
                Err(failure) => failure,
            };
            let (_, cause) = classify(Action::AssumeRole, &failure);
            if !self.retry().again(attempt, is_transient(&cause)).await {
                return Err(failure.into());
            }
            attempt += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_reaches_one_part_of_one_bucket() {
        let part = BucketPart::new("vectors", "prod/clusters/in01-a").unwrap();
        let policy: serde_json::Value = serde_json::from_str(&part.policy("aws")).unwrap();
        let statements = policy["Statement"].as_array().unwrap();
        assert_eq!(statements.len(), 2);
        assert_eq!(statements[0]["Resource"], "arn:aws:s3:::vectors/prod/clusters/in01-a/*");
        assert_eq!(statements[1]["Resource"], "arn:aws:s3:::vectors");
        assert_eq!(statements[1]["Condition"]["StringLike"]["s3:prefix"], json!(["prod/clusters/in01-a/*"]));
        assert!(statements[0]["Action"].as_array().unwrap().contains(&json!("s3:PutObject")));
    }

    #[test]
    fn a_session_that_is_to_read_does_not_write() {
        let part = BucketPart::new("vectors", "prod/backups/in01-a").unwrap().to_read();
        let policy: serde_json::Value = serde_json::from_str(&part.policy("aws")).unwrap();
        assert_eq!(policy["Statement"][0]["Action"], json!(["s3:GetObject"]));
        assert_eq!(policy["Statement"][1]["Action"], "s3:ListBucket");
    }

    #[test]
    fn what_means_more_than_itself_in_a_policy_is_refused() {
        for (bucket, prefix) in [
            ("vec*", "a"),
            ("vectors", "a/*"),
            ("vectors", "a?b"),
            ("vectors", "a/${aws:username}"),
            ("vectors", ""),
            ("vectors", "a//b"),
            ("vectors", "a/"),
            ("", "a"),
            ("Vectors", "a"),
        ] {
            assert!(BucketPart::new(bucket, prefix).is_err(), "{bucket} {prefix}");
        }
    }
}
