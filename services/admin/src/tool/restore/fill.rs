//! Filling a volume: one import, of which the last is kept back until the whole file was proven.

use std::fs::File;
use std::io::{self, Write};
use std::mem::take;

use backup::{Complete, Sink, Verified};
use common::names::{QubeName, VolumeName};
use common::root::Root;
use common::run::{Process, Stream};

use super::{CALLER, reason};
use crate::tool::service::{self, Service};

/// Zeros that are sent at once.
static ZEROS: [u8; 128 << 10] = [0; 128 << 10];

/// An import that is fed from a backup.
pub(super) struct Import<'a> {
    root: &'a Root,
    qube: &'a QubeName,
    volume: &'a VolumeName,
    size: u64,
    /// Bytes that were given, including what is kept back.
    given: u64,
    /// What is sent only once more comes, or everything was proven. Without it no import takes effect.
    kept: Vec<u8>,
    child: Option<Process>,
    into: Option<File>,
    /// Whether the call takes no more, for a reason that it answers with.
    is_refused: bool,
}

impl<'a> Import<'a> {
    pub(super) fn new(root: &'a Root, qube: &'a QubeName, volume: &'a VolumeName) -> Self {
        Self {
            root,
            qube,
            volume,
            size: 0,
            given: 0,
            kept: Vec::new(),
            child: None,
            into: None,
            is_refused: false,
        }
    }

    /// Ends it: with all that was proven, or without effect.
    pub(super) fn end(mut self, proven: backup::Result<Complete>) -> Result<(), String> {
        let unproven = match proven {
            Ok(_) => self.complete().err().map(|error| error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        drop(self.into.take());
        let answered = match self.child.take() {
            Some(child) => service::finish(child).map(drop).map_err(reason),
            None => Ok(()),
        };
        match (unproven, answered) {
            (None, answered) => answered,
            (Some(_), Err(answer)) if self.is_refused => Err(answer),
            (Some(why), _) => Err(why),
        }
    }

    fn complete(&mut self) -> io::Result<()> {
        self.fill_up(self.size)?;
        let kept = take(&mut self.kept);
        self.send(&kept)
    }

    /// Gives what comes next, and sends what was kept back before.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let kept = take(&mut self.kept);
        self.send(&kept)?;
        self.kept = kept;
        self.kept.clear();
        self.kept.extend_from_slice(bytes);
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = self.into.as_mut().map_or(Ok(()), |into| into.write_all(bytes));
        self.is_refused |= sent.is_err();
        sent
    }

    /// Zeros up to an offset.
    fn fill_up(&mut self, offset: u64) -> io::Result<()> {
        while self.given < offset {
            let left = usize::try_from(offset.saturating_sub(self.given)).unwrap_or(ZEROS.len());
            let zeros = ZEROS.get(..left).unwrap_or(&ZEROS);
            self.put(zeros)?;
            self.given = self.given.saturating_add(zeros.len() as u64);
        }
        Ok(())
    }
}

impl Sink for Import<'_> {
    fn begin(&mut self, size: u64) -> io::Result<()> {
        self.size = size;
        let call = format!("admin.vm.volume.ImportWithSize+{}", self.volume);
        let service = Service::find(self.root, CALLER, self.qube.as_str(), &call);
        let child = service.and_then(|service| service.start_streamed(Stream::Pipe));
        let mut child = child.map_err(|stop| io::Error::other(reason(stop)))?;
        self.into = child.input();
        self.child = Some(child);
        self.put(format!("{size}\n").as_bytes())
    }

    fn data(&mut self, offset: u64, data: Verified<'_>) -> io::Result<()> {
        self.fill_up(offset)?;
        self.put(data.bytes())?;
        self.given = self.given.saturating_add(data.bytes().len() as u64);
        Ok(())
    }
}
