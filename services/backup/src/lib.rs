//! The format of backups, version 4: each file a sparse archive, cut into chunks, each chunk encrypted under a key of its
//! own. Nothing here knows of qubes.
//!
//! [`Writer`] makes a backup that stock restore and the programs `tar`, `gzip` and `scrypt` read. [`Reader`] reads one and trusts
//! nothing: the header is proven before it is believed, and no byte of a chunk is decrypted before the whole chunk was
//! proven. Neither holds more than a few buffers of what goes through it; what must wait is kept, encrypted, in a file without a
//! name.

mod archive;
mod block;
mod chunks;
mod container;
mod content;
mod entry;
mod error;
mod filter;
mod gzip;
mod header;
mod image;
mod keys;
mod leaves;
mod map;
mod members;
mod opened;
mod outer;
mod program;
mod queue;
mod reader;
mod sealer;
mod secret;
mod tree;
mod unpack;
mod writer;

pub use container::Cost;
pub use content::Content;
pub use error::{Error, Result};
pub use header::{BackupId, Header};
pub use leaves::{Leaf, LeafKind, Leaves};
pub use program::program;
pub use reader::{Limits, Packed, Reader, Reading, unpack, unpack_tree};
pub use secret::Passphrase;
pub use unpack::{Complete, Sink, Verified};
pub use writer::{CHUNK, Options, Progress, Writer};
