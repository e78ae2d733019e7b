//! The local development KMS.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use crate::common::{Subject, conforms, context, decrypt, expect, secret, session};
use async_trait::async_trait;
use custody_kms::{
    Action, Cause, KeyArn, KeyState, LocalFileError, LocalKeyError, LocalKeys, LocalKms, MemoryLedger, Outcome,
    Provider, RootKeyRef, RootKms,
};
use tempfile::TempDir;

struct Local {
    _directory: TempDir,
    keys: LocalKeys,
    kms: LocalKms,
    ledger: Arc<MemoryLedger>,
    arn: KeyArn,
}

impl Local {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("kms.json");
        let (keys, ledger) = (LocalKeys::new(&path), Arc::new(MemoryLedger::new(100)));
        let arn = keys.create().unwrap();
        Self { kms: LocalKms::new(path, ledger.clone()), _directory: directory, keys, ledger, arn }
    }

    fn path(&self) -> PathBuf {
        self.keys.path().to_owned()
    }

    fn set_mode(&self, mode: u32) {
        fs::set_permissions(self.path(), fs::Permissions::from_mode(mode)).unwrap();
    }
}

#[async_trait]
impl Subject for Local {
    fn kms(&self) -> &dyn RootKms {
        &self.kms
    }

    fn key(&self) -> RootKeyRef {
        RootKeyRef::new(Provider::Local, self.arn.clone(), None, None).unwrap()
    }

    fn unknown_key(&self) -> RootKeyRef {
        let arn = "arn:custody:kms:local-dev:000000000000:key/00000000-0000-4000-8000-000000000000";
        RootKeyRef::parse("local", arn, None, None).unwrap()
    }

    async fn disable(&self) {
        self.keys.disable(&self.arn).unwrap();
    }

    async fn enable(&self) {
        self.keys.enable(&self.arn).unwrap();
    }

    async fn schedule_deletion(&self) {
        self.keys.schedule_deletion(&self.arn, 7).unwrap();
    }

    async fn cancel_deletion(&self) {
        self.keys.cancel_deletion(&self.arn).unwrap();
        self.enable().await;
    }

    fn blind_to_tampering(&self) -> Option<&'static str> {
        None
    }
}

#[tokio::test]
async fn the_local_kms_conforms() {
    conforms(&Local::new()).await;
}

#[tokio::test]
async fn a_ciphertext_of_one_key_is_refused_by_another() {
    let local = Local::new();
    let wrapped = session(&local.kms, &local.key()).await.unwrap().encrypt(&secret(), &context(1)).await.unwrap();
    let other = RootKeyRef::new(Provider::Local, local.keys.create().unwrap(), None, None).unwrap();
    let error = expect(decrypt(&local.kms, &other, &wrapped).await, Outcome::Misconfigured, &Cause::WrongCiphertext);
    assert_eq!(error.code(), Some("IncorrectKeyException"));
}

#[tokio::test]
async fn the_key_file_is_for_its_owner_alone_and_nothing_is_left_beside_it() {
    let local = Local::new();
    assert_eq!(fs::metadata(local.path()).unwrap().permissions().mode() & 0o777, 0o600);
    let mut names: Vec<_> =
        fs::read_dir(local.path().parent().unwrap()).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["kms.json", "kms.json.lock"]);
}

#[tokio::test]
async fn a_key_file_that_others_can_read_is_refused_as_our_own_fault() {
    let local = Local::new();
    for mode in [0o640, 0o604, 0o620, 0o601, 0o644] {
        local.set_mode(mode);
        let error = decrypt(&local.kms, &local.key(), b"x").await.err().unwrap();
        assert_eq!(error.outcome(), Outcome::Ours, "{mode:o}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
        assert!(matches!(local.keys.list(), Err(LocalKeyError::File(LocalFileError::Mode { .. }))));
        assert!(local.keys.disable(&local.arn).is_err());
    }
    local.set_mode(0o600);
    assert_eq!(local.keys.list().unwrap()[0].state, KeyState::Enabled);
}

#[tokio::test]
async fn a_damaged_key_file_is_our_fault_and_its_content_is_not_in_the_message() {
    let local = Local::new();
    let good = fs::read_to_string(local.path()).unwrap();
    let material = good.split("\"material\": \"").nth(1).unwrap()[..64].to_owned();
    let damaged = [
        good[..good.len() - 3].to_owned(),
        good.replace("\"version\": 1", "\"version\": 2"),
        good.replace(&material, &material[..62]),
        good.replace(&material, &material.to_uppercase().replace(char::is_numeric, "A")),
        good.replace("\"enabled\"", "\"pending_deletion\""),
        good.replace("\"state\"", "\"status\""),
        good.replace("arn:custody", "arn:aws"),
        String::new(),
    ];
    for text in damaged {
        fs::write(local.path(), &text).unwrap();
        let error = decrypt(&local.kms, &local.key(), b"x").await.err().unwrap();
        assert_eq!(error.outcome(), Outcome::Ours, "{text}");
        assert!(matches!(error.cause(), Cause::LocalFile(_)));
        assert!(!error.to_string().contains(&material[..16]), "{error}");
        assert!(local.keys.create().is_err(), "a damaged file is never replaced");
        assert_eq!(fs::read_to_string(local.path()).unwrap(), text);
    }
}

#[tokio::test]
async fn without_a_file_there_are_no_keys() {
    let local = Local::new();
    fs::remove_file(local.path()).unwrap();
    expect(decrypt(&local.kms, &local.key(), b"x").await, Outcome::Revoked, &Cause::KeyNotFound);
    assert_eq!(local.keys.list().unwrap(), []);
}

#[tokio::test]
async fn a_scheduled_deletion_has_its_date_and_is_cancelled_into_disabled() {
    let local = Local::new();
    for days in [0, 6, 31] {
        assert!(matches!(local.keys.schedule_deletion(&local.arn, days), Err(LocalKeyError::Wait(_))));
    }
    let at = local.keys.schedule_deletion(&local.arn, 30).unwrap();
    let days = at.duration_since(SystemTime::now()).unwrap().as_secs_f64() / 86_400.0;
    assert!((29.9..=30.0).contains(&days), "{days}");
    assert_eq!(local.keys.list().unwrap()[0].deletion_date, Some(at));
    assert!(local.keys.enable(&local.arn).is_err(), "a key that will be deleted can't be enabled");
    assert!(local.keys.disable(&local.arn).is_err());
    assert!(local.keys.schedule_deletion(&local.arn, 7).is_err());
    local.keys.cancel_deletion(&local.arn).unwrap();
    assert_eq!(local.keys.list().unwrap()[0].state, KeyState::Disabled);
    assert!(local.keys.cancel_deletion(&local.arn).is_err());
}

#[tokio::test]
async fn a_key_whose_date_has_come_is_gone() {
    let local = Local::new();
    local.keys.schedule_deletion(&local.arn, 7).unwrap();
    let text = fs::read_to_string(local.path()).unwrap();
    let at = text.split("\"deletionAt\": ").nth(1).unwrap().split(',').next().unwrap();
    fs::write(local.path(), text.replace(at, "1")).unwrap();
    expect(decrypt(&local.kms, &local.key(), b"x").await, Outcome::Revoked, &Cause::KeyNotFound);
    assert!(matches!(local.keys.cancel_deletion(&local.arn), Err(LocalKeyError::NotFound(_))));
    local.keys.create().unwrap();
    assert!(!fs::read_to_string(local.path()).unwrap().contains(local.arn.as_str()), "the next change removes it");
}

#[test]
fn writers_at_the_same_time_lose_no_key() {
    let directory = TempDir::new().unwrap();
    let keys = LocalKeys::new(directory.path().join("kms.json"));
    let made: Vec<KeyArn> = std::thread::scope(|scope| {
        let writers: Vec<_> =
            (0..8).map(|_| scope.spawn(|| (0..5).map(|_| keys.create().unwrap()).collect::<Vec<_>>())).collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    let mut listed: Vec<_> = keys.list().unwrap().into_iter().map(|key| key.arn).collect();
    let mut made = made;
    listed.sort();
    made.sort();
    assert_eq!((listed.len(), listed), (40, made));
}

#[tokio::test]
async fn calls_are_recorded_with_their_context_and_without_an_assume_role() {
    let local = Local::new();
    let wrapped = session(&local.kms, &local.key()).await.unwrap().encrypt(&secret(), &context(1)).await.unwrap();
    local.disable().await;
    let _ = decrypt(&local.kms, &local.key(), &wrapped).await;
    let entries = local.ledger.entries();
    let seen: Vec<_> = entries.iter().map(|entry| (entry.action, entry.result)).collect();
    assert_eq!(seen, [(Action::Encrypt, Ok(())), (Action::Decrypt, Err(Outcome::Revoked))]);
    assert_eq!(entries[0].context, Some(context(1)));
    assert_eq!(entries[1].code.as_deref(), Some("DisabledException"));
    assert!(entries.iter().all(|entry| entry.key.as_str() == local.arn.as_str() && entry.session.is_none()));
}
