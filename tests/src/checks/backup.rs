//! Backups: headers that are accepted are printed as what is read again, archives give data in order and within the size they
//! tell, and whatever comes as a backup is read to its end or refused.

use std::io;

use backup::{
    Header, Leaf, LeafKind, Leaves, Limits, Passphrase, Reader, Reading, Sink, Verified, unpack, unpack_tree,
};

pub(super) fn check(bytes: &[u8]) {
    if let Ok(header) = Header::parse(bytes) {
        assert_eq!(Header::parse(header.to_string().as_bytes()).unwrap(), header);
    }
    let mut ordered = Ordered::default();
    if let Ok(complete) = unpack(bytes, "vm1/a", &Limits::default(), &mut ordered) {
        assert!(ordered.end <= complete.size());
    }
    let mut tree = Ordered::default();
    if unpack_tree(bytes, &Limits::default(), &mut tree).is_ok() {
        assert_eq!(tree.begun, tree.ended);
    }
    let mut reading = Reading::usual(std::env::temp_dir());
    // No key is derived for what nobody can have made.
    reading.limits.memory = 0;
    assert!(Reader::begin(bytes, Passphrase::new(""), reading).is_err());
}

/// Data comes from the front to the back.
#[derive(Default)]
struct Ordered {
    size: u64,
    end: u64,
    /// Files of a tree.
    begun: u64,
    ended: u64,
}

impl Leaves for Ordered {
    fn leaf(&mut self, leaf: Leaf) -> io::Result<()> {
        self.begun += u64::from(leaf.kind == LeafKind::File);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.ended += 1;
        Ok(())
    }
}

impl Sink for Ordered {
    fn begin(&mut self, size: u64) -> io::Result<()> {
        (self.size, self.end) = (size, 0);
        Ok(())
    }

    fn data(&mut self, offset: u64, data: Verified<'_>) -> io::Result<()> {
        assert!(offset >= self.end);
        self.end = offset + data.bytes().len() as u64;
        assert!(self.end <= self.size);
        Ok(())
    }
}
