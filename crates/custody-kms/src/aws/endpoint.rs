//! Plain http carries plaintext zone keys only where nobody can listen: on this machine.

use std::net::IpAddr;

use aws_config::SdkConfig;
use aws_sdk_kms::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_kms::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kms::error::BoxError;
use aws_types::service_config::ServiceConfigKey;

/// An endpoint that would carry plaintext keys in the clear, or that we can't judge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place} is {endpoint:?}: KMS and STS are spoken to over https only, except on loopback; change it to https")]
pub struct InsecureEndpoint {
    /// Where the endpoint was named.
    pub place: String,
    /// The endpoint.
    pub endpoint: String,
}

/// The variables through which the SDK, the credential chain's own STS calls included, takes an endpoint.
const VARIABLES: [&str; 3] = ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL_STS"];

/// Refuses an insecure endpoint in any of the SDK's variables.
pub(crate) fn check_environment(variable: impl Fn(&str) -> Option<String>) -> Result<(), InsecureEndpoint> {
    VARIABLES.iter().try_for_each(|name| variable(name).map_or(Ok(()), |value| check(name, &value)))
}

/// Refuses an insecure endpoint that the profile gives to all services or to one. The credential chain's own STS calls go
/// there too, and no interceptor of ours sees those.
pub(crate) fn check_profile(config: &SdkConfig) -> Result<(), InsecureEndpoint> {
    const PLACE: &str = "the endpoint of the AWS profile";
    config.endpoint_url().map_or(Ok(()), |url| check(PLACE, url))?;
    ["KMS", "STS"].into_iter().try_for_each(|service| {
        let key = ServiceConfigKey::builder().service_id(service).env("AWS_ENDPOINT_URL").profile("endpoint_url");
        // It fails only where one of the three is left out.
        let found = config.service_config().zip(key.build().ok()).and_then(|(services, key)| services.load_config(key));
        found.map_or(Ok(()), |url| check(PLACE, &url))
    })
}

/// Refuses an insecure endpoint.
pub(crate) fn check(place: &str, endpoint: &str) -> Result<(), InsecureEndpoint> {
    if is_secure(endpoint) {
        Ok(())
    } else {
        Err(InsecureEndpoint { place: place.to_owned(), endpoint: endpoint.to_owned() })
    }
}

pub(crate) fn is_secure(endpoint: &str) -> bool {
    let Some((scheme, rest)) = endpoint.split_once("://") else { return false };
    if scheme.eq_ignore_ascii_case("https") {
        return true;
    }
    scheme.eq_ignore_ascii_case("http") && host(rest).is_some_and(is_loopback)
}

/// The host of what follows `://`; `None` where it isn't plain to see, as after credentials in the URL.
fn host(rest: &str) -> Option<&str> {
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    if authority.contains('@') {
        return None;
    }
    match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']').map(|(host, _)| host),
        None => authority.split(':').next(),
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Looks at the final address of each request, before it is signed. It sees what no variable shows: endpoints of a
/// profile or a services section.
#[derive(Debug)]
pub(crate) struct SecureTransport;

impl Intercept for SecureTransport {
    fn name(&self) -> &'static str {
        "SecureTransport"
    }

    fn read_before_signing(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _runtime_components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        Ok(check("the endpoint of the request", context.request().uri())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_anywhere_and_http_on_loopback_are_allowed() {
        for endpoint in [
            "https://kms.us-west-2.amazonaws.com",
            "HTTPS://example.com/",
            "http://127.0.0.1:15666",
            "http://127.9.9.9/",
            "http://localhost:4566/path?x=http://evil",
            "http://[::1]:15666",
        ] {
            assert_eq!(check("it", endpoint), Ok(()), "{endpoint}");
        }
    }

    #[test]
    fn plain_http_to_anywhere_else_is_refused() {
        for endpoint in [
            "http://kms.us-west-2.amazonaws.com",
            "http://10.0.0.1:15666",
            "http://169.254.169.254",
            "http://[::2]",
            "http://localhost.evil.example",
            "http://127.0.0.1@evil.example/",
            "http://localhost:80@evil.example/",
            "http://evil.example/localhost",
            "http://evil.example\\@localhost",
            "http://",
            "ftp://localhost",
            "localhost:15666",
            "",
        ] {
            assert!(check("it", endpoint).is_err(), "{endpoint}");
        }
    }

    #[test]
    fn each_variable_that_names_an_endpoint_is_looked_at() {
        for name in VARIABLES {
            let error = check_environment(|asked| (asked == name).then(|| "http://10.0.0.1".to_owned())).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        assert_eq!(check_environment(|_| None), Ok(()));
        assert_eq!(check_environment(|_| Some("http://127.0.0.1:1".to_owned())), Ok(()));
    }
}
