//! Measures our clock by AWS's answers, those that refuse too.

use std::time::SystemTime;

use aws_sdk_kms::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_kms::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kms::error::BoxError;

use crate::clock::SkewMeter;

/// Looks at the date of each answer. One without a request id is not AWS's but that of something in between, whose clock
/// means nothing.
#[derive(Debug)]
pub(crate) struct Measure(pub(crate) SkewMeter);

impl Intercept for Measure {
    fn name(&self) -> &'static str {
        "Measure"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _runtime_components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response().headers();
        if let (Some(_), Some(date)) = (headers.get("x-amzn-requestid"), headers.get("date")) {
            self.0.take(SystemTime::now(), date);
        }
        Ok(())
    }
}
