//! Patterns of `like`.

use crate::limits::MAX_WILD;

/// A pattern, prepared once: `%` stands for any text, `_` for one character, a backslash takes either literally.
pub(crate) enum Pattern {
    Equal(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    /// Pieces between the `%`: the first is bound to the start, the last to the end, each of the others may be
    /// anywhere after the one before it.
    Pieces {
        first: Piece,
        middle: Vec<Piece>,
        last: Piece,
    },
    /// No `%`, but `_`.
    Whole(Piece),
}

/// Text without `%`.
pub(crate) enum Piece {
    Literal(String),
    /// Characters; `None` is any one.
    Wild(Vec<Option<char>>),
}

impl Pattern {
    /// Prepares a pattern; `None` if a piece with `_` is too long.
    pub(crate) fn new(pattern: &str) -> Option<Self> {
        let mut pieces = split(pattern);
        if pieces.iter().any(|piece| matches!(piece, Piece::Wild(characters) if characters.len() > MAX_WILD)) {
            return None;
        }
        // `split` gives at least one piece.
        let last = pieces.pop().unwrap_or(Piece::Literal(String::new()));
        if pieces.is_empty() {
            return Some(match last {
                Piece::Literal(text) => Self::Equal(text),
                wild @ Piece::Wild(_) => Self::Whole(wild),
            });
        }
        let first = pieces.remove(0);
        let mut middle = pieces;
        middle.retain(|piece| !piece.is_empty());
        Some(match (first, last) {
            (Piece::Literal(text), last) if middle.is_empty() && last.is_empty() => Self::Prefix(text),
            (first, Piece::Literal(text)) if middle.is_empty() && first.is_empty() => Self::Suffix(text),
            (first, last) => match (first.is_empty() && last.is_empty(), &middle[..]) {
                (true, [Piece::Literal(text)]) => Self::Contains(text.clone()),
                _ => Self::Pieces { first, middle, last },
            },
        })
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Equal(whole) => text == whole,
            Self::Prefix(start) => text.starts_with(start.as_str()),
            Self::Suffix(end) => text.ends_with(end.as_str()),
            Self::Contains(inner) => text.contains(inner.as_str()),
            Self::Whole(piece) => piece.len_at_start(text) == Some(text.len()),
            Self::Pieces { first, middle, last } => {
                let Some(start) = first.len_at_start(text) else { return false };
                let Some(end) = last.start_at_end(&text[start..]) else { return false };
                let mut rest = &text[start..start + end];
                middle.iter().all(|piece| match piece.find(rest) {
                    Some(after) => {
                        rest = &rest[after..];
                        true
                    }
                    None => false,
                })
            }
        }
    }
}

fn split(pattern: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut piece: Vec<Option<char>> = Vec::new();
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '%' => pieces.push(Piece::new(std::mem::take(&mut piece))),
            '_' => piece.push(None),
            '\\' => piece.push(Some(characters.next_if(|next| matches!(next, '%' | '_' | '\\')).unwrap_or('\\'))),
            other => piece.push(Some(other)),
        }
    }
    pieces.push(Piece::new(piece));
    pieces
}

impl Piece {
    fn new(characters: Vec<Option<char>>) -> Self {
        match characters.iter().copied().collect::<Option<String>>() {
            Some(text) => Self::Literal(text),
            None => Self::Wild(characters),
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Literal(text) if text.is_empty())
    }

    /// How many bytes of the text's start the piece takes, if it fits there.
    fn len_at_start(&self, text: &str) -> Option<usize> {
        match self {
            Self::Literal(piece) => text.starts_with(piece.as_str()).then_some(piece.len()),
            Self::Wild(piece) => {
                let mut rest = text.chars();
                for wanted in piece {
                    let next = rest.next()?;
                    if wanted.is_some_and(|wanted| wanted != next) {
                        return None;
                    }
                }
                Some(text.len() - rest.as_str().len())
            }
        }
    }

    /// Where the piece starts if it fits at the text's end.
    fn start_at_end(&self, text: &str) -> Option<usize> {
        let start = match self {
            Self::Literal(piece) => return text.ends_with(piece.as_str()).then(|| text.len() - piece.len()),
            // A piece that is wild has at least one character.
            Self::Wild(piece) => text.char_indices().rev().nth(piece.len() - 1)?.0,
        };
        self.len_at_start(&text[start..]).map(|_| start)
    }

    /// Where the text goes on after the first place that the piece fits.
    fn find(&self, text: &str) -> Option<usize> {
        match self {
            Self::Literal(piece) => text.find(piece.as_str()).map(|start| start + piece.len()),
            Self::Wild(_) => {
                text.char_indices().find_map(|(start, _)| self.len_at_start(&text[start..]).map(|len| start + len))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn a_pattern_matches_the_texts_it_should_and_no_others() {
        let cases: [(&str, &[&str], &[&str]); 17] = [
            ("", &[""], &["a"]),
            ("abc", &["abc"], &["ab", "abcd", "ABC"]),
            ("%", &["", "a", "line\nbreak"], &[]),
            ("%%", &["", "a"], &[]),
            ("ab%", &["ab", "abc"], &["a", "cab"]),
            ("%ab", &["ab", "cab"], &["abc"]),
            ("%ab%", &["ab", "cabd"], &["a b"]),
            ("a%b", &["ab", "a-b", "abab"], &["a", "b", "aba"]),
            ("a%a", &["aa", "aba"], &["a"]),
            ("a%b%c", &["abc", "a1b2c", "abcbc"], &["acb", "ab", "ac"]),
            ("a_c", &["abc", "aöc"], &["ac", "abbc"]),
            ("_", &["a", "ö", "\u{1F600}"], &["", "ab"]),
            ("%a_c%", &["xabcx", "aac", "aaxc"], &["ac", "axxc"]),
            ("%_b", &["ab", "xxb"], &["b", "ba"]),
            ("50\\%", &["50%"], &["50", "500", "50\\%"]),
            ("a\\_b\\\\%", &["a_b\\", "a_b\\rest"], &["axb\\", "a_b"]),
            ("c:\\dir%", &["c:\\dir", "c:\\dir\\x"], &["c:dir"]),
        ];
        for (pattern, fitting, others) in cases {
            let compiled = Pattern::new(pattern).expect("short enough");
            for text in fitting {
                assert!(compiled.matches(text), "{pattern:?} should match {text:?}");
            }
            for text in others {
                assert!(!compiled.matches(text), "{pattern:?} should not match {text:?}");
            }
        }
    }
}
