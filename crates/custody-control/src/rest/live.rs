//! A validation as it comes about: one line of JSON for each thing that happens.

use std::{pin::Pin, sync::Arc};

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse, Response},
};
use futures::stream;
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::answer;
use crate::{
    Control, Refused,
    access::Caller,
    cmek::{Check, Event, NewKey, Validation},
};

/// The media type.
pub(super) const KIND: &str = "application/x-ndjson";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    Check(Check),
    #[serde(rename_all = "camelCase")]
    Waiting {
        seconds_left: u64,
    },
    Validation(Validation),
    Error(answer::Error),
}

impl From<Event> for Line {
    fn from(event: Event) -> Self {
        match event {
            Event::Check(check) => Self::Check(check),
            Event::Waiting(left) => {
                Self::Waiting { seconds_left: left.as_millis().div_ceil(1_000).try_into().unwrap_or(0) }
            }
        }
    }
}

type Work = Pin<Box<dyn Future<Output = Result<Validation, Refused>> + Send>>;

/// A validation under way. It ends with the stream, also where the client goes away.
struct Live {
    events: UnboundedReceiver<Event>,
    work: Option<Work>,
    /// What it came to, to be told after all events.
    end: Option<Result<Validation, Refused>>,
}

impl Live {
    /// What happens next; nothing after the end.
    async fn next(&mut self) -> Option<Result<Line, Refused>> {
        if let Some(work) = self.work.as_mut() {
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => return Some(Ok(event.into())),
                end = work => (self.work, self.end) = (None, Some(end)),
            }
        }
        // What it told just before it ended comes first.
        match self.events.try_recv() {
            Ok(event) => Some(Ok(event.into())),
            Err(_) => self.end.take().map(|end| end.map(Line::Validation)),
        }
    }
}

/// Answers as it goes. What is refused before the first check is refused as everywhere.
pub(super) async fn validate(
    control: Arc<Control>,
    caller: Caller,
    project: String,
    new: NewKey,
) -> Result<Response, Refused> {
    let (sender, events) = unbounded_channel();
    let work: Work = Box::pin(async move {
        // Nobody listens only once the stream is gone, and this with it.
        let tell = move |event| drop(sender.send(event));
        control.validate_key(&caller, &project, &new, &tell).await
    });
    let mut going = Live { events, work: Some(work), end: None };
    let first = going.next().await.transpose()?;
    let lines = stream::unfold((first, going), async |(ready, mut going)| {
        let line = match ready {
            Some(line) => line,
            None => going.next().await?.unwrap_or_else(|refused| Line::Error(refused.into())),
        };
        Some((encode(&line), (None, going)))
    });
    Ok(([(header::CONTENT_TYPE, KIND), (header::CACHE_CONTROL, "no-store")], Body::from_stream(lines)).into_response())
}

fn encode(line: &Line) -> Result<Bytes, serde_json::Error> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    Ok(bytes.into())
}
