//! The backup that a command reads: where it is, how its passphrase is told, and how far it was read.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use backup::{Complete, Packed, Passphrase, Reader, Reading, Sink, Verified};
use clap::{Args, ValueHint};
use common::files;
use common::root::Root;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use super::out::Stop;
use super::progress::Progress;
use super::volume;

/// The file that says what the others are; it comes first.
pub(super) const CONTENTS: &str = "qubes.xml";
/// A home directory of dom0 is a tree, all other files are single.
pub(super) const TREES: &str = "dom0-home/";
/// The longest file that is read as a whole, the longest [`CONTENTS`], and the longest passphrase.
const MOST_TEXT: u64 = 1 << 20;
const MOST_CONTENTS: u64 = 64 << 20;
const MOST_PASSPHRASE: u64 = 4096;
/// Memory that a key may take, in MiB, and how often it may go through as much.
const KEY_MEMORY: u32 = 4096;
const KEY_WORK: u128 = 16;
/// Where one encrypted chunk is kept.
const SCRATCH: &str = "/var/tmp";

/// Which backup, and how its passphrase is told.
#[derive(Args)]
pub(super) struct Source {
    /// A file whose first line is the passphrase; without it, it is asked for on the terminal, or read from a pipe.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    passphrase_file: Option<PathBuf>,
    /// A program to expand with, given -d, instead of what the backup names.
    #[arg(long, value_name = "PROGRAM")]
    filter: Option<String>,
    /// A directory with room for a chunk of 100 MiB [default: /var/tmp].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    scratch: Option<PathBuf>,
    /// Refuse keys that take more memory than this, in MiB, or go through sixteen times as much.
    #[arg(long, value_name = "MIB", default_value_t = KEY_MEMORY)]
    key_memory: u32,
    /// The backup; - is standard input, with which a passphrase file is needed.
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
}

/// A backup that was begun: its header was proven.
pub(super) struct Opened {
    pub(super) reader: Reader<Watched>,
    is_shown: Rc<Cell<bool>>,
}

impl Source {
    /// Begins to read.
    pub(super) fn open(&self, root: &Root) -> Result<Opened, Stop> {
        let is_standard = self.file == Path::new("-");
        if is_standard && self.passphrase_file.is_none() {
            return Err("with - for the backup, --passphrase-file says where the passphrase is"
                .to_owned()
                .into());
        }
        let mut input = volume::open(&self.file).map_err(|error| self.at(&error))?;
        let total = volume::length(&mut input).map_err(|error| self.at(&error))?;
        let passphrase = passphrase(self.passphrase_file.as_deref())?;
        let mut reading = Reading::usual(self.scratch.clone().unwrap_or_else(|| root.path(SCRATCH)));
        reading.filter.clone_from(&self.filter);
        reading.limits.memory = u128::from(self.key_memory) << 20;
        reading.limits.work = reading.limits.memory.saturating_mul(KEY_WORK);
        let is_shown = Rc::new(Cell::new(false));
        let watched = Watched { input, done: 0, total, shown: None, is_shown: Rc::clone(&is_shown) };
        let reader = Reader::begin(watched, passphrase, reading).map_err(|error| self.at(&error))?;
        Ok(Opened { reader, is_shown })
    }

    /// An error of the backup.
    pub(super) fn at(&self, error: &dyn std::fmt::Display) -> Stop {
        format!("{}: {error}", self.file.display()).into()
    }
}

impl Opened {
    /// Shows from now on how far it was read.
    pub(super) fn show(&self) {
        self.is_shown.set(true);
    }
}

/// The whole of a file that is text.
pub(super) fn text<R: Read>(packed: Packed<'_, R>) -> backup::Result<String> {
    let most = if packed.name() == CONTENTS { MOST_CONTENTS } else { MOST_TEXT };
    let mut kept = Kept { most, bytes: Vec::new() };
    let complete = packed.image(&mut kept)?;
    kept.bytes.resize(usize::try_from(complete.size()).unwrap_or_default(), 0);
    let no_text = |_| backup::Error::Sink(io::Error::other("it is no text"));
    String::from_utf8(kept.bytes).map_err(no_text)
}

/// Proves a file, and keeps nothing of it; gives its size.
pub(super) fn prove<R: Read>(packed: Packed<'_, R>) -> backup::Result<u64> {
    if packed.name().starts_with(TREES) {
        return packed.archive(|input| io::copy(input, &mut io::sink()).map_err(backup::Error::Read));
    }
    packed.image(&mut Nothing).map(|complete: Complete| complete.size())
}

/// Keeps a file that is no longer than this.
struct Kept {
    most: u64,
    bytes: Vec<u8>,
}

impl Sink for Kept {
    fn begin(&mut self, size: u64) -> io::Result<()> {
        if size > self.most { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(()) }
    }

    fn data(&mut self, offset: u64, data: Verified<'_>) -> io::Result<()> {
        self.bytes.resize(usize::try_from(offset).unwrap_or_default(), 0);
        self.bytes.extend_from_slice(data.bytes());
        Ok(())
    }
}

/// Keeps nothing.
struct Nothing;

impl Sink for Nothing {
    fn begin(&mut self, _size: u64) -> io::Result<()> {
        Ok(())
    }

    fn data(&mut self, _offset: u64, _data: Verified<'_>) -> io::Result<()> {
        Ok(())
    }
}

/// The backup, and how far it was read.
pub(super) struct Watched {
    input: File,
    done: u64,
    /// Nothing where it cannot be known.
    total: Option<u64>,
    shown: Option<Progress>,
    is_shown: Rc<Cell<bool>>,
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
        if let Some(total) = self.total.filter(|_| self.is_shown.get()) {
            self.shown.get_or_insert_with(Progress::new).show(self.done, total);
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

/// Asks for it, without showing what is typed from then on.
fn asked() -> io::Result<Vec<u8>> {
    let shown = tcgetattr(io::stdin())?;
    let mut hidden: Termios = shown.clone();
    hidden.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &hidden)?;
    let line = write!(io::stderr(), "Passphrase of the backup: ").and_then(|()| first_line(io::stdin()));
    tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &shown)?;
    writeln!(io::stderr())?;
    line
}
