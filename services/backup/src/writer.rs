//! Writes a backup.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::archive::Archive;
use crate::chunks::Chunks;
use crate::container::Cost;
use crate::filter::Compression;
use crate::keys::{Derivation, Locked};
use crate::map::PIECE;
use crate::sealer::{Sealer, seal};
use crate::{Content, Error, Header, Passphrase, Result, outer};

/// Length of a chunk.
pub const CHUNK: u64 = 100 << 20;

/// Is told of each piece of content that was read by its length, 0 while a file is only looked through, and says whether to go
/// on.
pub type Progress<'a> = &'a mut dyn FnMut(u64) -> ControlFlow<()>;

/// How a backup is written.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the key of a chunk costs.
    pub cost: Cost,
    /// Length of a chunk. Nobody reads other ones than [`CHUNK`].
    pub chunk: u64,
    /// A directory for what must be kept until its length is known: a chunk at a time, encrypted, without a name.
    pub scratch: PathBuf,
}

impl Options {
    /// The usual ones.
    pub fn usual(scratch: impl Into<PathBuf>) -> Self {
        Self { cost: Cost::USUAL, chunk: CHUNK, scratch: scratch.into() }
    }
}

/// A backup that is being written. After an error it can only be given up.
pub struct Writer<W> {
    pub(crate) out: W,
    header: Header,
    passphrase: Passphrase,
    pub(crate) options: Options,
    pub(crate) time: u64,
    pub(crate) sealer: Sealer,
    prepared: Option<Derivation>,
    expected: Option<String>,
}

impl<W: Write + Send> Writer<W> {
    /// Begins a backup: writes its header, and the copy that proves it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn begin(mut out: W, header: Header, passphrase: Passphrase, options: Options) -> Result<Self> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let text = header.to_string();
        let locked = Derivation::begin(String::new(), passphrase.of_header(), options.cost)?.finish()?;
        let proof = seal(&locked, text.as_bytes())?;
        outer::whole(&mut out, "backup-header", text.as_bytes(), time).map_err(Error::Write)?;
        outer::whole(&mut out, "backup-header.hmac", &proof, time).map_err(Error::Write)?;
        let sealer = Sealer::new().map_err(Error::Key)?;
        Ok(Self { out, header, passphrase, options, time, sealer, prepared: None, expected: None })
    }

    /// Tells which file comes after the next one, so that its key is derived meanwhile.
    pub fn expect(&mut self, name: &str) {
        self.expected = Some(format!("{name}.000"));
    }

    /// Writes a file under a name such as `vm3/private.img`.
    ///
    /// # Errors
    /// If the name is none, the content cannot be read, the backup cannot be written, or `progress` breaks it off.
    pub fn file(&mut self, name: &str, content: Content<'_>, progress: Progress<'_>) -> Result<()> {
        check_name(name)?;
        let archive = Archive::new(name, content, self.time, progress)?;
        if !self.header.compressed {
            let mut chunks = Chunks::begin(self, name, archive.length())?;
            archive.write(&mut |bytes| chunks.write(bytes), progress)?;
            return chunks.finish();
        }
        let filter = self.header.filter.clone();
        let mut chunks = Chunks::begin(self, name, None)?;
        let make = |put: crate::archive::Put<'_>| archive.write(put, progress);
        Compression::by(&filter).run(make, move |output| {
            let mut piece = vec![0; PIECE];
            while let length @ 1.. = output.read(&mut piece).map_err(Error::Filter)? {
                chunks.write(piece.get(..length).unwrap_or_default())?;
            }
            chunks.finish()
        })
    }

    /// Ends the backup, and gives back where it went.
    ///
    /// # Errors
    /// If the last of it cannot be written.
    pub fn finish(mut self) -> Result<W> {
        self.out.flush().map_err(Error::Write)?;
        Ok(self.out)
    }
}

impl<W> Writer<W> {
    fn derivation(&self, member: String) -> Result<Derivation> {
        let secret = self.passphrase.of_member(self.header.id.as_str(), &member);
        Derivation::begin(member, secret, self.options.cost)
    }

    /// The key of a member, derived beforehand or now.
    pub(crate) fn key(&mut self, member: String) -> Result<Locked> {
        match self.prepared.take().filter(|prepared| prepared.is_for(&member)) {
            Some(prepared) => prepared.finish(),
            None => self.derivation(member)?.finish(),
        }
    }

    /// Begins to derive the key of a member that comes soon.
    pub(crate) fn prepare(&mut self, member: String) -> Result<()> {
        if !self.prepared.as_ref().is_some_and(|prepared| prepared.is_for(&member)) {
            self.prepared = Some(self.derivation(member)?);
        }
        Ok(())
    }

    /// Begins to derive that of the next file's first chunk, where that file is known.
    pub(crate) fn prepare_expected(&mut self) -> Result<()> {
        self.expected.take().map_or(Ok(()), |member| self.prepare(member))
    }
}

/// What names are made of: parts that are no dots, of what can be shown.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let is_part = |part: &str| !matches!(part, "" | "." | "..");
    let is_name = name.len() <= 255 && name.split('/').all(is_part) && !name.chars().any(char::is_control);
    if is_name { Ok(()) } else { Err(Error::Name) }
}
