//! Reads a backup.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::PathBuf;

use crate::container::HEAD;
use crate::filter::Expansion;
use crate::keys::Unlocking;
use crate::leaves::{self, Leaves};
use crate::map::PIECE;
use crate::members::{Member, Members};
use crate::opened::{Opened, held, open};
use crate::unpack::{self, Complete, Sink};
use crate::writer::{CHUNK, check_name};
use crate::{Error, Header, Passphrase, Result, header};

/// What is read of a backup before it is refused.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Length of the header.
    pub header: u64,
    /// Length of the copy that proves it.
    pub proof: u64,
    /// Memory that the derivation of a key may take, in bytes.
    pub memory: u128,
    /// Memory that it may go through: its time.
    pub work: u128,
    /// Members.
    pub members: u64,
    /// Length of a chunk: all but a file's last have it.
    pub chunk: u64,
    /// Runs of data in a file.
    pub runs: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: 1 << 20,
            proof: 4096,
            memory: 4 << 30,
            work: 64 << 30,
            members: 1 << 20,
            chunk: CHUNK,
            runs: 1 << 21,
        }
    }
}

/// How a backup is read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Where it ends.
    pub limits: Limits,
    /// A directory for one chunk, encrypted, without a name.
    pub scratch: PathBuf,
    /// A filter in the place of that which the header names.
    pub filter: Option<String>,
}

impl Reading {
    /// The usual way.
    pub fn usual(scratch: impl Into<PathBuf>) -> Self {
        Self { limits: Limits::default(), scratch: scratch.into(), filter: None }
    }
}

/// A backup that is being read. Its header was proven before anything else is looked at.
pub struct Reader<R> {
    members: Members<R>,
    header: Header,
    passphrase: Passphrase,
    reading: Reading,
    /// The member that begins, where that was looked at already.
    ahead: Option<Member>,
    /// The key that is being derived for it.
    unlocking: Option<Unlocking>,
    scratch: Option<std::fs::File>,
    seen: HashSet<String>,
    count: u64,
    /// The file that was begun, and the number of its next chunk.
    begun: Option<(String, u64)>,
}

impl<R: Read> Reader<R> {
    /// Begins to read: the header, and the copy that proves it.
    ///
    /// # Errors
    /// If it is none, or of another version, the passphrase is wrong, or it was altered.
    pub fn begin(input: R, passphrase: Passphrase, reading: Reading) -> Result<Self> {
        let mut members = Members::new(input);
        let limits = &reading.limits;
        let text = part(&mut members, "backup-header", limits.header)?;
        if let Some(version) = header::version(&text).filter(|version| *version != u32::from(header::VERSION))
        {
            return Err(Error::Version(version));
        }
        let proof = part(&mut members, "backup-header.hmac", limits.proof)?;
        let (head, sealed) = proof.split_at_checked(HEAD).ok_or(Error::Altered("a member is too short"))?;
        let unlocking = Unlocking::begin(head.to_vec(), passphrase.of_header(), limits)?;
        if open(sealed, unlocking)? != text {
            return Err(Error::Altered("its header is not what was written"));
        }
        let header = Header::parse(&text)?;
        if header.compressed {
            Expansion::of(reading.filter.as_deref(), &header.filter)?;
        }
        Ok(Self {
            members,
            header,
            passphrase,
            reading,
            ahead: None,
            unlocking: None,
            scratch: None,
            seen: HashSet::new(),
            count: 0,
            begun: None,
        })
    }

    /// What the header says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The limits for what is still to come, which the files read so far may tell.
    pub fn limits(&mut self) -> &mut Limits {
        &mut self.reading.limits
    }

    /// Goes on to the next file, passing over what was not read of the last one. Its name is proven once it is read.
    ///
    /// # Errors
    /// If the backup cannot be read, is truncated, or has not the form of one.
    #[allow(clippy::should_implement_trait, reason = "what it gives borrows from it")]
    pub fn next(&mut self) -> Result<Option<Packed<'_, R>>> {
        loop {
            let Some(member) = self.peek()? else { return Ok(None) };
            if self.begun.as_ref().is_some_and(|(name, number)| member.name == chunk_name(name, *number)) {
                self.take()?;
                continue;
            }
            let name =
                member.name.strip_suffix(".000.enc").ok_or(Error::Altered("a chunk is missing"))?.to_owned();
            check_name(&name)?;
            if !self.seen.insert(name.clone()) {
                return Err(Error::Altered("it has a file twice"));
            }
            self.begun = Some((name.clone(), 0));
            return Ok(Some(Packed { reader: self, name, opened: None }));
        }
    }

    /// Looks at the member that begins.
    fn peek(&mut self) -> Result<Option<Member>> {
        if self.ahead.is_none() {
            self.ahead = self.members.next()?;
            self.count = self.count.saturating_add(1);
            if self.ahead.is_some() && self.count > self.reading.limits.members {
                return Err(Error::Limit("it has too many members"));
            }
        }
        Ok(self.ahead.clone())
    }

    /// Takes it as the next chunk of the file that was begun.
    fn take(&mut self) -> Result<Option<Member>> {
        self.unlocking = None;
        if let Some((_, number)) = &mut self.begun {
            *number = number.saturating_add(1);
        }
        Ok(self.ahead.take())
    }

    /// Begins to derive the key of the member that begins, unless that is done already.
    fn unlock(&mut self, member: &Member) -> Result<Unlocking> {
        if let Some(unlocking) = self.unlocking.take() {
            return Ok(unlocking);
        }
        let name = member.name.strip_suffix(".enc").unwrap_or(&member.name);
        let secret = self.passphrase.of_member(self.header.id.as_str(), name);
        let mut head = vec![0; HEAD];
        self.members.read(&mut head)?;
        Unlocking::begin(head, secret, &self.reading.limits)
    }

    /// Opens the next chunk of the file that was begun, and begins to derive the key of the one after it.
    fn open_next(&mut self) -> Result<Opened> {
        let member = self.peek()?.ok_or(Error::Truncated)?;
        let is_next =
            self.begun.as_ref().is_some_and(|(name, number)| member.name == chunk_name(name, *number));
        if !is_next {
            return Err(Error::Altered("a chunk is missing"));
        }
        let length = held(&member)?;
        if length > self.reading.limits.chunk {
            return Err(Error::Limit("a chunk is too long"));
        }
        let unlocking = self.unlock(&member)?;
        let scratch = match self.scratch.take() {
            Some(scratch) => scratch,
            None => common::files::scratch(&self.reading.scratch).map_err(Error::Scratch)?,
        };
        let opened = Opened::new(&mut self.members, unlocking, length, scratch)?;
        self.take()?;
        if opened.length == self.reading.limits.chunk {
            let next = self.peek()?.ok_or(Error::Truncated)?;
            self.unlocking = Some(self.unlock(&next)?);
        }
        Ok(opened)
    }
}

/// Unpacks an archive as it is inside a backup, from where nobody else can have changed it.
///
/// # Errors
/// If it is none, or has not a single file of this name, or the sink fails.
pub fn unpack(mut archive: impl Read, name: &str, limits: &Limits, sink: &mut dyn Sink) -> Result<Complete> {
    let complete = unpack::image(&mut archive, name, limits.runs, sink)?;
    unpack::end(&mut archive).map(|()| complete)
}

/// Unpacks the archive of a tree likewise.
///
/// # Errors
/// If it is none, or `into` fails.
pub fn unpack_tree(mut archive: impl Read, limits: &Limits, into: &mut dyn Leaves) -> Result<()> {
    leaves::tree(&mut archive, limits.runs, into)?;
    unpack::end(&mut archive)
}

fn chunk_name(name: &str, number: u64) -> String {
    format!("{name}.{number:03}.enc")
}

/// One of the parts that a backup begins with.
fn part<R: Read>(members: &mut Members<R>, name: &str, most: u64) -> Result<Vec<u8>> {
    match members.next()? {
        Some(member) if member.name == name => members.whole(most),
        _ => Err(Error::Altered("it does not begin as backups do")),
    }
}

/// A file of a backup.
pub struct Packed<'r, R> {
    reader: &'r mut Reader<R>,
    name: String,
    opened: Option<Opened>,
}

impl<R: Read> Packed<'_, R> {
    /// Its name, such as `vm3/private.img`. It may be shown; that the backup has such a file is proven once it was read.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Unpacks a single file. What the sink gets was proven chunk by chunk; that it is all there is proven by the result.
    ///
    /// # Errors
    /// If the backup cannot be read, was altered or is truncated, or the sink fails. What the sink has is of no use then.
    pub fn image(self, sink: &mut (dyn Sink + Send)) -> Result<Complete> {
        let (name, runs) = (self.name.clone(), self.reader.reading.limits.runs);
        self.archive(move |input| unpack::image(input, &name, runs, sink))
    }

    /// Unpacks a tree. All of it was proven only if this succeeds.
    ///
    /// # Errors
    /// As [`Packed::image`].
    pub fn tree(self, into: &mut (dyn Leaves + Send)) -> Result<()> {
        let runs = self.reader.reading.limits.runs;
        self.archive(move |input| leaves::tree(input, runs, into))
    }

    /// Gives the archive as it was before compression: proven chunk by chunk, and all there once this succeeds.
    ///
    /// # Errors
    /// As [`Packed::image`], and those of `take`.
    pub fn archive<T: Send>(mut self, take: impl FnOnce(&mut dyn Read) -> Result<T> + Send) -> Result<T> {
        let take = |input: &mut dyn Read| take(input).and_then(|taken| unpack::end(input).map(|()| taken));
        if !self.reader.header.compressed {
            return take(&mut self);
        }
        let reading = self.reader.reading.filter.clone();
        let named = self.reader.header.filter.clone();
        let filter = Expansion::of(reading.as_deref(), &named)?;
        let make = |put: crate::archive::Put<'_>| {
            let mut piece = vec![0; PIECE];
            while let length @ 1.. = self.read_on(&mut piece)? {
                put(piece.get(..length).unwrap_or_default())?;
            }
            Ok(())
        };
        filter.run(make, take)
    }

    /// Reads on through all chunks. One that is not full is the last.
    fn read_on(&mut self, piece: &mut [u8]) -> Result<usize> {
        loop {
            match self.opened.take() {
                None => self.opened = Some(self.reader.open_next()?),
                Some(mut opened) if opened.left > 0 => {
                    let length = opened.read(piece);
                    self.opened = Some(opened);
                    return length;
                }
                Some(opened) if opened.length < self.reader.reading.limits.chunk => {
                    self.opened = Some(opened);
                    return Ok(0);
                }
                Some(opened) => self.reader.scratch = Some(opened.into_file()),
            }
        }
    }
}

impl<R: Read> Read for Packed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_on(buffer).map_err(Error::into_io)
    }
}
