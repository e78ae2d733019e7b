//! Settings: defaults, then one TOML file, then `CUSTODY_*` variables, then flags.

use std::{
    collections::BTreeMap,
    env::VarError,
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use figment::{
    Figment,
    providers::{Format, Serialized, Toml},
    value::Value,
};
use serde::{Deserialize, Serialize};
use serde_json::Map;

use crate::{Failure, secrets};

/// The longest grace that a key may have (rule 10).
const MAX_GRACE: Duration = Duration::from_hours(24);
/// The shortest check interval: below it the checks would be a load on KMS.
const MIN_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest credential that may be given where others than this machine can try it.
const SHORTEST_CREDENTIAL: usize = 20;

/// Flags that stand for settings. Each has a variable `CUSTODY_NAME` and a TOML key `name` besides.
#[derive(Args, Serialize, Clone, Default, Debug)]
pub(crate) struct Flags {
    /// A TOML file of settings [default: custody.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Where local state lives [default: ./custody-data]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// Where clusters are stored: file:///DIR or s3://BUCKET/PREFIX [default: DATA_DIR/storage]
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    storage: Option<String>,
    /// The role by which clusters' nodes reach the bucket, under `custody serve`
    #[arg(long, value_name = "ARN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_role: Option<String>,
    /// Where backups of clusters are kept, under `custody serve` [default: where the clusters are]
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    backup_storage: Option<String>,
    /// The address to listen on [default: 127.0.0.1:19530; of the control plane 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    /// How often each root key is checked by a real decrypt [default: 10m]
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    key_check_interval: Option<String>,
    /// How long data stays open while KMS gives no answer, 0s to 24h [default: 1h]
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    key_grace: Option<String>,
    /// The certificate chain for TLS, PEM
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cert: Option<PathBuf>,
    /// The private key for TLS, PEM
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_key: Option<PathBuf>,
    /// Whom customers' roles have to trust: the ARN of this service's own user or role [default: what AWS says]
    #[arg(long, value_name = "ARN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    principal_arn: Option<String>,
    /// The ports that clusters' nodes listen on, under `custody serve` [default: 19530-19629]
    #[arg(long, value_name = "FIRST-LAST")]
    #[serde(skip_serializing_if = "Option::is_none")]
    node_ports: Option<String>,
    /// What Milvus clients connect to, if it is not the address that is listened on [default: the address of --listen]
    #[arg(long, value_name = "HOST")]
    #[serde(skip_serializing_if = "Option::is_none")]
    public_host: Option<String>,
    /// How often it is looked at whether AWS keys' roles still demand the external id [default: 24h]
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id_check_interval: Option<String>,
    /// How many days calls to KMS stay in the ledger [default: 90]
    #[arg(long, value_name = "DAYS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger_days: Option<u32>,
    /// How many keys a project may have [default: 20]
    #[arg(long, value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    key_limit: Option<u32>,
    /// How long a denial is tried again while a key is proven: AWS takes a while to spread a policy [default: 60s]
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    validate_patience: Option<String>,
    /// Places of this network that webhooks may lead to, with commas between them: 10.1.0.0/16:8080,hooks.corp.example
    #[arg(long, value_name = "LIST")]
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook_allow: Option<String>,
    /// Listen beyond loopback without TLS
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    insecure: bool,
    /// Run although swap is on: decrypted pages may then be written to the swap device
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    allow_swap: bool,
    /// The file of the local development KMS [default: DATA_DIR/local-kms.json]
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kms_file: Option<PathBuf>,
    /// What to log, as in RUST_LOG [default: info,slatedb=warn]
    #[arg(long, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    /// Log lines as JSON
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    log_json: bool,
}

/// The settings in force.
#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) storage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) storage_role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backup_storage: Option<String>,
    /// Each command that listens has a default of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) listen: Option<SocketAddr>,
    #[serde(with = "humantime_serde")]
    pub(crate) key_check_interval: Duration,
    #[serde(with = "humantime_serde")]
    pub(crate) key_grace: Duration,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) principal_arn: Option<String>,
    pub(crate) node_ports: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) public_host: Option<String>,
    #[serde(with = "humantime_serde")]
    pub(crate) external_id_check_interval: Duration,
    pub(crate) ledger_days: u32,
    pub(crate) key_limit: u32,
    #[serde(with = "humantime_serde")]
    pub(crate) validate_patience: Duration,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) webhook_allow: Option<String>,
    pub(crate) insecure: bool,
    pub(crate) allow_swap: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kms_file: Option<PathBuf>,
    pub(crate) log: String,
    pub(crate) log_json: bool,
    /// The password that `root` gets when a cluster is made. From a variable only: see [`Settings::take_secrets`].
    #[serde(skip)]
    pub(crate) root_password: Option<String>,
    /// A file that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) root_password_file: Option<PathBuf>,
    /// A token that opens the cluster besides its users. From a variable only.
    #[serde(skip)]
    pub(crate) api_key: Option<String>,
    /// The password of the console's first user. From a variable only.
    #[serde(skip)]
    pub(crate) admin_password: Option<String>,
    /// A file that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admin_password_file: Option<PathBuf>,
    /// An API key of an owner. From a variable only.
    #[serde(skip)]
    pub(crate) admin_api_key: Option<String>,
    /// A file that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admin_api_key_file: Option<PathBuf>,
}

impl Flags {
    /// Whether none was given.
    pub(crate) fn is_empty(&self) -> bool {
        self.config.is_none() && serde_json::to_value(self).is_ok_and(|it| it.as_object().is_some_and(Map::is_empty))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: "custody-data".into(),
            storage: None,
            storage_role: None,
            backup_storage: None,
            listen: None,
            key_check_interval: Duration::from_mins(10),
            key_grace: Duration::from_hours(1),
            tls_cert: None,
            tls_key: None,
            principal_arn: None,
            node_ports: "19530-19629".into(),
            public_host: None,
            external_id_check_interval: Duration::from_hours(24),
            ledger_days: 90,
            key_limit: 20,
            validate_patience: Duration::from_secs(60),
            webhook_allow: None,
            insecure: false,
            allow_swap: false,
            kms_file: None,
            // SlateDB prints all its settings at each opening.
            log: "info,slatedb=warn".into(),
            log_json: false,
            root_password: None,
            root_password_file: None,
            api_key: None,
            admin_password: None,
            admin_password_file: None,
            admin_api_key: None,
            admin_api_key_file: None,
        }
    }
}

impl Settings {
    /// Reads the settings and refuses ones that can't be meant.
    pub(crate) fn load(flags: &Flags) -> Result<Self, Failure> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        figment = match &flags.config {
            Some(file) => figment.merge(Toml::file_exact(file)),
            None => figment.merge(Toml::file("custody.toml")),
        };
        let variables = Serialized::defaults(variables(|name| std::env::var(name))?);
        let mut settings: Self = figment.merge(variables).merge(Serialized::defaults(flags)).extract()?;
        settings.take_secrets(secrets::variable)?;
        settings.check()?;
        Ok(settings)
    }

    /// Reads the secrets as they are. They go through no parser: one that does not like a value prints it.
    fn take_secrets(&mut self, read: impl Fn(&str) -> Result<String, VarError>) -> Result<(), Failure> {
        self.root_password = variable("CUSTODY_ROOT_PASSWORD", &read)?;
        self.api_key = variable("CUSTODY_API_KEY", &read)?;
        self.admin_password = variable("CUSTODY_ADMIN_PASSWORD", &read)?;
        self.admin_api_key = variable("CUSTODY_ADMIN_API_KEY", &read)?;
        Ok(())
    }

    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.key_check_interval < MIN_CHECK_INTERVAL {
            return Err("key_check_interval is below 1s: a check is a real call to KMS; choose 1s or more".into());
        }
        if self.external_id_check_interval < MIN_CHECK_INTERVAL {
            return Err(
                "external_id_check_interval is below 1s: a check is two real calls to STS; choose 1s or more".into()
            );
        }
        if self.ledger_days == 0 {
            return Err("ledger_days is 0: calls to KMS could not be laid beside CloudTrail; choose 1 or more".into());
        }
        if self.key_grace > MAX_GRACE {
            return Err("key_grace is over 24h: a revocation must not be outwaited; choose 24h or less".into());
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err("TLS needs both tls_cert and tls_key: one of them is missing".into());
        }
        if let Some(listen) = self.listen.filter(|listen| !listen.ip().is_loopback())
            && self.tls_cert.is_none()
            && !self.insecure
        {
            return Err(format!(
                "listening on {listen} without TLS would show passwords and data to the network: give --tls-cert and \
                 --tls-key, or say --insecure"
            )
            .into());
        }
        self.ports().map(drop)
    }

    /// The ports of clusters' nodes.
    pub(crate) fn ports(&self) -> Result<RangeInclusive<u16>, Failure> {
        let text = &self.node_ports;
        let ports = text.split_once('-').and_then(|(first, last)| {
            let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (first > 0 && first <= last).then_some(first..=last)
        });
        ports
            .ok_or_else(|| format!("node_ports {text:?}: give the first and the last port, such as 19530-19629").into())
    }

    /// Where clusters are stored.
    pub(crate) fn storage_url(&self) -> String {
        self.storage.clone().unwrap_or_else(|| self.data_dir.join("storage").display().to_string())
    }

    /// Where backups are kept.
    pub(crate) fn backup_url(&self) -> String {
        self.backup_storage.clone().unwrap_or_else(|| self.storage_url())
    }

    /// The file of the local development KMS.
    pub(crate) fn kms_file(&self) -> PathBuf {
        self.kms_file.clone().unwrap_or_else(|| self.data_dir.join("local-kms.json"))
    }

    /// The password that `root` gets when a cluster is made, if one was given.
    pub(crate) fn root_password(&self) -> Result<Option<String>, Failure> {
        secret("root_password", self.root_password.as_deref(), self.root_password_file.as_deref())
    }

    /// The password of the console's first user, if one was given.
    pub(crate) fn admin_password(&self) -> Result<Option<String>, Failure> {
        secret("admin_password", self.admin_password.as_deref(), self.admin_password_file.as_deref())
    }

    /// An API key of an owner, if one was given.
    pub(crate) fn admin_api_key(&self) -> Result<Option<String>, Failure> {
        secret("admin_api_key", self.admin_api_key.as_deref(), self.admin_api_key_file.as_deref())
    }
}

/// Refuses a credential that could be guessed where others than this machine can try it (rule 28).
pub(crate) fn must_be_long(name: &str, value: &str, address: SocketAddr) -> Result<(), Failure> {
    if address.ip().is_loopback() || value.len() >= SHORTEST_CREDENTIAL {
        return Ok(());
    }
    Err(format!(
        "{name} has under {SHORTEST_CREDENTIAL} characters, and {address} can be reached from elsewhere: give a longer one"
    )
    .into())
}

/// A secret as it is, or the line that a file holds.
fn secret(name: &str, value: Option<&str>, file: Option<&Path>) -> Result<Option<String>, Failure> {
    match (value, file) {
        (Some(_), Some(_)) => Err(format!("both {name} and {name}_file are set: choose one").into()),
        (Some(value), None) => Ok(Some(value.to_owned())),
        (None, Some(file)) => {
            let read = std::fs::read_to_string(file);
            let text = read.map_err(|error| format!("{name}_file {}: {error}", file.display()))?;
            Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
        }
        (None, None) => Ok(None),
    }
}

/// The settings that are switches.
const SWITCHES: [&str; 3] = ["insecure", "allow_swap", "log_json"];
/// The settings that are text, or parsed from it.
const TEXTS: [&str; 20] = [
    "storage_role",
    "backup_storage",
    "node_ports",
    "public_host",
    "data_dir",
    "storage",
    "listen",
    "key_check_interval",
    "key_grace",
    "tls_cert",
    "tls_key",
    "kms_file",
    "log",
    "root_password_file",
    "principal_arn",
    "external_id_check_interval",
    "validate_patience",
    "webhook_allow",
    "admin_password_file",
    "admin_api_key_file",
];
/// The settings that are numbers.
const NUMBERS: [&str; 2] = ["key_limit", "ledger_days"];

/// The settings that variables give. A value is taken as the text that it is, so that a directory may be called `7`.
fn variables(read: impl Fn(&str) -> Result<String, VarError>) -> Result<BTreeMap<&'static str, Value>, Failure> {
    let mut found = BTreeMap::new();
    for name in SWITCHES.into_iter().chain(TEXTS).chain(NUMBERS) {
        let upper = format!("CUSTODY_{}", name.to_ascii_uppercase());
        let Some(text) = variable(&upper, &read)? else { continue };
        let value = if SWITCHES.contains(&name) {
            Value::from(text.parse::<bool>().map_err(|_| format!("{upper} must be true or false"))?)
        } else if NUMBERS.contains(&name) {
            Value::from(text.parse::<u32>().map_err(|_| format!("{upper} must be a whole number"))?)
        } else {
            Value::from(text)
        };
        found.insert(name, value);
    }
    Ok(found)
}

fn variable(name: &str, read: impl Fn(&str) -> Result<String, VarError>) -> Result<Option<String>, Failure> {
    match read(name) {
        Ok(text) => Ok(Some(text)),
        Err(VarError::NotPresent) => Ok(None),
        // The error of the library would print the value.
        Err(VarError::NotUnicode(_)) => Err(format!("{name} is not valid UTF-8").into()),
    }
}

/// Prints the settings as the TOML file that would give them.
pub(crate) fn print(settings: &Settings) -> Result<(), Failure> {
    use std::io::Write;
    std::io::stdout().write_all(toml::to_string_pretty(settings)?.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_meant_are_refused() {
        let refused = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.check().unwrap_err().to_string()
        };
        assert!(refused(|s| s.key_check_interval = Duration::from_millis(10)).contains("1s"));
        assert!(refused(|s| s.external_id_check_interval = Duration::ZERO).contains("1s"));
        assert!(refused(|s| s.ledger_days = 0).contains("1 or more"));
        assert!(refused(|s| s.key_grace = Duration::from_hours(25)).contains("24h"));
        assert!(refused(|s| s.tls_cert = Some("a".into())).contains("tls_key"));
        assert!(refused(|s| s.node_ports = "20000-19999".into()).contains("19530-19629"));
        assert!(refused(|s| s.listen = Some(([0, 0, 0, 0], 1).into())).contains("--insecure"));
        assert!(Settings::default().check().is_ok());
    }

    #[test]
    fn every_setting_has_a_variable() {
        let printed = serde_json::to_value(Settings {
            storage: Some(String::new()),
            storage_role: Some(String::new()),
            backup_storage: Some(String::new()),
            tls_cert: Some("a".into()),
            tls_key: Some("a".into()),
            kms_file: Some("a".into()),
            root_password_file: Some("a".into()),
            listen: Some(([127, 0, 0, 1], 1).into()),
            principal_arn: Some("a".into()),
            public_host: Some("a".into()),
            webhook_allow: Some("a".into()),
            admin_password_file: Some("a".into()),
            admin_api_key_file: Some("a".into()),
            ..Settings::default()
        })
        .unwrap();
        for name in printed.as_object().unwrap().keys() {
            assert!(SWITCHES.iter().chain(&TEXTS).chain(&NUMBERS).any(|known| known == name), "{name} has no variable");
        }
    }

    #[test]
    fn a_variable_is_taken_as_the_text_that_it_is() {
        let read = |name: &str| match name {
            "CUSTODY_DATA_DIR" | "CUSTODY_ROOT_PASSWORD" => Ok("12345678".to_owned()),
            "CUSTODY_API_KEY" => Ok("[a, {b}]".to_owned()),
            "CUSTODY_INSECURE" => Ok("true".to_owned()),
            _ => Err(VarError::NotPresent),
        };
        let found = Figment::from(Serialized::defaults(Settings::default()))
            .merge(Serialized::defaults(variables(read).unwrap()));
        let mut settings: Settings = found.extract().unwrap();
        settings.take_secrets(read).unwrap();
        assert_eq!((settings.data_dir, settings.insecure), ("12345678".into(), true));
        assert_eq!(settings.root_password.as_deref(), Some("12345678"));
        assert_eq!(settings.api_key.as_deref(), Some("[a, {b}]"));
    }

    #[test]
    fn a_variable_that_is_refused_is_not_repeated() {
        use std::os::unix::ffi::OsStringExt;
        let broken = |_: &str| Err(VarError::NotUnicode(std::ffi::OsString::from_vec(b"hush\xff".to_vec())));
        for error in [variables(broken).unwrap_err(), Settings::default().take_secrets(broken).unwrap_err()] {
            assert!(error.to_string().contains("UTF-8") && !error.to_string().contains("hush"), "{error}");
        }
        let maybe = |_: &str| Ok("hush".to_owned());
        assert_eq!(variables(maybe).unwrap_err().to_string(), "CUSTODY_INSECURE must be true or false");
    }

    #[test]
    fn printing_leaves_secrets_out() {
        let settings = Settings {
            root_password: Some("hush-1".into()),
            api_key: Some("hush-2".into()),
            admin_password: Some("hush-3".into()),
            admin_api_key: Some("hush-4".into()),
            ..Settings::default()
        };
        assert!(!toml::to_string(&settings).unwrap().contains("hush"));
    }
}
