//! Bytes as lower-case hexadecimal digits.

/// The digits of some bytes, one after the other: where they are a secret, they make no detour through other text.
pub(crate) fn digits(bytes: &[u8]) -> impl Iterator<Item = char> {
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    halves.map(|half| char::from(b"0123456789abcdef"[usize::from(half)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_two_digits() {
        assert_eq!(digits(&[0x00, 0x0f, 0xa9, 0xff]).collect::<String>(), "000fa9ff");
    }
}
