//! How much of the system a caller may have that it made itself, held where a change commits.

use crate::failure::{Exception, Failure};
use crate::names::QubeName;
use crate::store::{Store, StoreError, View};

/// What a caller's own qubes may come to; the largest number is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// How many there may be.
    pub qubes: u64,
    /// Bytes of all their volumes that they may write to.
    pub bytes: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Self { qubes: u64::MAX, bytes: u64::MAX }
    }
}

/// The tag of a qube that tells who made it.
pub fn created_by(caller: &str) -> String {
    format!("created-by-{caller}")
}

impl Quota {
    /// Reads two numbers.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (qubes, bytes) = text.split_once(' ')?;
        Some(Self { qubes: qubes.parse().ok()?, bytes: bytes.parse().ok()? })
    }

    /// Two numbers.
    pub fn to_text(self) -> String {
        format!("{} {}", self.qubes, self.bytes)
    }

    /// Whether there is any limit.
    pub fn is_limited(self) -> bool {
        self != Self::default()
    }

    /// Whether there is one of bytes.
    pub const fn limits_bytes(self) -> bool {
        self.bytes != u64::MAX
    }

    /// Both limits of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { qubes: self.qubes.min(other.qubes), bytes: self.bytes.min(other.bytes) }
    }

    /// Refuses a change, not yet committed, that leaves the caller with more than it may have and more than it had. The
    /// store is locked, so that no two calls use up the same rest.
    pub(crate) fn check(self, caller: &QubeName, changed: &View<'_>, store: &Store) -> Result<(), Failure> {
        if !self.is_limited() {
            return Ok(());
        }
        let tag = created_by(caller.as_str());
        let (before, after) = (Usage::of(&store.glance(), &tag)?, Usage::of(changed, &tag)?);
        let exceeds = |limit: u64, before, after| after > before && after > limit;
        if exceeds(self.qubes, before.qubes, after.qubes) || exceeds(self.bytes, before.bytes, after.bytes) {
            return Err(Failure::new(Exception::PermissionDenied, "this exceeds the caller's quota"));
        }
        Ok(())
    }
}

/// What one caller's qubes come to.
#[derive(Default)]
struct Usage {
    qubes: u64,
    bytes: u64,
}

impl Usage {
    fn of(view: &View<'_>, tag: &str) -> Result<Self, StoreError> {
        let mut usage = Self::default();
        for entry in view.index()?.entries().iter().filter(|entry| entry.tags().any(|known| known == tag)) {
            usage.qubes = usage.qubes.saturating_add(1);
            let Some(qube) = view.qube_named(entry.name())? else { continue };
            let written = qube.volumes.iter().filter(|volume| volume.rw).map(|volume| volume.size);
            usage.bytes = written.fold(usage.bytes, u64::saturating_add);
        }
        Ok(usage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_and_read_again() {
        for quota in [Quota::default(), Quota { qubes: 3, bytes: 0 }] {
            assert_eq!(Quota::parse(&quota.to_text()), Some(quota));
        }
        for text in ["", "1", "1 x", "1 2 3", "-1 2"] {
            assert_eq!(Quota::parse(text), None, "{text}");
        }
    }

    #[test]
    fn of_two_limits_the_lower_holds() {
        let (one, other) = (Quota { qubes: 3, ..Quota::default() }, Quota { qubes: 2, bytes: 9 });
        assert_eq!(one.and(other), other);
        assert_eq!(one.and(Quota::default()), one);
    }
}
