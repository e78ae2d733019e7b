//! The root keys that a node trusts. They come from its flags, never from the bucket (rule 1).

use std::sync::Arc;

use clap::Args;
use custody_keyring::{Keyring, LeasePolicy, SystemClock};
use custody_kms::{AwsKms, AwsOptions, Ledger, LocalKms, MemoryLedger, Provider, Providers, RootKeyRef, SessionName};
use custody_store::ClusterId;
use object_store::ObjectStore;

use crate::{Failure, config::Settings};

/// Calls to KMS and STS that are kept in memory; every one is in the log besides.
const LEDGER_ENTRIES: usize = 1_024;
/// How long after a denial it is tried once more (rule 9).
const DENIAL_PAUSE: std::time::Duration = std::time::Duration::from_secs(2);

/// Which keys a cluster lives under.
#[derive(Args, Clone)]
pub(crate) struct KeyArgs {
    /// The cluster's id: names its prefix in the storage and is bound into every file and every KMS call
    #[arg(long, value_name = "ID", env = "CUSTODY_CLUSTER_ID")]
    pub(crate) cluster_id: ClusterId,
    /// The full ARN of the root key: an AWS KMS key, or one of `custody kms create-key`
    #[arg(long, value_name = "ARN", env = "CUSTODY_KEY_ARN", required_unless_present = "unencrypted")]
    pub(crate) key_arn: Option<String>,
    /// The IAM role that may use the key; without it the base credentials are used
    #[arg(long, value_name = "ARN", env = "CUSTODY_ROLE_ARN", requires = "key_arn")]
    pub(crate) role_arn: Option<String>,
    /// The external id that the role's trust policy demands
    #[arg(long, value_name = "ID", env = "CUSTODY_EXTERNAL_ID", requires = "role_arn", hide_env_values = true)]
    pub(crate) external_id: Option<String>,
    /// Another root key that a database may be created under (cipher.key), reached through the same role and external id
    #[arg(long, value_name = "ARN", requires = "key_arn")]
    pub(crate) tenant_key: Vec<String>,
    /// Store everything in plain text
    #[arg(long, conflicts_with = "key_arn")]
    pub(crate) unencrypted: bool,
}

impl KeyArgs {
    /// The cluster's root key; `None` for an unencrypted cluster.
    pub(crate) fn root_key(&self) -> Result<Option<RootKeyRef>, Failure> {
        self.key_arn.as_deref().map(|arn| self.reference(arn)).transpose()
    }

    fn reference(&self, arn: &str) -> Result<RootKeyRef, Failure> {
        let local = arn.starts_with("arn:custody:");
        let provider = if local { "local" } else { "aws" };
        Ok(RootKeyRef::parse(provider, arn, self.role_arn.as_deref(), self.external_id.as_deref())?)
    }

    fn tenant_keys(&self) -> Result<Vec<RootKeyRef>, Failure> {
        self.tenant_key.iter().map(|arn| self.reference(arn)).collect()
    }
}

/// The KMS of every provider that the node may use.
pub(crate) fn providers(settings: &Settings, args: &KeyArgs) -> Result<Arc<Providers>, Failure> {
    let ledger: Arc<dyn Ledger> = Arc::new(MemoryLedger::new(LEDGER_ENTRIES));
    let root_key = args.root_key()?;
    let mut providers = Providers::new();
    match root_key.map(|key| key.provider()) {
        Some(Provider::Aws) => {
            let session = SessionName::of(&args.cluster_id.as_str().parse()?)?;
            let kms = AwsKms::new(AwsOptions::new(session), ledger)?;
            providers = providers.with(Provider::Aws, Arc::new(kms));
        }
        Some(_) => {
            let kms = LocalKms::new(settings.kms_file(), ledger);
            providers = providers.with(Provider::Local, Arc::new(kms));
        }
        None => {}
    }
    Ok(Arc::new(providers))
}

/// The keyring of a cluster over its store.
pub(crate) fn keyring(
    settings: &Settings,
    args: &KeyArgs,
    root_key: RootKeyRef,
    kms: Arc<Providers>,
    store: Arc<dyn ObjectStore>,
) -> Result<Arc<Keyring>, Failure> {
    let policy = LeasePolicy {
        check_interval: settings.key_check_interval,
        grace: settings.key_grace,
        deny_confirm_delay: DENIAL_PAUSE,
        ..LeasePolicy::default()
    };
    let (cluster, clock) = (args.cluster_id.clone(), Arc::new(SystemClock));
    Ok(Arc::new(Keyring::new(store, cluster, kms, root_key, args.tenant_keys()?, policy, clock)?))
}

/// Proves a key usable, or says why it isn't.
pub(crate) async fn probe(kms: &Providers, key: &RootKeyRef, cluster: &ClusterId) -> Result<(), Failure> {
    let pause = tokio::time::sleep(DENIAL_PAUSE);
    let found = custody_kms::probe(kms, key, &cluster.as_str().parse()?, pause).await;
    Ok(found.result()?)
}
