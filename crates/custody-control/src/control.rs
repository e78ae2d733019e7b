//! The control plane as a whole: what all its services share.

use std::{sync::Arc, time::Duration};

use custody_kms::RootKms;
use custody_link::Listener;
use zeroize::Zeroizing;

use crate::{
    access::Privilege,
    access::{
        self, AdminCredentials, ApiKeyInfo, Caller, FirstCredentials, Gatekeeper, Grant, NewApiKey, SignedIn, UserInfo,
        Visitor,
    },
    alert::Allowed,
    audit::{self, Activity},
    backup::{Names, Turns},
    cmek::{DEFAULT_GRACE, DbLedger, NewestChecks, Principal},
    db::Db,
    node::{NodeParts, NodeSettings, Nodes},
    project::{self, DecryptedRestore, Plan, Project},
    refusal::Refused,
    tally::Tally,
};

const DAY: Duration = Duration::from_hours(24);

/// What the operator decides.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often each key is checked.
    pub check_interval: Duration,
    /// The grace of new keys.
    pub default_grace: Duration,
    /// How often it is looked at whether an AWS key's role still demands the external id.
    pub strangers_interval: Duration,
    /// How long calls to KMS stay in the ledger.
    pub ledger_age: Duration,
    /// How many keys a project may have.
    pub key_limit: i64,
    /// For how long a denial is tried again while a key is proven: IAM is eventually consistent.
    pub patience: Duration,
    /// Whether keys of the local development KMS may be used.
    pub local_keys: bool,
    /// Whether the control plane is reached through TLS.
    pub tls: bool,
    /// Where webhooks may lead besides the open internet.
    pub webhooks: Allowed,
    /// Whom roles trust: us. Without it, no AWS key can be set up.
    pub principal: Option<Principal>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            check_interval: Duration::from_mins(10),
            default_grace: DEFAULT_GRACE,
            strangers_interval: DAY,
            ledger_age: 90 * DAY,
            key_limit: 20,
            patience: Duration::from_mins(1),
            local_keys: true,
            tls: false,
            webhooks: Allowed::default(),
            principal: None,
        }
    }
}

/// The control plane. Every call says who asks, and is refused what that caller may not do.
pub struct Control {
    pub(crate) db: Db,
    pub(crate) kms: Arc<dyn RootKms>,
    pub(crate) ledger: DbLedger,
    pub(crate) options: Options,
    pub(crate) nodes: Arc<Nodes>,
    /// What jobs were told by name.
    pub(crate) names: Names,
    /// Whose turn it is to do something with a cluster's backups.
    pub(crate) backup_turns: Turns,
    /// Requests over REST by the status of their answers.
    pub(crate) requests: Tally<u16>,
    /// Which check of each key counts.
    pub(crate) newest_checks: NewestChecks,
    gatekeeper: Gatekeeper,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Control {
    /// A control plane over its database. `kms` records its calls in `ledger`.
    pub fn new(
        db: Db,
        kms: Arc<dyn RootKms>,
        ledger: DbLedger,
        options: Options,
        settings: NodeSettings,
        parts: NodeParts,
    ) -> Self {
        let nodes = Arc::new(Nodes::new(settings, parts, db.clone(), ledger.clone()));
        Self {
            db,
            kms,
            ledger,
            options,
            nodes,
            names: Names::default(),
            backup_turns: Turns::default(),
            requests: Tally::default(),
            newest_checks: NewestChecks::default(),
            gatekeeper: Gatekeeper::default(),
        }
    }

    /// Takes over the clusters' processes that run, and starts those that should; returns the link over which they are
    /// talked to.
    pub async fn start_nodes(&self) -> Result<Listener, Refused> {
        self.nodes.start().await
    }

    /// Talks to the clusters' processes, until the control plane stops.
    pub async fn talk_to_nodes(self: Arc<Self>, listener: Listener) {
        Arc::clone(&self.nodes).take_in(listener).await;
    }

    /// Ends all clusters' processes, cleanly.
    pub async fn stop_nodes(&self) {
        self.nodes.stop().await;
    }

    /// Whether keys of the local development KMS may be used.
    pub fn offers_local_keys(&self) -> bool {
        self.options.local_keys
    }

    /// The addresses at which browsers find the console: `scheme://host:port`.
    pub fn console_origins(&self) -> &[String] {
        &self.nodes.settings.console_origins
    }

    /// Whether requests come in through TLS.
    pub fn has_tls(&self) -> bool {
        self.options.tls
    }

    /// Whether the database answers.
    pub async fn ready(&self) -> Result<(), Refused> {
        sqlx::query_scalar!("SELECT count(*) FROM projects").fetch_one(self.db.pool()).await?;
        Ok(())
    }

    /// Writes down what is still to be written, and closes the database.
    pub async fn close(&self) {
        self.ledger.written().await;
        self.db.close().await;
    }

    /// Makes the first credentials where there are none, and takes over those that the operator gives.
    pub async fn bootstrap(&self, given: AdminCredentials) -> Result<FirstCredentials, Refused> {
        access::bootstrap(&self.db, given).await
    }

    /// Who shows this API key.
    pub async fn caller(&self, api_key: &str) -> Result<Caller, Refused> {
        access::api_keys::check(&self.db, api_key).await
    }

    /// Who sends this cookie.
    pub async fn visitor(&self, cookie: &str) -> Result<Visitor, Refused> {
        access::sessions::visitor(&self.db, cookie).await
    }

    /// Signs a user in to the console.
    pub async fn sign_in(&self, name: &str, password: Zeroizing<String>) -> Result<SignedIn, Refused> {
        self.gatekeeper.sign_in(&self.db, name, password).await
    }

    /// Somebody who is signed in, and gives the password again for what a session alone must not do.
    pub async fn confirm(&self, visitor: &Visitor, password: Zeroizing<String>) -> Result<Caller, Refused> {
        self.gatekeeper.confirm(&self.db, visitor, password).await
    }

    /// Signs a user out.
    pub async fn sign_out(&self, cookie: &str) -> Result<(), Refused> {
        access::sessions::sign_out(&self.db, cookie).await
    }

    /// Makes a user; returns the id.
    pub async fn create_user(
        &self,
        caller: &Caller,
        name: &str,
        password: Zeroizing<String>,
        grant: Grant,
    ) -> Result<String, Refused> {
        access::users::create(&self.db, caller, name, password, grant).await
    }

    /// All users.
    pub async fn users(&self, caller: &Caller) -> Result<Vec<UserInfo>, Refused> {
        access::users::list(&self.db, caller).await
    }

    /// Deletes a user.
    pub async fn delete_user(&self, caller: &Caller, id: &str) -> Result<(), Refused> {
        access::users::delete(&self.db, caller, id).await
    }

    /// Sets a user's password.
    pub async fn set_password(
        &self,
        caller: &Caller,
        id: &str,
        old: Option<Zeroizing<String>>,
        new: Zeroizing<String>,
    ) -> Result<(), Refused> {
        access::users::set_password(&self.db, &self.gatekeeper, caller, id, old, new).await
    }

    /// Gives a user one more role; returns the user with all roles.
    pub async fn give_role(&self, caller: &Caller, id: &str, grant: &Grant) -> Result<UserInfo, Refused> {
        access::users::give_role(&self.db, caller, id, grant).await
    }

    /// Takes a role from a user; returns the user with those that are left.
    pub async fn take_role(&self, caller: &Caller, id: &str, grant: &Grant) -> Result<UserInfo, Refused> {
        access::users::take_role(&self.db, caller, id, grant).await
    }

    /// Makes an API key; returns its id and the key, which can't be had again.
    pub async fn create_api_key(
        &self,
        caller: &Caller,
        new: NewApiKey,
    ) -> Result<(String, Zeroizing<String>), Refused> {
        access::api_keys::create(&self.db, caller, new).await
    }

    /// All API keys.
    pub async fn api_keys(&self, caller: &Caller) -> Result<Vec<ApiKeyInfo>, Refused> {
        access::api_keys::list(&self.db, caller).await
    }

    /// Deletes an API key.
    pub async fn delete_api_key(&self, caller: &Caller, id: &str) -> Result<(), Refused> {
        access::api_keys::delete(&self.db, caller, id).await
    }

    /// Makes a project; returns its id.
    pub async fn create_project(&self, caller: &Caller, name: &str, plan: Plan) -> Result<String, Refused> {
        project::create(&self.db, caller, name, plan).await
    }

    /// The projects that the caller may see.
    pub async fn projects(&self, caller: &Caller) -> Result<Vec<Project>, Refused> {
        project::list(&self.db, caller).await
    }

    /// A project.
    pub async fn project(&self, caller: &Caller, id: &str) -> Result<Project, Refused> {
        project::get(&self.db, caller, id, Privilege::SeeProject).await
    }

    /// Changes a project's plan.
    pub async fn set_plan(&self, caller: &Caller, id: &str, plan: Plan) -> Result<(), Refused> {
        project::set_plan(&self.db, caller, id, plan).await
    }

    /// Decides whether encrypted backups of a project may be restored without encryption.
    pub async fn set_decrypted_restore(
        &self,
        caller: &Caller,
        id: &str,
        wanted: DecryptedRestore,
    ) -> Result<(), Refused> {
        project::set_decrypted_restore(&self.db, caller, id, wanted).await
    }

    /// Deletes an empty project.
    pub async fn delete_project(&self, caller: &Caller, id: &str) -> Result<(), Refused> {
        project::delete(&self.db, caller, id).await
    }

    /// The newest activities of a project that are older than `before`, newest first.
    pub async fn activities(
        &self,
        caller: &Caller,
        project: &str,
        before: i64,
        limit: i64,
    ) -> Result<Vec<Activity>, Refused> {
        project::get(&self.db, caller, project, Privilege::SeeProject).await?;
        audit::list(&self.db, project, before, limit).await
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use custody_kms::Providers;

    use super::*;
    use crate::{
        access::callers,
        backup::{BackupStorage, Freed, Known},
        db::tests::fresh,
        node::{ClusterStorage, Counts, Destroyed, tests::settings},
    };

    /// A storage that holds nothing.
    struct Empty;

    #[async_trait::async_trait]
    impl ClusterStorage for Empty {
        async fn keep_audit_head(&self, _: &str) -> Result<(), String> {
            Ok(())
        }

        async fn count(&self, _: &str) -> Result<Counts, String> {
            Ok(Counts::default())
        }

        async fn destroy(&self, _: &str) -> Result<Destroyed, String> {
            Ok(Destroyed::default())
        }
    }

    #[async_trait::async_trait]
    impl BackupStorage for Empty {
        async fn delete(&self, _: &str, _: &str) -> Result<Freed, String> {
            Ok(Freed::default())
        }

        async fn clean_up(&self, _: &str, _: &Known) -> Result<Freed, String> {
            Ok(Freed::default())
        }

        async fn clusters(&self) -> Result<Vec<String>, String> {
            Ok(Vec::new())
        }
    }

    /// A control plane with one project, in which nothing runs by itself.
    pub(crate) struct Plane {
        pub(crate) control: Arc<Control>,
        pub(crate) project: String,
        pub(crate) owner: Caller,
        _directory: tempfile::TempDir,
    }

    impl Plane {
        pub(crate) async fn new(options: Options) -> Self {
            Self::with(options, Arc::new(Empty)).await
        }

        /// One whose clusters are stored there.
        pub(crate) async fn with(options: Options, storage: Arc<dyn ClusterStorage>) -> Self {
            let (db, directory) = fresh().await;
            let ledger = DbLedger::start(db.clone());
            let parts = NodeParts { storage, backups: Arc::new(Empty), sessions: None, local_keys: true };
            let control =
                Control::new(db, Arc::new(Providers::new()), ledger, options, settings(directory.path()), parts);
            let (control, owner) = (Arc::new(control), callers::owner());
            let project = control.create_project(&owner, "project", Plan::BusinessCritical).await.unwrap();
            Self { control, project, owner, _directory: directory }
        }

        /// A key of the project, whose ARN is its id.
        pub(crate) async fn add_key(&self, id: &str) {
            sqlx::query(
                "INSERT INTO keys (id, project_id, name, provider, arn, region_id, status, checked_at, next_check_at, grace_seconds,
                                   created_at)
                 VALUES (?1, ?2, ?1, 'local', ?1, 'local-dev', 'AVAILABLE', 0, 0, 0, 0)",
            )
            .bind(id)
            .bind(&self.project)
            .execute(self.control.db.pool())
            .await
            .unwrap();
        }

        /// A cluster under a key, without a process.
        pub(crate) async fn add_cluster(&self, id: &str, key: &str) {
            sqlx::query(
                "INSERT INTO clusters (id, project_id, name, region_id, cu_type, cu_size, key_id, phase, port, token, created_at)
                 VALUES (?1, ?2, ?1, 'local-dev', 'Performance-optimized', 1, ?3, 'suspended', 1, '', 0)",
            )
            .bind(id)
            .bind(&self.project)
            .bind(key)
            .execute(self.control.db.pool())
            .await
            .unwrap();
        }
    }
}
