//! What can go wrong with a backup. No error carries what was read, but for the number of a version.

use std::io;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Whoever watches the backup wants no more of it.
    #[error("Backup cancelled")]
    Cancelled,
    /// What is to be backed up cannot be read.
    #[error("cannot read what is to be backed up: {0}")]
    Content(#[source] io::Error),
    /// The backup cannot be written.
    #[error("cannot write the backup: {0}")]
    Write(#[source] io::Error),
    /// The backup cannot be read.
    #[error("cannot read the backup: {0}")]
    Read(#[source] io::Error),
    /// A chunk cannot be kept in the temporary directory.
    #[error("cannot use the temporary directory: {0}")]
    Scratch(#[source] io::Error),
    /// The filter cannot be started or fails.
    #[error("the compression filter fails: {0}")]
    Filter(#[source] io::Error),
    /// A key cannot be derived.
    #[error("cannot derive a key: {0}")]
    Key(#[source] io::Error),
    /// A name that no file of a backup can have.
    #[error("a name that no file of a backup can have")]
    Name,
    /// The passphrase is not that of the backup.
    #[error("wrong passphrase, or the backup was altered")]
    Passphrase,
    /// It is not what was written.
    #[error("the backup was altered or is damaged: {0}")]
    Altered(&'static str),
    /// It ends too early.
    #[error("the backup is truncated")]
    Truncated,
    /// It asks for more than it may.
    #[error("the backup exceeds a limit: {0}")]
    Limit(&'static str),
    /// What was unpacked cannot be written.
    #[error("cannot write what was unpacked: {0}")]
    Sink(#[source] io::Error),
    /// A backup of another version.
    #[error("the backup is of version {0}; only version 4 can be read")]
    Version(u32),
    /// Whoever has it written cannot be talked with.
    #[error("cannot talk with the backup's run: {0}")]
    Talk(#[source] io::Error),
    /// A header that a backup cannot have.
    #[error("the backup's header {0}")]
    Header(&'static str),
}

/// What is done, or what went wrong.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What became of reading a backup.
    pub(crate) fn reading(error: io::Error) -> Self {
        let is_end = error.kind() == io::ErrorKind::UnexpectedEof;
        Self::from_io(error, |error| if is_end { Self::Truncated } else { Self::Read(error) })
    }

    /// Carries an error of ours through what knows only those of files.
    pub(crate) fn into_io(self) -> io::Error {
        io::Error::other(self)
    }

    /// Takes it out again; any other error becomes what `otherwise` says.
    pub(crate) fn from_io(error: io::Error, otherwise: impl FnOnce(io::Error) -> Self) -> Self {
        error.downcast::<Self>().unwrap_or_else(otherwise)
    }
}
