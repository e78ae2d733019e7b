//! Which addresses a webhook may reach. Whoever writes an alert rule chooses where the control plane connects to, so that
//! nothing beside the open internet is reached unless the operator lists it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The port of https, the only one that needs no entry in the operator's list.
pub(crate) const HTTPS: u16 = 443;

/// What kind of address it is, when it is not one of the open internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// This machine.
    Loopback,
    /// No address; many systems take it for this machine.
    Unspecified,
    /// The link, where machines find each other without any plan.
    LinkLocal,
    /// Where a cloud hands its machines their credentials.
    Metadata,
    /// A network of somebody's own.
    Private,
    /// Between a provider and its customers (100.64.0.0/10).
    Shared,
    /// Many machines at once.
    Multicast,
    /// For examples in texts.
    Documentation,
    /// Not given to anybody on the internet.
    Reserved,
}

impl Kind {
    /// The kind of an address; none for one of the open internet.
    pub(crate) fn of(address: IpAddr) -> Option<Self> {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Option<Self> {
        V4.iter().find(|(network, _)| network.contains(&address)).map(|(_, kind)| *kind)
    }

    fn of_v6(address: Ipv6Addr) -> Option<Self> {
        if let Some((_, kind)) = V6.iter().find(|(network, _)| network.contains(&address)) {
            return Some(*kind);
        }
        match carried(address) {
            Some(inner) => Self::of_v4(inner),
            // Nothing else is given out.
            None => (!GIVEN_OUT.contains(&address)).then_some(Self::Reserved),
        }
    }

    /// Whether the operator may let a name lead there. For the others, the network itself has to be listed: nobody who
    /// lists a name means the place where credentials are handed out.
    fn may_be_named(self) -> bool {
        matches!(self, Self::Loopback | Self::Private | Self::Shared)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "a loopback address",
            Self::Unspecified => "an unspecified address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "the address of a cloud's metadata service",
            Self::Private => "a private address",
            Self::Shared => "an address of a provider's inner network",
            Self::Multicast => "a multicast address",
            Self::Documentation => "an address for documentation",
            Self::Reserved => "a reserved address",
        })
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

/// A network by the first 64 bits of its addresses.
const fn v6(a: u16, b: u16, c: u16, d: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), length)
}

/// IANA's registry of special addresses, single ones before the networks around them.
const V4: [(Ipv4Net, Kind); 19] = [
    (v4(169, 254, 169, 254, 32), Kind::Metadata),
    (v4(169, 254, 170, 2, 32), Kind::Metadata),
    (v4(100, 100, 100, 200, 32), Kind::Metadata),
    // Public by its number, and yet Azure's.
    (v4(168, 63, 129, 16, 32), Kind::Metadata),
    (v4(0, 0, 0, 0, 8), Kind::Unspecified),
    (v4(10, 0, 0, 0, 8), Kind::Private),
    (v4(100, 64, 0, 0, 10), Kind::Shared),
    (v4(127, 0, 0, 0, 8), Kind::Loopback),
    (v4(169, 254, 0, 0, 16), Kind::LinkLocal),
    (v4(172, 16, 0, 0, 12), Kind::Private),
    (v4(192, 0, 0, 0, 24), Kind::Reserved),
    (v4(192, 0, 2, 0, 24), Kind::Documentation),
    (v4(192, 88, 99, 0, 24), Kind::Reserved),
    (v4(192, 168, 0, 0, 16), Kind::Private),
    (v4(198, 18, 0, 0, 15), Kind::Reserved),
    (v4(198, 51, 100, 0, 24), Kind::Documentation),
    (v4(203, 0, 113, 0, 24), Kind::Documentation),
    (v4(224, 0, 0, 0, 4), Kind::Multicast),
    (v4(240, 0, 0, 0, 4), Kind::Reserved),
];

const V6: [(Ipv6Net, Kind); 10] = [
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), Kind::Loopback),
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128), Kind::Unspecified),
    (v6(0xfd00, 0xec2, 0, 0, 32), Kind::Metadata),
    // Teredo, ORCHID, benchmarks and more of the sort.
    (v6(0x2001, 0, 0, 0, 23), Kind::Reserved),
    (v6(0x2001, 0xdb8, 0, 0, 32), Kind::Documentation),
    (v6(0x3fff, 0, 0, 0, 20), Kind::Documentation),
    (v6(0xfc00, 0, 0, 0, 7), Kind::Private),
    (v6(0xfe80, 0, 0, 0, 10), Kind::LinkLocal),
    (v6(0xfec0, 0, 0, 0, 10), Kind::Private),
    (v6(0xff00, 0, 0, 0, 8), Kind::Multicast),
];

/// What IANA gives out of IPv6.
const GIVEN_OUT: Ipv6Net = v6(0x2000, 0, 0, 0, 3);
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 0, 96);
const SIX_TO_FOUR: Ipv6Net = v6(0x2002, 0, 0, 0, 16);

/// The IPv4 address that a gateway would make of an IPv6 one. Mapped addresses are canonical by then; those of the old
/// "compatible" form no gateway serves any more, and they stay reserved.
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bytes = address.octets();
    let at = |from: usize| Ipv4Addr::new(bytes[from], bytes[from + 1], bytes[from + 2], bytes[from + 3]);
    if NAT64.contains(&address) {
        Some(at(12))
    } else if SIX_TO_FOUR.contains(&address) {
        Some(at(2))
    } else {
        None
    }
}

/// Why a webhook may not reach an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Not of the open internet.
    #[error("{address} is {kind}, which a webhook reaches only where the operator lists its network and port")]
    Address {
        /// The address.
        address: IpAddr,
        /// What it is.
        kind: Kind,
    },
    /// Another port than that of https.
    #[error("port {0} is not 443, and a webhook reaches another port only where the operator lists it with its host")]
    Port(u16),
    /// Not encrypted.
    #[error("plain http is only for hosts and ports that the operator lists: use https")]
    Plain,
}

/// Where a connection is to go to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The name, unless the URL gives an address itself.
    pub(crate) name: Option<&'a str>,
    /// The port.
    pub(crate) port: u16,
    /// With TLS.
    pub(crate) secure: bool,
}

/// The operator's list: what webhooks may reach beside https on port 443 of the open internet.
///
/// An entry is a network, an address or a name, with a port or, without one, for 443: `10.1.0.0/16`, `10.1.2.3:8080`,
/// `[fd12::/16]:8443`, `hooks.corp.example:8443`. At what it lists, plain http is allowed too.
#[derive(Clone, Debug, Default)]
pub struct Allowed(Vec<Entry>);

/// An entry can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} lists nothing that a webhook could reach: give a network (10.1.0.0/16), an address or a name, with a port if it is \
     not 443 (10.1.2.3:8080, [fd12::/16]:8443, hooks.corp.example:8443)"
)]
pub struct AllowedError(String);

#[derive(Clone, Debug)]
struct Entry {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug)]
enum Host {
    Network(IpNet),
    Name(String),
}

impl Allowed {
    /// Reads the entries.
    pub fn parse<S: AsRef<str>>(entries: impl IntoIterator<Item = S>) -> Result<Self, AllowedError> {
        let read = |text: S| Entry::parse(text.as_ref()).ok_or_else(|| AllowedError(text.as_ref().to_owned()));
        Ok(Self(entries.into_iter().map(read).collect::<Result<_, _>>()?))
    }

    /// Whether an address may be connected to.
    pub(crate) fn check(&self, place: Place<'_>, address: IpAddr) -> Result<(), Refusal> {
        let address = address.to_canonical();
        if self.0.iter().any(|entry| entry.port == place.port && entry.holds(address)) {
            return Ok(());
        }
        let named = self.names(place);
        match Kind::of(address) {
            Some(kind) if !(named && kind.may_be_named()) => Err(Refusal::Address { address, kind }),
            _ if named => Ok(()),
            _ => without_entry(place),
        }
    }

    /// What can be said of a name before it is resolved: whether there may be an address at which it is allowed.
    pub(crate) fn check_name(&self, place: Place<'_>) -> Result<(), Refusal> {
        let network = |entry: &Entry| entry.port == place.port && matches!(entry.host, Host::Network(_));
        if self.names(place) || self.0.iter().any(network) { Ok(()) } else { without_entry(place) }
    }

    fn names(&self, place: Place<'_>) -> bool {
        let wanted = place.name.map(without_dot);
        let names = |entry: &Entry| matches!(&entry.host, Host::Name(name) if Some(name.as_str()) == wanted);
        self.0.iter().any(|entry| entry.port == place.port && names(entry))
    }
}

/// What everybody may do.
fn without_entry(place: Place<'_>) -> Result<(), Refusal> {
    match place {
        Place { secure: false, .. } => Err(Refusal::Plain),
        Place { port: HTTPS, .. } => Ok(()),
        Place { port, .. } => Err(Refusal::Port(port)),
    }
}

/// A name that ends in a dot is the same name.
fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = split_port(text)?;
        let port = port.map_or(Some(HTTPS), |digits| digits.parse().ok().filter(|port| *port != 0))?;
        let host = match network(host) {
            Some(network) => Host::Network(network),
            None => Host::Name(name(host)?),
        };
        Some(Self { host, port })
    }

    fn holds(&self, address: IpAddr) -> bool {
        matches!(&self.host, Host::Network(network) if network.contains(&address))
    }
}

/// The host of an entry and its port. The colons of IPv6 need brackets as soon as a port follows.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        return match rest.split_once(']')? {
            (host, "") => Some((host, None)),
            (host, port) => Some((host, Some(port.strip_prefix(':')?))),
        };
    }
    if network(text).is_some() {
        return Some((text, None));
    }
    match text.rsplit_once(':') {
        Some((host, port)) => Some((host, Some(port))),
        None => Some((text, None)),
    }
}

fn network(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address)
}

fn name(text: &str) -> Option<String> {
    let name = without_dot(text).to_ascii_lowercase();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let fits = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(allowed);
    // A name that ends in a number is read as an address in another notation, and never as a name.
    let number = name.rsplit('.').next().is_some_and(|last| last.starts_with(|first: char| first.is_ascii_digit()));
    (name.len() <= 253 && !number && name.split('.').all(fits)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTTPS_PLACE: Place<'_> = Place { name: None, port: 443, secure: true };

    fn kind(address: &str) -> Option<Kind> {
        Kind::of(address.parse().unwrap())
    }

    fn allowed(entries: &[&str]) -> Allowed {
        Allowed::parse(entries).unwrap()
    }

    fn check(allowed: &Allowed, place: Place<'_>, address: &str) -> Result<(), Refusal> {
        allowed.check(place, address.parse().unwrap())
    }

    #[test]
    fn what_is_not_of_the_open_internet_is_told_by_its_kind() {
        for (address, expected) in [
            ("127.0.0.1", Kind::Loopback),
            ("127.255.255.254", Kind::Loopback),
            ("0.0.0.0", Kind::Unspecified),
            ("0.1.2.3", Kind::Unspecified),
            ("10.0.0.0", Kind::Private),
            ("10.255.255.255", Kind::Private),
            ("172.16.0.1", Kind::Private),
            ("172.31.255.255", Kind::Private),
            ("192.168.1.1", Kind::Private),
            ("100.64.0.1", Kind::Shared),
            ("100.127.255.255", Kind::Shared),
            ("169.254.1.1", Kind::LinkLocal),
            ("169.254.169.254", Kind::Metadata),
            ("169.254.170.2", Kind::Metadata),
            ("100.100.100.200", Kind::Metadata),
            ("168.63.129.16", Kind::Metadata),
            ("192.0.0.192", Kind::Reserved),
            ("192.0.2.1", Kind::Documentation),
            ("198.51.100.7", Kind::Documentation),
            ("203.0.113.255", Kind::Documentation),
            ("198.18.0.1", Kind::Reserved),
            ("198.19.255.255", Kind::Reserved),
            ("224.0.0.1", Kind::Multicast),
            ("239.255.255.255", Kind::Multicast),
            ("240.0.0.1", Kind::Reserved),
            ("255.255.255.255", Kind::Reserved),
            ("::1", Kind::Loopback),
            ("::", Kind::Unspecified),
            ("fd00:ec2::254", Kind::Metadata),
            ("fc00::1", Kind::Private),
            ("fdff::1", Kind::Private),
            ("fe80::1", Kind::LinkLocal),
            ("febf::1", Kind::LinkLocal),
            ("fec0::1", Kind::Private),
            ("ff02::1", Kind::Multicast),
            ("2001:db8::1", Kind::Documentation),
            ("3fff::1", Kind::Documentation),
            ("2001::7f00:1", Kind::Reserved),
            ("2001:2::1", Kind::Reserved),
            ("100::1", Kind::Reserved),
            ("5f00::1", Kind::Reserved),
            ("64:ff9b:1::a00:1", Kind::Reserved),
        ] {
            assert_eq!(kind(address), Some(expected), "{address}");
        }
    }

    #[test]
    fn an_ipv4_address_within_an_ipv6_one_is_found() {
        for (address, expected) in [
            ("::ffff:127.0.0.1", Kind::Loopback),
            ("::ffff:10.1.2.3", Kind::Private),
            ("::ffff:a9fe:a9fe", Kind::Metadata),
            ("::127.0.0.1", Kind::Reserved),
            ("::10.0.0.1", Kind::Reserved),
            ("::ffff:0:127.0.0.1", Kind::Reserved),
            ("64:ff9b::127.0.0.1", Kind::Loopback),
            ("64:ff9b::169.254.169.254", Kind::Metadata),
            ("64:ff9b::a00:1", Kind::Private),
            ("2002:7f00:1::", Kind::Loopback),
            ("2002:a9fe:a9fe::1", Kind::Metadata),
            ("2002:c0a8:101::1", Kind::Private),
        ] {
            assert_eq!(kind(address), Some(expected), "{address}");
        }
    }

    #[test]
    fn the_open_internet_is_open_up_to_its_borders() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:200::1",
            "2001:4860::8888",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
        ] {
            assert_eq!(kind(address), None, "{address}");
        }
    }

    #[test]
    fn without_a_list_only_https_on_port_443_of_the_open_internet_is_reached() {
        let none = Allowed::default();
        assert_eq!(check(&none, HTTPS_PLACE, "1.1.1.1"), Ok(()));
        assert_eq!(check(&none, Place { port: 8443, ..HTTPS_PLACE }, "1.1.1.1"), Err(Refusal::Port(8443)));
        assert_eq!(check(&none, Place { secure: false, ..HTTPS_PLACE }, "1.1.1.1"), Err(Refusal::Plain));
        let refused = check(&none, HTTPS_PLACE, "10.0.0.1").unwrap_err();
        assert!(refused.to_string().starts_with("10.0.0.1 is a private address"), "{refused}");
    }

    #[test]
    fn a_listed_network_is_reached_at_its_port_alone() {
        let list = allowed(&["10.1.0.0/16", "10.2.0.0/16:8080", "[fd12::/16]:8443", "192.168.7.7:80", "fd13::1"]);
        let place = |port| Place { port, ..HTTPS_PLACE };
        for (port, address) in [
            (443, "10.1.2.3"),
            (443, "::ffff:10.1.2.3"),
            (8080, "10.2.0.1"),
            (8443, "fd12::9"),
            (80, "192.168.7.7"),
            (443, "fd13::1"),
        ] {
            assert_eq!(check(&list, place(port), address), Ok(()), "{port} {address}");
            assert_eq!(check(&list, Place { secure: false, ..place(port) }, address), Ok(()), "{port} {address}");
            assert!(check(&list, place(port + 1), address).is_err(), "{port} {address}");
        }
        for (port, address) in [(443, "10.2.0.1"), (8080, "10.1.2.3"), (80, "192.168.7.8"), (443, "2002:a01:203::1")] {
            assert!(check(&list, place(port), address).is_err(), "{port} {address}");
        }
    }

    #[test]
    fn a_listed_name_may_lead_into_a_private_network_but_not_to_credentials() {
        let list = allowed(&["Hooks.Corp.Example.:8443"]);
        let place = Place { name: Some("hooks.corp.example"), port: 8443, secure: false };
        for address in ["10.0.0.1", "127.0.0.1", "100.64.0.1", "1.1.1.1", "fd00::1"] {
            assert_eq!(check(&list, place, address), Ok(()), "{address}");
            assert_eq!(check(&list, Place { name: Some("hooks.corp.example."), ..place }, address), Ok(()));
            for name in [Some("corp.example"), Some("xhooks.corp.example"), None] {
                assert!(check(&list, Place { name, ..place }, address).is_err(), "{address}");
            }
            assert!(address == "1.1.1.1" || check(&list, Place { port: 443, ..place }, address).is_err(), "{address}");
        }
        for address in ["169.254.169.254", "169.254.1.1", "fe80::1", "0.0.0.0", "224.0.0.1", "fd00:ec2::254"] {
            assert!(matches!(check(&list, place, address), Err(Refusal::Address { .. })), "{address}");
        }
    }

    #[test]
    fn an_entry_that_can_not_be_read_is_refused_and_not_passed_over() {
        for entry in [
            "",
            ":443",
            "10.0.0.0/33",
            "10.0.0.0/8:0",
            "10.0.0.0/8:65536",
            "10.0.0.0/8:",
            "10.0.0/8",
            "10.1",
            "0x7f.1",
            "fd00::/8:8443:x",
            "[fd00::/8",
            "[fd00::/8]8443",
            "https://hooks.example",
            "hooks.example/path",
            "*.example",
            "a..b",
            "a b",
            "user@hooks.example",
        ] {
            assert!(Allowed::parse([entry]).is_err(), "{entry:?}");
        }
    }
}
