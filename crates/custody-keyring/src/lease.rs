//! One lease per root key: its zones may be used until it ends, and every proof of the key renews it for all of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use custody_kms::{
    Cause, ContextId, EncryptionContext, KmsError, KmsSession, Outcome, Purpose, RootKeyRef, RootKms, confirmed,
};
use custody_seal::{ClusterId, ZoneId, ZoneKey};

use crate::clock::{Clock, Moment};
use crate::copies::{Pins, Unusable, VersionCopies};
use crate::policy::LeasePolicy;
use crate::status::{SealReason, ZoneStatus};
use crate::term::Term;
use crate::vault::Vault;
use crate::zone::{Zone, ZoneKeys};

/// What all leases of a keyring share.
pub(crate) struct Surroundings {
    pub(crate) cluster: ClusterId,
    /// The cluster's id as it stands in EncryptionContexts.
    pub(crate) context: ContextId,
    pub(crate) kms: Arc<dyn RootKms>,
    pub(crate) vault: Vault,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The lease on one root key.
pub(crate) struct Lease {
    pub(crate) key: RootKeyRef,
    pub(crate) around: Arc<Surroundings>,
    pub(crate) term: Arc<Term>,
    policy: RwLock<LeasePolicy>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    zones: Vec<Arc<Zone>>,
    /// When the newest proof of the key began. Counting from its beginning, a slow answer extends nothing.
    proven: Option<Moment>,
    /// When the newest attempt at one began.
    attempted: Option<Moment>,
    /// Why the newest attempt failed.
    trouble: Option<KmsError>,
    /// Counts the times that the lease was ended. An answer asked for before an end does not begin it anew.
    ends: u64,
}

/// A zone's keys and the copies that they were authenticated from.
type Unwrapped = (ZoneKeys, Vec<VersionCopies>);

impl Lease {
    pub(crate) fn new(key: RootKeyRef, around: Arc<Surroundings>, policy: LeasePolicy) -> Self {
        let term = Arc::new(Term::new(Arc::clone(&around.clock)));
        Self { key, around, term, policy: RwLock::new(policy), state: Mutex::default() }
    }

    pub(crate) fn policy(&self) -> LeasePolicy {
        *self.policy.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows another policy from now on; a shorter grace counts at once, from the last success.
    pub(crate) fn set_policy(&self, policy: LeasePolicy) {
        let state = self.lock();
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
        if self.term.end().is_some() {
            self.set_end(&state);
        }
        self.term.reschedule();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wait before a denial is tried again.
    pub(crate) async fn pause(&self) {
        let clock = &self.around.clock;
        clock.sleep_until(clock.now().after(self.policy().deny_confirm_delay)).await;
    }

    pub(crate) fn context(&self, zone: ZoneId, version: u32) -> EncryptionContext {
        EncryptionContext::zone_key(self.around.context.clone(), ContextId::from(*zone.as_bytes()), version)
    }

    /// What an answer has to be given along with, to be believed when it comes: when it was asked for.
    pub(crate) fn ask(&self) -> Asked {
        Asked { at: self.around.clock.now(), ends: self.lock().ends }
    }

    /// Opens a zone for the first time: with its keys, or sealed with the reason why KMS did not give them.
    pub(crate) async fn open(&self, zone: &Arc<Zone>) -> Result<(), Unusable> {
        let asked = self.ask();
        match self.unwrap(zone, Purpose::Open).await {
            Ok(Ok((keys, copies))) => {
                self.settle(zone, copies).await;
                self.admit(zone, keys, &asked);
            }
            Ok(Err(unusable)) => return Err(unusable),
            Err(error) => {
                zone.seal(SealReason::Kms(error));
                self.lock().attempted.get_or_insert(asked.at);
                self.adopt(zone);
            }
        }
        Ok(())
    }

    /// Unwraps all versions of a zone in a session of its own.
    async fn unwrap(&self, zone: &Zone, purpose: Purpose) -> Result<Result<Unwrapped, Unusable>, KmsError> {
        let kms = &*self.around.kms;
        confirmed(kms, &self.key, purpose, self.pause(), |session| async move {
            self.unwrap_in(session.as_ref(), zone).await
        })
        .await
    }

    async fn unwrap_in(&self, session: &dyn KmsSession, zone: &Zone) -> Result<Result<Unwrapped, Unusable>, KmsError> {
        let mut keys = ZoneKeys::new();
        let mut settled = Vec::new();
        for copies in zone.copies() {
            let version = copies.version;
            match self.unwrap_version(session, zone.id(), copies).await? {
                Ok((key, copies)) => {
                    keys.insert(version, key);
                    settled.push(copies);
                }
                Err(unusable) => return Ok(Err(unusable)),
            }
        }
        Ok(Ok((keys, settled)))
    }

    /// Unwraps one version. Where what is known of its copies can't be used, the storage is looked at again: somebody
    /// may have restored one.
    async fn unwrap_version(
        &self,
        session: &dyn KmsSession,
        zone: ZoneId,
        copies: VersionCopies,
    ) -> Result<Result<(ZoneKey, VersionCopies), Unusable>, KmsError> {
        let version = copies.version;
        let context = self.context(zone, version);
        let unusable = match copies.unwrap(session, zone, &context).await? {
            Ok(unwrapped) => return Ok(Ok(unwrapped)),
            Err(unusable) => unusable,
        };
        match self.around.vault.read(&self.pins(zone), version).await {
            Ok(copies) => copies.unwrap(session, zone, &context).await,
            Err(_) => Ok(Err(unusable)),
        }
    }

    /// What the keyring of one of this key's zones must name.
    pub(crate) fn pins(&self, zone: ZoneId) -> Pins {
        Pins { cluster: self.around.cluster.clone(), zone, key: self.key.clone() }
    }

    /// Mends and notes what authentication has shown of a zone's copies.
    async fn settle(&self, zone: &Zone, copies: Vec<VersionCopies>) {
        for copies in copies {
            zone.settle(self.around.vault.mend(zone.id(), copies).await);
        }
    }

    /// Takes in a zone with its keys: what unwrapped them is a proof of the key, too.
    pub(crate) fn admit(&self, zone: &Arc<Zone>, keys: ZoneKeys, asked: &Asked) {
        let mut state = self.lock();
        state.zones.push(Arc::clone(zone));
        if state.ends == asked.ends {
            self.succeed(&mut state, asked.at);
            zone.install(keys, self.serving(&state));
        }
        self.look_after(&state);
    }

    /// Takes in a zone that stays sealed for now. The other zones are not sealed for it: they are checked.
    pub(crate) fn adopt(&self, zone: &Arc<Zone>) {
        let mut state = self.lock();
        let others = state.zones.iter().any(|zone| zone.has_keys());
        state.zones.push(Arc::clone(zone));
        drop(state);
        if others { self.term.wake() } else { self.term.reschedule() }
    }

    /// Lets the task check at once if a zone waits for its keys, and else only look at its new schedule.
    fn look_after(&self, state: &State) {
        if state.zones.iter().any(|zone| !zone.has_keys() && !zone.is_held()) {
            self.term.wake();
        } else {
            self.term.reschedule();
        }
    }

    pub(crate) fn remove(&self, zone: &Arc<Zone>) {
        self.lock().zones.retain(|held| !Arc::ptr_eq(held, zone));
    }

    /// When the next check is due; `None` while there is no zone to check for.
    pub(crate) fn next_check(&self) -> Option<Moment> {
        let state = self.lock();
        state.zones.iter().any(|zone| !zone.is_held()).then(|| {
            let now = self.around.clock.now();
            state.attempted.map_or(now, |attempt| attempt.after(self.policy().pause()))
        })
    }

    /// Proves the key by one real decrypt in a fresh session and concludes for all zones. `None` if there was nothing to
    /// prove it with; else the session, for opening again what was sealed.
    pub(crate) async fn check(&self) -> Option<Result<Box<dyn KmsSession>, KmsError>> {
        let witnesses = self.witnesses();
        if witnesses.is_empty() {
            return None;
        }
        let began = self.around.clock.now();
        self.lock().attempted = Some(began);
        let witnesses = &witnesses;
        let proof = confirmed(&*self.around.kms, &self.key, Purpose::Renew, self.pause(), |session| async move {
            let unusable = self.prove(session.as_ref(), witnesses).await?;
            Ok((session, unusable))
        });
        let result = match proof.await {
            Ok((session, Ok(()))) => {
                self.succeed(&mut self.lock(), began);
                Ok(session)
            }
            Ok((_, Err(unusable))) => {
                let error = KmsError::new(self.key.key_arn(), Outcome::Misconfigured, Cause::WrongCiphertext);
                self.end(&SealReason::Keyring(unusable.to_string().into()));
                Err(error)
            }
            Err(error) => {
                self.fail(&error);
                Err(error)
            }
        };
        Some(result)
    }

    /// The newest version of each zone that is not held, those first that have been authenticated before.
    fn witnesses(&self) -> Vec<(ZoneId, VersionCopies)> {
        let state = self.lock();
        let zones = state.zones.iter().filter(|zone| !zone.is_held());
        let mut witnesses: Vec<_> = zones.filter_map(|zone| Some((zone.id(), zone.copies().pop()?))).collect();
        witnesses.sort_by_key(|(_, copies)| !copies.authenticated);
        witnesses
    }

    /// One decrypt, unless a zone's keyring turns out to be unusable that was never proven: that says nothing about the
    /// key, and the next zone is asked.
    async fn prove(
        &self,
        session: &dyn KmsSession,
        witnesses: &[(ZoneId, VersionCopies)],
    ) -> Result<Result<(), Unusable>, KmsError> {
        let mut first = None;
        for (zone, copies) in witnesses {
            let known = copies.authenticated;
            match self.unwrap_version(session, *zone, copies.clone()).await? {
                Ok(_) => return Ok(Ok(())),
                Err(unusable) => {
                    first.get_or_insert(unusable);
                }
            }
            if known {
                break;
            }
        }
        Ok(first.map_or(Ok(()), Err))
    }

    /// Opens again, in the session that proved the key, every zone that was sealed.
    pub(crate) async fn reopen(&self, session: &dyn KmsSession) {
        let asked = self.ask();
        let sealed: Vec<_> = self.lock().zones.iter().filter(|it| !it.has_keys() && !it.is_held()).cloned().collect();
        for zone in sealed {
            let unwrapped = match self.unwrap_in(session, &zone).await {
                // The key is proven, so this is about this zone alone; a denial is confirmed like any other.
                Err(error) if error.outcome() == Outcome::Denied => self.unwrap(&zone, Purpose::Open).await,
                other => other,
            };
            match unwrapped {
                Ok(Ok((keys, copies))) => {
                    self.hand_over(&zone, keys, &asked);
                    self.settle(&zone, copies).await;
                }
                Ok(Err(unusable)) => zone.seal(SealReason::Keyring(unusable.to_string().into())),
                Err(error) => {
                    let lost = matches!(error.outcome(), Outcome::Unreachable | Outcome::Ours);
                    zone.seal(SealReason::Kms(error));
                    if lost {
                        return;
                    }
                }
            }
        }
    }

    /// Gives a sealed zone its keys, unless the lease has ended since they were asked for.
    fn hand_over(&self, zone: &Zone, keys: ZoneKeys, asked: &Asked) {
        let state = self.lock();
        if state.ends == asked.ends {
            zone.install(keys, self.serving(&state));
        }
    }

    fn succeed(&self, state: &mut State, began: Moment) {
        if state.proven.is_none_or(|proven| proven.boot <= began.boot) {
            state.proven = Some(began);
        }
        // A failure of an attempt that began later is newer than this success.
        if state.attempted.is_none_or(|attempted| attempted.boot <= began.boot) {
            state.attempted = Some(began);
            state.trouble = None;
        }
        self.set_end(state);
        let status = self.serving(state);
        state.zones.iter().for_each(|zone| zone.serve(status.clone()));
    }

    fn set_end(&self, state: &State) {
        self.term.set_end(state.proven.map(|proven| proven.after(self.policy().term())));
    }

    /// The status of zones that have their keys.
    fn serving(&self, state: &State) -> ZoneStatus {
        match (&state.trouble, self.term.end()) {
            (Some(reason), Some(end)) => ZoneStatus::Grace { until: end.wall, reason: reason.clone() },
            _ => ZoneStatus::Available,
        }
    }

    fn fail(&self, error: &KmsError) {
        tracing::warn!(key = self.key.key_arn().as_str(), outcome = error.outcome().as_str(), %error, "key check failed");
        match error.outcome() {
            Outcome::Revoked | Outcome::Misconfigured => self.end(&SealReason::Kms(error.clone())),
            // An unconfirmed denial does not get here; if one did, grace would bound it.
            Outcome::Unreachable | Outcome::Ours | Outcome::Denied => {
                let mut state = self.lock();
                state.trouble = Some(error.clone());
                let status = self.serving(&state);
                state.zones.iter().for_each(|zone| zone.serve(status.clone()));
            }
        }
    }

    /// Ends the lease now and seals all its zones.
    fn end(&self, reason: &SealReason) {
        let mut state = self.lock();
        state.ends += 1;
        state.trouble = None;
        // The zones first: one that sees its term ended before it is told why would call it expired.
        state.zones.iter().for_each(|zone| zone.seal(reason.clone()));
        self.term.set_end(None);
    }

    /// Ends the lease if its term is over.
    pub(crate) fn expire(&self) {
        let last = {
            let state = self.lock();
            if self.term.end().is_none() || self.term.is_live() {
                return;
            }
            state.trouble.clone()
        };
        self.end(&SealReason::Expired { last });
    }
}

/// When an answer was asked for.
pub(crate) struct Asked {
    pub(crate) at: Moment,
    ends: u64,
}
