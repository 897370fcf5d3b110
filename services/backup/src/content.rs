//! What is backed up under one name.

use std::fs::File;
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
    Bytes(&'a [u8]),
}

impl Source<'_> {
    pub(crate) fn size(self) -> u64 {
        match self {
            Self::File(_, size) => size,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    pub(crate) fn map(self, watch: &mut dyn FnMut(u64) -> ControlFlow<()>) -> Result<Map> {
        match self {
            Self::File(file, size) => Map::of_file(file, size, watch),
            Self::Bytes(bytes) => Ok(Map::of_bytes(bytes)),
        }
    }

    pub(crate) fn read(self, offset: u64, piece: &mut [u8]) -> Result<()> {
        match self {
            Self::File(file, _) => file.read_exact_at(piece, offset),
            Self::Bytes(bytes) => bytes.read_exact_at(piece, offset),
        }
        .map_err(Error::Content)
    }
}

/// Reading at an offset, as of files.
trait ReadAt {
    fn read_exact_at(&self, piece: &mut [u8], offset: u64) -> std::io::Result<()>;
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, piece: &mut [u8], offset: u64) -> std::io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut rest = self.get(start..).unwrap_or_default();
        std::io::Read::read_exact(&mut rest, piece)
    }
}
