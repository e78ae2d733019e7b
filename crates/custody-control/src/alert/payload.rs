//! What a webhook is sent: one frame around every event.

use serde::Serialize;

/// The end of the activity log's chain. Each receiver holds it, so that a log that is cut or rewritten later shows.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct AuditHead<'a> {
    /// The number of the last entry.
    pub sequence: u64,
    /// Its hash, in hexadecimal digits.
    pub hash: &'a str,
}

/// An event in its frame. `docs/alerts.md` describes it.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Payload<'a, T> {
    /// The event's id, the same at every try and for every receiver.
    pub id: &'a str,
    /// What happened, such as `key.status`.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// When, as in `2026-01-31T12:00:00Z`.
    pub create_time: &'a str,
    /// The project that it concerns.
    pub project_id: &'a str,
    /// The head of the project's activity log.
    pub audit_head: AuditHead<'a>,
    /// What there is to say of it: depends on `kind`.
    pub data: T,
}

impl<T: Serialize> Payload<'_, T> {
    /// The bytes to send. They are what is signed, and stay the same at every try.
    pub fn body(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_event_has_the_same_frame_and_carries_the_head_of_the_log() {
        let payload = Payload {
            id: "evt-1",
            kind: "key.status",
            create_time: "2026-01-31T12:00:00Z",
            project_id: "proj-1",
            audit_head: AuditHead { sequence: 17, hash: "0badc0de" },
            data: json!({"status": "REVOKED"}),
        };
        let sent: Value = serde_json::from_slice(&payload.body().unwrap()).unwrap();
        let expected = json!({
            "id": "evt-1",
            "type": "key.status",
            "createTime": "2026-01-31T12:00:00Z",
            "projectId": "proj-1",
            "auditHead": {"sequence": 17, "hash": "0badc0de"},
            "data": {"status": "REVOKED"},
        });
        assert_eq!(sent, expected);
    }
}
