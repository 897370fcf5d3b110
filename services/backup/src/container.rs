//! The container that each chunk is locked in: that of the program `scrypt`, version 0.

use aes::Aes256;
use aes::cipher::KeyIvInit;
use ctr::Ctr128BE;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// Length of what comes before the data: parameters, their checksum, and a first code over both.
pub(crate) const HEAD: usize = 96;
/// Length of the parameters with their checksum.
const PARAMETERS: usize = 64;
/// Length of a code.
pub(crate) const CODE: usize = 32;
/// What each container begins with: the program's name and version.
const MAGIC: &[u8; 7] = b"scrypt\0";
/// Length of the checksum of the parameters.
const CHECKSUM: usize = 16;

pub(crate) type Cipher = Ctr128BE<Aes256>;
pub(crate) type Authenticator = Hmac<Sha256>;

/// What the derivation of a key costs: `128 * r * (2^log_n + p)` bytes, and time in proportion to all of `r`, `2^log_n` and `p`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The binary logarithm of N.
    pub log_n: u8,
    /// The size of a block.
    pub r: u32,
    /// How often it is done.
    pub p: u32,
}

impl Cost {
    /// What backups are written with: 128 MiB and less than a second (docs/adr/0016).
    pub const USUAL: Self = Self { log_n: 17, r: 8, p: 1 };

    /// Memory that it takes, in bytes.
    pub fn memory(self) -> u128 {
        self.blocks(self.steps().saturating_add(self.p.into()))
    }

    /// Memory that it goes through, in bytes: its time.
    pub fn work(self) -> u128 {
        self.blocks(self.steps().saturating_mul(self.p.into()))
    }

    fn steps(self) -> u128 {
        1_u128.checked_shl(self.log_n.into()).unwrap_or(u128::MAX)
    }

    /// Bytes of so many blocks.
    fn blocks(self, count: u128) -> u128 {
        count.saturating_mul(u128::from(self.r)).saturating_mul(128)
    }
}

/// The parameters that a container begins with.
pub(crate) struct Parameters {
    pub(crate) cost: Cost,
    salt: [u8; 32],
}

impl Parameters {
    pub(crate) fn new(cost: Cost) -> std::io::Result<Self> {
        Ok(Self { cost, salt: common::random::bytes()? })
    }

    /// Reads them, if their checksum holds.
    pub(crate) fn parse(head: &[u8]) -> Result<Self> {
        const NONE: Error = Error::Altered("a container has no parameters");
        let parse = || {
            let (magic, rest) = head.split_first_chunk::<7>()?;
            let (log_n, rest) = rest.split_first()?;
            let (r, rest) = rest.split_first_chunk::<4>()?;
            let (p, rest) = rest.split_first_chunk::<4>()?;
            let (salt, _) = rest.split_first_chunk::<32>()?;
            let cost = Cost { log_n: *log_n, r: u32::from_be_bytes(*r), p: u32::from_be_bytes(*p) };
            (magic == MAGIC).then_some(Self { cost, salt: *salt })
        };
        let parameters = parse().ok_or(NONE)?;
        let (fields, said) =
            head.get(..PARAMETERS).and_then(|head| head.split_last_chunk::<CHECKSUM>()).ok_or(NONE)?;
        if checksum(fields).eq(said.iter().copied()) { Ok(parameters) } else { Err(NONE) }
    }

    pub(crate) fn derive(&self, secret: &[u8]) -> Result<Key> {
        let refuse = || Error::Key(std::io::ErrorKind::InvalidInput.into());
        let Cost { log_n, r, p } = self.cost;
        r.checked_mul(p).ok_or_else(refuse)?;
        let parameters = scrypt::Params::new(log_n, r, p).map_err(|_| refuse())?;
        let mut key = Key { cipher: [0; 32], code: [0; 64] };
        let mut both = [0; 64];
        scrypt::scrypt(secret, &self.salt, &parameters, &mut both).map_err(|_| refuse())?;
        let (cipher, code) = both.split_at(32);
        key.cipher.copy_from_slice(cipher);
        key.code.iter_mut().zip(code).for_each(|(to, from)| *to = *from);
        Ok(key)
    }

    /// All that comes before the data.
    pub(crate) fn head(&self, key: &Key) -> Vec<u8> {
        let Cost { log_n, r, p } = self.cost;
        let mut head =
            [MAGIC.as_slice(), [log_n].as_slice(), &r.to_be_bytes(), &p.to_be_bytes(), &self.salt].concat();
        head.extend(checksum(&head));
        let code = key.authenticator().chain_update(&head).finalize().into_bytes();
        head.extend(code);
        head
    }
}

fn checksum(parameters: &[u8]) -> impl Iterator<Item = u8> + use<> {
    Sha256::digest(parameters).into_iter().take(CHECKSUM)
}

/// The key of a container.
pub(crate) struct Key {
    cipher: [u8; 32],
    /// Filled up with zeros, as is the rule for what is shorter than a block of the hash.
    code: [u8; 64],
}

impl Key {
    pub(crate) fn cipher(&self) -> Cipher {
        <Cipher as KeyIvInit>::new(&self.cipher.into(), &[0; 16].into())
    }

    pub(crate) fn authenticator(&self) -> Authenticator {
        <Authenticator as KeyInit>::new(&self.code.into())
    }
}
