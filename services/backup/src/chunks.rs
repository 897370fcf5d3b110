//! One file's stream, cut into chunks that are each a member of the backup.

use std::fs::File;
use std::io::{self, Seek, Write};

use crate::container::{CODE, HEAD};
use crate::outer;
use crate::writer::Writer;
use crate::{Error, Result};

/// What encryption adds to a chunk.
const ADDED: u64 = (HEAD + CODE) as u64;

/// A stream that is being cut.
pub(crate) struct Chunks<'w, W> {
    writer: &'w mut Writer<W>,
    name: &'w str,
    /// Of the present chunk.
    number: u64,
    /// What it has room for.
    room: u64,
    /// Length of what is to come, where that is known.
    left: Option<u64>,
    place: Place,
}

/// Where the present chunk is written.
enum Place {
    /// Into the backup, after this much of its archive.
    Backup(u64),
    /// Beside it, as its length is not known yet.
    Beside(File),
}

impl<'w, W: Write> Chunks<'w, W> {
    pub(crate) fn begin(writer: &'w mut Writer<W>, name: &'w str, length: Option<u64>) -> Result<Self> {
        let mut chunks = Self { writer, name, number: 0, room: 0, left: length, place: Place::Backup(0) };
        chunks.open()?;
        Ok(chunks)
    }

    fn member(&self, number: u64) -> String {
        format!("{}.{number:03}", self.name)
    }

    /// Begins a chunk, and meanwhile the key of the one after it, where there will be one.
    fn open(&mut self) -> Result<()> {
        let member = self.member(self.number);
        let locked = self.writer.key(member.clone())?;
        self.room = self.writer.options.chunk;
        match self.left {
            Some(left) if left >= self.room => self.prepare_next()?,
            Some(_) => self.writer.prepare_expected()?,
            None => {}
        }
        self.place = match self.left {
            Some(left) => {
                let length = left.min(self.room).saturating_add(ADDED);
                let header =
                    outer::begin(&mut self.writer.out, &format!("{member}.enc"), length, self.writer.time);
                Place::Backup(header.map_err(Error::Write)?.saturating_add(length))
            }
            None => {
                Place::Beside(common::files::scratch(&self.writer.options.scratch).map_err(Error::Scratch)?)
            }
        };
        self.sealing(|sealer, out| sealer.begin(&locked, out))
    }

    fn prepare_next(&mut self) -> Result<()> {
        let next = self.member(self.number.saturating_add(1));
        self.writer.prepare(next)
    }

    /// Lets the sealer do something that writes where this chunk goes.
    fn sealing(
        &mut self,
        work: impl FnOnce(&mut crate::sealer::Sealer, &mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        match &mut self.place {
            Place::Backup(_) => work(&mut self.writer.sealer, &mut self.writer.out).map_err(Error::Write),
            Place::Beside(file) => work(&mut self.writer.sealer, file).map_err(Error::Scratch),
        }
    }

    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.room == 0 {
                self.next()?;
            }
            let (piece, rest) =
                bytes.split_at(usize::try_from(self.room).unwrap_or(usize::MAX).min(bytes.len()));
            self.sealing(|sealer, out| sealer.add(piece, out))?;
            self.count(piece.len() as u64)?;
            bytes = rest;
        }
        Ok(())
    }

    /// Where the end is not known, a chunk that is half full makes another one likely.
    fn count(&mut self, length: u64) -> Result<()> {
        let half = self.writer.options.chunk / 2;
        let was = self.room;
        self.room = self.room.saturating_sub(length);
        self.left = self.left.map(|left| left.saturating_sub(length));
        if self.left.is_none() && was > half && self.room <= half { self.prepare_next() } else { Ok(()) }
    }

    fn next(&mut self) -> Result<()> {
        self.close()?;
        self.number = self.number.saturating_add(1);
        self.open()
    }

    fn close(&mut self) -> Result<()> {
        self.sealing(crate::sealer::Sealer::end)?;
        match std::mem::replace(&mut self.place, Place::Backup(0)) {
            Place::Backup(written) => outer::end(&mut self.writer.out, written).map_err(Error::Write),
            Place::Beside(file) => self.copy(file),
        }
    }

    fn copy(&mut self, mut file: File) -> Result<()> {
        let length = file.stream_position().map_err(Error::Scratch)?;
        file.rewind().map_err(Error::Scratch)?;
        let member = format!("{}.enc", self.member(self.number));
        let out = &mut self.writer.out;
        let header = outer::begin(out, &member, length, self.writer.time).map_err(Error::Write)?;
        io::copy(&mut file, out).map_err(Error::Write)?;
        outer::end(out, header.saturating_add(length)).map_err(Error::Write)
    }

    /// Ends it. A last chunk that is full is followed by one that is empty.
    pub(crate) fn finish(mut self) -> Result<()> {
        if self.room == 0 {
            self.next()?;
        }
        self.close()?;
        self.writer.prepare_expected()
    }
}
