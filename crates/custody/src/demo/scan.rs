//! The attacker's view: every byte under a directory, searched for what was inserted.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use super::{cluster, digits::Digits};
use crate::Failure;

/// Floats of a vector that are looked for together. Digits have long runs of empty pixels; a window must be distinctive.
const WINDOW: usize = 16;

/// What a scan found.
#[derive(Debug, Default)]
pub(super) struct Finds {
    pub(super) files: usize,
    pub(super) bytes: u64,
    /// Digits of whose pixels a distinctive run was found.
    pub(super) vectors: usize,
    /// Places where a name or a label's text was found, file names included.
    pub(super) names: usize,
}

impl Finds {
    pub(super) fn is_clean(&self) -> bool {
        self.vectors == 0 && self.names == 0 && self.bytes > 0
    }

    pub(super) fn summary(&self) -> String {
        format!("{} vectors and {} names found", self.vectors, self.names)
    }
}

/// Scans every file under a directory.
pub(super) fn scan(directory: &Path, digits: &Digits) -> Result<Finds, Failure> {
    let windows = windows(digits);
    let mut seen = vec![false; digits.len()];
    let mut finds = Finds::default();
    for file in files(directory)? {
        let bytes = std::fs::read(&file)?;
        finds.files += 1;
        finds.bytes += bytes.len() as u64;
        for window in bytes.windows(WINDOW * 4) {
            if let Some(rows) = windows.get(window) {
                for row in rows {
                    seen[*row] = true;
                }
            }
        }
        let name = file.as_os_str().as_encoded_bytes();
        for secret in cluster::NAMES {
            finds.names += count(&bytes, secret.as_bytes()) + count(name, secret.as_bytes());
        }
    }
    finds.vectors = seen.into_iter().filter(|seen| *seen).count();
    Ok(finds)
}

/// The most distinctive run of each digit's pixels, as stored, and the digits that have it.
fn windows(digits: &Digits) -> HashMap<Vec<u8>, Vec<usize>> {
    let mut windows: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
    for (row, pixels) in digits.pixels.iter().enumerate() {
        let inked = |run: &&[f32]| run.iter().filter(|pixel| **pixel > 0.0).count();
        let Some(run) = pixels.windows(WINDOW).max_by_key(inked) else { continue };
        let bytes = run.iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
        windows.entry(bytes).or_default().push(row);
    }
    windows
}

fn files(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() { left.push(path) } else { files.push(path) }
        }
    }
    Ok(files)
}

fn count(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes.windows(wanted.len()).filter(|window| *window == wanted).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there_and_nothing_else() {
        let digits = Digits::load().unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("noise"), [7; 4_096]).unwrap();
        assert!(scan(directory.path(), &digits).unwrap().is_clean());
        let bytes: Vec<u8> = digits.pixels[5].iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
        std::fs::write(directory.path().join("leak"), [b"x".as_slice(), &bytes, cluster::NAMES[0].as_bytes()].concat())
            .unwrap();
        let finds = scan(directory.path(), &digits).unwrap();
        assert!(finds.vectors >= 1 && finds.names == 1 && !finds.is_clean(), "{finds:?}");
    }

    #[test]
    fn an_empty_directory_proves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!scan(directory.path(), &Digits::load().unwrap()).unwrap().is_clean());
    }
}
