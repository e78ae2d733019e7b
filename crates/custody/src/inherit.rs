//! What a node under a control plane takes along when its image is replaced: the token of its link, and what it was told.
//!
//! It lies in memory without a name, which the kernel keeps for this process from one image to the next. The environment
//! tells only its number, and neither the environment nor the command line ever holds the token.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::OnceLock,
};

use custody_link::{KeyPolicy, NodeConfig};
use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::Failure;

/// Tells the next image the number of the descriptor.
pub(crate) const VARIABLE: &str = "CUSTODY_LINK_MEMORY";
/// Hex digits of a token.
const TOKEN: usize = 64;

/// The descriptor's number, once there is one.
static NUMBER: OnceLock<i32> = OnceLock::new();

/// What is taken along.
#[derive(Serialize, Deserialize)]
pub(crate) struct Inherited {
    #[serde(with = "custody_link::hidden")]
    pub(crate) token: Zeroizing<String>,
    /// What the control plane said last; nothing before it said anything.
    pub(crate) config: Option<NodeConfig>,
    pub(crate) hold: Hold,
    /// What the failure behind a seal says about the key.
    pub(crate) outcome: Option<String>,
}

/// Why a cluster stays sealed although its key may be there.
#[derive(Serialize, Deserialize, Default, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(default)]
pub(crate) struct Hold {
    /// It was sealed by hand.
    pub(crate) by_hand: bool,
    /// By which order of the control plane's, as far as it has told its number.
    pub(crate) order: u64,
    /// Its key was revoked, and its owner wants a person to decide that it comes back.
    pub(crate) revoked: bool,
    /// Its storage is below its anchor: a person has to put it back, or to give up what is missing.
    pub(crate) rolled_back: bool,
}

impl Hold {
    pub(crate) fn holds(self) -> bool {
        self.by_hand || self.revoked || self.rolled_back
    }

    /// Follows the control plane from one policy, under which the cluster was sealed by hand or not, to the next. What was
    /// sealed by a command stays so under a policy that has never spoken of a seal.
    pub(crate) fn follow(&mut self, before: bool, now: &KeyPolicy) {
        if now.hold {
            (self.by_hand, self.order) = (true, now.order);
        } else if before {
            self.by_hand = false;
        }
    }

    /// The order by which it was sealed by hand, if it was.
    pub(crate) fn heeded(self) -> u64 {
        if self.by_hand { self.order } else { 0 }
    }
}

/// The descriptor's number, for the next image.
pub(crate) fn number() -> Option<i32> {
    NUMBER.get().copied()
}

/// Takes what the image before left, or the token from standard input.
pub(crate) fn take() -> Result<Inherited, Failure> {
    if let Ok(number) = std::env::var(VARIABLE) {
        let number: i32 = number.parse().map_err(|_| format!("{VARIABLE} is not a number"))?;
        let inherited = read(number)?;
        NUMBER.get_or_init(|| number);
        return Ok(inherited);
    }
    let stdin = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let inherited = Inherited { token: token(stdin)?, config: None, hold: Hold::default(), outcome: None };
    // Not closed when the image is replaced: that is what it is for.
    let memory = memfd_create("custody-link", MemfdFlags::empty())?;
    let number = memory.as_raw_fd();
    write(number, &inherited)?;
    keep(memory);
    NUMBER.get_or_init(|| number);
    Ok(inherited)
}

/// Leaves it for the next image.
pub(crate) fn leave(inherited: &Inherited) -> Result<(), Failure> {
    number().map_or(Ok(()), |number| write(number, inherited))
}

/// The descriptor is this process's to its end.
fn keep(memory: OwnedFd) {
    std::mem::forget(memory);
}

fn path(number: i32) -> String {
    format!("/proc/self/fd/{number}")
}

fn read(number: i32) -> Result<Inherited, Failure> {
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path(number))
        .and_then(|mut memory| memory.read_to_end(&mut bytes))
        .map_err(|error| format!("what the image before left can't be read: {error}"))?;
    // The parser's error would repeat what it did not like.
    Ok(serde_json::from_slice(&bytes).map_err(|_| "what the image before left is damaged")?)
}

fn write(number: i32, inherited: &Inherited) -> Result<(), Failure> {
    let bytes = Zeroizing::new(serde_json::to_vec(inherited)?);
    let mut memory = OpenOptions::new().write(true).truncate(true).open(path(number))?;
    Ok(memory.write_all(&bytes)?)
}

/// One line of hex digits. It is read byte by byte, so that no buffer keeps a copy.
fn token(mut from: impl Read) -> Result<Zeroizing<String>, Failure> {
    let mut token = Zeroizing::new(String::with_capacity(TOKEN));
    let mut byte = [0];
    while from.read(&mut byte)? == 1 && byte[0] != b'\n' {
        if token.len() == TOKEN || !byte[0].is_ascii_hexdigit() {
            return Err("standard input must be the token of the link: 64 hex digits and a line's end".into());
        }
        token.push(char::from(byte[0]));
    }
    if token.len() == TOKEN { Ok(token) } else { Err("standard input ended before the token of the link".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_line_of_64_hex_digits() {
        let digits = "0123456789abcdef".repeat(4);
        assert_eq!(*token(format!("{digits}\nmore").as_bytes()).unwrap(), digits);
        for wrong in [String::new(), digits[1..].to_owned(), format!("{digits}0\n"), format!("x{}\n", &digits[1..])] {
            let error = token(wrong.as_bytes()).unwrap_err().to_string();
            assert!(!error.contains("abcdef"), "{error}");
        }
    }

    #[test]
    fn what_is_left_is_found_again_and_a_shorter_one_replaces_a_longer_one() {
        let memory = memfd_create("custody-test", MemfdFlags::CLOEXEC).unwrap();
        let number = memory.as_raw_fd();
        let with = |outcome: Option<&str>| Inherited {
            token: Zeroizing::new("a".repeat(TOKEN)),
            config: None,
            hold: Hold { revoked: true, ..Hold::default() },
            outcome: outcome.map(str::to_owned),
        };
        write(number, &with(Some("revoked"))).unwrap();
        write(number, &with(None)).unwrap();
        let found = read(number).unwrap();
        assert_eq!((found.token.len(), found.outcome), (TOKEN, None));
        assert!(found.hold.holds() && !Hold::default().holds());
    }

    #[test]
    fn a_seal_by_command_outlives_a_policy_that_never_spoke_of_one() {
        let mut hold = Hold { by_hand: true, ..Hold::default() };
        let policy = |hold| KeyPolicy { hold, order: 7, ..KeyPolicy::default() };
        hold.follow(false, &policy(false));
        assert_eq!((hold.holds(), hold.heeded()), (true, 0));
        hold.follow(false, &policy(true));
        assert_eq!(hold.heeded(), 7);
        hold.follow(true, &policy(false));
        assert_eq!((hold.holds(), hold.heeded()), (false, 0));
        hold.revoked = true;
        hold.follow(true, &policy(false));
        assert!(hold.holds(), "a person decides about what was revoked");
    }
}
