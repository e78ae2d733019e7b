//! Sending what was raised: each delivery until it has arrived, or is given up. A restart goes on where it stopped.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::{Delivery, Secret, Sender, Target, next_try};
use crate::{
    Control,
    db::{millis, now},
    refusal::Refused,
};

/// Between two looks for deliveries that are due.
const TICK: Duration = Duration::from_millis(250);
/// Deliveries at the same time: a receiver that hangs holds up few others.
const AT_ONCE: i64 = 16;

/// A delivery that is due.
struct Due {
    id: String,
    alert_id: String,
    body: String,
    attempts: i64,
    url: String,
    secret: String,
}

impl Control {
    /// Sends what is due, until the control plane stops.
    pub async fn deliver_alerts(self: Arc<Self>) {
        let sender = Arc::new(Sender::new(self.options.webhooks.clone()));
        loop {
            tokio::time::sleep(TICK).await;
            let due = match self.due().await {
                Ok(due) => due,
                Err(error) => {
                    tracing::error!(%error, "deliveries that are due can't be listed");
                    continue;
                }
            };
            let mut tries = JoinSet::new();
            for one in due {
                let (control, sender) = (Arc::clone(&self), Arc::clone(&sender));
                tries.spawn(async move { control.attempt(&sender, one).await });
            }
            while let Some(tried) = tries.join_next().await {
                if let Ok(Err(error)) = tried {
                    tracing::error!(%error, "what became of a delivery could not be written down");
                }
            }
        }
    }

    async fn due(&self) -> Result<Vec<Due>, Refused> {
        let now = now();
        let due = sqlx::query_as!(
            Due,
            "SELECT deliveries.id, alert_id, body, attempts, url, secret FROM deliveries
             JOIN alert_rules ON alert_rules.id = rule_id WHERE next_at <= ? ORDER BY next_at LIMIT ?",
            now,
            AT_ONCE
        );
        Ok(due.fetch_all(self.db.pool()).await?)
    }

    async fn attempt(&self, sender: &Sender, due: Due) -> Result<(), Refused> {
        let attempt = due.attempts + 1;
        let error = self.send(sender, &due, attempt).await.err();
        let now = now();
        let (delivered, next) = match &error {
            None => (Some(now), None),
            // Beyond what fits, no further try is meant.
            Some(_) => (None, u32::try_from(attempt).ok().and_then(next_try).map(|wait| now + millis(wait))),
        };
        if let (Some(error), None) = (&error, next) {
            tracing::warn!(alert = due.alert_id, %error, "an alert could not be delivered and is given up");
        }
        sqlx::query!(
            "UPDATE deliveries SET attempts = ?, delivered_at = ?, next_at = ?, error = ? WHERE id = ?",
            attempt,
            delivered,
            next,
            error,
            due.id
        )
        .execute(self.db.pool())
        .await?;
        Ok(())
    }

    async fn send(&self, sender: &Sender, due: &Due, attempt: i64) -> Result<(), String> {
        // Looked at again: what the operator allows may have changed since the rule was made.
        let target = Target::parse(&due.url, &self.options.webhooks).map_err(|error| error.to_string())?;
        let secret = Secret::parse(&due.secret).map_err(|error| error.to_string())?;
        let attempt = u32::try_from(attempt).unwrap_or(u32::MAX);
        let delivery = Delivery { id: &due.id, attempt, body: due.body.as_bytes(), secret: &secret };
        sender.deliver(&target, &delivery).await.map(drop).map_err(|error| error.to_string())
    }
}
