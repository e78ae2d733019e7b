//! What can go wrong with a filter.

use std::borrow::Cow;

/// A filter that can't be read, or can't be evaluated over the columns it was given.
///
/// The message says what is wrong and where, but never repeats the filter's text: values, and names of fields, may
/// not reach a log. [`FilterError::position`] points into the text for a caller who holds it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter{}: {message}", place(*character))]
pub struct FilterError {
    message: Cow<'static, str>,
    position: Option<usize>,
    character: Option<usize>,
}

fn place(character: Option<usize>) -> String {
    character.map(|character| format!(", at character {character}")).unwrap_or_default()
}

impl FilterError {
    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where in the filter's text, as a byte offset; `None` for a fault of the columns.
    pub fn position(&self) -> Option<usize> {
        self.position
    }

    /// A fault that belongs to no place in the text.
    pub(crate) fn of_columns(message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: message.into(), position: None, character: None }
    }
}

/// A fault in a filter's text, before the place is counted in characters.
pub(crate) struct Fault {
    at: usize,
    message: Cow<'static, str>,
}

impl Fault {
    pub(crate) fn new(at: usize, message: impl Into<Cow<'static, str>>) -> Self {
        Self { at, message: message.into() }
    }

    /// The error for the caller; `text` is the filter's.
    pub(crate) fn place_in(self, text: &str) -> FilterError {
        let character = text.char_indices().take_while(|(byte, _)| *byte < self.at).count() + 1;
        FilterError { message: self.message, position: Some(self.at), character: Some(character) }
    }
}
