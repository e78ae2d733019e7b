//! Sending what was raised: each delivery until it has arrived, or is given up. A restart goes on where it stopped.
//!
//! A receiver that never answers takes ten seconds of each try, and must not be waited for by anybody else's alerts.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::task::{Id, JoinSet};

use super::{Delivery, Secret, Sender, Target, next_try};
use crate::{
    Control,
    db::{millis, now},
    refusal::Refused,
};

/// Between two looks for deliveries that are due.
const TICK: Duration = Duration::from_millis(250);
/// Deliveries at the same time.
const AT_ONCE: usize = 64;
/// Those of one project, whose receivers may hang all together.
const OF_A_PROJECT: i64 = 16;
/// Those of one rule: one that hangs holds up no other rule.
const OF_A_RULE: i64 = 2;

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
        let (mut tries, mut running) = (JoinSet::new(), HashMap::new());
        loop {
            // Whoever waits behind one that has ended is sent at once.
            let ended = tokio::select! {
                () = tokio::time::sleep(TICK) => None,
                ended = tries.join_next_with_id(), if !tries.is_empty() => ended,
            };
            if let Some(ended) = ended {
                running.remove(&ended.map_or_else(|error| error.id(), |(id, ())| id));
            }
            match self.due().await {
                Ok(due) => self.begin(&sender, due, &mut tries, &mut running),
                Err(error) => tracing::error!(%error, "deliveries that are due can't be listed"),
            }
        }
    }

    /// Begins tries, each beside those that are under way.
    fn begin(
        self: &Arc<Self>,
        sender: &Arc<Sender>,
        due: Vec<Due>,
        tries: &mut JoinSet<()>,
        running: &mut HashMap<Id, String>,
    ) {
        for one in due {
            if running.len() >= AT_ONCE {
                return;
            }
            if running.values().any(|id| *id == one.id) {
                continue;
            }
            let (control, sender, id) = (Arc::clone(self), Arc::clone(sender), one.id.clone());
            let begun = tries.spawn(async move {
                if let Err(error) = control.attempt(&sender, one).await {
                    tracing::error!(%error, "what became of a delivery could not be written down");
                    // It is due still, and not to be sent over and over.
                    tokio::time::sleep(TICK).await;
                }
            });
            running.insert(begun.id(), id);
        }
    }

    /// What is to be under way now, with what is: of each rule and of each project the first few that are due, and the first of
    /// every project before the second of any.
    async fn due(&self) -> Result<Vec<Due>, Refused> {
        let now = now();
        let due = sqlx::query_as!(
            Due,
            r#"WITH of_rules AS (
                 SELECT deliveries.id, next_at, deliveries.rowid AS place, project_id,
                        row_number() OVER (PARTITION BY rule_id ORDER BY next_at, deliveries.rowid) AS turn
                 FROM deliveries JOIN alert_rules ON alert_rules.id = rule_id WHERE next_at <= ?
               ), of_projects AS (
                 SELECT id, next_at, row_number() OVER (PARTITION BY project_id ORDER BY next_at, place) AS turn
                 FROM of_rules WHERE turn <= ?
               )
               SELECT deliveries.id AS "id!", alert_id AS "alert_id!", body AS "body!", attempts AS "attempts!",
                      url AS "url!", secret AS "secret!"
               FROM of_projects JOIN deliveries ON deliveries.id = of_projects.id
               JOIN alert_rules ON alert_rules.id = deliveries.rule_id
               WHERE turn <= ? ORDER BY turn, of_projects.next_at"#,
            now,
            OF_A_RULE,
            OF_A_PROJECT
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::{
        Options, Plan,
        alert::{AlertKind, Allowed, NewRule, raise},
        control::tests::Plane,
    };

    /// A receiver on this machine, with how often it was connected to.
    async fn receiver(answers: bool) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (place, connections) = (listener.local_addr().unwrap().to_string(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                if answers {
                    let _ = stream.read(&mut [0; 8_192]).await;
                    let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                } else {
                    open.push(stream);
                }
            }
        });
        (place, connections)
    }

    async fn rule(plane: &Plane, project: &str, receiver: &str) {
        let new = NewRule { name: receiver.to_owned(), url: format!("http://{receiver}/"), kinds: Vec::new() };
        plane.control.create_alert_rule(&plane.owner, project, &new).await.unwrap();
    }

    async fn raise_in(plane: &Plane, project: &str, alerts: usize) {
        let mut change = plane.control.db.change().await.unwrap();
        for _ in 0..alerts {
            raise(&mut change, project, AlertKind::KeyStatus, "cmek-1", "it is gone").await.unwrap();
        }
        change.commit().await.unwrap();
    }

    async fn delivered(plane: &Plane, project: &str) -> usize {
        let alerts = plane.control.alerts(&plane.owner, project, 100).await.unwrap();
        alerts.iter().flat_map(|alert| &alert.deliveries).filter(|sent| sent.delivered_at.is_some()).count()
    }

    #[tokio::test]
    async fn a_receiver_that_never_answers_holds_up_no_other_rule_and_no_other_project() {
        let ((silent, connections), (good, _)) = (receiver(false).await, receiver(true).await);
        let webhooks = Allowed::parse([silent.as_str(), good.as_str()]).unwrap();
        let plane = Plane::new(Options { webhooks, ..Options::default() }).await;
        let other = plane.control.create_project(&plane.owner, "other", Plan::BusinessCritical).await.unwrap();
        rule(&plane, &plane.project, &silent).await;
        rule(&plane, &plane.project, &good).await;
        rule(&plane, &other, &good).await;
        // Far more than are ever sent at once, and before the others'.
        raise_in(&plane, &plane.project, 10).await;
        raise_in(&plane, &other, 3).await;
        tokio::spawn(Arc::clone(&plane.control).deliver_alerts());
        // Each try at the silent one takes ten seconds.
        let all = async {
            while (delivered(&plane, &plane.project).await, delivered(&plane, &other).await) != (10, 3) {
                tokio::time::sleep(TICK).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(8), all).await.expect("nobody waits for the silent one");
        let begun = i64::try_from(connections.load(Ordering::SeqCst)).unwrap();
        assert_eq!(begun, OF_A_RULE);
    }

    #[tokio::test]
    async fn of_every_project_the_first_comes_before_the_second_of_any() {
        let (silent, _) = receiver(false).await;
        let webhooks = Allowed::parse([silent.as_str()]).unwrap();
        let plane = Plane::new(Options { webhooks, ..Options::default() }).await;
        let other = plane.control.create_project(&plane.owner, "other", Plan::BusinessCritical).await.unwrap();
        for _ in 0..12 {
            rule(&plane, &plane.project, &silent).await;
        }
        rule(&plane, &other, &silent).await;
        raise_in(&plane, &plane.project, 5).await;
        raise_in(&plane, &other, 5).await;
        let due = plane.control.due().await.unwrap();
        let theirs: Vec<usize> =
            (0..due.len()).filter(|turn| due[*turn].body.contains(&format!("\"{other}\""))).collect();
        assert!(theirs.len() == 2 && theirs[0] <= 1 && theirs[1] <= 3, "{theirs:?}");
        assert_eq!(i64::try_from(due.len()).unwrap(), OF_A_PROJECT + OF_A_RULE);
    }
}
