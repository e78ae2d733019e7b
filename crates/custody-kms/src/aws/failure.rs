//! From the SDK's errors to bare failures.

use std::error::Error;

use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId;

use crate::aws::endpoint::InsecureEndpoint;
use crate::wire::{Failure, FailureKind};

/// Longest text kept of an error below AWS's own answer.
const TEXT: usize = 400;

/// What an SDK error says, nothing concluded yet.
pub(crate) fn failure<E>(error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let request_id = error.request_id().map(ToOwned::to_owned);
    let status = error.raw_response().map(|response| response.status().as_u16());
    let (kind, text) = match error {
        SdkError::ServiceError(answer) => {
            let code = answer.err().code().map(ToOwned::to_owned);
            (FailureKind::Service { code, status }, answer.err().message().map(ToOwned::to_owned))
        }
        SdkError::TimeoutError(_) => (FailureKind::TimedOut, None),
        // An answer that could not be read as one of the service's: a proxy's page, a connection cut short.
        SdkError::ResponseError(_) => (FailureKind::Service { code: None, status }, None),
        _ => match insecure(error) {
            Some(found) => (FailureKind::Insecure(found.endpoint.clone()), None),
            None => (FailureKind::NoConnection, None),
        },
    };
    Failure { kind, text: text.unwrap_or_else(|| chain(error)), request_id }
}

/// Our own refusal to send, where that is what lies at the bottom.
fn insecure<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a InsecureEndpoint> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The error and what caused it, on one line of bounded length.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    if let Some((end, _)) = text.char_indices().nth(TEXT) {
        text.truncate(end);
        text.push('…');
    }
    text
}
