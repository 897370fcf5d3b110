//! What whoever has a backup written and the program that writes it say to each other: one message each way, over a
//! [`Connection`](crate::hypervisor::Connection) that is the program's standard input. Its standard output is the backup.

use serde::{Deserialize, Serialize};

/// The program.
pub const PROGRAM: &str = "qubes-backup-writer";

/// What the program is told. Each is answered by [`Told::Done`] or [`Told::Failed`], after which there is nothing more to say.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Begin. Comes first.
    Begin(Begin),
    /// Write a file.
    Pack(Piece),
    /// Write what is left.
    Finish,
}

/// What a backup shall be.
#[derive(Serialize, Deserialize)]
pub struct Begin {
    /// Whether each file goes through the filter.
    pub compressed: bool,
    /// The filter, one word.
    pub filter: String,
    /// Tells backups apart.
    pub id: String,
    /// What it is encrypted with.
    pub passphrase: Vec<u8>,
    /// A directory for what must be kept until its length is known.
    pub scratch: String,
}

/// A file of a backup. Its content is the descriptor that comes with the message, or a directory.
#[derive(Serialize, Deserialize)]
pub struct Piece {
    /// Its name there.
    pub name: String,
    /// The directory.
    pub tree: Option<String>,
    /// The name of the file after it, where there is one.
    pub next: Option<String>,
}

/// What the program answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// So many bytes of content were read since the last message; none while a file is looked through.
    Read(u64),
    /// It is done.
    Done,
    /// It cannot be done.
    Failed(Fault, String),
}

/// Where something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Where the backup goes.
    Output,
    /// In what is backed up.
    Content,
    /// Anywhere else.
    Other,
}
