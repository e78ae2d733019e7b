//! Quoted text and its escapes.

use std::borrow::Cow;

type Fault = (usize, &'static str);

/// Reads the quoted text at the start of `text`: its value, and how many bytes it took.
///
/// Escapes are those of C and Milvus. A backslash before anything else stays, so that `'50\%'` reaches `like` as it
/// was written.
pub(crate) fn read(text: &str) -> Result<(Cow<'_, str>, usize), Fault> {
    let bytes = text.as_bytes();
    let quote = bytes[0];
    let mut value: Option<Vec<u8>> = None;
    let mut at = 1;
    loop {
        let rest = &bytes[at..];
        let Some(step) = rest.iter().position(|byte| *byte == quote || *byte == b'\\') else {
            return Err((0, "text without its closing quote"));
        };
        if let Some(value) = &mut value {
            value.extend_from_slice(&rest[..step]);
        }
        at += step;
        if bytes[at] == quote {
            return finish(text, value, at);
        }
        let value = value.get_or_insert_with(|| bytes[1..at].to_vec());
        at += escape(text, at, value)?;
    }
}

fn finish(text: &str, value: Option<Vec<u8>>, end: usize) -> Result<(Cow<'_, str>, usize), Fault> {
    let value = match value {
        None => Cow::Borrowed(&text[1..end]),
        Some(bytes) => Cow::Owned(String::from_utf8(bytes).map_err(|_| (0, "text whose escapes make no valid UTF-8"))?),
    };
    Ok((value, end + 1))
}

/// Reads the escape at `at`, appends what it stands for, and says how many bytes it took.
fn escape(text: &str, at: usize, value: &mut Vec<u8>) -> Result<usize, Fault> {
    let rest = &text[at + 1..];
    let Some(kind) = rest.chars().next() else { return Err((0, "text without its closing quote")) };
    let plain = match kind {
        '\\' | '\'' | '"' | '?' => Some(u8::try_from(kind).unwrap_or_default()),
        'a' => Some(7),
        'b' => Some(8),
        'f' => Some(12),
        'n' => Some(b'\n'),
        'r' => Some(b'\r'),
        't' => Some(b'\t'),
        'v' => Some(11),
        _ => None,
    };
    if let Some(byte) = plain {
        value.push(byte);
        return Ok(2);
    }
    match kind {
        '0'..='7' => {
            let len = rest.bytes().take(3).take_while(|digit| (b'0'..=b'7').contains(digit)).count();
            let code = u32::from_str_radix(&rest[..len], 8).map_err(|_| (at, "a malformed escape"))?;
            value.push(u8::try_from(code).map_err(|_| (at, "an octal escape above \\377"))?);
            Ok(1 + len)
        }
        'x' => {
            let code = hex(rest, 1, 2).ok_or((at, "'\\x' needs two hexadecimal digits"))?;
            value.push(u8::try_from(code).unwrap_or_default());
            Ok(4)
        }
        'u' => unicode(rest, value).ok_or((at, "'\\u' needs four hexadecimal digits of a character")),
        'U' => {
            let character = hex(rest, 1, 8).and_then(char::from_u32);
            push(value, character.ok_or((at, "'\\U' needs eight hexadecimal digits of a character"))?);
            Ok(10)
        }
        other => {
            value.push(b'\\');
            push(value, other);
            Ok(1 + other.len_utf8())
        }
    }
}

/// `uXXXX`, or a surrogate pair of two of them.
fn unicode(rest: &str, value: &mut Vec<u8>) -> Option<usize> {
    let first = hex(rest, 1, 4)?;
    if let Some(character) = char::from_u32(first) {
        push(value, character);
        return Some(6);
    }
    let second = rest.get(5..7).filter(|next| *next == "\\u").and_then(|_| hex(rest, 7, 4))?;
    let pair = [u16::try_from(first).ok()?, u16::try_from(second).ok()?];
    push(value, char::decode_utf16(pair).next()?.ok()?);
    Some(12)
}

fn hex(text: &str, start: usize, len: usize) -> Option<u32> {
    let digits = text.get(start..start + len)?;
    // `from_str_radix` alone would accept a sign.
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

fn push(value: &mut Vec<u8>, character: char) {
    value.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}
