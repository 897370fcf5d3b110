//! An archive of a directory with all that is below it, as it is at that time: what goes away meanwhile is left out.

use std::fs::{FileType, Metadata};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use common::files::{self, present};

use crate::archive::{Put, zeros};
use crate::block::{About, BLOCK, Kind, entry, padding};
use crate::content::Source;
use crate::image::Image;
use crate::map::{PIECE, piece_length};
use crate::{Error, Result};

/// An archive that is being written.
pub(crate) struct Tree<'a> {
    pub(crate) put: Put<'a>,
    pub(crate) watch: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
}

impl Tree<'_> {
    /// Writes all of it.
    pub(crate) fn write(mut self, name: &[u8], directory: &Path) -> Result<()> {
        self.add(name, directory)?;
        zeros(self.put, 2 * BLOCK)
    }

    fn add(&mut self, name: &[u8], path: &Path) -> Result<()> {
        let Some(found) = content(std::fs::symlink_metadata(path))? else { return Ok(()) };
        // Sockets and devices mean nothing elsewhere.
        let Some(kind) = kind(found.file_type()) else { return Ok(()) };
        let mut about = about(kind, &found);
        match kind {
            Kind::File => self.file(name, path, about),
            Kind::Directory => {
                self.header(&[name, b"/"].concat(), &about)?;
                let below = content(files::entries(path))?.unwrap_or_default();
                below.iter().try_for_each(|below| {
                    self.add(&[name, b"/", below.as_bytes()].concat(), &path.join(below))
                })
            }
            Kind::Link => {
                let Some(target) = content(files::link_target(path))? else { return Ok(()) };
                about.target = target.into_os_string().into_vec();
                self.header(name, &about)
            }
            Kind::Pipe | Kind::Extended => self.header(name, &about),
        }
    }

    fn header(&mut self, name: &[u8], about: &About) -> Result<()> {
        (self.put)(&entry(name, about, &[]))?;
        self.tell(0)
    }

    fn file(&mut self, name: &[u8], path: &Path, mut about: About) -> Result<()> {
        let Some(file) = content(files::open(path))? else { return Ok(()) };
        let found = file.metadata().map_err(Error::Content)?;
        about.length = found.size();
        let source = Source::Live(&file, about.length);
        if found.is_file() && files::allocated(&found) < about.length {
            let image = Image::new(name, source, about, self.watch)?;
            return image.write(self.put, self.watch);
        }
        self.header(name, &about)?;
        self.data(source)?;
        zeros(self.put, padding(about.length, BLOCK))
    }

    /// Writes as much as the header says, whatever becomes of the file.
    fn data(&mut self, source: Source<'_>) -> Result<()> {
        let (mut done, mut piece) = (0, vec![0; PIECE]);
        while done < source.size() {
            let piece = piece.get_mut(..piece_length(source.size().saturating_sub(done))).unwrap_or_default();
            source.read(done, piece)?;
            (self.put)(piece)?;
            done = done.saturating_add(piece.len() as u64);
            self.tell(piece.len() as u64)?;
        }
        Ok(())
    }

    fn tell(&mut self, length: u64) -> Result<()> {
        if (self.watch)(length).is_break() { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// Nothing for what is not there any more.
fn content<T>(found: io::Result<T>) -> Result<Option<T>> {
    present(found).map_err(Error::Content)
}

fn kind(kind: FileType) -> Option<Kind> {
    match kind {
        kind if kind.is_file() => Some(Kind::File),
        kind if kind.is_dir() => Some(Kind::Directory),
        kind if kind.is_symlink() => Some(Kind::Link),
        kind if kind.is_fifo() => Some(Kind::Pipe),
        _ => None,
    }
}

fn about(kind: Kind, found: &Metadata) -> About {
    About {
        kind,
        mode: found.mode(),
        user: found.uid(),
        group: found.gid(),
        ..About::file(0, u64::try_from(found.mtime()).unwrap_or_default())
    }
}
