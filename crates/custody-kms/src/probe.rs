//! Proves a key usable, or says for each step what stood in the way.

use std::sync::{Mutex, PoisonError};

use crate::context::{ContextId, EncryptionContext};
use crate::error::{Action, Cause, KmsError, Outcome};
use crate::key_ref::RootKeyRef;
use crate::root::{KmsSession, Purpose, RootKms, confirmed};
use crate::secret::Secret;

/// What is wrapped and unwrapped. It needs no secrecy: it protects nothing and is never stored.
const VALUE: &[u8; 32] = b"custody validates a KMS key, 32b";

/// What one step of a probe came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It worked.
    Passed,
    /// It failed, and this is why.
    Failed(KmsError),
    /// It could not be tried because of what failed before it.
    Skipped,
}

impl From<Result<(), KmsError>> for Step {
    fn from(result: Result<(), KmsError>) -> Self {
        result.map_or_else(Self::Failed, |()| Self::Passed)
    }
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Opening a session: assuming the role, where the key has one.
    pub session: Step,
    /// `kms:DescribeKey`, and whether the key is of the right kind and enabled.
    pub describe: Step,
    /// `kms:Encrypt`.
    pub encrypt: Step,
    /// `kms:Decrypt`, back to what was encrypted.
    pub decrypt: Step,
}

impl Probe {
    fn steps(&self) -> [&Step; 4] {
        [&self.session, &self.describe, &self.encrypt, &self.decrypt]
    }

    /// The first failure, if there was one.
    pub fn result(&self) -> Result<(), KmsError> {
        self.steps().into_iter().try_for_each(|step| match step {
            Step::Failed(error) => Err(error.clone()),
            Step::Passed | Step::Skipped => Ok(()),
        })
    }

    fn denial(&self) -> Option<KmsError> {
        self.steps().into_iter().find_map(|step| match step {
            Step::Failed(error) if error.outcome() == Outcome::Denied => Some(error.clone()),
            _ => None,
        })
    }

    /// The same once a second try has met the denials again.
    fn confirm(mut self) -> Self {
        for step in [&mut self.session, &mut self.describe, &mut self.encrypt, &mut self.decrypt] {
            if let Step::Failed(error) = step {
                *error = error.clone().confirm();
            }
        }
        self
    }
}

/// Told of each step as it ends, the session's under [`Action::AssumeRole`]; once more where a denial was tried again.
pub type StepTold<'a> = &'a (dyn Fn(Action, &Step) + Send + Sync);

/// Opens a session on `key`, describes it, wraps a value under the `validate` context and unwraps it again.
///
/// Steps fail apart from each other where they can: a role that may decrypt but not describe is told exactly that. A
/// denial is confirmed after `pause` in a fresh session, as everywhere; the second run is then the answer.
pub async fn probe(
    kms: &dyn RootKms,
    key: &RootKeyRef,
    cluster: &ContextId,
    pause: impl Future<Output = ()> + Send,
) -> Probe {
    probe_telling(kms, key, cluster, pause, &|_, _| {}).await
}

/// The same, telling of each step.
pub async fn probe_telling(
    kms: &dyn RootKms,
    key: &RootKeyRef,
    cluster: &ContextId,
    pause: impl Future<Output = ()> + Send,
    told: StepTold<'_>,
) -> Probe {
    let context = &EncryptionContext::validate(cluster.clone());
    let latest = &Mutex::new(None);
    let outcome = confirmed(kms, key, Purpose::Validate, pause, |session| async move {
        told(Action::AssumeRole, &Step::Passed);
        let found = steps(session.as_ref(), key, context, told).await;
        let denial = found.denial();
        *latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        denial.map_or(Ok(()), Err)
    })
    .await;
    let found = latest.lock().unwrap_or_else(PoisonError::into_inner).take();
    let found = match (outcome, found) {
        // Not one of the steps but the session itself failed, in the first or in the second run.
        (Err(error), None) => unopened(error),
        (Err(error), Some(_)) if matches!(error.action(), None | Some(Action::AssumeRole)) => unopened(error),
        (_, Some(found)) => found.confirm(),
        (Ok(()), None) => unopened(KmsError::new(key.key_arn(), Outcome::Unreachable, Cause::Unexpected)),
    };
    if found.session != Step::Passed {
        told(Action::AssumeRole, &found.session);
    }
    found
}

fn unopened(error: KmsError) -> Probe {
    Probe { session: Step::Failed(error), describe: Step::Skipped, encrypt: Step::Skipped, decrypt: Step::Skipped }
}

async fn steps(session: &dyn KmsSession, key: &RootKeyRef, context: &EncryptionContext, told: StepTold<'_>) -> Probe {
    let describe = Step::from(session.describe().await.and_then(|description| description.check_usable()));
    told(Action::DescribeKey, &describe);
    let value = Secret::from(&VALUE[..]);
    let (encrypt, decrypt) = match session.encrypt(&value, context).await {
        Err(error) => {
            let encrypt = Step::Failed(error);
            told(Action::Encrypt, &encrypt);
            (encrypt, Step::Skipped)
        }
        Ok(wrapped) => {
            told(Action::Encrypt, &Step::Passed);
            let back = session.decrypt(&wrapped, context).await.and_then(|back| {
                let wrong = || KmsError::new(key.key_arn(), Outcome::Misconfigured, Cause::WrongCiphertext);
                if back.matches(&value) { Ok(()) } else { Err(wrong().during(Action::Decrypt)) }
            });
            (Step::Passed, back.into())
        }
    };
    told(Action::Decrypt, &decrypt);
    Probe { session: Step::Passed, describe, encrypt, decrypt }
}
