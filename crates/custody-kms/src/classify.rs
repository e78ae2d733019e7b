//! From an AWS error code to what it means. The code decides, never the HTTP status: the same refusal is 400 here and
//! 403 there.

use crate::error::{Action, Cause, Outcome};
use crate::wire::{Failure, FailureKind};

/// A code that DescribeKey has to explain.
pub(crate) const INVALID_STATE: &str = "KMSInvalidStateException";

/// AWS's words for a signature that is too old or from the future.
const SKEW: [&str; 2] = ["Signature expired", "Signature not yet current"];

/// What `failure` of `action` means.
pub(crate) fn classify(action: Action, failure: &Failure) -> (Outcome, Cause) {
    match &failure.kind {
        FailureKind::TimedOut => (Outcome::Unreachable, Cause::TimedOut),
        FailureKind::NoConnection => (Outcome::Unreachable, Cause::NoConnection),
        FailureKind::Credentials => (Outcome::Ours, Cause::BaseCredential),
        FailureKind::Insecure(endpoint) => (Outcome::Ours, Cause::InsecureEndpoint(endpoint.clone())),
        FailureKind::File => (Outcome::Ours, Cause::LocalFile(failure.text.clone())),
        FailureKind::Service { code: Some(code), status } => {
            let (outcome, cause) = by_code(action, code).unwrap_or_else(|| by_status(*status));
            // KMS has one code for a wrong signature and for one that our clock made stale.
            let skewed = cause == Cause::BadSignature && SKEW.iter().any(|text| failure.text.contains(text));
            (outcome, if skewed { Cause::ClockSkew } else { cause })
        }
        FailureKind::Service { code: None, status } => by_status(*status),
    }
}

fn by_code(action: Action, code: &str) -> Option<(Outcome, Cause)> {
    let verdict = match code {
        "DisabledException" => (Outcome::Revoked, Cause::KeyDisabled),
        "NotFoundException" => (Outcome::Revoked, Cause::KeyNotFound),
        "AccessDeniedException" | "AccessDenied" => (
            Outcome::Denied,
            if action == Action::AssumeRole { Cause::RoleRefused } else { Cause::PermissionMissing(action) },
        ),
        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "RequestLimitExceeded"
        | "LimitExceededException"
        | "TooManyRequestsException"
        | "SlowDown"
        | "ProvisionedThroughputExceededException"
        | "PriorRequestNotComplete" => (Outcome::Unreachable, Cause::Throttled),
        "KeyUnavailableException"
        | "DependencyTimeoutException"
        | "KMSInternalException"
        | "InternalFailure"
        | "InternalError"
        | "InternalServerError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "ServiceFailure"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "IDPCommunicationError" => (Outcome::Unreachable, Cause::ServerFault),
        "ExpiredTokenException"
        | "ExpiredToken"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "InvalidAccessKeyId"
        | "AuthFailure"
        | "InvalidToken" => (Outcome::Ours, Cause::BaseCredential),
        "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "IncompleteSignatureException" => (Outcome::Ours, Cause::BadSignature),
        "RequestExpired" | "RequestTimeTooSkewed" | "RequestInTheFuture" => (Outcome::Ours, Cause::ClockSkew),
        "RegionDisabledException" => (Outcome::Ours, Cause::RegionInactive),
        "InvalidKeyUsageException" | "UnsupportedOperationException" => {
            (Outcome::Misconfigured, Cause::WrongKeyUsage(code.to_owned()))
        }
        "InvalidCiphertextException" | "IncorrectKeyException" => (Outcome::Misconfigured, Cause::WrongCiphertext),
        "InvalidArnException" | "ValidationException" | "ValidationError" => {
            (Outcome::Misconfigured, Cause::InvalidRequest)
        }
        _ => return None,
    };
    Some(verdict)
}

/// An error without a code we know. It is no word of the key's owner, so it must not seal at once: the grace period
/// bounds it.
fn by_status(status: Option<u16>) -> (Outcome, Cause) {
    let cause = match status {
        Some(429) => Cause::Throttled,
        Some(500..) => Cause::ServerFault,
        _ => Cause::Unexpected,
    };
    (Outcome::Unreachable, cause)
}

/// Whether the same call may well succeed in a moment.
pub(crate) fn is_transient(cause: &Cause) -> bool {
    matches!(cause, Cause::Throttled | Cause::NoConnection | Cause::TimedOut | Cause::ServerFault)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: &str) -> (Outcome, Cause) {
        classify(Action::Decrypt, &Failure::code(code, "text"))
    }

    #[test]
    fn only_a_no_of_kms_is_a_revocation() {
        assert_eq!(of("DisabledException"), (Outcome::Revoked, Cause::KeyDisabled));
        assert_eq!(of("NotFoundException"), (Outcome::Revoked, Cause::KeyNotFound));
        assert_eq!(of("AccessDeniedException"), (Outcome::Denied, Cause::PermissionMissing(Action::Decrypt)));
        let refused = classify(Action::AssumeRole, &Failure::code("AccessDenied", ""));
        assert_eq!(refused, (Outcome::Denied, Cause::RoleRefused));
    }

    #[test]
    fn a_blip_of_aws_is_unreachable() {
        for code in [
            "ThrottlingException",
            "Throttling",
            "LimitExceededException",
            "KeyUnavailableException",
            "DependencyTimeoutException",
            "KMSInternalException",
            "ServiceUnavailable",
            "InternalFailure",
        ] {
            assert_eq!(of(code).0, Outcome::Unreachable, "{code}");
            assert!(is_transient(&of(code).1), "{code}");
        }
        for kind in [FailureKind::TimedOut, FailureKind::NoConnection] {
            assert_eq!(classify(Action::Encrypt, &Failure::new(kind, "")).0, Outcome::Unreachable);
        }
    }

    #[test]
    fn our_own_faults_are_never_taken_for_a_revocation() {
        for code in [
            "ExpiredToken",
            "ExpiredTokenException",
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "SignatureDoesNotMatch",
            "InvalidSignatureException",
            "RequestExpired",
            "RequestTimeTooSkewed",
            "RegionDisabledException",
        ] {
            assert_eq!(of(code).0, Outcome::Ours, "{code}");
        }
        assert_eq!(classify(Action::AssumeRole, &Failure::new(FailureKind::Credentials, "")).0, Outcome::Ours);
    }

    #[test]
    fn a_signature_that_our_clock_made_stale_is_called_clock_skew() {
        let stale =
            Failure::code("InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier than");
        assert_eq!(classify(Action::Decrypt, &stale), (Outcome::Ours, Cause::ClockSkew));
        assert_eq!(of("InvalidSignatureException"), (Outcome::Ours, Cause::BadSignature));
    }

    #[test]
    fn what_can_never_work_is_misconfigured() {
        for code in [
            "InvalidKeyUsageException",
            "UnsupportedOperationException",
            "InvalidCiphertextException",
            "IncorrectKeyException",
            "ValidationException",
        ] {
            assert_eq!(of(code).0, Outcome::Misconfigured, "{code}");
        }
    }

    #[test]
    fn an_answer_without_a_known_code_never_seals_whatever_its_status() {
        for status in [None, Some(200), Some(302), Some(400), Some(403), Some(404), Some(429), Some(500), Some(503)] {
            for code in [None, Some("SomethingNew".to_owned())] {
                let failure = Failure::new(FailureKind::Service { code, status }, "a proxy's page");
                assert_eq!(classify(Action::Decrypt, &failure).0, Outcome::Unreachable, "{status:?}");
            }
        }
    }

    #[test]
    fn the_status_does_not_overrule_the_code() {
        for status in [400, 403, 500] {
            let kind = FailureKind::Service { code: Some("AccessDeniedException".to_owned()), status: Some(status) };
            assert_eq!(classify(Action::Decrypt, &Failure::new(kind, "")).0, Outcome::Denied);
        }
    }
}
