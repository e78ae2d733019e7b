//! The guard of the arrows: which crate of the workspace may depend on which, and who may name an adapter.
//!
//! Engine and node must know no KMS, or a bug in them could reach a key; only the program wires them together.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{Failure, steps::cargo};

/// Each crate with the crates it may name. Whatever these name in turn comes with them.
const ARROWS: [(&str, &[&str]); 16] = [
    (
        "custody",
        &[
            "custody-backup",
            "custody-console",
            "custody-control",
            "custody-engine",
            "custody-filter",
            "custody-http",
            "custody-keyring",
            "custody-kms",
            "custody-link",
            "custody-node",
            "custody-seal",
            "custody-store",
        ],
    ),
    ("custody-backup", &["custody-engine", "custody-store"]),
    ("custody-console", &["custody-control"]),
    ("custody-control", &["custody-http", "custody-kms", "custody-link", "custody-password"]),
    ("custody-link", &["custody-kms"]),
    ("custody-node", &["custody-engine", "custody-http", "custody-password"]),
    ("custody-http", &[]),
    ("custody-engine", &["custody-filter", "custody-store"]),
    ("custody-filter", &[]),
    ("custody-store", &["custody-keyring", "custody-seal"]),
    ("custody-keyring", &["custody-kms", "custody-seal"]),
    ("custody-kms", &[]),
    ("custody-password", &[]),
    ("custody-seal", &[]),
    // What is shipped never names it.
    (
        "custody-fuzz",
        &["custody-engine", "custody-filter", "custody-keyring", "custody-kms", "custody-node", "custody-seal"],
    ),
    ("xtask", &[]),
];

/// Crates of others that only some may name: (the name, or how it begins if it ends in a dash; who may name it).
const ADAPTERS: [(&str, &[&str]); 8] = [
    ("sqlx", &["custody-control"]),
    ("aws-config", &["custody-kms"]),
    ("aws-sdk-", &["custody-kms"]),
    ("aws-smithy-", &["custody-kms"]),
    ("aws-types", &["custody-kms"]),
    ("slatedb", &["custody-engine"]),
    // The store marks the errors that no retry mends, in the way that SlateDB above it looks for.
    ("slatedb-common", &["custody-store"]),
    ("tonic", &["custody-node"]),
];

/// Features that bring an adapter, or what must not exist: (crate, feature, who may turn it on).
const ADAPTER_FEATURES: [(&str, &str, &[&str]); 3] = [
    ("object_store", "aws", &["custody"]),
    // SlateDB's cache on disk lies above the seal: it would write plaintext (rule 17). It is among the default features.
    ("slatedb", "foyer", &[]),
    ("slatedb", DEFAULT, &[]),
];

/// Stands for a crate's default features.
const DEFAULT: &str = "default";

/// Checks the workspace as it stands.
pub(crate) fn check() -> Result<(), Failure> {
    let output = cargo().args(["metadata", "--no-deps", "--format-version", "1", "--offline"]).output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let wrong = wrong_arrows(&packages(&metadata)?);
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!("{}\nthe arrows that are allowed stand in xtask/src/arrows.rs", wrong.join("\n")).into())
}

/// A crate of the workspace and what it names.
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    /// Only tests, examples and benches have it.
    for_tests: bool,
    features: BTreeSet<String>,
}

fn packages(metadata: &Value) -> Result<Vec<Package>, Failure> {
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or("cargo metadata: a name is missing");
    let list = |value: &'_ Value| value.as_array().cloned().ok_or("cargo metadata: a list is missing");
    let mut packages = Vec::new();
    for package in list(&metadata["packages"])? {
        let mut dependencies = Vec::new();
        for dependency in list(&package["dependencies"])? {
            let mut features: BTreeSet<_> =
                list(&dependency["features"])?.iter().map(text).collect::<Result<_, _>>()?;
            if dependency["uses_default_features"] == true {
                features.insert(DEFAULT.to_owned());
            }
            dependencies.push(Dependency {
                name: text(&dependency["name"])?,
                for_tests: dependency["kind"] == "dev",
                features,
            });
        }
        packages.push(Package { name: text(&package["name"])?, dependencies });
    }
    Ok(packages)
}

fn wrong_arrows(packages: &[Package]) -> Vec<String> {
    let arrows: BTreeMap<_, _> = ARROWS.into_iter().collect();
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut wrong = Vec::new();
    for package in packages {
        let name = package.name.as_str();
        let Some(allowed) = arrows.get(name) else {
            wrong.push(format!(
                "{name} is not in the table of arrows (xtask/src/arrows.rs): add it there and to the docs"
            ));
            continue;
        };
        // What only tests use is not in the program, and the tests of a layer may need a crate from below it.
        for dependency in package.dependencies.iter().filter(|dependency| !dependency.for_tests) {
            let on = dependency.name.as_str();
            if ours.contains(on) && !allowed.contains(&on) {
                wrong.push(format!("{name} must not depend on {on}"));
            }
            for (_, may) in ADAPTERS.iter().filter(|(adapter, _)| is_adapter(on, adapter)) {
                if !may.contains(&name) {
                    wrong.push(format!("{name} must not name the adapter {on}: only {} may", may.join(", ")));
                }
            }
            for (_, feature, may) in ADAPTER_FEATURES.iter().filter(|(of, ..)| *of == on) {
                if dependency.features.contains(*feature) && !may.contains(&name) {
                    let who = if may.is_empty() { "nobody".to_owned() } else { format!("only {}", may.join(", ")) };
                    wrong.push(format!("{name} must not turn on {on}/{feature}: {who} may"));
                }
            }
        }
    }
    wrong
}

fn is_adapter(name: &str, adapter: &str) -> bool {
    name == adapter || (adapter.ends_with('-') && name.starts_with(adapter))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, bool, &[&str])]) -> Package {
        let dependency = |(name, for_tests, features): &(&str, bool, &[&str])| Dependency {
            name: (*name).to_owned(),
            for_tests: *for_tests,
            features: features.iter().map(|feature| (*feature).to_owned()).collect(),
        };
        Package { name: name.to_owned(), dependencies: dependencies.iter().map(dependency).collect() }
    }

    /// What is said of a workspace in which one crate names one more dependency.
    fn verdict(name: &str, dependency: (&str, bool, &[&str])) -> Vec<String> {
        let mut packages: Vec<Package> = ARROWS.iter().map(|(name, _)| package(name, &[])).collect();
        packages.retain(|other| other.name != name);
        packages.push(package(name, &[dependency]));
        wrong_arrows(&packages)
    }

    #[test]
    fn the_workspace_keeps_to_the_arrows() -> Result<(), Failure> {
        check()
    }

    #[test]
    fn engine_and_node_must_not_reach_the_keys() {
        for above in ["custody-engine", "custody-node"] {
            for key in ["custody-kms", "custody-keyring", "custody-seal"] {
                assert_eq!(verdict(above, (key, false, &[])), [format!("{above} must not depend on {key}")]);
            }
        }
    }

    #[test]
    fn no_arrow_points_up() {
        for (below, above) in
            [("custody-seal", "custody-kms"), ("custody-kms", "custody"), ("custody-store", "custody-engine")]
        {
            assert_eq!(verdict(below, (above, false, &[])).len(), 1, "{below} -> {above}");
        }
    }

    #[test]
    fn only_the_kms_crate_names_the_aws_sdk() {
        for on in ["aws-sdk-kms", "aws-sdk-sts", "aws-config", "aws-types"] {
            assert_eq!(verdict("custody", (on, false, &[])).len(), 1, "{on}");
            assert!(verdict("custody-kms", (on, false, &[])).is_empty(), "{on}");
        }
    }

    #[test]
    fn only_the_engine_names_slatedb() {
        assert_eq!(verdict("custody-store", ("slatedb", false, &[])).len(), 1);
        assert_eq!(verdict("custody-node", ("slatedb-common", false, &[])).len(), 1);
        assert!(verdict("custody-engine", ("slatedb", false, &[])).is_empty());
    }

    #[test]
    fn only_the_program_turns_on_an_object_store_of_a_cloud() {
        assert_eq!(verdict("custody-engine", ("object_store", false, &["aws"])).len(), 1);
        assert!(verdict("custody-engine", ("object_store", false, &[])).is_empty());
        assert!(verdict("custody", ("object_store", false, &["aws"])).is_empty());
    }

    #[test]
    fn nobody_turns_on_slatedbs_cache_on_disk() {
        for feature in ["foyer", DEFAULT] {
            let expected = [format!("custody-engine must not turn on slatedb/{feature}: nobody may")];
            assert_eq!(verdict("custody-engine", ("slatedb", false, &["moka", feature])), expected);
        }
        assert!(verdict("custody-engine", ("slatedb", false, &["moka"])).is_empty());
    }

    #[test]
    fn a_crate_that_is_not_in_the_table_is_named() {
        let wrong = wrong_arrows(&[package("custody-new", &[])]);
        assert!(wrong.len() == 1 && wrong[0].contains("custody-new"), "{wrong:?}");
    }

    #[test]
    fn what_only_tests_use_may_come_from_further_down() {
        assert!(verdict("custody-node", ("custody-store", true, &[])).is_empty());
    }
}
