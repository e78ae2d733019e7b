//! Who we are to AWS: whom a customer's role has to trust.

use aws_config::retry::RetryConfig;
use aws_sdk_sts::config::IdentityCache;

use crate::aws::AwsKms;
use crate::aws::endpoint::SecureTransport;
use crate::aws::failure::{chain, failure};

/// Why it is not known who we are to AWS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// AWS could not be asked, or did not say.
    #[error("AWS does not say who this service is: {0}")]
    Unknown(String),
    /// The session of a role: its name has lost the role's path.
    #[error(
        "this service runs under a session of a role ({0}), which does not tell the role's whole ARN: set it as principal_arn"
    )]
    Session(String),
}

impl AwsKms {
    /// The ARN of our own user, by `sts:GetCallerIdentity` in a region. A session of a role does not tell the role's path,
    /// so that its role can't be named from it.
    pub async fn identity(&self, region: &str) -> Result<String, IdentityError> {
        let connector = self.0.connector();
        let unknown = |text: String| IdentityError::Unknown(text);
        let config = connector.region(region).await.map_err(|failure| unknown(failure.text))?;
        let base = connector.base(&config).await.map_err(|failure| unknown(failure.text))?;
        let sts = aws_sdk_sts::config::Builder::from(&config)
            .credentials_provider(base)
            .identity_cache(IdentityCache::no_cache())
            .retry_config(RetryConfig::standard())
            .interceptor(SecureTransport)
            .build();
        let answer = aws_sdk_sts::Client::from_conf(sts).get_caller_identity().send().await;
        let answer = answer.map_err(|error| {
            let code = failure(&error).text;
            unknown(if code.is_empty() { chain(&error) } else { code })
        })?;
        whole(answer.arn().unwrap_or_default())
    }
}

fn whole(arn: &str) -> Result<String, IdentityError> {
    match arn.split(':').nth(5) {
        Some(resource) if resource.starts_with("user/") || resource == "root" => Ok(arn.to_owned()),
        Some(resource) if resource.starts_with("assumed-role/") => Err(IdentityError::Session(arn.to_owned())),
        _ => Err(IdentityError::Unknown(format!("it answered {arn:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_whole_and_the_session_of_a_role_is_not_taken_for_it() {
        let user = "arn:aws:iam::111122223333:user/path/custody";
        assert_eq!(whole(user).unwrap(), user);
        assert_eq!(whole("arn:aws:iam::111122223333:root").unwrap(), "arn:aws:iam::111122223333:root");
        let session = whole("arn:aws:sts::111122223333:assumed-role/custody/i-0abc").unwrap_err();
        assert!(matches!(session, IdentityError::Session(_)) && session.to_string().contains("principal_arn"));
        assert!(matches!(whole(""), Err(IdentityError::Unknown(_))));
    }
}
