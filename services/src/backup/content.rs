//! What a backup has of a qube, piece by piece (spec 40 §16.1).

use std::path::{Path, PathBuf};

use common::failure::Failure;
use common::files;
use common::model::{Class, Pools, Qube, Volume};
use common::root::Root;
use common::storage::Usage;
use serde::{Deserialize, Serialize};

use super::dom0::Home;
use crate::xml;

/// What files are given on their disks in.
const BLOCK: usize = 4096;

/// Where one piece comes from.
#[derive(Serialize, Deserialize)]
pub(super) enum Source {
    Volume(Volume),
    File(PathBuf),
    Text(String),
    /// A user's home directory.
    Home {
        user: String,
        folder: PathBuf,
    },
}

/// One piece, by the name that it has in the backup.
#[derive(Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) name: String,
    pub(super) source: Source,
}

/// What is to be looked at: the pieces of each qube.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Contents {
    pub(super) pools: Pools,
    pub(super) qubes: Vec<Vec<Piece>>,
}

/// Where the pieces of a qube lie in the backup.
pub(super) fn folder(qube: &Qube) -> String {
    format!("vm{}/", qube.qid)
}

/// The pieces of a qube, in order.
///
/// # Errors
/// For dom0, if nobody's home is found.
pub(super) fn pieces(root: &Root, qube: &Qube) -> Result<Vec<Piece>, Failure> {
    if qube.class == Class::AdminVM {
        return Ok(vec![Home::of(root)?.piece()]);
    }
    let piece = |name: &str, source| Piece { name: format!("{}{name}", folder(qube)), source };
    let kept = qube.volumes.iter().filter(|volume| volume.save_on_stop);
    let mut pieces: Vec<Piece> =
        kept.map(|volume| piece(&format!("{}.img", volume.name), Source::Volume(volume.clone()))).collect();
    let rules = qube.firewall.as_deref().map(xml::firewall_text);
    pieces.extend(rules.map(|rules| piece("firewall.xml", Source::Text(rules))));
    let notes = qube.home().map(|home| root.lib().join(home).join("notes.txt"));
    let notes = notes.filter(|path| files::exists(path));
    pieces.extend(notes.map(|path| piece("notes.txt", Source::File(path))));
    if pieces.is_empty() {
        pieces.push(piece("empty", Source::Text(String::new())));
    }
    Ok(pieces)
}

impl Contents {
    /// Bytes that each qube's pieces take on disk.
    ///
    /// # Errors
    /// The drivers'.
    pub(super) fn sizes(&self, root: &Root) -> Result<Vec<u64>, Failure> {
        let volumes = Usage::within(root, &self.pools);
        let of_qube = |pieces: &Vec<Piece>| {
            let size = |piece: &Piece| piece.source.size(&volumes);
            pieces.iter().try_fold(0, |sum: u64, piece| Ok(sum.saturating_add(size(piece)?)))
        };
        self.qubes.iter().map(of_qube).collect()
    }
}

impl Source {
    /// Where it lies, where that is known.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Home { folder: path, .. } => Some(path),
            Self::Volume(_) | Self::Text(_) => None,
        }
    }

    fn size(&self, volumes: &Usage<'_>) -> Result<u64, Failure> {
        Ok(match self {
            Self::Volume(volume) => volumes.of(volume)?,
            Self::File(path) => files::about(path).map_or(0, |about| files::allocated(&about)),
            Self::Text(text) => u64::try_from(text.len().next_multiple_of(BLOCK)).unwrap_or(u64::MAX),
            Self::Home { folder, .. } => files::allocated_below(folder),
        })
    }
}
