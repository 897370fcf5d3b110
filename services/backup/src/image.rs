//! An archive of one file without its holes: tar in POSIX's form, sparse as GNU's 1.0.

use std::ops::ControlFlow;

use crate::archive::{Put, zeros};
use crate::block::{About, BLOCK, beside, entry, padding};
use crate::content::Source;
use crate::map::{Map, PIECE, Run, piece_length};
use crate::{Error, Result};

/// A file, looked through and ready to be written.
pub(crate) struct Image<'a> {
    source: Source<'a>,
    map: Map,
    /// Length of the map's lines.
    lines: u64,
    /// What comes before them.
    header: Vec<u8>,
}

impl<'a> Image<'a> {
    pub(crate) fn new(
        name: &[u8],
        source: Source<'a>,
        about: About,
        watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Self> {
        let map = source.map(watch)?;
        let lines = map.lines().fold(0_u64, |sum, line| sum.saturating_add(line.len() as u64));
        let records = [
            ("GNU.sparse.major", b"1".to_vec()),
            ("GNU.sparse.minor", b"0".to_vec()),
            ("GNU.sparse.name", name.to_vec()),
            ("GNU.sparse.realsize", source.size().to_string().into_bytes()),
        ];
        let length = lines.saturating_add(padding(lines, BLOCK)).saturating_add(map.data());
        let plain = beside(name, &format!("GNUSparseFile.{}", std::process::id()));
        Ok(Self { source, map, lines, header: entry(&plain, &About { length, ..about }, &records) })
    }

    /// Length of an archive that has nothing else.
    pub(crate) fn length(&self) -> u64 {
        let padded = |length: u64| length.saturating_add(padding(length, BLOCK));
        let content = padded(self.lines).saturating_add(padded(self.map.data()));
        content.saturating_add(self.header.len() as u64).saturating_add(2 * BLOCK)
    }

    /// Writes it as a member. An archive's end comes after its last one.
    pub(crate) fn write(&self, put: Put<'_>, watch: &mut dyn FnMut(u64) -> ControlFlow<()>) -> Result<()> {
        put(&self.header)?;
        self.map.lines().try_for_each(|line| put(line.as_bytes()))?;
        zeros(put, padding(self.lines, BLOCK))?;
        let mut piece = vec![0; PIECE];
        self.map.runs.iter().try_for_each(|run| self.write_run(*run, &mut piece, put, watch))?;
        zeros(put, padding(self.map.data(), BLOCK))
    }

    fn write_run(
        &self,
        run: Run,
        piece: &mut [u8],
        put: Put<'_>,
        watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut done = 0;
        while done < run.length {
            let length = piece_length(run.length.saturating_sub(done));
            let piece = piece.get_mut(..length).unwrap_or_default();
            self.source.read(run.offset.saturating_add(done), piece)?;
            put(piece)?;
            done = done.saturating_add(length as u64);
            if watch(length as u64).is_break() {
                return Err(Error::Cancelled);
            }
        }
        Ok(())
    }
}
