//! The one mapping from what went wrong to what a Milvus client is told.
//!
//! Milvus answers a user's error inside the reply, as a status with a number of its own and the older `error_code`; both
//! are looked at by clients. What no retry of the same request on another day would mend differently (a sealed zone, a
//! missing password) is a gRPC status.

use custody_engine::EngineError;
use milvus::proto::common;

use crate::{auth::Denied, convert::ConvertError, limits::LONGEST_REASON};

/// The numbers of Milvus' errors (`pkg/util/merr/errors.go` of milvus-io/milvus), as far as they are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum MilvusCode {
    ServiceUnavailable = 2,
    ServiceInternal = 5,
    CollectionNotFound = 100,
    CollectionNotLoaded = 101,
    IllegalSchema = 105,
    PartitionNotFound = 200,
    IndexNotFound = 700,
    DatabaseNotFound = 800,
    InvalidDatabaseName = 802,
    IoFailed = 1001,
    ParameterInvalid = 1100,
    PrivilegeNotPermitted = 1401,
    AliasNotFound = 1600,
    AliasExists = 1602,
    NeedAuthenticate = 1800,
    IncorrectParameterFormat = 1801,
    MissingRequiredParameters = 1802,
    HttpRateLimit = 1807,
    Unexpected = 65_535,
}

impl MilvusCode {
    /// The older code of the same error: `merr.oldCode` of milvus-io/milvus.
    fn legacy(self) -> common::ErrorCode {
        match self {
            Self::CollectionNotFound => common::ErrorCode::CollectionNotExists,
            Self::IndexNotFound => common::ErrorCode::IndexNotExist,
            Self::ParameterInvalid | Self::IllegalSchema => common::ErrorCode::IllegalArgument,
            Self::PartitionNotFound | Self::IoFailed => common::ErrorCode::MetaFailed,
            _ => common::ErrorCode::UnexpectedError,
        }
    }

    /// Whether the request itself is at fault, so that sending it again can't help.
    fn is_input(self) -> bool {
        !matches!(self, Self::IoFailed | Self::Unexpected)
    }
}

/// Why a call fails, and on which way the client learns of it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// In the reply's own status.
    Reply(MilvusCode, String),
    /// As a gRPC status.
    Grpc(tonic::Code, String),
}

impl Failure {
    /// The request makes no sense as it stands.
    pub(crate) fn invalid(reason: impl Into<String>) -> Self {
        Self::Reply(MilvusCode::ParameterInvalid, reason.into())
    }

    /// Something Milvus has and Custody has not; it is named, never ignored.
    pub(crate) fn unsupported(what: &str) -> Self {
        Self::invalid(format!("{what} is not supported by Custody"))
    }

    /// Only root and API keys may do this.
    pub(crate) fn not_permitted(what: &str) -> Self {
        Self::Grpc(tonic::Code::PermissionDenied, format!("{what} needs the user 'root' or an API key"))
    }

    /// Not everybody who may make a database may choose its key.
    pub(crate) fn no_use_of_keys() -> Self {
        let reason = "a database under a key of its own (cipher.key) needs the user 'root', or an API key whose role may use keys \
                      (ProjectAdmin, Owner): without cipher.key it lives under the cluster's";
        Self::Grpc(tonic::Code::PermissionDenied, reason.to_owned())
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let code = match &error {
            EngineError::Sealed(_) | EngineError::Fenced | EngineError::Closing => {
                return Self::Grpc(tonic::Code::Unavailable, error.to_string());
            }
            EngineError::Fault => return Self::Grpc(tonic::Code::Internal, error.to_string()),
            EngineError::DatabaseNotFound(_) => MilvusCode::DatabaseNotFound,
            EngineError::InvalidName { kind: "database" } => MilvusCode::InvalidDatabaseName,
            EngineError::CollectionNotFound(_) => MilvusCode::CollectionNotFound,
            EngineError::NotLoaded(_) => MilvusCode::CollectionNotLoaded,
            EngineError::PartitionNotFound(_) => MilvusCode::PartitionNotFound,
            EngineError::AliasNotFound(_) => MilvusCode::AliasNotFound,
            EngineError::IndexNotFound(_) => MilvusCode::IndexNotFound,
            EngineError::InvalidName { .. }
            | EngineError::InvalidDatabase(_)
            | EngineError::InvalidPartition(_)
            | EngineError::InvalidIndex(_)
            | EngineError::InvalidSchema(_)
            | EngineError::InvalidRows(_)
            | EngineError::InvalidRequest(_)
            | EngineError::Filter(_) => MilvusCode::ParameterInvalid,
            EngineError::Storage(_) | EngineError::Record(_) => MilvusCode::IoFailed,
            _ => MilvusCode::Unexpected,
        };
        Self::Reply(code, error.to_string())
    }
}

impl From<ConvertError> for Failure {
    fn from(error: ConvertError) -> Self {
        let code = match &error {
            ConvertError::Schema(_) => MilvusCode::IllegalSchema,
            ConvertError::Required(_) => MilvusCode::MissingRequiredParameters,
            _ => MilvusCode::ParameterInvalid,
        };
        Self::Reply(code, error.to_string())
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Self::Grpc(denied.code(), denied.to_string())
    }
}

/// The status of a reply that succeeded.
pub(crate) fn success() -> common::Status {
    common::Status::default()
}

/// A message short enough for a reply or a gRPC header: a name of a megabyte must not come back as two. What is wrong
/// stands at the beginning, what to do at the end.
pub(crate) fn short(reason: String) -> String {
    if reason.len() <= LONGEST_REASON {
        return reason;
    }
    let head = reason.floor_char_boundary(LONGEST_REASON / 2);
    let tail = reason.ceil_char_boundary(reason.len() - LONGEST_REASON / 4);
    format!("{} [{} bytes left out] {}", &reason[..head], tail - head, &reason[tail..])
}

/// The status of a reply that failed.
pub(crate) fn failed(code: MilvusCode, reason: String) -> common::Status {
    let reason = short(reason);
    #[expect(deprecated, reason = "clients still look at `error_code`")]
    common::Status {
        error_code: code.legacy().into(),
        code: code as i32,
        detail: reason.clone(),
        reason,
        retriable: false,
        extra_info: [("is_input_error".to_owned(), code.is_input().to_string())].into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(error: EngineError) -> common::Status {
        match Failure::from(error) {
            Failure::Reply(code, reason) => failed(code, reason),
            Failure::Grpc(code, reason) => panic!("a gRPC status: {code:?} {reason}"),
        }
    }

    #[test]
    fn a_missing_collection_has_milvus_number_and_the_old_code() {
        let status = reply(EngineError::CollectionNotFound("books".into()));
        assert_eq!(status.code, 100);
        #[expect(deprecated, reason = "clients still look at it")]
        let legacy = status.error_code;
        assert_eq!(legacy, i32::from(common::ErrorCode::CollectionNotExists));
        assert!(status.reason.contains("books"));
        assert_eq!(status.extra_info["is_input_error"], "true");
    }

    #[test]
    fn the_numbers_clients_look_at_are_milvus_own() {
        for (error, code) in [
            (EngineError::DatabaseNotFound("a".into()), 800),
            (EngineError::NotLoaded("a".into()), 101),
            (EngineError::PartitionNotFound("a".into()), 200),
            (EngineError::IndexNotFound("a".into()), 700),
            (EngineError::AliasNotFound("a".into()), 1600),
            (EngineError::InvalidName { kind: "database" }, 802),
            (EngineError::InvalidName { kind: "collection" }, 1100),
            (EngineError::InvalidRows("a".into()), 1100),
            (EngineError::Storage("a".into()), 1001),
            (EngineError::DatabaseExists("a".into()), 65_535),
        ] {
            assert_eq!(reply(error).code, code);
        }
    }

    #[test]
    fn a_name_of_a_megabyte_does_not_come_back() {
        let status = reply(EngineError::NotLoaded("ü".repeat(500_000)));
        assert!(status.reason.len() < 1_000 && status.detail.len() < 1_000);
        assert!(status.reason.starts_with("collection not loaded") && status.reason.ends_with("load it first"));
        assert_eq!(short("short".into()), "short");
    }

    #[test]
    fn a_fault_of_the_node_is_an_internal_error() {
        match Failure::from(EngineError::Fault) {
            Failure::Grpc(code, _) => assert_eq!(code, tonic::Code::Internal),
            Failure::Reply(..) => panic!("an in-band status"),
        }
    }

    #[test]
    fn a_failing_disk_is_not_the_callers_fault() {
        assert_eq!(reply(EngineError::Storage("disk".into())).extra_info["is_input_error"], "false");
    }

    #[test]
    fn a_fenced_node_answers_unavailable_so_that_clients_try_elsewhere() {
        match Failure::from(EngineError::Fenced) {
            Failure::Grpc(code, _) => assert_eq!(code, tonic::Code::Unavailable),
            Failure::Reply(..) => panic!("an in-band status"),
        }
    }
}
