//! What is proven of a key before it may protect anything: each check by itself, with its mend.

use std::time::Duration;

use custody_kms::{
    Action, AliasRef, Cause, ClockSkew, ContextId, ExternalId, KmsError, Outcome, Probe, Purpose, RootKeyRef, RootKms,
    Step, probe_telling,
};
use serde::Serialize;
use tokio::time::Instant;

use super::mend::{clock, explain, explain_alias};
use crate::random::{NoRandomness, digits};

/// Between a denial and the second look that confirms it.
const CONFIRM: Duration = Duration::from_secs(2);
/// Between two tries while a change of a policy may still be on its way.
const BETWEEN: Duration = Duration::from_secs(5);
/// How often it is told how long is still waited.
const COUNT: Duration = Duration::from_secs(1);

/// A check, by the name that the API and the console give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum CheckName {
    /// The role can be assumed with the project's external id.
    AssumeRole,
    /// The alias that was given leads to a key. Made only where an alias was given.
    Alias,
    /// The role can't be assumed with another external id, or with none.
    ExternalId,
    /// The key is there, enabled and symmetric, and may be described.
    DescribeKey,
    /// The key encrypts.
    Encrypt,
    /// The key decrypts what it has encrypted.
    Decrypt,
    /// This service's own clock agrees with AWS's. Made only where an answer told AWS's time.
    Clock,
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
#[serde(rename_all = "camelCase")]
pub struct Validation {
    /// Whether every check passed: only then may the key be added.
    pub valid: bool,
    /// The key's own ARN, once it is known: the one that is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_arn: Option<String>,
    /// The checks, in the order in which they are made.
    pub checks: Vec<Check>,
}

impl Validation {
    fn of(checks: Vec<Check>, key_arn: Option<&str>) -> Self {
        Self { valid: checks.iter().all(|check| check.ok), key_arn: key_arn.map(str::to_owned), checks }
    }

    /// The check of a name.
    pub fn check(&self, name: CheckName) -> Option<&Check> {
        self.checks.iter().find(|check| check.name == name)
    }
}

/// What happens while a key is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A check has ended. One of the same name that ends later takes its place.
    Check(Check),
    /// All checks will be made again: something was denied, and AWS may not have spread a change of policy yet. This long
    /// it is waited at most.
    Waiting(Duration),
}

/// Told of what happens.
pub type Progress<'a> = &'a (dyn Fn(Event) + Send + Sync);

/// What is to be proven: a key, or an alias whose key is found out first.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// A key.
    Key(RootKeyRef),
    /// An alias.
    Alias(AliasRef),
}

/// Proves a key: the role lets us in and nobody without the external id, and the key does what it has to.
///
/// A change of a policy takes AWS a while to spread. Where something is denied, it is tried again for as long as
/// `patience`; anything else is told at once. `id` stands in the context of what is encrypted, and in CloudTrail. Returns
/// the key too, unless it was named by an alias that leads to none.
pub async fn validate(
    kms: &dyn RootKms,
    wanted: &Wanted,
    id: &ContextId,
    patience: Duration,
    progress: Progress<'_>,
) -> Result<(Validation, Option<RootKeyRef>), NoRandomness> {
    let deadline = Instant::now() + patience;
    loop {
        let round = Round { kms, id, progress };
        let (found, key, denied) = round.run(wanted).await?;
        if found.valid || !denied || Instant::now() >= deadline {
            return Ok((found, key));
        }
        let next = deadline.min(Instant::now() + BETWEEN);
        while Instant::now() < next {
            progress(Event::Waiting(deadline.saturating_duration_since(Instant::now())));
            tokio::time::sleep_until(next.min(Instant::now() + COUNT)).await;
        }
    }
}

/// One time through all checks.
struct Round<'a> {
    kms: &'a dyn RootKms,
    id: &'a ContextId,
    progress: Progress<'a>,
}

impl Round<'_> {
    /// What it came to, and whether waiting may change that.
    async fn run(&self, wanted: &Wanted) -> Result<(Validation, Option<RootKeyRef>, bool), NoRandomness> {
        let alias = match wanted {
            Wanted::Key(key) => {
                let (found, denied) = self.key(key, None).await?;
                return Ok((found, Some(key.clone()), denied));
            }
            Wanted::Alias(alias) => alias,
        };
        let key = self.kms.resolve(alias).await.and_then(|arn| {
            let (role, external_id) = (Some(alias.role_arn().clone()), alias.external_id().cloned());
            let unfit = |_| KmsError::of_alias(alias.alias(), Outcome::Misconfigured, Cause::InvalidRequest);
            RootKeyRef::new(alias.provider(), arn, role, external_id).map_err(unfit)
        });
        match key {
            Ok(key) => {
                let check = self.tell(Check::passed(CheckName::Alias));
                let (found, denied) = self.key(&key, Some(check)).await?;
                Ok((found, Some(key), denied))
            }
            Err(error) => Ok((self.unresolved(&error, alias), None, is_denial(&error))),
        }
    }

    /// No key is known, so that only what led there can be said.
    fn unresolved(&self, error: &KmsError, alias: &AliasRef) -> Validation {
        let said = explain_alias(error, alias);
        let (role, named) = match error.action() {
            Some(Action::DescribeKey) => (Check::passed(CheckName::AssumeRole), Check::failed(CheckName::Alias, said)),
            Some(_) => (Check::failed(CheckName::AssumeRole, said), Check::skipped(CheckName::Alias)),
            None => (Check::skipped(CheckName::AssumeRole), Check::failed(CheckName::Alias, said)),
        };
        let mut checks = vec![role, named];
        checks.extend(
            [CheckName::ExternalId, CheckName::DescribeKey, CheckName::Encrypt, CheckName::Decrypt].map(Check::skipped),
        );
        checks.extend(self.clock(alias.provider()));
        Validation::of(checks.into_iter().map(|check| self.tell(check)).collect(), None)
    }

    async fn key(&self, key: &RootKeyRef, alias: Option<Check>) -> Result<(Validation, bool), NoRandomness> {
        let told = |action, step: &Step| drop(self.tell(Check::of(name_of(action), step, key)));
        let found = probe_telling(self.kms, key, self.id, tokio::time::sleep(CONFIRM), &told).await;
        let mut checks = vec![Check::of(CheckName::AssumeRole, &found.session, key)];
        checks.extend(alias);
        let mut denied = is_denied(&found);
        if key.role_arn().is_some() {
            let deputy = match found.session {
                Step::Passed => self.tell(deputy(strangers(self.kms, key).await?, key)),
                _ => Check::skipped(CheckName::ExternalId),
            };
            // A condition that was just added may not be in force yet.
            denied |= !deputy.ok && !deputy.skipped;
            checks.push(deputy);
        }
        checks.push(Check::of(CheckName::DescribeKey, &found.describe, key));
        checks.push(Check::of(CheckName::Encrypt, &found.encrypt, key));
        checks.push(Check::of(CheckName::Decrypt, &found.decrypt, key));
        if found.session != Step::Passed {
            checks.iter().filter(|check| check.skipped).for_each(|check| drop(self.tell(check.clone())));
        }
        checks.extend(self.clock(key.provider()).map(|check| self.tell(check)));
        Ok((Validation::of(checks, Some(key.key_arn().as_str())), denied))
    }

    fn clock(&self, provider: custody_kms::Provider) -> Option<Check> {
        let skew: ClockSkew = self.kms.clock_skew(provider)?;
        Some(match clock(skew) {
            None => Check::passed(CheckName::Clock),
            Some(said) => Check::failed(CheckName::Clock, said),
        })
    }

    fn tell(&self, check: Check) -> Check {
        (self.progress)(Event::Check(check.clone()));
        check
    }
}

fn name_of(action: Action) -> CheckName {
    match action {
        Action::AssumeRole => CheckName::AssumeRole,
        Action::DescribeKey => CheckName::DescribeKey,
        Action::Encrypt => CheckName::Encrypt,
        Action::Decrypt => CheckName::Decrypt,
    }
}

fn is_denied(found: &Probe) -> bool {
    let denied = |step: &Step| match step {
        Step::Failed(error) => is_denial(error),
        Step::Passed | Step::Skipped => false,
    };
    [&found.session, &found.describe, &found.encrypt, &found.decrypt].into_iter().any(denied)
}

fn is_denial(error: &KmsError) -> bool {
    matches!(error.cause(), Cause::RoleRefused | Cause::PermissionMissing(_))
        && matches!(error.outcome(), Outcome::Denied | Outcome::Revoked)
}

/// What became of those who don't know a project's external id.
pub(super) enum Strangers {
    /// The role refuses them.
    TurnedAway,
    /// It lets one in: how that one came.
    LetIn(&'static str),
    /// It could not be found out.
    Unproven(KmsError),
}

/// Whether the role refuses whoever does not know the project's external id. One that doesn't would let another customer
/// of ours have us use this customer's key: the confused deputy.
pub(super) async fn strangers(kms: &dyn RootKms, key: &RootKeyRef) -> Result<Strangers, NoRandomness> {
    let random: ExternalId = match format!("not-{}", digits()?).parse() {
        Ok(id) => id,
        // Hexadecimal digits are allowed in an external id.
        Err(_) => return Err(NoRandomness),
    };
    for (external_id, whose) in [(None, "without an external id"), (Some(random), "under a random external id")] {
        let stranger = RootKeyRef::new(key.provider(), key.key_arn().clone(), key.role_arn().cloned(), external_id);
        let unfit = |_| KmsError::new(key.key_arn(), Outcome::Misconfigured, Cause::InvalidRequest);
        let stranger = match stranger.map_err(unfit) {
            Ok(stranger) => stranger,
            Err(error) => return Ok(Strangers::Unproven(error)),
        };
        match kms.session(&stranger, Purpose::Validate).await {
            Err(error) if error.outcome() == Outcome::Denied => {}
            Err(error) => return Ok(Strangers::Unproven(error)),
            Ok(_) => return Ok(Strangers::LetIn(whose)),
        }
    }
    Ok(Strangers::TurnedAway)
}

fn deputy(found: Strangers, key: &RootKeyRef) -> Check {
    match found {
        Strangers::TurnedAway => Check::passed(CheckName::ExternalId),
        Strangers::Unproven(error) => Check::failed(CheckName::ExternalId, explain(&error, key)),
        Strangers::LetIn(whose) => Check::failed(CheckName::ExternalId, let_in(whose)),
    }
}

/// What is wrong with a role that lets strangers in, and how to mend it.
pub(super) fn let_in(whose: &str) -> String {
    format!(
        "the role let us in {whose}: anybody whom we serve could have us use it. Give its trust policy the condition \
         StringEquals sts:ExternalId with this project's external id, as in the trust policy shown"
    )
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use custody_kms::{KeyState, KeyUsage, Provider, RetryPolicy, scripted::Fault, scripted::ScriptedKms};

    use super::*;

    const DENIED: Fault = Fault::Code("AccessDeniedException");

    fn world() -> (ScriptedKms, RootKeyRef) {
        let kms = ScriptedKms::new();
        let role = "arn:aws:iam::111122223333:role/custody".parse().unwrap();
        let key = kms.create_key_behind(role, Some("external-0123".parse().unwrap())).unwrap();
        (kms, key)
    }

    async fn check(kms: &ScriptedKms, key: &RootKeyRef, patience: u64) -> Validation {
        told(kms, Wanted::Key(key.clone()), patience).await.0
    }

    /// What was found, and what was told meanwhile.
    async fn told(kms: &ScriptedKms, wanted: Wanted, patience: u64) -> (Validation, Vec<Event>) {
        let (id, events) = ("proj-test".parse().unwrap(), Mutex::new(Vec::new()));
        let progress = |event| events.lock().unwrap().push(event);
        let (found, key) = validate(kms, &wanted, &id, Duration::from_secs(patience), &progress).await.unwrap();
        assert_eq!(key.map(|key| key.key_arn().to_string()), found.key_arn);
        (found, events.into_inner().unwrap())
    }

    fn alias_of(kms: &ScriptedKms, key: Option<&RootKeyRef>) -> Wanted {
        let alias: custody_kms::AliasArn = "arn:aws:kms:us-east-1:111122223333:alias/payments".parse().unwrap();
        kms.set_alias(&alias, key.map(RootKeyRef::key_arn));
        let role = "arn:aws:iam::111122223333:role/custody".parse().unwrap();
        Wanted::Alias(AliasRef::new(Provider::Scripted, alias, role, Some("external-0123".parse().unwrap())))
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
        let (found, events) = told(&kms, Wanted::Key(key.clone()), 60).await;
        assert!(found.valid, "{found:?}");
        let left = events.iter().filter_map(|event| match event {
            Event::Waiting(left) => Some(left.as_secs()),
            Event::Check(_) => None,
        });
        // Two rounds failed, each of two seconds, and after each it was waited for five.
        assert_eq!(left.collect::<Vec<_>>(), [58, 57, 56, 55, 54, 51, 50, 49, 48, 47]);
        kms.set_state(key.key_arn(), KeyState::Disabled);
        let began = Instant::now();
        assert!(!check(&kms, &key, 60).await.valid);
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn each_check_is_told_as_it_ends_and_the_last_of_each_name_is_what_was_found() {
        let (kms, key) = world();
        kms.fault_next(Action::Encrypt, DENIED);
        let (found, events) = told(&kms, Wanted::Key(key.clone()), 0).await;
        assert!(found.valid, "{found:?}");
        let checks: Vec<(CheckName, bool)> = events
            .iter()
            .map(|event| match event {
                Event::Check(check) => (check.name, check.ok),
                Event::Waiting(_) => panic!("nothing to wait for: {events:?}"),
            })
            .collect();
        use CheckName::{AssumeRole, Decrypt, DescribeKey, Encrypt, ExternalId};
        let first = [(AssumeRole, true), (DescribeKey, true), (Encrypt, false), (Decrypt, false)];
        let second = [(AssumeRole, true), (DescribeKey, true), (Encrypt, true), (Decrypt, true), (ExternalId, true)];
        assert_eq!(checks, [&first[..], &second[..]].concat());
        // Where the first fails, the others are told as skipped.
        kms.set_external_id(key.key_arn(), Some("another".parse().unwrap()));
        let (found, events) = told(&kms, Wanted::Key(key), 0).await;
        assert_eq!(events.len(), found.checks.len());
        assert!(found.checks.iter().all(|check| events.contains(&Event::Check(check.clone()))), "{events:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_alias_is_proven_by_its_key_and_that_ones_arn_is_told() {
        let (kms, key) = world();
        let (found, events) = told(&kms, alias_of(&kms, Some(&key)), 0).await;
        assert!(found.valid, "{found:?}");
        assert_eq!(found.key_arn.as_deref(), Some(key.key_arn().as_str()));
        assert!(found.check(CheckName::Alias).unwrap().ok && found.checks.len() == 6);
        assert!(events.iter().any(|event| matches!(event, Event::Check(check) if check.name == CheckName::Alias)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_alias_that_leads_to_no_key_is_told_by_a_check_of_its_own() {
        type Break = fn(&ScriptedKms);
        let cases: [(Break, CheckName, &str); 4] = [
            (|kms| drop(alias_of(kms, None)), CheckName::Alias, "leads to no key"),
            (|kms| kms.fault(Action::DescribeKey, DENIED), CheckName::Alias, "on the key itself, not on the alias"),
            (|kms| kms.fault(Action::DescribeKey, Fault::WrongArn), CheckName::Alias, "another key answered"),
            (|kms| kms.fault(Action::AssumeRole, Fault::Code("AccessDenied")), CheckName::AssumeRole, "external id"),
        ];
        for (break_it, name, words) in cases {
            let (kms, key) = world();
            let alias = alias_of(&kms, Some(&key));
            break_it(&kms);
            let (found, _) = told(&kms, alias, 0).await;
            let (failed, skipped) = wrong(&found);
            assert!(failed.len() == 1 && failed[0].0 == name && failed[0].1.contains(words), "{failed:?}");
            assert_eq!((skipped.len(), found.key_arn), (if name == CheckName::Alias { 4 } else { 5 }, None));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_denial_on_the_way_to_an_aliass_key_is_waited_for_and_an_alias_that_is_not_there_is_not() {
        let (kms, key) = world();
        let alias = alias_of(&kms, Some(&key));
        kms.fault_next(Action::DescribeKey, DENIED);
        assert!(told(&kms, alias.clone(), 60).await.0.valid);
        alias_of(&kms, None);
        let began = Instant::now();
        assert!(!told(&kms, alias, 60).await.0.valid);
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn our_own_clock_is_named_where_it_is_too_far_off_and_only_there() {
        let at = |seconds| std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (ours, said) in [
            (1_000, None),
            (1_240, None),
            (760, None),
            (1_241, Some("4m 1s ahead of AWS's")),
            (559, Some("7m 21s behind AWS's")),
        ] {
            let (kms, key) = world();
            kms.set_clock_skew(Some(ClockSkew::between(at(ours), at(1_000))));
            let found = check(&kms, &key, 0).await;
            let clock = found.check(CheckName::Clock).unwrap();
            assert_eq!((clock.ok, found.valid), (said.is_none(), said.is_none()), "{found:?}");
            let message = clock.message.clone().unwrap_or_default();
            assert!(
                said.is_none_or(|said| message.contains(said) && message.contains("fault of this service")),
                "{message}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_signature_that_aws_found_stale_comes_with_the_time_that_we_are_off() {
        let (kms, key) = world();
        kms.set_clock_skew(Some(ClockSkew::between(
            std::time::SystemTime::UNIX_EPOCH,
            std::time::SystemTime::UNIX_EPOCH + Duration::from_mins(9),
        )));
        kms.fault(Action::AssumeRole, Fault::Code("RequestTimeTooSkewed"));
        let (failed, _) = wrong(&check(&kms, &key, 60).await);
        assert_eq!(failed.len(), 2, "{failed:?}");
        assert!(failed[0].1.contains("our clock differs") && failed[1].1.contains("9m 0s behind AWS's"), "{failed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_whose_refusal_could_not_be_proven_is_no_good() {
        let kms = ScriptedKms::with(Arc::new(custody_kms::MemoryLedger::new(10)), RetryPolicy::NONE);
        let role = "arn:aws:iam::111122223333:role/custody".parse().unwrap();
        let key = kms.create_key_behind(role, Some("external-0123".parse().unwrap())).unwrap();
        let stranger = deputy(strangers(&kms, &key).await.unwrap(), &key);
        assert!(stranger.ok);
        kms.fault(Action::AssumeRole, Fault::NoConnection);
        let unproven = deputy(strangers(&kms, &key).await.unwrap(), &key);
        assert!(!unproven.ok && unproven.message.unwrap().contains("no connection"));
    }
}
