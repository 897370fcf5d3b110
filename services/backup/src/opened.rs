//! A chunk whose code was found right before anything of it is decrypted.

use std::fs::File;
use std::io::{Read, Seek, Write};

use aes::cipher::StreamCipher;
use hmac::Mac;

use crate::container::{CODE, Cipher, HEAD, Key};
use crate::keys::Unlocking;
use crate::map::{PIECE, piece_length};
use crate::members::{Member, Members};
use crate::{Error, Result};

/// What is left of a chunk that was proven.
pub(crate) struct Opened {
    file: File,
    cipher: Cipher,
    pub(crate) left: u64,
    /// Length of all of it.
    pub(crate) length: u64,
}

/// Length of what a member's container holds.
pub(crate) fn held(member: &Member) -> Result<u64> {
    let added = (HEAD.saturating_add(CODE)) as u64;
    member.length.checked_sub(added).ok_or(Error::Altered("a member is too short"))
}

impl Opened {
    /// Keeps the rest of a member in a file, where nobody else can change it, while its key is derived; then proves it.
    pub(crate) fn new<R: Read>(
        members: &mut Members<R>,
        unlocking: Unlocking,
        length: u64,
        mut file: File,
    ) -> Result<Self> {
        file.rewind().map_err(Error::Scratch)?;
        copy(length, &mut |piece| {
            members.read(piece)?;
            file.write_all(piece).map_err(Error::Scratch)
        })?;
        let mut code = [0; CODE];
        members.read(&mut code)?;
        let (head, key) = unlocking.finish()?;
        prove(&head, &key, &mut file, length, &code)?;
        file.rewind().map_err(Error::Scratch)?;
        Ok(Self { file, cipher: key.cipher(), left: length, length })
    }

    /// Decrypts some more; nothing at the end.
    pub(crate) fn read(&mut self, piece: &mut [u8]) -> Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(piece.len()).min(piece.len());
        let piece = piece.get_mut(..most).unwrap_or_default();
        self.file.read_exact(piece).map_err(Error::Scratch)?;
        self.cipher.apply_keystream(piece);
        self.left = self.left.saturating_sub(most as u64);
        Ok(most)
    }

    /// The file that it was kept in, for the next one.
    pub(crate) fn into_file(self) -> File {
        self.file
    }
}

/// Compares the code with that of what was kept.
fn prove(head: &[u8], key: &Key, file: &mut File, length: u64, code: &[u8; CODE]) -> Result<()> {
    let mut authenticator = key.authenticator().chain_update(head);
    file.rewind().map_err(Error::Scratch)?;
    copy(length, &mut |piece| {
        file.read_exact(piece).map_err(Error::Scratch)?;
        authenticator.update(piece);
        Ok(())
    })?;
    authenticator.verify_slice(code).map_err(|_| Error::Altered("a chunk is not what was written"))
}

/// Goes through so many bytes.
fn copy(mut length: u64, step: &mut dyn FnMut(&mut [u8]) -> Result<()>) -> Result<()> {
    let mut piece = vec![0; PIECE];
    while length > 0 {
        let most = piece_length(length);
        step(piece.get_mut(..most).unwrap_or_default())?;
        length = length.saturating_sub(most as u64);
    }
    Ok(())
}

/// A small container, opened at once.
pub(crate) fn open(sealed: &[u8], unlocking: Unlocking) -> Result<Vec<u8>> {
    let (head, key) = unlocking.finish()?;
    let (body, code) = sealed.split_last_chunk::<CODE>().ok_or(Error::Altered("a member is too short"))?;
    let authenticator = key.authenticator().chain_update(&head).chain_update(body);
    authenticator.verify_slice(code).map_err(|_| Error::Altered("its header is not what was written"))?;
    let mut content = body.to_vec();
    key.cipher().apply_keystream(&mut content);
    Ok(content)
}
