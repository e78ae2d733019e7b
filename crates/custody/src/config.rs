//! Settings: defaults, then one TOML file, then `CUSTODY_*` variables, then flags.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use serde::{Deserialize, Serialize};

use crate::Failure;

/// The longest grace that a key may have (rule 10).
const MAX_GRACE: Duration = Duration::from_hours(24);
/// The shortest check interval: below it the checks would be a load on KMS.
const MIN_CHECK_INTERVAL: Duration = Duration::from_secs(1);

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
    /// The address to listen on [default: 127.0.0.1:19530]
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
    pub(crate) listen: SocketAddr,
    #[serde(with = "humantime_serde")]
    pub(crate) key_check_interval: Duration,
    #[serde(with = "humantime_serde")]
    pub(crate) key_grace: Duration,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) insecure: bool,
    pub(crate) allow_swap: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kms_file: Option<PathBuf>,
    pub(crate) log: String,
    pub(crate) log_json: bool,
    /// The password that `root` gets when a cluster is made. Never printed.
    #[serde(skip_serializing)]
    pub(crate) root_password: Option<String>,
    /// A file that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) root_password_file: Option<PathBuf>,
    /// A token that opens the cluster besides its users. Never printed.
    #[serde(skip_serializing)]
    pub(crate) api_key: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: "custody-data".into(),
            storage: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 19_530)),
            key_check_interval: Duration::from_mins(10),
            key_grace: Duration::from_hours(1),
            tls_cert: None,
            tls_key: None,
            insecure: false,
            allow_swap: false,
            kms_file: None,
            // SlateDB prints all its settings at each opening.
            log: "info,slatedb=warn".into(),
            log_json: false,
            root_password: None,
            root_password_file: None,
            api_key: None,
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
        // Other programs' variables with this prefix (the demo's, the tests') are not settings.
        let known: Vec<&str> = NAMES.to_vec();
        let settings: Self =
            figment.merge(Env::prefixed("CUSTODY_").only(&known)).merge(Serialized::defaults(flags)).extract()?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), Failure> {
        if self.key_check_interval < MIN_CHECK_INTERVAL {
            return Err("key_check_interval is below 1s: a check is a real call to KMS; choose 1s or more".into());
        }
        if self.key_grace > MAX_GRACE {
            return Err("key_grace is over 24h: a revocation must not be outwaited; choose 24h or less".into());
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err("TLS needs both tls_cert and tls_key: one of them is missing".into());
        }
        if !self.listen.ip().is_loopback() && self.tls_cert.is_none() && !self.insecure {
            return Err(format!(
                "listening on {} without TLS would show passwords and data to the network: give --tls-cert and --tls-key, \
                 or say --insecure",
                self.listen
            )
            .into());
        }
        Ok(())
    }

    /// Where clusters are stored.
    pub(crate) fn storage_url(&self) -> String {
        self.storage.clone().unwrap_or_else(|| self.data_dir.join("storage").display().to_string())
    }

    /// The file of the local development KMS.
    pub(crate) fn kms_file(&self) -> PathBuf {
        self.kms_file.clone().unwrap_or_else(|| self.data_dir.join("local-kms.json"))
    }

    /// The password that `root` gets when a cluster is made, if one was given.
    pub(crate) fn root_password(&self) -> Result<Option<String>, Failure> {
        match (&self.root_password, &self.root_password_file) {
            (Some(_), Some(_)) => Err("both root_password and root_password_file are set: choose one".into()),
            (Some(password), None) => Ok(Some(password.clone())),
            (None, Some(file)) => {
                let read = std::fs::read_to_string(file);
                let text = read.map_err(|error| format!("root_password_file {}: {error}", file.display()))?;
                Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
            }
            (None, None) => Ok(None),
        }
    }
}

/// The settings' names, for the variables that stand for them.
const NAMES: [&str; 15] = [
    "data_dir",
    "storage",
    "listen",
    "key_check_interval",
    "key_grace",
    "tls_cert",
    "tls_key",
    "insecure",
    "allow_swap",
    "kms_file",
    "log",
    "log_json",
    "root_password",
    "root_password_file",
    "api_key",
];

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
        assert!(refused(|s| s.key_grace = Duration::from_hours(25)).contains("24h"));
        assert!(refused(|s| s.tls_cert = Some("a".into())).contains("tls_key"));
        assert!(refused(|s| s.listen = ([0, 0, 0, 0], 1).into()).contains("--insecure"));
        assert!(Settings::default().check().is_ok());
    }

    #[test]
    fn every_setting_has_a_variable() {
        let printed = serde_json::to_value(Settings {
            storage: Some(String::new()),
            tls_cert: Some("a".into()),
            tls_key: Some("a".into()),
            kms_file: Some("a".into()),
            root_password_file: Some("a".into()),
            ..Settings::default()
        })
        .unwrap();
        for name in printed.as_object().unwrap().keys() {
            assert!(NAMES.contains(&name.as_str()), "{name} has no variable");
        }
    }

    #[test]
    fn printing_leaves_secrets_out() {
        let settings =
            Settings { root_password: Some("hush-1".into()), api_key: Some("hush-2".into()), ..Settings::default() };
        assert!(!toml::to_string(&settings).unwrap().contains("hush"));
    }
}
