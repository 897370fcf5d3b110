//! `qubes-admin verify-backup`: reads a backup to its end, as a restore would, and keeps nothing of it.

use std::io::Read;

use backup::Reader;
use clap::Args;
use common::root::Root;

use super::out::{self, Stop};
use super::source::{self, CONTENTS, Source};
use crate::xml::{BackedUp, Contents};

/// Which backup.
#[derive(Args)]
pub(super) struct VerifyBackup {
    #[command(flatten)]
    source: Source,
}

/// Tells which files were proven, then whether all that should be there is.
pub(super) fn run(verify: &VerifyBackup, root: &Root) -> Result<(), Stop> {
    let mut opened = verify.source.open(root)?;
    opened.show();
    let header = opened.reader.header();
    let compression = if header.compressed { header.filter.as_str() } else { "nothing" };
    out::line(&format!("backup {}, compressed by {compression}", header.id.as_str()))?;
    let mut found = Found::default();
    let read = found.files(&mut opened.reader);
    drop(opened);
    found.files.iter().try_for_each(|(name, size)| out::line(&format!("{name} {size}")))?;
    read.map_err(|error| verify.source.at(&error))?;
    found.complete()
}

/// What was proven so far.
#[derive(Default)]
struct Found {
    /// Names and sizes.
    files: Vec<(String, u64)>,
    contents: String,
}

impl Found {
    fn files<R: Read>(&mut self, reader: &mut Reader<R>) -> backup::Result<()> {
        while let Some(packed) = reader.next()? {
            let name = packed.name().to_owned();
            let size = if name == CONTENTS {
                self.contents = source::text(packed)?;
                self.contents.len() as u64
            } else {
                source::prove(packed)?
            };
            self.files.push((name, size));
        }
        Ok(())
    }

    /// Each qube whose data should be there has all of it.
    fn complete(&self) -> Result<(), Stop> {
        if self.contents.is_empty() {
            return Err(format!("the backup has no {CONTENTS}, so what should be in it is not known").into());
        }
        let contents = Contents::parse(&self.contents).map_err(|error| format!("{CONTENTS}: {error}"))?;
        let qubes = &contents.qubes;
        let missing: Vec<&str> =
            qubes.iter().filter(|qube| !self.has(qube)).map(|qube| qube.name.as_str()).collect();
        if !missing.is_empty() {
            return Err(
                format!("the backup is truncated: it has not all data of {}", missing.join(", ")).into()
            );
        }
        let bytes = self.files.iter().fold(0, |sum: u64, (_, size)| sum.saturating_add(*size));
        out::line(&format!("proven: {} files, {bytes} bytes, {} qubes", self.files.len(), qubes.len()))
    }

    fn has(&self, qube: &BackedUp) -> bool {
        let is_there = |wanted: &str| self.files.iter().any(|(name, _)| name == wanted);
        let has_any = self.files.iter().any(|(name, _)| name.starts_with(&qube.path));
        has_any && qube.volumes.iter().all(|volume| is_there(&qube.file_of(volume)))
    }
}
