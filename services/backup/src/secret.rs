//! The passphrase, and what becomes of it for each container.

/// A passphrase. It is shown nowhere.
#[derive(Clone)]
pub struct Passphrase(Vec<u8>);

impl Passphrase {
    /// A passphrase is any bytes, by custom UTF-8.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// What the container of this member is locked with: no two are the same, so none passes for another.
    pub(crate) fn of_member(&self, id: &str, member: &str) -> Vec<u8> {
        [id.as_bytes(), b"!", member.as_bytes(), b"!", &self.0].concat()
    }

    /// What the copy of the header is locked with.
    pub(crate) fn of_header(&self) -> Vec<u8> {
        [b"backup-header!", self.0.as_slice()].concat()
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Passphrase")
    }
}
