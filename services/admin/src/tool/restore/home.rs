//! The files of dom0's home: into a new directory, all of them or none. Their names, links and modes are of foreign origin.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use backup::{Leaf, LeafKind, Leaves, Packed, Sink, Verified};
use common::beneath::Beneath;
use common::clock;
use common::files;
use common::root::Root;

use crate::tool::out::{self, Stop};
use crate::tool::source;
use crate::xml::BackedUp;

/// What the name of a new directory begins with.
const NAME: &str = "home-restore-";
/// More files than any home has.
const MOST_FILES: u64 = 1 << 24;
/// How many are told of that cannot be had.
const MOST_TOLD: usize = 20;

/// The home that is restored.
pub(super) struct Home<'c> {
    pub(super) backed_up: &'c BackedUp,
    /// Where its files go.
    pub(super) path: &'c Path,
    /// How it went, once it is known.
    pub(super) outcome: Option<Result<Vec<String>, String>>,
}

/// Where the files go: where that is said, else into a new directory of the home of dom0's user.
pub(super) fn place(asked: Option<&Path>, root: &Root) -> Result<PathBuf, String> {
    let usual = || {
        let home = services::backup::home(root).map_err(|failure| failure.into_text().into_owned())?;
        Ok::<_, String>(home.join(format!("{NAME}{}", clock::local_stamp())))
    };
    let at = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    let absolute = |path: &Path| std::path::absolute(path).map_err(|error| at(path, error));
    // A slash at its end would lead beyond a link.
    let path: PathBuf = asked.map_or_else(usual, absolute)?.components().collect();
    let is_taken = |path: &Path| files::is_taken(path).map_err(|error| at(path, error));
    if is_taken(&path)? {
        return Err(format!("{}: is there already", path.display()));
    }
    path.parent().map_or(Ok(()), |above| files::about(above).map(drop).map_err(|error| at(above, error)))?;
    let temporary = Beneath::temporary(&path);
    if is_taken(&temporary)? { Err(unfinished(&temporary)) } else { Ok(path) }
}

/// Tells of directories that a restore left that was killed, where they are if nothing else was said.
pub(super) fn tell_of_left_overs(root: &Root) {
    let Ok(home) = services::backup::home(root) else { return };
    let names = files::list(&home).unwrap_or_default();
    let is_left_over = |name: &&String| name.starts_with(&format!(".{NAME}")) && name.ends_with('~');
    names.iter().filter(is_left_over).for_each(|name| out::error(&unfinished(&home.join(name))));
}

fn unfinished(path: &Path) -> String {
    format!("{}: is of a restore that is not finished; if none goes on, it can be removed", path.display())
}

impl Home<'_> {
    /// Takes the file that has them.
    pub(super) fn take<R: Read>(&mut self, packed: Packed<'_, R>, is_trial: bool) {
        let taken = match is_trial {
            true => source::prove(packed).map(|_| Vec::new()).map_err(|error| error.to_string()),
            false => self.unpack(packed),
        };
        self.outcome = Some(taken);
    }

    /// Tells how it went; gives whether it went well.
    pub(super) fn tell(&self, success: &str) -> Result<bool, Stop> {
        let why = match &self.outcome {
            Some(Ok(remarks)) => {
                remarks.iter().for_each(|why| out::error(&format!("dom0: {why}")));
                out::line(&format!("dom0: files {success} into {}", self.path.display()))?;
                return Ok(true);
            }
            Some(Err(why)) => why,
            None => "the backup has none",
        };
        out::error(&format!("dom0's files could not be restored: {why}"));
        Ok(false)
    }

    fn unpack<R: Read>(&self, packed: Packed<'_, R>) -> Result<Vec<String>, String> {
        let at = |error: io::Error| format!("{}: {error}", self.path.display());
        let below = Beneath::begin(self.path).map_err(at)?;
        let mut files = Files {
            below: &below,
            top: self.backed_up.path.as_bytes(),
            file: None,
            directories: Vec::new(),
            count: 0,
            left_out: LeftOut::default(),
        };
        let unpacked = packed.tree(&mut files).map_err(|error| error.to_string());
        let settled = unpacked.and_then(|()| files.settle().map_err(at));
        let mut remarks = files.left_out.told();
        match settled.and_then(|()| below.finish().map_err(at)) {
            Ok(()) => {
                // They are there, whatever becomes of this.
                if let Err(error) = files::sync_directory(self.path) {
                    remarks.push(format!("files may be gone after a loss of power: {error}"));
                }
                Ok(remarks)
            }
            Err(why) => match below.discard() {
                Ok(()) => Err(why),
                Err(error) => Err(format!("{why}; what is there of it could not be removed: {error}")),
            },
        }
    }
}

/// Files as they are unpacked.
struct Files<'a> {
    below: &'a Beneath,
    /// What all names begin with.
    top: &'a [u8],
    /// The one that is being written, with its mode and time.
    file: Option<(File, u32, u64)>,
    /// Directories with the modes and times that they get when nothing is made in them any more.
    directories: Vec<(PathBuf, u32, u64)>,
    count: u64,
    left_out: LeftOut,
}

impl Files<'_> {
    /// Where a member lies below the top; nothing for one that lies elsewhere.
    fn place<'l>(&self, leaf: &'l Leaf) -> Option<&'l Path> {
        let below = leaf.name.strip_prefix(self.top)?;
        let below = match below {
            b"" => below,
            _ => below.strip_prefix(b"/")?,
        };
        let below =
            if leaf.kind == LeafKind::Directory { below.strip_suffix(b"/").unwrap_or(below) } else { below };
        Some(Path::new(OsStr::from_bytes(below)))
    }

    fn make(&mut self, leaf: &Leaf, path: &Path) -> io::Result<()> {
        match leaf.kind {
            LeafKind::File => self.file = Some((self.below.file(path)?, leaf.mode, leaf.time)),
            LeafKind::Directory => {
                // The top itself is there.
                if !path.as_os_str().is_empty() {
                    self.below.directory(path)?;
                }
                self.directories.push((path.to_owned(), leaf.mode, leaf.time));
            }
            LeafKind::Link => self.below.link(path, Path::new(OsStr::from_bytes(&leaf.target)))?,
            LeafKind::SecondName => {
                let target = Leaf { name: leaf.target.clone(), ..leaf.clone() };
                let target = self.place(&target).ok_or(ErrorKind::InvalidFilename)?.to_owned();
                self.below.second_name(path, &target)?;
            }
            LeafKind::Other => {
                return Err(io::Error::new(ErrorKind::Unsupported, "neither a file nor a link"));
            }
        }
        Ok(())
    }

    fn settle(&self) -> io::Result<()> {
        let mut inner_first = self.directories.iter().rev();
        inner_first.try_for_each(|(path, mode, time)| self.below.settle(path, *mode, *time))
    }
}

impl Leaves for Files<'_> {
    fn leaf(&mut self, leaf: Leaf) -> io::Result<()> {
        self.file = None;
        self.count = self.count.saturating_add(1);
        if self.count > MOST_FILES {
            return Err(io::Error::other("too many files"));
        }
        let made = match self.place(&leaf).map(Path::to_owned) {
            Some(path) => self.make(&leaf, &path),
            None => Err(io::Error::new(ErrorKind::InvalidFilename, "it lies elsewhere")),
        };
        match made {
            Err(error) if is_of_its_name(&error) => {
                self.left_out.note(&leaf, &error);
                Ok(())
            }
            made => made,
        }
    }

    fn end(&mut self) -> io::Result<()> {
        self.file.take().map_or(Ok(()), |(file, mode, time)| self.below.complete(&file, mode, time))
    }
}

impl Sink for Files<'_> {
    fn begin(&mut self, size: u64) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), |(file, ..)| file.set_len(size))
    }

    fn data(&mut self, offset: u64, data: Verified<'_>) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), |(file, ..)| file.write_all_at(data.bytes(), offset))
    }
}

/// Whether the reason lies in what was to be made, and not in this system.
fn is_of_its_name(error: &io::Error) -> bool {
    let of_names = [
        ErrorKind::InvalidFilename,
        ErrorKind::InvalidInput,
        ErrorKind::Unsupported,
        ErrorKind::AlreadyExists,
        ErrorKind::NotFound,
        ErrorKind::NotADirectory,
    ];
    // A link on the way, and a way that leads out.
    let of_links = [libc::ELOOP, libc::EXDEV];
    of_names.contains(&error.kind()) || error.raw_os_error().is_some_and(|errno| of_links.contains(&errno))
}

/// What cannot be had.
#[derive(Default)]
struct LeftOut {
    told: Vec<String>,
    others: u64,
}

impl LeftOut {
    fn note(&mut self, leaf: &Leaf, error: &io::Error) {
        if self.told.len() < MOST_TOLD {
            self.told.push(format!("{} is left out: {error}", String::from_utf8_lossy(&leaf.name)));
        } else {
            self.others = self.others.saturating_add(1);
        }
    }

    fn told(mut self) -> Vec<String> {
        if self.others > 0 {
            self.told.push(format!("{} others are left out", self.others));
        }
        self.told
    }
}
