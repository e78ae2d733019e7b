//! The words of a filter.

use std::{borrow::Cow, fmt};

use crate::{error::Fault, text_literal};

/// One token.
#[derive(Clone, PartialEq)]
pub(crate) enum Token<'a> {
    /// A whole number without its sign.
    Int(u64),
    Float(f64),
    Text(Cow<'a, str>),
    /// A name or a keyword.
    Word(&'a str),
    Symbol(Symbol),
    End,
}

impl Token<'_> {
    /// Whether this is a keyword, in any case.
    pub(crate) fn is_word(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// Punctuation and operators.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Symbol {
    Open,
    Close,
    OpenList,
    CloseList,
    OpenBrace,
    CloseBrace,
    Comma,
    Equal,
    NotEqual,
    LessOrEqual,
    Less,
    GreaterOrEqual,
    Greater,
    Plus,
    Minus,
    Power,
    Star,
    Slash,
    Percent,
    And,
    Or,
    Not,
}

/// Every symbol; one that begins another comes after it.
const SYMBOLS: [(&str, Symbol); 22] = [
    ("(", Symbol::Open),
    (")", Symbol::Close),
    ("[", Symbol::OpenList),
    ("]", Symbol::CloseList),
    ("{", Symbol::OpenBrace),
    ("}", Symbol::CloseBrace),
    (",", Symbol::Comma),
    ("==", Symbol::Equal),
    ("!=", Symbol::NotEqual),
    ("<=", Symbol::LessOrEqual),
    ("<", Symbol::Less),
    (">=", Symbol::GreaterOrEqual),
    (">", Symbol::Greater),
    ("+", Symbol::Plus),
    ("-", Symbol::Minus),
    ("**", Symbol::Power),
    ("*", Symbol::Star),
    ("/", Symbol::Slash),
    ("%", Symbol::Percent),
    ("&&", Symbol::And),
    ("||", Symbol::Or),
    ("!", Symbol::Not),
];

/// A token as messages name it: never by its text, which may be a value.
#[derive(Clone, Copy)]
pub(crate) enum Described {
    /// No token: the filter's start.
    Start,
    Value,
    Name,
    Keyword(&'static str),
    Symbol(Symbol),
}

impl Described {
    pub(crate) fn new(token: &Token<'_>) -> Self {
        match token {
            Token::Int(_) | Token::Float(_) | Token::Text(_) => Self::Value,
            Token::Word(word) => KEYWORDS
                .into_iter()
                .find(|keyword| keyword.eq_ignore_ascii_case(word))
                .map_or(Self::Name, Self::Keyword),
            Token::Symbol(symbol) => Self::Symbol(*symbol),
            Token::End => Self::Start,
        }
    }
}

impl fmt::Display for Described {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => Ok(()),
            Self::Value => formatter.write_str("a value"),
            Self::Name => formatter.write_str("a name"),
            Self::Keyword(keyword) => write!(formatter, "'{keyword}'"),
            Self::Symbol(symbol) => {
                let text = SYMBOLS.iter().find(|(_, other)| other == symbol).map_or("", |(text, _)| *text);
                write!(formatter, "'{text}'")
            }
        }
    }
}

/// Words that are no names, unless the schema has a field of exactly that spelling.
pub(crate) const KEYWORDS: [&str; 8] = ["and", "or", "not", "in", "like", "is", "null", "exists"];

/// Symbols of Milvus that this language lacks, each with what to say.
const REFUSED: [(&str, &str); 7] = [
    ("<<", "bit operators are not supported"),
    (">>", "bit operators are not supported"),
    ("=~", "regular expressions are not supported; use like"),
    ("=", "a single '=' is no comparison; use '=='"),
    ("&", "bit operators are not supported; use 'and' or '&&' between conditions"),
    ("|", "bit operators are not supported; use 'or' or '||' between conditions"),
    ("^", "bit operators are not supported; use '**' for a power"),
];

/// Splits a filter into tokens, one at a time.
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token and where it starts.
    pub(crate) fn next(&mut self) -> Result<(usize, Token<'a>), Fault> {
        let rest = &self.text[self.at..];
        let rest = rest.trim_start();
        let start = self.text.len() - rest.len();
        self.at = start;
        let Some(first) = rest.chars().next() else { return Ok((start, Token::End)) };
        let token = if first == '"' || first == '\'' {
            let (value, len) = text_literal::read(rest).map_err(|(at, message)| Fault::new(start + at, message))?;
            self.at += len;
            Token::Text(value)
        } else if first.is_ascii_digit() || (first == '.' && rest[1..].starts_with(|next: char| next.is_ascii_digit()))
        {
            self.number(rest)?
        } else if first.is_alphabetic() || first == '_' || first == '$' {
            self.word(rest)?
        } else {
            self.symbol(rest)?
        };
        Ok((start, token))
    }

    fn word(&mut self, rest: &'a str) -> Result<Token<'a>, Fault> {
        let goes_on =
            |(place, next): (usize, char)| next.is_alphanumeric() || next == '_' || (place == 0 && next == '$');
        let end = rest.char_indices().find(|next| !goes_on(*next)).map_or(rest.len(), |(place, _)| place);
        if &rest[..end] == "$" {
            return Err(Fault::new(self.at, "'$' must begin a name"));
        }
        self.at += end;
        Ok(Token::Word(&rest[..end]))
    }

    fn symbol(&mut self, rest: &str) -> Result<Token<'a>, Fault> {
        if let Some((_, why)) = REFUSED.iter().find(|(text, _)| {
            // A refused symbol may begin an allowed one.
            rest.starts_with(text)
                && !SYMBOLS.iter().any(|(longer, _)| longer.len() > text.len() && rest.starts_with(longer))
        }) {
            return Err(Fault::new(self.at, *why));
        }
        let Some((text, symbol)) = SYMBOLS.iter().find(|(text, _)| rest.starts_with(text)) else {
            return Err(Fault::new(self.at, "a character that has no meaning here"));
        };
        self.at += text.len();
        Ok(Token::Symbol(*symbol))
    }

    fn number(&mut self, rest: &str) -> Result<Token<'a>, Fault> {
        let end = number_end(rest);
        let token = read_number(&rest[..end]).map_err(|message| Fault::new(self.at, message))?;
        self.at += end;
        Ok(token)
    }
}

/// Where the number at the text's start ends; letters that touch it belong to it, so that `12abc` is refused whole.
fn number_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let hex = bytes.len() > 1 && bytes[1].eq_ignore_ascii_case(&b'x');
    let belongs = |place: usize| {
        let sign_of_exponent =
            matches!(bytes[place], b'+' | b'-') && !hex && bytes[place - 1].eq_ignore_ascii_case(&b'e');
        bytes[place].is_ascii_alphanumeric() || matches!(bytes[place], b'.' | b'_') || sign_of_exponent
    };
    (1..bytes.len()).find(|place| !belongs(*place)).unwrap_or(bytes.len())
}

fn read_number<'a>(text: &str) -> Result<Token<'a>, &'static str> {
    const MALFORMED: &str = "a malformed number";
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', b'o', ..] => (&lower[2..], 8),
        _ if lower.contains(['.', 'e']) => {
            let value: f64 = lower.parse().map_err(|_| MALFORMED)?;
            return if value.is_finite() { Ok(Token::Float(value)) } else { Err("a number too large for Double") };
        }
        // As in C and Milvus, a leading zero means octal.
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (&lower[..], 10),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(MALFORMED);
    }
    u64::from_str_radix(digits, radix).map(Token::Int).map_err(|_| "a whole number too large for Int64")
}
