//! `qubes-admin verify-backup`: reads a backup to its end, as a restore would, and keeps nothing of it.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use backup::{Passphrase, Reader, Reading, Sink, Verified};
use clap::{Args, ValueHint};
use common::files;
use common::root::Root;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use super::out::{self, Stop};
use super::progress::Progress;
use crate::xml::{BackedUp, backed_up};

/// The file that says what the others are; it comes first.
const CONTENTS: &str = "qubes.xml";
/// A home directory of dom0 is a tree, all other files are single.
const TREES: &str = "dom0-home/";
/// The longest contents and passphrase.
const MOST_CONTENTS: u64 = 1 << 20;
const MOST_PASSPHRASE: u64 = 4096;
/// Where one encrypted chunk is kept.
const SCRATCH: &str = "/var/tmp";

/// Which backup, and how its passphrase is told.
#[derive(Args)]
pub(super) struct VerifyBackup {
    /// A file whose first line is the passphrase; without it, it is asked for on the terminal, or read from a pipe.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    passphrase_file: Option<PathBuf>,
    /// A program to expand with, given -d, instead of what the backup names.
    #[arg(long, value_name = "PROGRAM")]
    filter: Option<String>,
    /// A directory with room for a chunk of 100 MiB [default: /var/tmp].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    scratch: Option<PathBuf>,
    /// The backup.
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
}

/// Tells which files were proven, then whether all that should be there is.
pub(super) fn run(verify: &VerifyBackup, root: &Root) -> Result<(), Stop> {
    let at = |error: &dyn std::fmt::Display| Stop::from(format!("{}: {error}", verify.file.display()));
    let input = files::open(&verify.file).map_err(|error| at(&error))?;
    let total = files::length(&input).map_err(|error| at(&error))?;
    let passphrase = passphrase(verify.passphrase_file.as_deref())?;
    let mut reading = Reading::usual(verify.scratch.clone().unwrap_or_else(|| root.path(SCRATCH)));
    reading.filter.clone_from(&verify.filter);
    let watched = Watched { input, done: 0, total, shown: Some(Progress::new()) };
    let mut reader = Reader::begin(watched, passphrase, reading).map_err(|error| at(&error))?;
    let header = reader.header();
    let compression = if header.compressed { header.filter.as_str() } else { "nothing" };
    out::line(&format!("backup {}, compressed by {compression}", header.id.as_str()))?;
    let mut found = Found::default();
    let read = found.files(&mut reader);
    drop(reader);
    found.files.iter().try_for_each(|(name, size)| out::line(&format!("{name} {size}")))?;
    read.map_err(|error| at(&error))?;
    found.complete()
}

/// What was proven so far.
#[derive(Default)]
struct Found {
    /// Names and sizes.
    files: Vec<(String, u64)>,
    contents: Vec<u8>,
}

impl Found {
    fn files<R: Read>(&mut self, reader: &mut Reader<R>) -> backup::Result<()> {
        while let Some(packed) = reader.next()? {
            let name = packed.name().to_owned();
            let mut kept = Kept { bytes: Vec::new(), is_kept: name == CONTENTS };
            let size = if name.starts_with(TREES) {
                packed.archive(|input| io::copy(input, &mut io::sink()).map_err(backup::Error::Read))?
            } else {
                packed.image(&mut kept)?.size()
            };
            if kept.is_kept {
                self.contents = kept.bytes;
            }
            self.files.push((name, size));
        }
        Ok(())
    }

    /// Each qube whose data should be there has some.
    fn complete(&self) -> Result<(), Stop> {
        let text = std::str::from_utf8(&self.contents).map_err(|_| format!("{CONTENTS} is no text"))?;
        if text.is_empty() {
            return Err(format!("the backup has no {CONTENTS}, so what should be in it is not known").into());
        }
        let qubes = backed_up(text).map_err(|error| format!("{CONTENTS}: {error}"))?;
        let has_data = |qube: &BackedUp| self.files.iter().any(|(name, _)| name.starts_with(&qube.path));
        let missing: Vec<&str> =
            qubes.iter().filter(|qube| !has_data(qube)).map(|qube| qube.name.as_str()).collect();
        if !missing.is_empty() {
            return Err(format!("the backup is truncated: it has no data of {}", missing.join(", ")).into());
        }
        let bytes = self.files.iter().fold(0, |sum: u64, (_, size)| sum.saturating_add(*size));
        out::line(&format!("proven: {} files, {bytes} bytes, {} qubes", self.files.len(), qubes.len()))
    }
}

/// Keeps a file, or nothing of it.
struct Kept {
    bytes: Vec<u8>,
    is_kept: bool,
}

impl Sink for Kept {
    fn begin(&mut self, size: u64) -> io::Result<()> {
        if self.is_kept && size > MOST_CONTENTS { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(()) }
    }

    fn data(&mut self, offset: u64, data: Verified<'_>) -> io::Result<()> {
        if self.is_kept {
            self.bytes.resize(usize::try_from(offset).unwrap_or_default(), 0);
            self.bytes.extend_from_slice(data.bytes());
        }
        Ok(())
    }
}

/// The backup, and how far it was read.
struct Watched {
    input: File,
    done: u64,
    total: u64,
    shown: Option<Progress>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(shown) = self.shown.take() {
            shown.end();
        }
    }
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.done = self.done.saturating_add(length as u64);
        if let Some(shown) = &mut self.shown {
            shown.show(self.done, self.total);
        }
        Ok(length)
    }
}

fn passphrase(file: Option<&Path>) -> Result<Passphrase, Stop> {
    let line = match file {
        Some(path) => files::open(path).and_then(first_line),
        None if io::stdin().is_terminal() => asked(),
        None => first_line(io::stdin()),
    };
    Ok(Passphrase::new(line.map_err(|error| format!("the passphrase: {error}"))?))
}

fn first_line(input: impl Read) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    io::BufReader::new(input.take(MOST_PASSPHRASE)).read_until(b'\n', &mut line)?;
    line.pop_if(|byte| *byte == b'\n');
    Ok(line)
}

/// Asks for it, without showing what is typed.
fn asked() -> io::Result<Vec<u8>> {
    write!(io::stderr(), "Passphrase of the backup: ")?;
    let shown = tcgetattr(io::stdin())?;
    let mut hidden: Termios = shown.clone();
    hidden.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &hidden)?;
    let line = first_line(io::stdin());
    tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &shown)?;
    writeln!(io::stderr())?;
    line
}
