//! The program that writes a backup for another one, which alone knows what qubes are. It ends with that one.

use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::process::exit;
use std::thread;
use std::time::{Duration, Instant};

use common::hypervisor::Connection;
use common::log;
use common::packing::{Begin, Fault, Order, Piece, Told};

use crate::outer;
use crate::{BackupId, Content, Error, Header, Options, Passphrase, Result, Writer};

/// How often is told how much was read.
const PAUSE: Duration = Duration::from_millis(200);

/// Writes a backup to standard output as the other end of standard input tells.
///
/// # Errors
/// What stands in the way of talking with it, as text; all else it is told.
pub fn program() -> std::result::Result<(), String> {
    log::catch_panics();
    let other = io::stdin().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
    let output = io::stdout().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
    let (other, watched) = (Connection::on(other), io::stdin());
    thread::spawn(move || end_with(&watched));
    match serve(&other, File::from(output)) {
        Ok(()) => Ok(()),
        Err(error) => {
            other.send(&Told::Failed(fault(&error), error.to_string())).map_err(|error| error.to_string())
        }
    }
}

/// Ends this process when there is nobody any more for whom to write, whatever it waits for.
fn end_with(other: &io::Stdin) {
    if let Ok(other) = other.as_fd().try_clone_to_owned()
        && Connection::on(other).outlast().is_ok()
    {
        exit(1);
    }
}

fn fault(error: &Error) -> Fault {
    match error {
        Error::Write(_) => Fault::Output,
        Error::Content(_) => Fault::Content,
        _ => Fault::Other,
    }
}

/// Does what it is told, until there is nothing more.
fn serve(other: &Connection, output: File) -> Result<()> {
    let Some(Order::Begin(begin)) = other.receive::<Order>().map_err(Error::Talk)? else { return Ok(()) };
    let mut writer = begun(begin, output)?;
    done(other)?;
    while let Some((order, content)) = other.receive_with::<Order>().map_err(Error::Talk)? {
        match order {
            Order::Begin(_) => return Err(Error::Talk(io::ErrorKind::InvalidData.into())),
            Order::Pack(piece) => pack(&mut writer, &piece, content, other)?,
            Order::Finish => {
                finish(writer)?;
                return done(other);
            }
        }
        done(other)?;
    }
    Ok(())
}

fn finish(writer: Writer<File>) -> Result<()> {
    let mut output = writer.finish()?;
    let kind = output.metadata().map_err(Error::Write)?.file_type();
    if kind.is_block_device() { outer::end_on_device(&mut output).map_err(Error::Write) } else { Ok(()) }
}

fn done(other: &Connection) -> Result<()> {
    other.send(&Told::Done).map_err(Error::Talk)
}

fn begun<W: Write + Send>(begin: Begin, output: W) -> Result<Writer<W>> {
    let Begin { compressed, filter, id, passphrase, scratch } = begin;
    let header = Header { compressed, filter, id: BackupId::new(&id)? };
    Writer::begin(output, header, Passphrase::new(passphrase), Options::usual(scratch))
}

fn pack<W: Write + Send>(
    writer: &mut Writer<W>,
    piece: &Piece,
    content: Option<OwnedFd>,
    other: &Connection,
) -> Result<()> {
    if let Some(next) = &piece.next {
        writer.expect(next);
    }
    let mut progress = Progress { other, read: 0, last: Instant::now() };
    let watch = &mut |length| progress.count(length);
    match (content.map(File::from), &piece.tree) {
        (Some(file), _) => writer.file(&piece.name, Content::File(&file), watch),
        (None, Some(tree)) => writer.file(&piece.name, Content::Tree(tree.as_ref()), watch),
        (None, None) => Err(Error::Content(io::ErrorKind::NotFound.into())),
    }
}

/// How much was read, which is told from time to time.
struct Progress<'a> {
    other: &'a Connection,
    read: u64,
    last: Instant,
}

impl Progress<'_> {
    fn count(&mut self, length: u64) -> ControlFlow<()> {
        self.read = self.read.saturating_add(length);
        if self.last.elapsed() < PAUSE {
            return ControlFlow::Continue(());
        }
        self.last = Instant::now();
        match self.other.send(&Told::Read(std::mem::take(&mut self.read))) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}
