//! Small pieces of pages: times, statuses and icons, and the words for what the services call otherwise.

use std::fmt;

use askama::filters::HtmlSafe;
use custody_control::{
    Plan, Region, access::Role, backup::BackupStatus, cluster::ClusterStatus, cmek::KeyStatus, job::JobStatus, rfc3339,
};

/// A time, in milliseconds since 1970. The page's script writes it in the viewer's zone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(pub(crate) i64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = rfc3339(self.0);
        write!(f, r#"<time datetime="{text}">{text}</time>"#)
    }
}

// Digits and the letters T and Z alone.
impl HtmlSafe for Moment {}

/// A status: a word, a shape and a colour, so that none of them has to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Badge {
    kind: &'static str,
    text: &'static str,
}

impl Badge {
    fn new(kind: &'static str, text: &'static str) -> Self {
        Self { kind, text }
    }
}

impl fmt::Display for Badge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = match self.kind {
            "good" => r#"<circle cx="5" cy="5" r="4"/>"#,
            "warn" => r#"<path d="M5 .8 9.6 9H.4z"/>"#,
            "bad" => r#"<path d="M1 1h8v8H1z"/>"#,
            "busy" => r#"<path d="M5 1a4 4 0 1 0 4 4H7.4A2.4 2.4 0 1 1 5 2.6z"/>"#,
            _ => r#"<path d="M1 4h8v2H1z"/>"#,
        };
        write!(
            f,
            r#"<span class="badge {}"><svg viewBox="0 0 10 10" aria-hidden="true">{shape}</svg>{}</span>"#,
            self.kind, self.text
        )
    }
}

// Of texts of ours alone.
impl HtmlSafe for Badge {}

/// How a key is.
pub(crate) fn of_key(status: KeyStatus) -> Badge {
    let kind = match status {
        KeyStatus::Available => "good",
        KeyStatus::Revoked => "bad",
        KeyStatus::Unreachable | KeyStatus::Misconfigured => "warn",
    };
    Badge::new(kind, status.as_str())
}

/// How a cluster is.
pub(crate) fn of_cluster(status: ClusterStatus) -> Badge {
    let kind = match status {
        ClusterStatus::Running => "good",
        ClusterStatus::Creating => "busy",
        ClusterStatus::Abnormal => "bad",
        ClusterStatus::Deleting => "warn",
        ClusterStatus::Suspended => "off",
    };
    Badge::new(kind, status.as_str())
}

/// How a job is.
pub(crate) fn of_job(status: JobStatus) -> Badge {
    let kind = match status {
        JobStatus::Successful => "good",
        JobStatus::Running => "busy",
        JobStatus::Failed => "bad",
        JobStatus::Pending | JobStatus::PendingApproval => "warn",
        JobStatus::Canceled => "off",
    };
    Badge::new(kind, status.as_str())
}

/// How a backup is.
pub(crate) fn of_backup(status: BackupStatus) -> Badge {
    let kind = match status {
        BackupStatus::Creating => "busy",
        BackupStatus::Available => "good",
        BackupStatus::Deleting => "warn",
    };
    Badge::new(kind, status.as_str())
}

/// An amount of bytes, as people say it.
pub(crate) fn bytes_name(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let Some(unit) = (0..units.len()).rev().find(|unit| bytes >> (10 * (unit + 1)) > 0) else {
        return format!("{bytes} bytes");
    };
    // One digit behind the point, rounded down.
    let tenths = (u128::from(bytes) * 10) >> (10 * (unit + 1));
    format!("{}.{} {}", tenths / 10, tenths % 10, units[unit])
}

/// How the lease of a zone is.
pub(crate) fn of_zone(state: &'static str) -> Badge {
    let kind = match state {
        "AVAILABLE" => "good",
        "GRACE" => "warn",
        _ => "bad",
    };
    Badge::new(kind, state)
}

/// Whether something was delivered.
pub(crate) fn of_delivery(delivered: bool, given_up: bool) -> Badge {
    match (delivered, given_up) {
        (true, _) => Badge::new("good", "DELIVERED"),
        (false, true) => Badge::new("bad", "GIVEN UP"),
        (false, false) => Badge::new("busy", "TRYING"),
    }
}

/// Whether a call to KMS went well.
pub(crate) fn of_call(outcome: &str) -> Badge {
    match outcome {
        "ok" => Badge::new("good", "OK"),
        "unreachable" | "ours" => Badge::new("warn", "NO ANSWER"),
        _ => Badge::new("bad", "REFUSED"),
    }
}

/// An icon that only decorates: the words stand beside it.
#[derive(Clone, Copy)]
pub(crate) struct Icon(&'static str);

impl fmt::Display for Icon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, r#"<svg class="icon" viewBox="0 0 16 16" aria-hidden="true">{}</svg>"#, self.0)
    }
}

// Of texts of ours alone.
impl HtmlSafe for Icon {}

/// A key.
pub(crate) const KEY: Icon = Icon(
    r#"<path d="M10.5 1a4.5 4.5 0 0 0-4.3 5.8L1 12v3h3v-1.5h1.5V12H7l2.2-2.2A4.5 4.5 0 1 0 10.5 1zm1 4.8a1.3 1.3 0 1 1 0-2.6 1.3 1.3 0 0 1 0 2.6z"/>"#,
);

/// A plan, as people say it.
pub(crate) fn plan_name(plan: Plan) -> &'static str {
    match plan {
        Plan::Free => "Free",
        Plan::Serverless => "Serverless",
        Plan::Standard => "Standard",
        Plan::Enterprise => "Enterprise",
        Plan::BusinessCritical => "Business Critical",
    }
}

/// A role, as people say it.
pub(crate) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Owner => "Owner",
        Role::ProjectAdmin => "Project Admin",
        Role::ProjectReadWrite => "Project Read-Write",
        Role::ProjectReadOnly => "Project Read-Only",
        Role::KeyCustodian => "Key Custodian",
    }
}

/// What is told of a key, beside the key itself: without its ARN once more, and without the marks of a terminal.
pub(crate) fn of_this_key(text: &str, arn: &str) -> String {
    text.replace(arn, "this key").replace('`', "")
}

/// Who keeps a key, as people say it.
pub(crate) fn provider_name(provider: &str) -> &'static str {
    match provider {
        "aws" => "AWS KMS",
        "local" => "Local development KMS",
        _ => "unknown",
    }
}

/// A region, with the place.
pub(crate) fn region_name(id: &str) -> String {
    Region::parse(id).map_or_else(|_| id.to_owned(), |region| format!("{id} ({})", region.city()))
}

/// A length of time, as people say it.
pub(crate) fn seconds_name(seconds: i64) -> String {
    match seconds {
        0 => "none".to_owned(),
        _ if seconds % 3600 == 0 => format!("{} h", seconds / 3600),
        _ if seconds % 60 == 0 => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_can_be_read_by_people_and_scripts() {
        let text = "1970-01-01T00:00:01.000Z";
        assert_eq!(Moment(1_000).to_string(), format!(r#"<time datetime="{text}">{text}</time>"#));
    }

    #[test]
    fn bytes_are_told_with_one_digit_behind_the_point() {
        let said: Vec<String> = [0, 1_023, 1_024, 1_536, 10 << 20, (3 << 30) - 1].into_iter().map(bytes_name).collect();
        assert_eq!(said, ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 KiB", "10.0 MiB", "2.9 GiB"]);
    }

    #[test]
    fn a_status_has_a_word_a_shape_and_a_colour() {
        let shown = of_key(KeyStatus::Revoked).to_string();
        assert!(shown.contains("REVOKED") && shown.contains("<path") && shown.contains("badge bad"), "{shown}");
        assert_ne!(of_cluster(ClusterStatus::Running).to_string(), of_cluster(ClusterStatus::Abnormal).to_string());
    }

    #[test]
    fn what_is_told_of_a_key_does_not_repeat_which_key_it_is() {
        let arn = "arn:aws:kms:us-west-2:111122223333:key/1";
        let told =
            format!("kms:DescribeKey failed for {arn}: the key is disabled; enable the key (`aws kms enable-key`)");
        let shown = "kms:DescribeKey failed for this key: the key is disabled; enable the key (aws kms enable-key)";
        assert_eq!(of_this_key(&told, arn), shown);
    }

    #[test]
    fn lengths_of_time_are_said_in_their_largest_unit() {
        let said: Vec<String> = [0, 45, 90, 600, 3600, 86_400].into_iter().map(seconds_name).collect();
        assert_eq!(said, ["none", "45 s", "90 s", "10 min", "1 h", "24 h"]);
    }
}
