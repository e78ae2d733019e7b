//! Every target, over its seeds and over deterministic changes of them: what the fuzzer does for minutes, in seconds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use custody_fuzz::{TARGETS, seeds};

/// Changed inputs for each target.
const CHANGED: usize = 3_000;
/// Longer seeds, such as files of many chunks, stand for themselves.
const LONGEST_CHANGED: usize = 20_000;

/// SplitMix64: the same choices in every run.
struct Choices(u64);

impl Choices {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or_default()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// A seed with up to four changes: a bit flipped, a byte set, a cut, a piece repeated or left out, another's tail.
    fn changed(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let (choice, end) = (self.below(6), at + self.below(bytes.len() - at));
            match choice {
                _ if bytes.is_empty() => bytes.push(self.byte()),
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, self.byte()][self.below(6)],
                2 => bytes.truncate(at),
                3 => bytes.splice(at..at, bytes[at..end].to_vec()).for_each(drop),
                4 => bytes.drain(at..end).for_each(drop),
                _ => {
                    let other = &seeds[self.below(seeds.len())];
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[self.below(other.len())..]);
                }
            }
        }
        bytes
    }
}

fn hold(target: &str, run: fn(&[u8]), input: &[u8]) {
    let held = catch_unwind(AssertUnwindSafe(|| run(input)));
    assert!(
        held.is_ok(),
        "{target} fails on {} bytes, which begin {:02x?}",
        input.len(),
        &input[..input.len().min(96)]
    );
}

#[test]
fn every_target_holds_over_its_seeds_and_over_changes_of_them() {
    for (place, (target, run)) in (0..).zip(TARGETS) {
        let mut seeds = seeds(target);
        assert!(!seeds.is_empty(), "{target} has no seeds");
        for seed in &seeds {
            hold(target, run, seed);
        }
        seeds.retain(|seed| seed.len() <= LONGEST_CHANGED);
        let mut choices = Choices(place);
        for _ in 0..CHANGED {
            hold(target, run, &choices.changed(&seeds));
        }
    }
}

#[test]
fn what_nests_deeper_than_any_stack_is_refused_everywhere() {
    let patterns: [&[u8]; 10] =
        [b"(", b"[", b"not ", b"-", b"{\"a\":", b"\x07\x01", b"\x09", b"\x0a\xff\xff\x03", b"\xff", b"\0"];
    for (target, run) in TARGETS {
        for pattern in patterns {
            let deep = pattern.repeat(100_000);
            hold(target, run, &deep);
            for seed in seeds(target).iter().filter(|seed| seed.len() <= LONGEST_CHANGED) {
                hold(target, run, &[&seed[..seed.len() / 2], &deep[..]].concat());
            }
        }
    }
}

#[test]
fn every_target_has_a_wrapper_for_the_fuzzer() {
    let manifest = include_str!("../../../fuzz/Cargo.toml");
    for (target, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} is missing in fuzz/Cargo.toml");
    }
}
