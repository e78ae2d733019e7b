//! The one gate through which every adapter's calls pass: it records, retries, checks whose answer came back, and
//! concludes what a failure means. Adapters bring the bare calls of [`Wire`], and so can't differ in any of it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;

use crate::arn::{KeyArn, Named, RoleArn};
use crate::classify::{INVALID_STATE, classify, is_transient};
use crate::context::EncryptionContext;
use crate::description::KeyDescription;
use crate::error::{Action, Cause, KmsError, Outcome};
use crate::key_ref::{AliasRef, Provider, RootKeyRef};
use crate::ledger::{Ledger, LedgerEntry, Recorder};
use crate::retry::RetryPolicy;
use crate::root::{KmsSession, Purpose, RootKms};
use crate::secret::Secret;
use crate::wire::{AliasConnector, Answer, Connector, Description, Failure, FailureKind, Opened, Reply, Wire};

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
        // Whoever hands a session out has tried again and recorded each try already.
        let assumes = self.connector.assumes(key);
        let retry = if assumes || key.role_arn().is_none() { self.retry } else { RetryPolicy::NONE };
        let mut line = Line::of_key(key, purpose, self.recorder.clone(), retry);
        match line.open(assumes, || self.connector.connect(key, purpose)).await {
            Ok(connected) => {
                line.session = connected.session;
                line.retry = self.retry;
                Ok(Box::new(Session { line, key: key.key_arn().clone(), wire: connected.value }))
            }
            Err(failure) => {
                let (outcome, cause) = classify(Action::AssumeRole, &failure);
                Err(line.error(key.role_arn().map(|_| Action::AssumeRole), failure, outcome, cause))
            }
        }
    }
}

impl<C: AliasConnector> Gate<C> {
    /// The key that an alias points to. A key that can't be an alias's is no answer.
    pub(crate) async fn resolve(&self, alias: &AliasRef) -> Result<KeyArn, KmsError> {
        if alias.provider() != self.connector.provider() {
            return Err(KmsError::of_alias(alias.alias(), Outcome::Misconfigured, Cause::ProviderDisabled));
        }
        let mut line = Line::of_alias(alias, self.recorder.clone(), self.retry);
        let opened = line.open(true, || self.connector.connect_alias(alias)).await.map_err(|failure| {
            let (outcome, cause) = classify(Action::AssumeRole, &failure);
            line.error(Some(Action::AssumeRole), failure, outcome, cause)
        })?;
        line.session = opened.session;
        let wire = opened.value;
        let fits = |key: &str| key.parse().is_ok_and(|key| alias.alias().may_name(&key));
        let found = line.call(Action::DescribeKey, None, || wire.describe(alias.alias()), fits).await?;
        found.key.parse().map_err(|_| KmsError::of_alias(alias.alias(), Outcome::Unreachable, Cause::Unexpected))
    }
}

/// What all calls of a session have in common.
pub(crate) struct Line {
    about: Named,
    provider: Provider,
    role: Option<RoleArn>,
    purpose: Purpose,
    session: Option<String>,
    recorder: Recorder,
    retry: RetryPolicy,
}

impl Line {
    pub(crate) fn of_key(key: &RootKeyRef, purpose: Purpose, recorder: Recorder, retry: RetryPolicy) -> Self {
        let (about, role) = (Named::Key(key.key_arn().clone()), key.role_arn().cloned());
        Self { about, provider: key.provider(), role, purpose, session: None, recorder, retry }
    }

    fn of_alias(alias: &AliasRef, recorder: Recorder, retry: RetryPolicy) -> Self {
        let (about, role) = (Named::Alias(alias.alias().clone()), Some(alias.role_arn().clone()));
        Self { about, provider: alias.provider(), role, purpose: Purpose::Validate, session: None, recorder, retry }
    }

    /// Opens a session, with bounded retries. Each try is recorded if it is `assumed`, which is if STS is called for it.
    pub(crate) async fn open<T, F>(&self, assumed: bool, mut bare: impl FnMut() -> F) -> Result<Opened<T>, Failure>
    where
        F: Future<Output = Result<Opened<T>, Failure>>,
    {
        let mut attempt = 0;
        loop {
            let call = assumed.then(|| Call::begin(self, Action::AssumeRole, None));
            match bare().await {
                Ok(opened) => {
                    if let Some(call) = call {
                        call.answered(opened.session.clone(), opened.request_id.clone(), None);
                    }
                    return Ok(opened);
                }
                Err(failure) => {
                    let (outcome, cause) = classify(Action::AssumeRole, &failure);
                    if let Some(call) = call {
                        call.failed(None, &failure, outcome);
                    }
                    if !self.retry.again(attempt, is_transient(&cause)).await {
                        return Err(failure);
                    }
                }
            }
            attempt += 1;
        }
    }

    fn error(&self, action: Option<Action>, failure: Failure, outcome: Outcome, cause: Cause) -> KmsError {
        let code = code(&failure).map(ToOwned::to_owned);
        let error = KmsError::about(self.about.clone(), outcome, cause);
        let error = if let Some(action) = action { error.during(action) } else { error };
        error.answered(code, Some(failure.text), failure.request_id)
    }

    /// Makes a call, with bounded retries; records each try; refuses the answer of a key that does not fit.
    async fn call<T, F>(
        &self,
        action: Action,
        context: Option<&EncryptionContext>,
        mut bare: impl FnMut() -> F,
        fits: impl Fn(&str) -> bool,
    ) -> Result<Answer<T>, KmsError>
    where
        F: Future<Output = Reply<T>>,
    {
        let mut attempt = 0;
        loop {
            let call = Call::begin(self, action, context);
            match bare().await {
                Ok(answer) => return self.accept(call, action, answer, fits),
                Err(failure) => {
                    let (outcome, cause) = self.verdict(action, &failure);
                    call.failed(self.session.clone(), &failure, outcome);
                    if !self.retry.again(attempt, is_transient(&cause)).await {
                        return Err(self.error(Some(action), failure, outcome, cause));
                    }
                }
            }
            attempt += 1;
        }
    }

    /// What a failure means in this session. Credentials that a role gave a moment ago are not the base credential: who
    /// reads that they were not accepted must not go and renew the wrong ones.
    fn verdict(&self, action: Action, failure: &Failure) -> (Outcome, Cause) {
        match classify(action, failure) {
            (outcome, Cause::BaseCredential) if self.role.is_some() => (outcome, Cause::Session),
            verdict => verdict,
        }
    }

    fn accept<T>(
        &self,
        call: Call,
        action: Action,
        answer: Answer<T>,
        fits: impl Fn(&str) -> bool,
    ) -> Result<Answer<T>, KmsError> {
        let refused = !fits(&answer.key);
        let (session, id) = (self.session.clone(), answer.request_id.clone());
        call.answered(session, id, refused.then_some(Outcome::Misconfigured));
        if !refused {
            return Ok(answer);
        }
        let cause = Cause::WrongKeyReturned(answer.key);
        let error = KmsError::about(self.about.clone(), Outcome::Misconfigured, cause);
        Err(error.during(action).answered(None, None, answer.request_id))
    }
}

/// A call under way. It is recorded when it ends, and also when whoever waited for it gave up: AWS may have seen it.
struct Call {
    recorder: Recorder,
    steady: Instant,
    /// `None` once recorded.
    entry: Option<LedgerEntry>,
}

impl Call {
    fn begin(line: &Line, action: Action, context: Option<&EncryptionContext>) -> Self {
        let entry = LedgerEntry {
            at: SystemTime::now(),
            took: Duration::ZERO,
            provider: line.provider,
            action,
            key: line.about.clone(),
            role: line.role.clone(),
            session: line.session.clone(),
            context: context.cloned(),
            purpose: line.purpose,
            // What holds if nobody waits for the answer.
            result: Err(Outcome::Unreachable),
            code: None,
            request_id: None,
        };
        Self { recorder: line.recorder.clone(), steady: Instant::now(), entry: Some(entry) }
    }

    /// An answer came; `refused` is why it is not accepted, if it isn't.
    fn answered(mut self, session: Option<String>, request_id: Option<String>, refused: Option<Outcome>) {
        if let Some(entry) = &mut self.entry {
            entry.result = refused.map_or(Ok(()), Err);
            (entry.session, entry.request_id) = (session, request_id);
        }
    }

    fn failed(mut self, session: Option<String>, failure: &Failure, outcome: Outcome) {
        if !failure.kind.was_sent() {
            self.entry = None;
        }
        if let Some(entry) = &mut self.entry {
            entry.result = Err(outcome);
            entry.code = code(failure).map(ToOwned::to_owned);
            (entry.session, entry.request_id) = (session, failure.request_id.clone());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(mut entry) = self.entry.take() {
            entry.took = self.steady.elapsed();
            self.recorder.record(entry);
        }
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
    key: KeyArn,
    wire: Box<dyn Wire>,
}

impl Session {
    fn arn(&self) -> &KeyArn {
        &self.key
    }

    /// Makes a call; refuses another key's answer.
    async fn call<T, F>(
        &self,
        action: Action,
        context: Option<&EncryptionContext>,
        bare: impl FnMut() -> F,
    ) -> Result<T, KmsError>
    where
        F: Future<Output = Reply<T>>,
    {
        let answer = self.line.call(action, context, bare, |key| key == self.arn().as_str()).await?;
        Ok(answer.value)
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
