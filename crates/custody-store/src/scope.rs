//! Which paths are a zone's.

use custody_seal::ZoneId;
use object_store::path::Path;

use crate::error::StoreError;
use crate::zones;

/// The directory of a zone that its keyring lives in. Its objects aren't sealed, so a sealed store doesn't show them.
pub(crate) const KEYRING: &str = "keyring";

/// The paths of one zone.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    root: Path,
}

impl Scope {
    pub(crate) fn new(zone: ZoneId) -> Self {
        Self { root: zones::root(zone) }
    }

    /// The prefix of the zone's objects.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The prefix of the zone's keyring.
    pub(crate) fn keyring(&self) -> Path {
        self.root.clone().join(KEYRING)
    }

    /// Whether this is one of the keyring's objects.
    pub(crate) fn is_keyring(&self, path: &Path) -> bool {
        path.prefix_match(&self.keyring()).is_some()
    }

    /// Refuses a path that can't be an object of the zone's data.
    pub(crate) fn check(&self, path: &Path) -> Result<(), StoreError> {
        let inside = path.prefix_match(&self.root).is_some_and(|mut rest| rest.next().is_some());
        if inside && !self.is_keyring(path) {
            Ok(())
        } else {
            Err(StoreError::OutsideZone { path: path.to_string(), root: self.root.to_string() })
        }
    }

    /// The prefix to list: all of the zone if none is given, and nothing beyond it.
    pub(crate) fn prefix(&self, prefix: Option<&Path>) -> Result<Path, StoreError> {
        match prefix {
            None => Ok(self.root.clone()),
            Some(prefix) if *prefix == self.root => Ok(prefix.clone()),
            Some(prefix) => self.check(prefix).map(|()| prefix.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZONE: &str = "00112233445566778899aabbccddeeff";

    fn scope() -> Scope {
        Scope::new(ZONE.parse().unwrap())
    }

    #[test]
    fn objects_of_the_zone_are_inside() {
        for path in ["db/1.sst", "a", "keyrings/1", "db/keyring/1"] {
            scope().check(&Path::from(format!("zones/{ZONE}/{path}"))).unwrap();
        }
    }

    #[test]
    fn everything_else_is_outside() {
        let other = ZONE.replace("ff", "fe");
        let outside = [
            String::new(),
            "zones".into(),
            format!("zones/{ZONE}"),
            format!("zones/{ZONE}0/a"),
            format!("zones/{other}/a"),
            format!("x/zones/{ZONE}/a"),
            format!("zones/{ZONE}/keyring"),
            format!("zones/{ZONE}/keyring/00000001.a"),
        ];
        for path in outside {
            let error = scope().check(&Path::from(path.clone())).unwrap_err();
            assert!(matches!(error, StoreError::OutsideZone { .. }), "{path}");
        }
    }

    #[test]
    fn a_listing_without_a_prefix_is_the_zones() {
        assert_eq!(scope().prefix(None).unwrap(), Path::from(format!("zones/{ZONE}")));
        scope().prefix(Some(&Path::from(format!("zones/{ZONE}/db")))).unwrap();
        scope().prefix(Some(&Path::from("zones"))).unwrap_err();
        scope().prefix(Some(&Path::from(format!("zones/{ZONE}/keyring")))).unwrap_err();
    }
}
