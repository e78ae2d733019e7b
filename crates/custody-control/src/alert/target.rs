//! Where a webhook is, as a project member wrote it into a rule.

use std::{fmt, net::IpAddr};

use url::{Host, Url};

use super::address::{Allowed, Place, Refusal};

/// The longest URL.
const LONGEST: usize = 2048;

/// A webhook's URL. Its path and query may hold the receiver's own token, so that only [`Target::as_str`] shows them.
#[derive(Clone, PartialEq, Eq)]
pub struct Target(Url);

/// Why a URL was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Too long.
    #[error("the webhook's URL is longer than 2,048 bytes: give a shorter one")]
    TooLong,
    /// Not a URL.
    #[error("the webhook's URL can't be read ({0}): give one such as https://hooks.example.com/custody")]
    Unreadable(url::ParseError),
    /// White space or control characters in it, which readers of URLs drop or not, each in its own way.
    #[error(
        "the webhook's URL has white space or control characters in it: write them percent-encoded, or leave them out"
    )]
    Characters,
    /// Neither https nor http.
    #[error("a webhook's URL begins with https://")]
    Scheme,
    /// A user or a password in it.
    #[error(
        "the webhook's URL carries a user or a password, which ends up in logs: deliveries are signed, leave it out"
    )]
    UserInfo,
    /// It leads where no webhook may.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Target {
    /// Reads a URL. Names are not resolved here: what they lead to is checked at every delivery, for it may change.
    pub fn parse(url: &str, allowed: &Allowed) -> Result<Self, TargetError> {
        if url.len() > LONGEST {
            return Err(TargetError::TooLong);
        }
        if url.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err(TargetError::Characters);
        }
        let url = Url::parse(url).map_err(TargetError::Unreadable)?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(TargetError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::UserInfo);
        }
        // What is not ASCII grows when it is encoded.
        if url.as_str().len() > LONGEST {
            return Err(TargetError::TooLong);
        }
        let target = Self(url);
        match target.address() {
            Some(address) => allowed.check(target.place(), address)?,
            None => allowed.check_name(target.place())?,
        }
        Ok(target)
    }

    /// The whole URL, to store it.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(super) fn url(&self) -> &Url {
        &self.0
    }

    /// The name, unless the URL gives an address.
    pub(super) fn name(&self) -> Option<&str> {
        self.0.domain()
    }

    /// The address, where the URL gives one: in whatever notation, for reading the URL has made it an ordinary one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self.0.host()? {
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
            Host::Domain(_) => None,
        }
    }

    pub(super) fn place(&self) -> Place<'_> {
        // Both schemes have a known port.
        let port = self.0.port_or_known_default().unwrap_or_default();
        Place { name: self.name(), port, secure: self.0.scheme() == "https" }
    }
}

/// Scheme, host and port: what a log may show.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.origin().ascii_serialization())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Target, TargetError> {
        Target::parse(url, &Allowed::default())
    }

    #[test]
    fn an_https_url_with_a_name_is_taken_as_it_is() {
        for url in ["https://hooks.example.com/custody?x=1", "https://hooks.example.com/", "https://1.1.1.1/"] {
            assert_eq!(parse(url).unwrap().as_str(), url);
        }
        assert_eq!(parse("https://hooks.example.com:443/a").unwrap().as_str(), "https://hooks.example.com/a");
    }

    #[test]
    fn an_address_that_is_not_public_is_refused_in_every_notation() {
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "017700000001",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
            "127。0。0。1",
            "0",
            "0.0.0.0",
            "10.0.0.1",
            "167772161",
            "192.168.257",
            "172.16.0.1",
            "100.64.0.1",
            "169.254.169.254",
            "0xa9fea9fe",
            "2852039166",
            "0251.0376.0251.0376",
            "224.0.0.1",
            "203.0.113.1",
            "[::1]",
            "[::]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::10.0.0.1]",
            "[2002:7f00:1::]",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "[fc00::1]",
        ] {
            let refused = parse(&format!("https://{host}/hook"));
            assert!(matches!(refused, Err(TargetError::Refused(Refusal::Address { .. }))), "{host}: {refused:?}");
        }
        assert!(parse("https://[fe80::1%25eth0]/").is_err());
    }

    #[test]
    fn another_scheme_port_or_a_user_is_refused() {
        assert_eq!(parse("http://hooks.example.com/").unwrap_err(), TargetError::Refused(Refusal::Plain));
        assert_eq!(parse("https://hooks.example.com:22/").unwrap_err(), TargetError::Refused(Refusal::Port(22)));
        for url in ["ftp://hooks.example.com/", "file:///etc/passwd", "gopher://x/", "data:,x", "unix:/run/x.sock"] {
            assert_eq!(parse(url).unwrap_err(), TargetError::Scheme, "{url}");
        }
        for url in
            ["https://user@hooks.example.com/", "https://u:p@hooks.example.com/", "https://:p@hooks.example.com/"]
        {
            assert_eq!(parse(url).unwrap_err(), TargetError::UserInfo, "{url}");
        }
        for url in ["", "hooks.example.com", "https://", "/hook", "https://a:b:c/"] {
            assert!(matches!(parse(url), Err(TargetError::Unreadable(_))), "{url}");
        }
        for url in [" https://a.example/", "https://a.example/\n", "https://a\t.example/", "https://a.example/\u{7f}"] {
            assert_eq!(parse(url).unwrap_err(), TargetError::Characters, "{url:?}");
        }
    }

    #[test]
    fn a_url_has_at_most_2048_bytes_also_once_it_is_encoded() {
        let start = "https://a.example/";
        let path = "x".repeat(LONGEST - start.len());
        assert!(parse(&format!("{start}{path}")).is_ok());
        assert_eq!(parse(&format!("{start}{path}x")).unwrap_err(), TargetError::TooLong);
        assert_eq!(parse(&format!("{start}{}", "ü".repeat(800))).unwrap_err(), TargetError::TooLong);
    }

    #[test]
    fn what_the_operator_lists_is_taken() {
        let allowed = Allowed::parse(["10.0.0.0/8:8080", "hooks.corp:8443", "127.0.0.1:9"]).unwrap();
        for url in [
            "http://10.1.2.3:8080/",
            "https://10.1.2.3:8080/",
            "https://hooks.corp:8443/",
            "http://hooks.corp:8443/",
            // May lead into 10.0.0.0/8: the delivery will see.
            "http://some.corp:8080/",
            "http://0x7f000001:9/",
        ] {
            assert!(Target::parse(url, &allowed).is_ok(), "{url}");
        }
        for url in ["http://10.1.2.3/", "https://10.1.2.3/", "http://some.corp:8443/", "http://127.0.0.2:9/"] {
            assert!(Target::parse(url, &allowed).is_err(), "{url}");
        }
    }

    #[test]
    fn the_receivers_token_in_the_path_is_not_shown() {
        let target = parse("https://hooks.example.com/services/T0KEN?key=T0KEN").unwrap();
        assert_eq!(format!("{target} {target:?}"), "https://hooks.example.com Target(https://hooks.example.com)");
        let refused = parse("https://hooks.example.com:22/T0KEN").unwrap_err();
        assert!(!format!("{refused} {refused:?}").contains("T0KEN"));
    }
}
