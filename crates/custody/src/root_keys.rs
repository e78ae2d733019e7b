//! The root keys that a node trusts. They come from its flags, never from the bucket (rule 1).

use std::{path::PathBuf, str::FromStr, sync::Arc};

use clap::Args;
use custody_keyring::{Keyring, LeasePolicy, SystemClock};
use custody_kms::{
    AwsKms, AwsOptions, KeyArn, Ledger, LocalKms, MemoryLedger, Provider, Providers, RootKeyRef, SessionName,
    configured_region,
};
use custody_link::Link;
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
    #[arg(long, value_name = "ARN", env = "CUSTODY_KEY_ARN", required_unless_present_any = ["unencrypted", "link"])]
    pub(crate) key_arn: Option<String>,
    /// The IAM role that may use the key; without it the base credentials are used
    #[arg(long, value_name = "ARN", env = "CUSTODY_ROLE_ARN", requires = "key_arn")]
    pub(crate) role_arn: Option<String>,
    /// The external id that the role's trust policy demands
    #[arg(long, value_name = "ID", env = "CUSTODY_EXTERNAL_ID", requires = "role_arn", hide_env_values = true)]
    pub(crate) external_id: Option<String>,
    /// Another root key that a database may be created under (cipher.key): "KEY ROLE EXTERNAL-ID" in one argument; the key
    /// alone is reached through the cluster's role and external id
    #[arg(long, value_name = "ARN", requires = "key_arn")]
    pub(crate) tenant_key: Vec<TenantKey>,
    /// Store everything in plain text
    #[arg(long, conflicts_with = "key_arn")]
    pub(crate) unencrypted: bool,
    /// Run under the control plane that listens in this directory. The token of the link is read from standard input, and
    /// all settings come over the link
    #[arg(long, value_name = "DIR", conflicts_with_all = ["key_arn", "unencrypted", "tenant_key"], hide = true)]
    pub(crate) link: Option<PathBuf>,
    /// Tenants' keys that came over a link.
    #[arg(skip)]
    pub(crate) linked_tenants: Vec<RootKeyRef>,
}

/// A tenant's key, and the way to it where that is the tenant's own.
#[derive(Clone)]
pub(crate) struct TenantKey {
    pub(crate) arn: String,
    way: Option<(String, Option<String>)>,
}

impl FromStr for TenantKey {
    type Err = &'static str;

    /// Blanks part the names: none of them can hold one.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names: Vec<&str> = text.split_whitespace().collect();
        let way = match names[..] {
            [_] => None,
            [_, role] => Some((role.to_owned(), None)),
            [_, role, external_id] => Some((role.to_owned(), Some(external_id.to_owned()))),
            _ => return Err("name the key, or key and role, or key, role and external id, with blanks between them"),
        };
        Ok(Self { arn: names[0].to_owned(), way })
    }
}

impl KeyArgs {
    /// The cluster's root key; `None` for an unencrypted cluster.
    pub(crate) fn root_key(&self) -> Result<Option<RootKeyRef>, Failure> {
        self.key_arn.as_deref().map(|arn| self.reference(arn)).transpose()
    }

    fn reference(&self, arn: &str) -> Result<RootKeyRef, Failure> {
        reference(arn, self.role_arn.as_deref(), self.external_id.as_deref())
    }

    fn tenant_keys(&self) -> Result<Vec<RootKeyRef>, Failure> {
        let one = |key: &TenantKey| match &key.way {
            None => self.reference(&key.arn),
            Some((role, external_id)) => reference(&key.arn, Some(role), external_id.as_deref()),
        };
        let linked = self.linked_tenants.iter().cloned().map(Ok);
        self.tenant_key.iter().map(one).chain(linked).collect()
    }
}

fn reference(arn: &str, role: Option<&str>, external_id: Option<&str>) -> Result<RootKeyRef, Failure> {
    let local = arn.starts_with("arn:custody:");
    let provider = if local { "local" } else { "aws" };
    Ok(RootKeyRef::parse(provider, arn, role, external_id)?)
}

/// Refuses a key of another region than the cluster's. That one is named by the AWS settings; where they name none, it is
/// the region of the cluster's own key. Without this, a key far away would just work, and with it data would hang on a
/// region that nobody chose for it.
fn check_region(key: &KeyArn, cluster: &str) -> Result<(), Failure> {
    if key.region() == cluster {
        return Ok(());
    }
    let (region, id) = (key.region(), key.id());
    let hint = if id.starts_with("mrk-") { ", such as its replica there" } else { "" };
    Err(format!(
        "{key} is a key of another region: it is in {region}, and this cluster in {cluster}, by its AWS settings (AWS_REGION \
         or the profile) or its own key; use a key in {cluster}{hint}, or run the cluster in {region}"
    )
    .into())
}

/// The KMS of every provider that the node may use, once its keys are known to be of its region.
///
/// Under a control plane, sessions come from there, calls are recorded there, and no AWS setting of this process is looked
/// at.
pub(crate) async fn providers(
    settings: &Settings,
    args: &KeyArgs,
    link: Option<&Arc<Link>>,
) -> Result<Arc<Providers>, Failure> {
    let ledger: Arc<dyn Ledger> = match link {
        Some(link) => Arc::clone(link) as _,
        None => Arc::new(MemoryLedger::new(LEDGER_ENTRIES)),
    };
    let root_key = args.root_key()?;
    let mut providers = Providers::new();
    match root_key {
        Some(key) if key.provider() == Provider::Aws => {
            let configured = if link.is_some() { None } else { configured_region().await };
            let region = configured.unwrap_or_else(|| key.key_arn().region().to_owned());
            let tenants = args.tenant_keys()?;
            std::iter::once(&key).chain(&tenants).try_for_each(|key| check_region(key.key_arn(), &region))?;
            let session = SessionName::of(&args.cluster_id.as_str().parse()?)?;
            let mut options = AwsOptions::new(session);
            if let Some(link) = link {
                options = options.with_sessions(Arc::clone(link) as _);
            }
            let kms = AwsKms::new(options, ledger)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_key_may_have_a_role_and_an_external_id_of_its_own() {
        let names = |text: &str| text.parse::<TenantKey>().map(|key| (key.arn, key.way));
        let own = |way| Ok(("K".to_owned(), way));
        assert_eq!(names("K"), own(None));
        assert_eq!(names(" K  R,=+ "), own(Some(("R,=+".to_owned(), None))));
        assert_eq!(names("K R E,=:/"), own(Some(("R".to_owned(), Some("E,=:/".to_owned())))));
        assert!(names("").is_err() && names("K R E more").is_err());
    }

    #[test]
    fn a_key_of_another_region_is_refused_with_what_to_do() {
        let key = |id| format!("arn:aws:kms:eu-central-1:111122223333:key/{id}").parse::<KeyArn>().unwrap();
        let plain = key("1234abcd-12ab-34cd-56ef-1234567890ab");
        assert!(check_region(&plain, "eu-central-1").is_ok());
        let refused = check_region(&plain, "us-west-2").unwrap_err().to_string();
        assert!(refused.contains("another region") && !refused.contains("replica"), "{refused}");
        let refused = check_region(&key("mrk-1234abcd12ab34cd56ef1234567890ab"), "us-west-2").unwrap_err().to_string();
        assert!(refused.contains("replica"), "{refused}");
    }
}
