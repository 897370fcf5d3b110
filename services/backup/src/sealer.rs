//! Encryption on this thread, authentication on another.

use std::io::{self, Write};
use std::thread;

use aes::cipher::StreamCipher;
use hmac::Mac;

use crate::container::{Authenticator, CODE, Cipher};
use crate::keys::Locked;
use crate::map::PIECE;
use crate::queue::{Giving, Taking, queue};
use crate::{Error, Result};

/// Buffers on their way.
const BUFFERS: usize = 8;

/// What the other thread is to do.
enum Job {
    Begin(Box<Authenticator>),
    Data(Vec<u8>),
    End,
}

/// What it has done.
enum Done {
    Data(Vec<u8>),
    Code([u8; CODE]),
}

/// Fills one container after the other.
pub(crate) struct Sealer {
    jobs: Giving<Job>,
    done: Taking<Done>,
    free: Vec<Vec<u8>>,
    /// What is being filled, up to its capacity.
    buffer: Vec<u8>,
    cipher: Option<Cipher>,
}

impl Sealer {
    pub(crate) fn new() -> io::Result<Self> {
        let (jobs, todo) = queue(BUFFERS);
        let (tell, done) = queue(BUFFERS.saturating_add(1));
        thread::Builder::new().spawn(move || authenticate(&todo, &tell))?;
        let mut free: Vec<_> = std::iter::repeat_with(|| Vec::with_capacity(PIECE)).take(BUFFERS).collect();
        let buffer = free.pop().unwrap_or_default();
        Ok(Self { jobs, done, free, buffer, cipher: None })
    }

    /// Begins a container.
    pub(crate) fn begin(&mut self, locked: &Locked, out: &mut dyn Write) -> io::Result<()> {
        self.cipher = Some(locked.key.cipher());
        self.job(Job::Begin(Box::new(locked.key.authenticator().chain_update(&locked.head))))?;
        out.write_all(&locked.head)
    }

    /// Adds to it.
    pub(crate) fn add(&mut self, mut bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = PIECE.saturating_sub(self.buffer.len());
            let (piece, rest) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(piece);
            if self.buffer.len() == PIECE {
                self.hand_over(out)?;
            }
            bytes = rest;
        }
        Ok(())
    }

    fn hand_over(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let mut full = std::mem::take(&mut self.buffer);
        if let Some(cipher) = &mut self.cipher {
            cipher.apply_keystream(&mut full);
        }
        self.job(Job::Data(full))?;
        self.buffer = match self.free.pop() {
            Some(free) => free,
            None => self.take_back(out)?.unwrap_or_default(),
        };
        Ok(())
    }

    /// Writes what has been authenticated. Nothing once the code has come.
    fn take_back(&mut self, out: &mut dyn Write) -> io::Result<Option<Vec<u8>>> {
        match self.done.take().ok_or(io::ErrorKind::BrokenPipe)? {
            Done::Data(mut buffer) => {
                out.write_all(&buffer)?;
                buffer.clear();
                Ok(Some(buffer))
            }
            Done::Code(code) => out.write_all(&code).map(|()| None),
        }
    }

    /// Ends it.
    pub(crate) fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.hand_over(out)?;
        self.job(Job::End)?;
        while let Some(buffer) = self.take_back(out)? {
            self.free.push(buffer);
        }
        Ok(())
    }

    fn job(&self, job: Job) -> io::Result<()> {
        self.jobs.give(job).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

/// Does one job after the other.
fn authenticate(todo: &Taking<Job>, tell: &Giving<Done>) -> Option<()> {
    let mut authenticator = None;
    while let Some(job) = todo.take() {
        match job {
            Job::Begin(new) => authenticator = Some(new),
            Job::Data(data) => {
                authenticator.as_mut()?.update(&data);
                tell.give(Done::Data(data))?;
            }
            Job::End => tell.give(Done::Code(authenticator.take()?.finalize().into_bytes().into()))?,
        }
    }
    Some(())
}

/// A container that is small enough to be made at once.
pub(crate) fn seal(locked: &Locked, content: &[u8]) -> Result<Vec<u8>> {
    let mut sealed = Vec::new();
    let mut sealer = Sealer::new().map_err(Error::Key)?;
    let mut fill = || {
        sealer.begin(locked, &mut sealed)?;
        sealer.add(content, &mut sealed)?;
        sealer.end(&mut sealed)
    };
    fill().map_err(Error::Key)?;
    Ok(sealed)
}
