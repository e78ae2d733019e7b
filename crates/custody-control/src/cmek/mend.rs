//! What failed, in AWS's own words, and every mend that may be meant.

use std::time::Duration;

use custody_kms::{Action, AliasRef, Cause, ClockSkew, KmsError, RootKeyRef};

/// AWS refuses a signature whose time is five minutes off: before that comes, it is said.
const MOST_SKEW: Duration = Duration::from_mins(4);

/// Policies that are neither the role's nor the key's, as AWS's text calls them, and who has to change them.
const ELSEWHERE: [(&str, &str); 5] = [
    (
        "service control policy",
        "a service control policy (SCP) of the organisation of the role: whoever administers that organisation has to allow it",
    ),
    (
        "resource control policy",
        "a resource control policy (RCP) of the organisation of the key: whoever administers that organisation has to allow it",
    ),
    (
        "VPC endpoint policy",
        "the policy of the VPC endpoint that the request came through: whoever runs this service has to allow it there",
    ),
    ("permissions boundary", "the permissions boundary of the role: it has to allow the action too"),
    ("session policy", "the policy of the session that this service asked for: tell whoever runs this service"),
];

/// What failed with a key.
pub(super) fn explain(error: &KmsError, key: &RootKeyRef) -> String {
    let role = key.role_arn().map(custody_kms::RoleArn::as_str);
    with_mends(error, |action| Some(mends(action, role?, key.key_arn().as_str())))
}

/// What failed with an alias.
pub(super) fn explain_alias(error: &KmsError, alias: &AliasRef) -> String {
    let (role, name) = (alias.role_arn(), alias.alias());
    if (error.action(), error.cause()) == (Some(Action::DescribeKey), &Cause::KeyNotFound) {
        return format!("{error}. There is no alias {name}, or it leads to no key: give the key's ARN in its place");
    }
    with_mends(error, |action| {
        Some(format!(
            ". The key of {name} could not be asked for: the role's policy and the key's own have to let {role} do {action} on \
             the key itself, not on the alias. Or give the key's ARN in place of the alias"
        ))
    })
}

fn with_mends(error: &KmsError, mends: impl FnOnce(Action) -> Option<String>) -> String {
    let (text, mut said) = (error.text().unwrap_or_default(), error.to_string());
    let elsewhere = ELSEWHERE.iter().find(|(name, _)| text.contains(name));
    if let Some((_, whose)) = elsewhere {
        said += ". AWS names ";
        said += whose;
    } else if let Cause::PermissionMissing(action) = error.cause()
        && let Some(mends) = mends(*action)
    {
        said += &mends;
    }
    said
}

fn mends(action: Action, role: &str, key: &str) -> String {
    format!(
        ". Either the role's policy lacks {action} on {key}: run the put-role-policy command again; or the key's own policy \
         does not let {role} in: add the key policy statement shown"
    )
}

/// What is wrong with our clock, if it is too far off.
pub(super) fn clock(skew: ClockSkew) -> Option<String> {
    (skew.apart() > MOST_SKEW).then(|| {
        let of = if skew.is_ahead() { " of" } else { "" };
        format!(
            "the clock of this service is {skew}{of} AWS's, as AWS's own answer says, and AWS refuses whoever is 5 minutes off. \
             That is a fault of this service, not of the key or its role: whoever runs it has to set the clock (NTP)"
        )
    })
}

#[cfg(test)]
mod tests {
    use custody_kms::{RootKeyRef, probe, scripted::Fault, scripted::ScriptedKms};

    use super::*;

    /// What is said of a denial of `kms:Decrypt` in which AWS says this.
    async fn said_of(text: &'static str) -> String {
        let kms = ScriptedKms::new();
        let role = "arn:aws:iam::111122223333:role/custody".parse().unwrap();
        let key: RootKeyRef = kms.create_key_behind(role, None).unwrap();
        kms.fault(Action::Decrypt, Fault::Saying("AccessDeniedException", text));
        let found = probe(&kms, &key, &"proj-test".parse().unwrap(), async {}).await;
        explain(&found.result().unwrap_err(), &key)
    }

    #[tokio::test]
    async fn a_policy_that_is_neither_the_roles_nor_the_keys_is_named_with_whose_it_is() {
        const WHO: &str = "User: arn:aws:sts::111122223333:assumed-role/custody/s is not authorized to perform: kms:Decrypt on \
                           resource: arn:aws:kms:us-east-1:111122223333:key/0";
        // AWS's own ways of saying it: an explicit deny, and none that allows.
        for (ending, whose) in [
            ("with an explicit deny in a service control policy", "(SCP)"),
            ("because no service control policy allows the kms:Decrypt action", "(SCP)"),
            ("with an explicit deny in a resource control policy", "(RCP)"),
            ("because no resource control policy allows the kms:Decrypt action", "(RCP)"),
            ("with an explicit deny in a VPC endpoint policy", "VPC endpoint that the request came through"),
            (
                "because no VPC endpoint policy allows the kms:Decrypt action",
                "VPC endpoint that the request came through",
            ),
            ("because no permissions boundary allows the kms:Decrypt action", "permissions boundary of the role"),
            ("because no session policy allows the kms:Decrypt action", "whoever runs this service"),
        ] {
            let text: &'static str = Box::leak(format!("{WHO} {ending}").into_boxed_str());
            let said = said_of(text).await;
            assert!(said.contains(text) && said.contains(whose), "{said}");
            assert!(!said.contains("put-role-policy"), "the usual mends don't help: {said}");
        }
        for ending in ["because no identity-based policy allows the kms:Decrypt action", ""] {
            let said = said_of(Box::leak(format!("{WHO} {ending}").into_boxed_str())).await;
            assert!(said.contains("put-role-policy") && said.contains("key policy statement"), "{said}");
            assert!(!said.contains("AWS names"), "{said}");
        }
    }
}
