//! What names databases and collections: it is given to a node, kept in memory while its job runs, and written nowhere.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use custody_link::{Chosen as ChosenForBackup, Renamed};

/// How many reasons are kept for those who ask.
const KEPT_REASONS: usize = 1_000;

/// What a job was told to take. There is no `Debug`: names are in it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// For a backup.
    Backup(Vec<ChosenForBackup>),
    /// From a backup.
    Restore(Vec<Renamed>),
}

/// What is kept in memory of jobs, by their ids.
#[derive(Default)]
pub(crate) struct Names(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    chosen: HashMap<String, Chosen>,
    /// Why jobs failed, where that names something.
    reasons: HashMap<String, String>,
}

impl Names {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what a job is to take.
    pub(crate) fn choose(&self, job: &str, chosen: Chosen) {
        self.kept().chosen.insert(job.to_owned(), chosen);
    }

    /// What a job is to take; nothing if it is not known, or not any more.
    pub(crate) fn chosen(&self, job: &str) -> Option<Chosen> {
        self.kept().chosen.get(job).cloned()
    }

    /// Why a job failed, for whoever asks while this process runs.
    pub(crate) fn explain(&self, job: &str, reason: &str) {
        let mut kept = self.kept();
        if kept.reasons.len() == KEPT_REASONS {
            kept.reasons.clear();
        }
        kept.reasons.insert(job.to_owned(), reason.to_owned());
    }

    /// The same, if it is still known.
    pub(crate) fn reason(&self, job: &str) -> Option<String> {
        self.kept().reasons.get(job).cloned()
    }

    /// A job has ended: what it was to take is needed no more.
    pub(crate) fn forget(&self, job: &str) {
        self.kept().chosen.remove(job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_chosen_goes_with_the_job_and_why_it_failed_stays_for_a_while() {
        let names = Names::default();
        let chosen = Chosen::Backup(vec![ChosenForBackup { database: "d".into(), collections: vec!["c".into()] }]);
        names.choose("job-1", chosen.clone());
        assert!(names.chosen("job-1") == Some(chosen) && names.chosen("job-2").is_none());
        names.explain("job-1", "there is no collection c");
        names.forget("job-1");
        assert!(names.chosen("job-1").is_none());
        assert_eq!(names.reason("job-1").as_deref(), Some("there is no collection c"));
        (0..2 * KEPT_REASONS).for_each(|number| names.explain(&format!("other-{number}"), "no"));
        assert!(names.reason("job-1").is_none() && names.kept().reasons.len() <= KEPT_REASONS);
    }
}
