//! Why a request is not carried out, in the few kinds that an adapter has to tell apart.

use axum::http::StatusCode;

/// What kind of refusal it is. REST makes a status of it, the console a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What was asked can't be meant: change the request.
    Invalid,
    /// The caller is not known.
    Unauthenticated,
    /// The caller is known and may not do this.
    Forbidden,
    /// There is no such thing, or none that the caller may know of.
    NotFound,
    /// It can't be done as things stand: change them first.
    Conflict,
    /// Too much was asked for in too short a time.
    TooMany,
    /// It can't be done now: try again.
    Unavailable,
    /// A fault of ours. What it was stands in the log.
    Internal,
}

impl Kind {
    /// The HTTP status that says so.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A refusal of any operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// The kind.
    pub kind: Kind,
    /// What failed, why, and what to do.
    pub message: String,
}

impl Refused {
    /// A refusal in its own words.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// A request that can't be meant.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// As things stand, it can't be done.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// There is no such thing.
    pub fn not_found(what: &str, id: &str) -> Self {
        Self::new(Kind::NotFound, format!("there is no {what} {id:?}"))
    }

    /// A fault of ours: what it was goes to the log, under a number that the caller is told.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        let number = crate::random::digits().unwrap_or_default();
        let number = number.get(..8).unwrap_or("unknown");
        tracing::error!(%error, number, "a request could not be carried out");
        Self::new(Kind::Internal, format!("a fault of the service, number {number}: the log has more"))
    }
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::PoolTimedOut => Self::new(Kind::Unavailable, "the control plane is busy: try again"),
            _ => Self::internal(error),
        }
    }
}

impl From<crate::random::NoRandomness> for Refused {
    fn from(error: crate::random::NoRandomness) -> Self {
        Self::new(Kind::Unavailable, error.to_string())
    }
}

impl From<crate::region::UnknownRegion> for Refused {
    fn from(error: crate::region::UnknownRegion) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<crate::cmek::FieldError> for Refused {
    fn from(error: crate::cmek::FieldError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<custody_kms::KeyRefError> for Refused {
    fn from(error: custody_kms::KeyRefError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<custody_kms::ArnError> for Refused {
    fn from(error: custody_kms::ArnError) -> Self {
        Self::invalid(error.to_string())
    }
}

/// Takes what a user called a thing: 1 to 200 characters that can be seen, without blanks around.
pub(crate) fn name(what: &str, text: &str) -> Result<String, Refused> {
    let text = text.trim();
    let fits = !text.is_empty() && text.chars().count() <= 200 && !text.chars().any(char::is_control);
    if fits {
        Ok(text.to_owned())
    } else {
        Err(Refused::invalid(format!("{what} must have 1 to 200 characters, none of them a control character")))
    }
}
