//! Writes each target's seeds to a directory of its name, where libFuzzer begins: `seeds DIRECTORY`.

#![allow(clippy::unwrap_used, reason = "a chore that fails by a panic")]

use std::{fs, path::PathBuf};

fn main() {
    let directory = PathBuf::from(std::env::args().nth(1).expect("a directory"));
    for (target, _) in custody_fuzz::TARGETS {
        let corpus = directory.join(target);
        fs::create_dir_all(&corpus).unwrap();
        for (number, seed) in custody_fuzz::seeds(target).iter().enumerate() {
            fs::write(corpus.join(format!("seed-{number:03}")), seed).unwrap();
        }
    }
}
