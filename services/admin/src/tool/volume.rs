//! `qubes-admin import-volume` and `clone-volume`: content for a volume, with the progress of what takes long.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, IsTerminal, PipeReader, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::thread;

use clap::{Args, ValueHint};
use common::files;
use common::progress::parse as progress_of;
use common::root::Root;
use common::run::Stream;

use super::complete;
use super::out::Stop;
use super::progress::{self, Progress};
use super::service::{self, Service};

const CALLER: &str = "dom0";
/// Bytes between two looks at the clock.
const CHUNK: u64 = 1 << 20;

/// Where the content comes from and goes to.
#[derive(Args)]
pub(super) struct ImportVolume {
    /// How many bytes come, where FILE cannot tell.
    #[arg(long, value_name = "BYTES")]
    size: Option<u64>,
    /// The file or block device; - is standard input.
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// The qube, which must be halted.
    #[arg(add = complete::qubes())]
    qube: String,
    /// Its volume.
    #[arg(add = complete::volumes())]
    volume: String,
}

/// Sends the content to the call that takes it.
pub(super) fn import(import: &ImportVolume, root: &Root) -> Result<(), Stop> {
    let at = |error: io::Error| Stop::from(format!("{}: {error}", import.file.display()));
    let mut source = open(&import.file).map_err(at)?;
    let size = import.size.or(length(&mut source).map_err(at)?);
    let method = if size.is_some() { "ImportWithSize" } else { "Import" };
    let call = format!("admin.vm.volume.{method}+{}", import.volume);
    let service = Service::find(root, CALLER, &import.qube, &call)?;
    let total = size.map_or_else(|| own_size(root, &import.qube, &import.volume), Ok)?;
    let mut child = service.start_streamed(Stream::Pipe)?;
    let mut shown = Progress::new();
    let first = size.map(|size| format!("{size}\n")).unwrap_or_default();
    let sent =
        child.input().map_or(Ok(()), |into| send(&source, into, &first, |done| shown.show(done, total)));
    shown.end();
    let answered = service::finish(child);
    match (sent, answered) {
        (_, Ok(_)) => Ok(()),
        (Err(error), Err(_)) => Err(at(error)),
        (Ok(()), Err(refused)) => Err(refused),
    }
}

/// Opens what is imported. Nobody types a volume.
pub(super) fn open(path: &Path) -> io::Result<File> {
    if path != Path::new("-") {
        return files::open(path);
    } else if io::stdin().is_terminal() {
        return Err(io::Error::other("standard input is a terminal"));
    }
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// The bytes from here to the end, where that can be known.
pub(super) fn length(source: &mut File) -> io::Result<Option<u64>> {
    let kind = source.metadata()?.file_type();
    if kind.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    } else if !kind.is_file() && !kind.is_block_device() {
        return Ok(None);
    }
    let here = source.stream_position()?;
    let end = source.seek(SeekFrom::End(0))?;
    source.seek(SeekFrom::Start(here))?;
    Ok(Some(end.saturating_sub(here)))
}

/// The size of a volume as it is.
fn own_size(root: &Root, qube: &str, volume: &str) -> Result<u64, Stop> {
    let call = format!("admin.vm.volume.Info+{volume}");
    let info = Service::find(root, CALLER, qube, &call)?.content("", None)?;
    let info = String::from_utf8_lossy(&info).into_owned();
    let size = info.lines().find_map(|line| line.strip_prefix("size=")?.parse().ok());
    size.ok_or_else(|| format!("the size of {volume} is not told").into())
}

/// Sends a first line and then all that comes. A call that reads no more has its reasons, which it answers with.
fn send(source: &File, mut into: File, first: &str, mut shown: impl FnMut(u64)) -> io::Result<()> {
    let mut done = 0_u64;
    let mut step = |into: &mut File| -> io::Result<u64> {
        let moved = io::copy(&mut source.take(CHUNK), into)?;
        done = done.saturating_add(moved);
        shown(done);
        Ok(moved)
    };
    let mut sent = into.write_all(first.as_bytes());
    while sent.is_ok() {
        match step(&mut into) {
            Ok(0) => break,
            moved => sent = moved.map(drop),
        }
    }
    sent.or_else(|error| if error.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}

/// Which volume is filled with what another holds.
#[derive(Args)]
pub(super) struct CloneVolume {
    /// The volume to clone; without :VOLUME the one of the same name.
    #[arg(value_name = "QUBE[:VOLUME]", add = complete::qubes())]
    source: String,
    /// The qube whose volume is filled.
    #[arg(add = complete::qubes())]
    qube: String,
    /// That volume.
    #[arg(add = complete::volumes())]
    volume: String,
}

/// Makes the two calls of a clone. Between volumes that share their blocks nothing is copied and nothing shown.
pub(super) fn clone(clone: &CloneVolume, root: &Root) -> Result<(), Stop> {
    let (qube, volume) = clone.source.split_once(':').unwrap_or((&clone.source, &clone.volume));
    let from = format!("admin.vm.volume.CloneFrom+{volume}");
    let token = Service::find(root, CALLER, qube, &from)?.content("", None)?;
    let token = String::from_utf8_lossy(&token).into_owned();
    let to = format!("admin.vm.volume.CloneTo+{}", clone.volume);
    let to = Service::find(root, CALLER, &clone.qube, &to)?;
    if !progress::is_wanted() {
        return to.content(&token, None).map(drop);
    }
    let (reader, writer) = io::pipe().map_err(|error| error.to_string())?;
    let pipe = format!("/proc/{}/fd/{}", std::process::id(), writer.as_raw_fd());
    let shown = thread::spawn(move || show(reader));
    let answered = to.content(&token, Some(pipe.as_ref()));
    drop(writer);
    let _ = shown.join();
    answered.map(drop)
}

/// Shows what a service tells of its progress.
fn show(told: PipeReader) {
    let mut shown = Progress::new();
    for line in BufReader::new(told).lines().map_while(Result::ok) {
        if let Some((done, total)) = progress_of(&line) {
            shown.show(done, total);
        }
    }
    shown.end();
}
