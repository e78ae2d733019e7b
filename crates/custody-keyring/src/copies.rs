//! The two stored copies of one version of a zone's key: what can be used of them, and what is wrong with them.

use std::fmt;
use std::sync::Arc;

use custody_kms::{Cause, EncryptionContext, KmsError, KmsSession, RootKeyRef};
use custody_seal::{ClusterId, ZoneId, ZoneKey};

use crate::object::{KeyringObject, ObjectError, Sealed};

/// One of the two copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CopyName {
    /// `….a`
    A,
    /// `….b`
    B,
}

impl CopyName {
    pub(crate) const BOTH: [Self; 2] = [Self::A, Self::B];

    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// What is wrong with one stored copy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CopyProblem {
    /// It is not there.
    #[error("it is missing")]
    Missing,
    /// The storage did not give it.
    #[error("it could not be read: {0}")]
    Unreadable(String),
    /// It is no keyring object.
    #[error("{0}")]
    Damaged(#[from] ObjectError),
    /// It names something else than what is pinned from outside the storage, and was not shown to any KMS.
    #[error("it names {found} as its {field}, and {pinned} is pinned")]
    Foreign {
        /// What differs.
        field: &'static str,
        /// What the copy says.
        found: String,
        /// What was pinned.
        pinned: String,
    },
    /// KMS did not accept its wrapped key, or what came out does not authenticate it.
    #[error("it is not authenticated by the key in it: it was tampered with, or is damaged")]
    Forged,
}

/// Something found wrong with one stored copy while another was good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyFault {
    /// The version of the zone's key.
    pub version: u32,
    /// Which of its copies.
    pub copy: CopyName,
    /// What was wrong.
    pub problem: CopyProblem,
    /// Whether it was written anew from the good copy.
    pub mended: bool,
}

/// No copy of a version can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// The zone.
    pub zone: ZoneId,
    /// The version of its key.
    pub version: u32,
    /// What is wrong with copy `.a`.
    pub a: Box<CopyProblem>,
    /// What is wrong with copy `.b`.
    pub b: Box<CopyProblem>,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { zone, version, a, b } = self;
        write!(
            f,
            "no usable copy of version {version} of the key of zone {zone} (copy a: {a}; copy b: {b}); restore \
             zones/{zone}/keyring/{version:010}.a or .b from a backup or an older object version"
        )
    }
}

impl std::error::Error for Unusable {}

/// What a zone's keyring must name; it comes from outside the storage.
#[derive(Debug, Clone)]
pub(crate) struct Pins {
    pub(crate) cluster: ClusterId,
    pub(crate) zone: ZoneId,
    pub(crate) key: RootKeyRef,
}

impl Pins {
    /// Refuses an object that names anything else. Nothing of it has been shown to a KMS yet.
    pub(crate) fn check(&self, version: u32, object: &KeyringObject) -> Result<(), CopyProblem> {
        let named = |role: Option<&custody_kms::RoleArn>| role.map_or("no role".to_owned(), ToString::to_string);
        let fields = [
            ("cluster", object.cluster.to_string(), self.cluster.to_string()),
            ("zone", object.zone.to_string(), self.zone.to_string()),
            ("zone key version", object.version.to_string(), version.to_string()),
            ("provider", object.provider.to_string(), self.key.provider().to_string()),
            ("key", object.key.to_string(), self.key.stored_arn().to_string()),
            ("role", named(object.role.as_ref()), named(self.key.role_arn())),
        ];
        fields
            .into_iter()
            .find(|(_, found, pinned)| found != pinned)
            .map_or(Ok(()), |(field, found, pinned)| Err(CopyProblem::Foreign { field, found, pinned }))
    }
}

/// What is known of one version's copies.
#[derive(Debug, Clone)]
pub(crate) struct VersionCopies {
    pub(crate) version: u32,
    /// Copies that parse and name what is pinned; at least one.
    usable: Vec<(CopyName, Arc<Sealed>)>,
    pub(crate) faults: Vec<CopyFault>,
    /// Whether what is usable has been authenticated.
    pub(crate) authenticated: bool,
}

impl VersionCopies {
    /// Sorts what was read of both copies.
    pub(crate) fn sort(
        pins: &Pins,
        version: u32,
        a: Result<Sealed, CopyProblem>,
        b: Result<Sealed, CopyProblem>,
    ) -> Result<Self, Unusable> {
        let check = |read: Result<Sealed, CopyProblem>| {
            read.and_then(|sealed| pins.check(version, &sealed.object).map(|()| Arc::new(sealed)))
        };
        match (check(a), check(b)) {
            (Err(a), Err(b)) => Err(Unusable { zone: pins.zone, version, a: a.into(), b: b.into() }),
            (a, b) => {
                let mut copies = Self { version, usable: Vec::new(), faults: Vec::new(), authenticated: false };
                for (copy, read) in [(CopyName::A, a), (CopyName::B, b)] {
                    match read {
                        Ok(sealed) => copies.usable.push((copy, sealed)),
                        Err(problem) => copies.faults.push(CopyFault { version, copy, problem, mended: false }),
                    }
                }
                Ok(copies)
            }
        }
    }

    /// Refuses copies that are not, both of them, what was written.
    pub(crate) fn both_are(&self, written: &Sealed, zone: ZoneId) -> Result<(), Unusable> {
        if self.usable.len() == 2 && self.usable.iter().all(|(_, sealed)| **sealed == *written) {
            return Ok(());
        }
        Err(self.unusable(zone))
    }

    /// The bytes to mend the other copy with; only what has been authenticated.
    pub(crate) fn good(&self) -> Option<&Sealed> {
        self.usable.first().filter(|_| self.authenticated).map(|(_, sealed)| &**sealed)
    }

    /// Unwraps the version's key by KMS and authenticates the copy that it came from; where that fails, the other copy
    /// is tried. KMS alone is not trusted to notice tampering: the MAC under the key itself is what counts.
    pub(crate) async fn unwrap(
        self,
        session: &dyn KmsSession,
        zone: ZoneId,
        context: &EncryptionContext,
    ) -> Result<Result<(ZoneKey, Self), Unusable>, KmsError> {
        let mut tried: Vec<Arc<Sealed>> = Vec::new();
        for (_, sealed) in &self.usable {
            if tried.contains(sealed) {
                continue;
            }
            match session.decrypt(&sealed.object.wrapped, context).await {
                Ok(secret) => match ZoneKey::from_slice(secret.expose()) {
                    Ok(key) if sealed.verify(&key) => {
                        let good = Arc::clone(sealed);
                        return Ok(Ok((key, self.settle(&good))));
                    }
                    _ => {}
                },
                Err(error) if *error.cause() == Cause::WrongCiphertext => {}
                Err(error) => return Err(error),
            }
            tried.push(Arc::clone(sealed));
        }
        Ok(Err(self.unusable(zone)))
    }

    /// Keeps the copies that are the same as the authenticated one; any other is forged.
    fn settle(self, good: &Sealed) -> Self {
        let Self { version, usable, mut faults, .. } = self;
        let (usable, forged): (Vec<_>, Vec<_>) = usable.into_iter().partition(|(_, sealed)| **sealed == *good);
        let fault = |(copy, _)| CopyFault { version, copy, problem: CopyProblem::Forged, mended: false };
        faults.extend(forged.into_iter().map(fault));
        Self { version, usable, faults, authenticated: true }
    }

    fn unusable(&self, zone: ZoneId) -> Unusable {
        let problem = |copy| {
            let fault = self.faults.iter().find(|fault| fault.copy == copy);
            fault.map_or(CopyProblem::Forged, |fault| fault.problem.clone())
        };
        Unusable { zone, version: self.version, a: problem(CopyName::A).into(), b: problem(CopyName::B).into() }
    }
}
