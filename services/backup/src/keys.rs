//! Keys derived beforehand, on another processor.

use std::thread::{self, JoinHandle};

use crate::container::{Cost, Key, Parameters};
use crate::reader::Limits;
use crate::{Error, Result};

/// A key with what its container begins with.
pub(crate) struct Locked {
    pub(crate) key: Key,
    pub(crate) head: Vec<u8>,
}

/// The derivation of the key of a container that is there already.
pub(crate) struct Unlocking(JoinHandle<Result<(Vec<u8>, Key)>>);

impl Unlocking {
    /// Begins with what stands before the container's data, if what it asks for is not too much.
    pub(crate) fn begin(head: Vec<u8>, secret: Vec<u8>, limits: &Limits) -> Result<Self> {
        let parameters = Parameters::parse(&head)?;
        if parameters.cost.memory() > limits.memory || parameters.cost.work() > limits.work {
            return Err(Error::Limit("the derivation of a key would take too much"));
        }
        let derive = move || {
            let key = parameters.derive(&secret)?;
            if parameters.head(&key) == head { Ok((head, key)) } else { Err(Error::Passphrase) }
        };
        thread::Builder::new().spawn(derive).map(Self).map_err(Error::Key)
    }

    /// Gives back what it began with, and the key.
    pub(crate) fn finish(self) -> Result<(Vec<u8>, Key)> {
        self.0.join().unwrap_or_else(|_| Err(Error::Key(std::io::ErrorKind::OutOfMemory.into())))
    }
}

/// The derivation of a key for one member.
pub(crate) struct Derivation {
    member: String,
    work: JoinHandle<Result<Locked>>,
}

impl Derivation {
    pub(crate) fn begin(member: String, secret: Vec<u8>, cost: Cost) -> Result<Self> {
        let derive = move || {
            let parameters = Parameters::new(cost).map_err(Error::Key)?;
            let key = parameters.derive(&secret)?;
            Ok(Locked { head: parameters.head(&key), key })
        };
        Ok(Self { member, work: thread::Builder::new().spawn(derive).map_err(Error::Key)? })
    }

    pub(crate) fn is_for(&self, member: &str) -> bool {
        self.member == member
    }

    pub(crate) fn finish(self) -> Result<Locked> {
        self.work.join().unwrap_or_else(|_| Err(Error::Key(std::io::ErrorKind::OutOfMemory.into())))
    }
}
