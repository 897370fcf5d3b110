//! What is backed up under one name.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::map::Map;
use crate::{Error, Result};

/// The content of one file of a backup.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    /// A regular file or a block device.
    File(&'a File),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A directory with all that is below it. Links stay links.
    Tree(&'a Path),
}

/// Content that can be read anywhere.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    File(&'a File, u64),
    /// A file that others change meanwhile. What is not there any more is zeros.
    Live(&'a File, u64),
    Bytes(&'a [u8]),
}

impl Source<'_> {
    pub(crate) fn size(self) -> u64 {
        match self {
            Self::File(_, size) | Self::Live(_, size) => size,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    pub(crate) fn map(self, watch: &mut dyn FnMut(u64) -> ControlFlow<()>) -> Result<Map> {
        match self {
            Self::File(file, size) | Self::Live(file, size) => {
                Map::of_file(file, size, &|offset, piece| self.read(offset, piece), watch)
            }
            Self::Bytes(bytes) => Ok(Map::of_bytes(bytes)),
        }
    }

    pub(crate) fn read(self, offset: u64, piece: &mut [u8]) -> Result<()> {
        match self {
            Self::File(file, _) => file.read_exact_at(piece, offset),
            Self::Live(file, _) => read_there(file, piece, offset),
            Self::Bytes(bytes) => bytes.read_exact_at(piece, offset),
        }
        .map_err(Error::Content)
    }
}

/// Reads as much as there is, and zeros behind it.
fn read_there(file: &File, mut piece: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !piece.is_empty() {
        match file.read_at(piece, offset) {
            Ok(0) => {
                piece.fill(0);
                break;
            }
            Ok(length) => {
                piece = piece.get_mut(length..).unwrap_or_default();
                offset = offset.saturating_add(length as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reading at an offset, as of files.
trait ReadAt {
    fn read_exact_at(&self, piece: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, piece: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut rest = self.get(start..).unwrap_or_default();
        io::Read::read_exact(&mut rest, piece)
    }
}
