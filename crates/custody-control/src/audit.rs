//! The activity log: who did what, in a chain of hashes in which an edited, a removed and a cut entry show (rule 29).
//!
//! An entry is written in the transaction of what it tells of: neither is there without the other.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest::{Context, SHA256};
use serde::Serialize;

use crate::{
    Control,
    access::Caller,
    db::{Change, Db, now},
    hex,
    refusal::Refused,
};

/// What the first entry has in place of the hash of the one before it.
const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Something that was done. Ids alone: names, values and secrets never stand in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deed<'a> {
    /// The project, if it is about one.
    pub(crate) project: Option<&'a str>,
    /// The user, the API key, or `custody` itself.
    pub(crate) actor: &'a str,
    /// What was done, such as `key.add`.
    pub(crate) action: &'static str,
    /// The id of what it was done to.
    pub(crate) subject: &'a str,
    /// More, in words.
    pub(crate) detail: &'a str,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// Its number: from 1, without gaps.
    pub seq: i64,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// The project, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Who: a user's or an API key's id, or `custody`.
    pub actor: String,
    /// What was done, such as `key.add`.
    pub action: String,
    /// The id of what it was done to.
    pub subject: String,
    /// More, in words.
    pub detail: String,
    /// SHA-256 over the hash of the entry before and this one.
    pub hash: String,
}

impl Activity {
    fn hash_after(&self, previous: &str) -> String {
        let mut context = Context::new(&SHA256);
        let mut add = |bytes: &[u8]| {
            // With its length before it, no two lists of fields give the same bytes.
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        };
        add(previous.as_bytes());
        add(&self.seq.to_be_bytes());
        add(&self.at.to_be_bytes());
        match &self.project_id {
            Some(project) => add(project.as_bytes()),
            None => add(b""),
        }
        for text in [&self.actor, &self.action, &self.subject, &self.detail] {
            add(text.as_bytes());
        }
        hex::digits(context.finish().as_ref()).collect()
    }
}

/// The newest entry's number and hash: whoever keeps it elsewhere notices when entries after all are cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Head {
    /// The number; 0 if there is no entry.
    pub seq: i64,
    /// The hash.
    pub hash: String,
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl std::str::FromStr for Head {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let refused =
            || Refused::invalid("a head is an entry's number and hash, such as 17:ab…, as a webhook tells it");
        let (seq, hash) = text.split_once(':').ok_or_else(refused)?;
        let fits = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        let seq = seq.parse().map_err(|_| refused())?;
        if fits { Ok(Self { seq, hash: hash.to_ascii_lowercase() }) } else { Err(refused()) }
    }
}

/// What is wrong with the chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// An entry's hash does not follow from it and the one before.
    #[error("entry {0} was changed, or the one before it: its hash does not follow")]
    Changed(i64),
    /// A number is missing.
    #[error("entry {0} was removed: the numbers have a gap there")]
    Removed(i64),
    /// The chain ends before the expected head.
    #[error("the log ends at entry {found}, and {expected} was expected: what came after was cut off")]
    Cut {
        /// The newest entry there is.
        found: i64,
        /// The one that was there once.
        expected: i64,
    },
    /// The expected entry has another hash.
    #[error("entry {0} has another hash than the expected one: the log was written anew")]
    Other(i64),
}

/// Appends an entry, in the change that it tells of.
pub(crate) async fn append(change: &mut Change, deed: Deed<'_>) -> Result<(), Refused> {
    let Head { seq, hash: previous } = head_in(change).await?;
    let mut entry = Activity {
        seq: seq + 1,
        at: now(),
        project_id: deed.project.map(str::to_owned),
        actor: deed.actor.to_owned(),
        action: deed.action.to_owned(),
        subject: deed.subject.to_owned(),
        detail: deed.detail.to_owned(),
        hash: String::new(),
    };
    entry.hash = entry.hash_after(&previous);
    sqlx::query!(
        "INSERT INTO activities (seq, at, project_id, actor, action, subject, detail, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        entry.seq,
        entry.at,
        entry.project_id,
        entry.actor,
        entry.action,
        entry.subject,
        entry.detail,
        entry.hash
    )
    .execute(&mut **change)
    .await?;
    Ok(())
}

/// The newest entry's number and hash.
pub async fn head(db: &Db) -> Result<Head, Refused> {
    let mut connection = db.pool().acquire().await?;
    head_in(&mut connection).await
}

/// The same in a change that is under way.
pub(crate) async fn head_in(connection: &mut sqlx::SqliteConnection) -> Result<Head, Refused> {
    let last = sqlx::query!("SELECT seq, hash FROM activities ORDER BY seq DESC LIMIT 1").fetch_optional(connection);
    Ok(last.await?.map_or(Head { seq: 0, hash: BEGINNING.to_owned() }, |last| Head { seq: last.seq, hash: last.hash }))
}

/// How often it is looked at whether the log has a new head.
const HEAD_LOOK: Duration = Duration::from_secs(5);

impl Control {
    /// Leaves the head of the log in the clusters' storage, each time that it is a new one, until the control plane stops.
    pub async fn keep_audit_head(self: Arc<Self>) {
        let mut kept = String::new();
        loop {
            match head(&self.db).await {
                Ok(head) if head.to_string() == kept => {}
                Ok(head) => match self.nodes.storage.keep_audit_head(&head.to_string()).await {
                    Ok(()) => kept = head.to_string(),
                    Err(error) => {
                        tracing::error!(error, "the head of the activity log could not be left in the storage");
                    }
                },
                Err(error) => tracing::error!(%error, "the head of the activity log can't be read"),
            }
            tokio::time::sleep(HEAD_LOOK).await;
        }
    }
}

/// The newest entries of a project, newest first.
pub(crate) async fn list(db: &Db, project: &str, before: i64, limit: i64) -> Result<Vec<Activity>, Refused> {
    let found = sqlx::query_as!(
        Activity,
        "SELECT seq, at, project_id, actor, action, subject, detail, hash FROM activities
         WHERE project_id = ? AND seq < ? ORDER BY seq DESC LIMIT ?",
        project,
        before,
        limit
    );
    Ok(found.fetch_all(db.pool()).await?)
}

/// Looks through the whole chain; `expected` is a head that was told earlier. Returns the newest entry's.
pub async fn verify(db: &Db, expected: Option<&Head>) -> Result<Result<Head, ChainError>, Refused> {
    let all = sqlx::query_as!(
        Activity,
        "SELECT seq, at, project_id, actor, action, subject, detail, hash FROM activities ORDER BY seq"
    );
    let mut head = Head { seq: 0, hash: BEGINNING.to_owned() };
    let mut met = expected.is_none_or(|expected| *expected == head);
    for entry in all.fetch_all(db.pool()).await? {
        if entry.seq != head.seq + 1 {
            return Ok(Err(ChainError::Removed(head.seq + 1)));
        }
        if entry.hash != entry.hash_after(&head.hash) {
            return Ok(Err(ChainError::Changed(entry.seq)));
        }
        head = Head { seq: entry.seq, hash: entry.hash };
        match expected {
            Some(expected) if expected.seq == head.seq && *expected != head => {
                return Ok(Err(ChainError::Other(head.seq)));
            }
            Some(expected) => met |= *expected == head,
            None => {}
        }
    }
    match expected {
        Some(expected) if !met => Ok(Err(ChainError::Cut { found: head.seq, expected: expected.seq })),
        _ => Ok(Ok(head)),
    }
}

impl<'a> Deed<'a> {
    /// Something that a caller did in a project.
    pub(crate) fn by(caller: &'a Caller, project: &'a str, action: &'static str, subject: &'a str) -> Self {
        Self { project: Some(project), actor: caller.id(), action, subject, detail: "" }
    }

    /// Something that the service did by itself.
    pub(crate) fn ours(project: &'a str, action: &'static str, subject: &'a str, detail: &'a str) -> Self {
        Self { project: Some(project), actor: "custody", action, subject, detail }
    }

    /// The same, with more in words.
    pub(crate) fn saying(self, detail: &'a str) -> Self {
        Self { detail, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::tests::fresh;

    async fn filled() -> (Db, tempfile::TempDir) {
        let (db, directory) = fresh().await;
        for subject in ["a", "b", "c"] {
            let mut change = db.change().await.unwrap();
            append(&mut change, Deed::ours("proj-1", "key.check", subject, "")).await.unwrap();
            change.commit().await.unwrap();
        }
        (db, directory)
    }

    /// What an attacker who owns the file does: the triggers are no obstacle.
    async fn tamper(db: &Db, statement: &'static str) {
        for trigger in ["activities_are_not_changed", "activities_are_not_removed"] {
            sqlx::query(sqlx::AssertSqlSafe(format!("DROP TRIGGER {trigger}"))).execute(db.pool()).await.unwrap();
        }
        assert!(sqlx::query(statement).execute(db.pool()).await.unwrap().rows_affected() > 0);
    }

    #[tokio::test]
    async fn an_untouched_chain_is_found_whole_up_to_its_head() {
        let (db, _directory) = filled().await;
        let told = head(&db).await.unwrap();
        assert_eq!(told.seq, 3);
        assert_eq!(verify(&db, Some(&told)).await.unwrap(), Ok(told.clone()));
        assert_eq!(told.to_string().parse::<Head>().unwrap(), told);
    }

    #[tokio::test]
    async fn an_edited_a_removed_a_cut_and_a_rewritten_entry_show() {
        let cases: [(&'static str, ChainError); 4] = [
            ("UPDATE activities SET actor = 'x' WHERE seq = 2", ChainError::Changed(2)),
            ("UPDATE activities SET project_id = NULL WHERE seq = 2", ChainError::Changed(2)),
            ("DELETE FROM activities WHERE seq = 2", ChainError::Removed(2)),
            ("DELETE FROM activities WHERE seq = 3", ChainError::Cut { found: 2, expected: 3 }),
        ];
        for (statement, expected) in cases {
            let (db, _directory) = filled().await;
            let told = head(&db).await.unwrap();
            tamper(&db, statement).await;
            assert_eq!(verify(&db, Some(&told)).await.unwrap(), Err(expected), "{statement}");
        }
        let (db, _directory) = filled().await;
        let other = Head { seq: 3, hash: BEGINNING.to_owned() };
        assert_eq!(verify(&db, Some(&other)).await.unwrap(), Err(ChainError::Other(3)));
    }

    #[tokio::test]
    async fn an_entry_that_is_edited_with_its_hash_made_anew_shows_by_the_next_one() {
        let (db, _directory) = filled().await;
        let mut edited = list(&db, "proj-1", 3, 1).await.unwrap().remove(0);
        let first = list(&db, "proj-1", 2, 1).await.unwrap().remove(0);
        edited.actor = "somebody".to_owned();
        edited.hash = edited.hash_after(&first.hash);
        tamper(&db, "DELETE FROM activities WHERE seq = 2").await;
        sqlx::query("INSERT INTO activities VALUES (2, ?, ?, ?, ?, ?, ?, ?)")
            .bind(edited.at)
            .bind(edited.project_id)
            .bind(edited.actor)
            .bind(edited.action)
            .bind(edited.subject)
            .bind(edited.detail)
            .bind(edited.hash)
            .execute(db.pool())
            .await
            .unwrap();
        assert_eq!(verify(&db, None).await.unwrap(), Err(ChainError::Changed(3)));
    }

    #[tokio::test]
    async fn the_database_itself_refuses_to_change_or_remove_an_entry() {
        let (db, _directory) = filled().await;
        for statement in ["UPDATE activities SET actor = 'x'", "DELETE FROM activities"] {
            let error = sqlx::query(statement).execute(db.pool()).await.unwrap_err().to_string();
            assert!(error.contains("append-only"), "{error}");
        }
    }
}
