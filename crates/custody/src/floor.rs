//! Below what a cluster is not opened (rule 6): the anchor of `--anchor`, or the control plane's.

use std::path::PathBuf;

use clap::Args;
use custody_engine::{Anchor, Below};

use crate::Failure;

/// What `custody node` is told of an anchor.
#[derive(Args, Default)]
pub(crate) struct AnchorArgs {
    /// Open nothing that is older than the anchor in this file (JSON): a storage that was rolled back is refused
    #[arg(long, value_name = "FILE", conflicts_with = "link")]
    anchor: Option<PathBuf>,
    /// Open what is older than the anchor all the same, with a warning for each. What is missing is given up. For one start
    #[arg(long, requires = "anchor")]
    below_anchor: bool,
}

/// The floor itself.
#[derive(Default)]
pub(crate) struct Floor {
    pub(crate) anchor: Anchor,
    pub(crate) below: Below,
}

impl AnchorArgs {
    /// The floor that the flags name.
    pub(crate) fn floor(&self) -> Result<Floor, Failure> {
        let Some(file) = &self.anchor else { return Ok(Floor::default()) };
        let place = file.display();
        let text =
            std::fs::read_to_string(file).map_err(|error| format!("the anchor {place} can't be read: {error}"))?;
        Floor::parse(&text, self.below_anchor).map_err(|error| format!("{place}: {error}").into())
    }
}

impl Floor {
    /// One that can't be read is no floor, and nothing is opened without the one that was meant.
    pub(crate) fn parse(text: &str, below: bool) -> Result<Self, Failure> {
        let anchor = serde_json::from_str(text).map_err(|error| {
            format!("the anchor can't be read: {error}. Give it as a node has told it, or start without one")
        })?;
        Ok(Self { anchor, below: if below { Below::Warn } else { Below::Refuse } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_that_cannot_be_read_is_never_taken_for_none() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("anchor.json");
        let args = AnchorArgs { anchor: Some(file.clone()), below_anchor: false };
        assert!(args.floor().is_err(), "it is not there");
        for text in ["", "{}", "null", "{\"anchor\":1}", "{\"anchor\":1,\"zones\":{}} more"] {
            std::fs::write(&file, text).unwrap();
            assert!(args.floor().is_err(), "{text}");
        }
        std::fs::write(&file, "{\"anchor\":1,\"zones\":{}}\n").unwrap();
        assert!(args.floor().unwrap().anchor.is_empty());
        assert!(AnchorArgs::default().floor().unwrap().anchor.is_empty());
    }
}
