//! The one gate through which every adapter's calls pass: it records, retries, checks whose answer came back, and
//! concludes what a failure means. Adapters bring the bare calls of [`Wire`], and so can't differ in any of it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;

use crate::arn::KeyArn;
use crate::classify::{INVALID_STATE, classify, is_transient};
use crate::context::EncryptionContext;
use crate::description::KeyDescription;
use crate::error::{Action, Cause, KmsError, Outcome};
use crate::key_ref::RootKeyRef;
use crate::ledger::{Ledger, LedgerEntry, Recorder};
use crate::retry::RetryPolicy;
use crate::root::{KmsSession, Purpose, RootKms};
use crate::secret::Secret;
use crate::wire::{Answer, Connector, Description, Failure, FailureKind, Reply, Wire};

/// An adapter behind the gate.
pub(crate) struct Gate<C> {
    connector: C,
    recorder: Recorder,
    retry: RetryPolicy,
}

impl<C: Connector> Gate<C> {
    pub(crate) fn new(connector: C, ledger: Arc<dyn Ledger>, retry: RetryPolicy) -> Self {
        Self { connector, recorder: Recorder(ledger), retry }
    }

    pub(crate) fn connector(&self) -> &C {
        &self.connector
    }
}

#[async_trait]
impl<C: Connector> RootKms for Gate<C> {
    async fn session(&self, key: &RootKeyRef, purpose: Purpose) -> Result<Box<dyn KmsSession>, KmsError> {
        if key.provider() != self.connector.provider() {
            return Err(KmsError::new(key.key_arn(), Outcome::Misconfigured, Cause::ProviderDisabled));
        }
        let mut line =
            Line { key: key.clone(), purpose, session: None, recorder: self.recorder.clone(), retry: self.retry };
        let mut attempt = 0;
        loop {
            let began = Began::now();
            let result = self.connector.connect(key).await;
            // Without a role nothing was called, so there is nothing to record.
            if key.role_arn().is_some() {
                let (session, request_id, failure) = match &result {
                    Ok(it) => (it.session.clone(), it.request_id.clone(), None),
                    Err(failure) => (None, failure.request_id.clone(), Some(failure)),
                };
                let verdict = failure.map(|failure| classify(Action::AssumeRole, failure));
                line.record(&began, Action::AssumeRole, None, session, request_id, failure, verdict.as_ref());
            }
            match result {
                Ok(connected) => {
                    line.session = connected.session;
                    return Ok(Box::new(Session { line, wire: connected.wire }));
                }
                Err(failure) => {
                    let (outcome, cause) = classify(Action::AssumeRole, &failure);
                    if !self.retry.again(attempt, is_transient(&cause)).await {
                        return Err(line.error(key.role_arn().map(|_| Action::AssumeRole), failure, outcome, cause));
                    }
                }
            }
            attempt += 1;
        }
    }
}

/// When a call began: on the wall clock for the record, on the steady one for how long it took.
struct Began {
    at: SystemTime,
    steady: Instant,
}

impl Began {
    fn now() -> Self {
        Self { at: SystemTime::now(), steady: Instant::now() }
    }

    fn took(&self) -> Duration {
        self.steady.elapsed()
    }
}

/// What all calls of a session have in common.
struct Line {
    key: RootKeyRef,
    purpose: Purpose,
    session: Option<String>,
    recorder: Recorder,
    retry: RetryPolicy,
}

impl Line {
    #[expect(clippy::too_many_arguments, reason = "the columns of a ledger entry")]
    fn record(
        &self,
        began: &Began,
        action: Action,
        context: Option<&EncryptionContext>,
        session: Option<String>,
        request_id: Option<String>,
        failure: Option<&Failure>,
        verdict: Option<&(Outcome, Cause)>,
    ) {
        self.recorder.record(LedgerEntry {
            at: began.at,
            took: began.took(),
            provider: self.key.provider(),
            action,
            key: self.key.key_arn().clone(),
            role: self.key.role_arn().cloned(),
            session,
            context: context.cloned(),
            purpose: self.purpose,
            result: verdict.map_or(Ok(()), |(outcome, _)| Err(*outcome)),
            code: failure.and_then(code).map(ToOwned::to_owned),
            request_id,
        });
    }

    fn error(&self, action: Option<Action>, failure: Failure, outcome: Outcome, cause: Cause) -> KmsError {
        let code = code(&failure).map(ToOwned::to_owned);
        let error = KmsError::new(self.key.key_arn(), outcome, cause);
        let error = if let Some(action) = action { error.during(action) } else { error };
        error.answered(code, Some(failure.text), failure.request_id)
    }
}

fn code(failure: &Failure) -> Option<&str> {
    match &failure.kind {
        FailureKind::Service { code, .. } => code.as_deref(),
        _ => None,
    }
}

struct Session {
    line: Line,
    wire: Box<dyn Wire>,
}

impl Session {
    fn arn(&self) -> &KeyArn {
        self.line.key.key_arn()
    }

    /// Makes a call, with bounded retries; records each try; refuses another key's answer.
    async fn call<T, F>(
        &self,
        action: Action,
        context: Option<&EncryptionContext>,
        mut bare: impl FnMut() -> F,
    ) -> Result<T, KmsError>
    where
        F: Future<Output = Reply<T>>,
    {
        let mut attempt = 0;
        loop {
            let began = Began::now();
            let reply = bare().await;
            let session = self.line.session.clone();
            match reply {
                Ok(answer) => return self.accept(&began, action, context, answer),
                Err(failure) => {
                    let verdict = classify(action, &failure);
                    let id = failure.request_id.clone();
                    self.line.record(&began, action, context, session, id, Some(&failure), Some(&verdict));
                    let (outcome, cause) = verdict;
                    if !self.line.retry.again(attempt, is_transient(&cause)).await {
                        return Err(self.line.error(Some(action), failure, outcome, cause));
                    }
                }
            }
            attempt += 1;
        }
    }

    fn accept<T>(
        &self,
        began: &Began,
        action: Action,
        context: Option<&EncryptionContext>,
        answer: Answer<T>,
    ) -> Result<T, KmsError> {
        let verdict = (answer.key != self.arn().as_str())
            .then(|| (Outcome::Misconfigured, Cause::WrongKeyReturned(answer.key.clone())));
        let (session, id) = (self.line.session.clone(), answer.request_id.clone());
        self.line.record(began, action, context, session, id, None, verdict.as_ref());
        match verdict {
            None => Ok(answer.value),
            Some((outcome, cause)) => {
                Err(KmsError::new(self.arn(), outcome, cause).during(action).answered(None, None, answer.request_id))
            }
        }
    }

    /// `KMSInvalidState` covers both a key that its owner disabled and one that AWS is busy with: DescribeKey decides.
    async fn explain(&self, error: KmsError) -> KmsError {
        if error.code() != Some(INVALID_STATE) {
            return error;
        }
        match self.describe().await {
            Ok(key) => match key.state.verdict() {
                Some((outcome, cause)) => error.because(outcome, cause),
                // Enabled meanwhile: what remains is "try again".
                None => error,
            },
            Err(unexplained) => unexplained,
        }
    }
}

#[async_trait]
impl KmsSession for Session {
    async fn encrypt(&self, secret: &Secret, context: &EncryptionContext) -> Result<Vec<u8>, KmsError> {
        match self.call(Action::Encrypt, Some(context), || self.wire.encrypt(self.arn(), secret, context)).await {
            Ok(wrapped) => Ok(wrapped),
            Err(error) => Err(self.explain(error).await),
        }
    }

    async fn decrypt(&self, wrapped: &[u8], context: &EncryptionContext) -> Result<Secret, KmsError> {
        match self.call(Action::Decrypt, Some(context), || self.wire.decrypt(self.arn(), wrapped, context)).await {
            Ok(secret) => Ok(secret),
            Err(error) => Err(self.explain(error).await),
        }
    }

    async fn describe(&self) -> Result<KeyDescription, KmsError> {
        let Description { state, usage, multi_region, deletion_date } =
            self.call(Action::DescribeKey, None, || self.wire.describe(self.arn())).await?;
        Ok(KeyDescription { arn: self.arn().clone(), state, usage, multi_region, deletion_date })
    }
}
