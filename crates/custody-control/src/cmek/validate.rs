//! What is proven of a key before it may protect anything: each check by itself, with its mend.

use std::time::Duration;

use custody_kms::{
    Action, Cause, ContextId, ExternalId, KmsError, Outcome, Probe, Purpose, RootKeyRef, RootKms, Step, probe,
};
use serde::Serialize;
use tokio::time::Instant;

use crate::random::{NoRandomness, digits};

/// Between a denial and the second look that confirms it.
const CONFIRM: Duration = Duration::from_secs(2);
/// Between two tries while a change of a policy may still be on its way.
const BETWEEN: Duration = Duration::from_secs(5);

/// A check, by the name that the API and the console give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum CheckName {
    /// The role can be assumed with the project's external id.
    AssumeRole,
    /// The role can't be assumed with another external id, or with none.
    ExternalId,
    /// The key is there, enabled and symmetric, and may be described.
    DescribeKey,
    /// The key encrypts.
    Encrypt,
    /// The key decrypts what it has encrypted.
    Decrypt,
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Check {
    /// Which one.
    pub name: CheckName,
    /// Whether it passed.
    pub ok: bool,
    /// Whether it could not be made because another failed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// What failed, with AWS's own words, and how to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Check {
    fn passed(name: CheckName) -> Self {
        Self { name, ok: true, skipped: false, message: None }
    }

    fn failed(name: CheckName, message: String) -> Self {
        Self { name, ok: false, skipped: false, message: Some(message) }
    }

    fn skipped(name: CheckName) -> Self {
        Self { name, ok: false, skipped: true, message: None }
    }

    fn of(name: CheckName, step: &Step, key: &RootKeyRef) -> Self {
        match step {
            Step::Passed => Self::passed(name),
            Step::Failed(error) => Self::failed(name, explain(error, key)),
            Step::Skipped => Self::skipped(name),
        }
    }
}

/// All checks of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Validation {
    /// Whether every check passed: only then may the key be added.
    pub valid: bool,
    /// The checks, in the order in which they are made.
    pub checks: Vec<Check>,
}

impl Validation {
    fn of(checks: Vec<Check>) -> Self {
        Self { valid: checks.iter().all(|check| check.ok), checks }
    }

    /// The check of a name.
    pub fn check(&self, name: CheckName) -> Option<&Check> {
        self.checks.iter().find(|check| check.name == name)
    }
}

/// Told after each round of checks while there is reason to wait: the checks so far, and how long it is still waited for
/// AWS to have spread a change of policy.
pub type Progress<'a> = &'a (dyn Fn(&Validation, Duration) + Send + Sync);

/// Proves a key: the role lets us in and nobody without the external id, and the key does what it has to.
///
/// A change of a policy takes AWS a while to spread. Where something is denied, it is tried again for as long as
/// `patience`; anything else is told at once. `id` stands in the context of what is encrypted, and in CloudTrail.
pub async fn validate(
    kms: &dyn RootKms,
    key: &RootKeyRef,
    id: &ContextId,
    patience: Duration,
    progress: Progress<'_>,
) -> Result<Validation, NoRandomness> {
    let deadline = Instant::now() + patience;
    loop {
        let (found, denied) = once(kms, key, id).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        if found.valid || !denied || left.is_zero() {
            return Ok(found);
        }
        progress(&found, left);
        tokio::time::sleep(BETWEEN.min(left)).await;
    }
}

/// One round, and whether waiting may change what it came to.
async fn once(kms: &dyn RootKms, key: &RootKeyRef, id: &ContextId) -> Result<(Validation, bool), NoRandomness> {
    let found = probe(kms, key, id, tokio::time::sleep(CONFIRM)).await;
    let mut checks = vec![Check::of(CheckName::AssumeRole, &found.session, key)];
    let mut denied = is_denied(&found);
    if key.role_arn().is_some() {
        let deputy = match found.session {
            Step::Passed => turns_strangers_away(kms, key).await?,
            _ => Check::skipped(CheckName::ExternalId),
        };
        // A condition that was just added may not be in force yet.
        denied |= !deputy.ok && !deputy.skipped;
        checks.push(deputy);
    }
    checks.push(Check::of(CheckName::DescribeKey, &found.describe, key));
    checks.push(Check::of(CheckName::Encrypt, &found.encrypt, key));
    checks.push(Check::of(CheckName::Decrypt, &found.decrypt, key));
    Ok((Validation::of(checks), denied))
}

fn is_denied(found: &Probe) -> bool {
    let denied = |step: &Step| match step {
        Step::Failed(error) => {
            matches!(error.cause(), Cause::RoleRefused | Cause::PermissionMissing(_))
                && matches!(error.outcome(), Outcome::Denied | Outcome::Revoked)
        }
        Step::Passed | Step::Skipped => false,
    };
    [&found.session, &found.describe, &found.encrypt, &found.decrypt].into_iter().any(denied)
}

/// Whether the role refuses whoever does not know the project's external id. One that doesn't would let another customer
/// of ours have us use this customer's key: the confused deputy.
async fn turns_strangers_away(kms: &dyn RootKms, key: &RootKeyRef) -> Result<Check, NoRandomness> {
    let random: ExternalId = match format!("not-{}", digits()?).parse() {
        Ok(id) => id,
        // Hexadecimal digits are allowed in an external id.
        Err(_) => return Err(NoRandomness),
    };
    for (external_id, whose) in [(None, "without an external id"), (Some(random), "under a random external id")] {
        let stranger = RootKeyRef::new(key.provider(), key.key_arn().clone(), key.role_arn().cloned(), external_id);
        let Ok(stranger) = stranger else { return Ok(Check::skipped(CheckName::ExternalId)) };
        match kms.session(&stranger, Purpose::Validate).await {
            Err(error) if error.outcome() == Outcome::Denied => {}
            Err(error) => return Ok(Check::failed(CheckName::ExternalId, explain(&error, key))),
            Ok(_) => {
                return Ok(Check::failed(
                    CheckName::ExternalId,
                    format!(
                        "the role let us in {whose}: anybody whom we serve could have us use it. Give its trust policy the \
                         condition StringEquals sts:ExternalId with this project's external id, as in the trust policy shown"
                    ),
                ));
            }
        }
    }
    Ok(Check::passed(CheckName::ExternalId))
}

/// What failed and what to do: AWS's own words, and every mend that may be meant.
fn explain(error: &KmsError, key: &RootKeyRef) -> String {
    let mut said = error.to_string();
    let text = error.text().unwrap_or_default();
    if let (Cause::PermissionMissing(action), Some(role)) = (error.cause(), key.role_arn()) {
        said += &mends(*action, role.as_str(), key.key_arn().as_str());
    }
    if ["service control policy", "resource control policy"].iter().any(|policy| text.contains(policy)) {
        said += ". AWS names a policy of the organisation: whoever administers the organisation has to allow it";
    }
    said
}

fn mends(action: Action, role: &str, key: &str) -> String {
    format!(
        ". Either the role's policy lacks {action} on {key}: run the put-role-policy command again; or the key's own policy \
         does not let {role} in: add the key policy statement shown"
    )
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use custody_kms::{KeyState, KeyUsage, RetryPolicy, scripted::Fault, scripted::ScriptedKms};

    use super::*;

    const DENIED: Fault = Fault::Code("AccessDeniedException");

    fn world() -> (ScriptedKms, RootKeyRef) {
        let kms = ScriptedKms::new();
        let role = "arn:aws:iam::111122223333:role/custody".parse().unwrap();
        let key = kms.create_key_behind(role, Some("external-0123".parse().unwrap())).unwrap();
        (kms, key)
    }

    async fn check(kms: &ScriptedKms, key: &RootKeyRef, patience: u64) -> Validation {
        let id = "proj-test".parse().unwrap();
        validate(kms, key, &id, Duration::from_secs(patience), &|_, _| {}).await.unwrap()
    }

    /// The checks that failed, each with what it says, and those that were skipped.
    fn wrong(validation: &Validation) -> (Vec<(CheckName, String)>, Vec<CheckName>) {
        assert_eq!(validation.valid, validation.checks.iter().all(|check| check.ok));
        let failed = validation.checks.iter().filter(|check| !check.ok && !check.skipped);
        let skipped = validation.checks.iter().filter(|check| check.skipped);
        (
            failed.map(|check| (check.name, check.message.clone().unwrap())).collect(),
            skipped.map(|check| check.name).collect(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_set_up_as_shown_passes_every_check() {
        let (kms, key) = world();
        let found = check(&kms, &key, 0).await;
        assert!(found.valid, "{found:?}");
        assert_eq!(found.checks.len(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn each_thing_that_is_wrong_is_named_by_its_own_check() {
        type Break = fn(&ScriptedKms, &RootKeyRef);
        let cases: [(Break, CheckName, &str, &[CheckName]); 9] = [
            (
                |kms, key| kms.set_external_id(key.key_arn(), Some("another".parse().unwrap())),
                CheckName::AssumeRole,
                "external id",
                &[CheckName::ExternalId, CheckName::DescribeKey, CheckName::Encrypt, CheckName::Decrypt],
            ),
            (|kms, key| kms.set_external_id(key.key_arn(), None), CheckName::ExternalId, "without an external id", &[]),
            (|kms, _| kms.fault(Action::DescribeKey, DENIED), CheckName::DescribeKey, "kms:DescribeKey", &[]),
            (|kms, _| kms.fault(Action::Encrypt, DENIED), CheckName::Encrypt, "kms:Encrypt", &[CheckName::Decrypt]),
            (|kms, _| kms.fault(Action::Decrypt, DENIED), CheckName::Decrypt, "kms:Decrypt", &[]),
            (|kms, _| kms.fault(Action::Decrypt, Fault::Tamper), CheckName::Decrypt, "", &[]),
            (
                |kms, key| kms.set_state(key.key_arn(), KeyState::Disabled),
                CheckName::DescribeKey,
                "disabled",
                &[CheckName::Decrypt],
            ),
            (
                |kms, key| kms.set_state(key.key_arn(), KeyState::PendingDeletion),
                CheckName::DescribeKey,
                "pending deletion",
                &[CheckName::Decrypt],
            ),
            (
                |kms, key| {
                    kms.set_usage(
                        key.key_arn(),
                        KeyUsage::Other { usage: "SIGN_VERIFY".into(), spec: "RSA_2048".into() },
                    );
                },
                CheckName::DescribeKey,
                "ENCRYPT_DECRYPT",
                &[CheckName::Decrypt],
            ),
        ];
        for (break_it, name, words, skipped) in cases {
            let (kms, key) = world();
            break_it(&kms, &key);
            let (failed, left_out) = wrong(&check(&kms, &key, 0).await);
            assert_eq!(failed[0].0, name, "{failed:?}");
            assert!(failed[0].1.contains(words), "{failed:?}");
            assert_eq!(left_out, skipped, "{failed:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_permission_comes_with_both_mends() {
        let (kms, key) = world();
        kms.fault(Action::Decrypt, DENIED);
        let found = check(&kms, &key, 0).await;
        let said = found.check(CheckName::Decrypt).unwrap().message.clone().unwrap();
        assert!(said.contains("put-role-policy") && said.contains("key policy statement"), "{said}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_denial_is_waited_for_with_a_countdown_and_anything_else_is_told_at_once() {
        let (kms, key) = world();
        // Each round meets it twice: a denial is confirmed.
        for _ in 0..4 {
            kms.fault_next(Action::Decrypt, DENIED);
        }
        let left = Mutex::new(Vec::new());
        let id = "proj-test".parse().unwrap();
        let seen = |_: &Validation, remaining: Duration| left.lock().unwrap().push(remaining.as_secs());
        let found = validate(&kms, &key, &id, Duration::from_secs(60), &seen).await.unwrap();
        assert!(found.valid, "{found:?}");
        let left = left.into_inner().unwrap();
        assert!(left.len() == 2 && left[0] > left[1] && left[0] <= 60, "{left:?}");
        kms.set_state(key.key_arn(), KeyState::Disabled);
        let began = Instant::now();
        assert!(!check(&kms, &key, 60).await.valid);
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_whose_refusal_could_not_be_proven_is_no_good() {
        let kms = ScriptedKms::with(Arc::new(custody_kms::MemoryLedger::new(10)), RetryPolicy::NONE);
        let role = "arn:aws:iam::111122223333:role/custody".parse().unwrap();
        let key = kms.create_key_behind(role, Some("external-0123".parse().unwrap())).unwrap();
        let stranger = turns_strangers_away(&kms, &key).await.unwrap();
        assert!(stranger.ok);
        kms.fault(Action::AssumeRole, Fault::NoConnection);
        let unproven = turns_strangers_away(&kms, &key).await.unwrap();
        assert!(!unproven.ok && unproven.message.unwrap().contains("no connection"));
    }
}
