//! Backups: headers that are accepted are printed as what is read again, archives give data in order and within the size they
//! tell, and whatever comes as a backup is read to its end or refused.

use std::io;

use backup::{Header, Limits, Passphrase, Reader, Reading, Sink, Verified, unpack};

pub(super) fn check(bytes: &[u8]) {
    if let Ok(header) = Header::parse(bytes) {
        assert_eq!(Header::parse(header.to_string().as_bytes()).unwrap(), header);
    }
    let mut ordered = Ordered::default();
    if let Ok(complete) = unpack(bytes, "vm1/a", &Limits::default(), &mut ordered) {
        assert!(ordered.end <= complete.size());
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
}

impl Sink for Ordered {
    fn begin(&mut self, size: u64) -> io::Result<()> {
        self.size = size;
        Ok(())
    }

    fn data(&mut self, offset: u64, data: Verified<'_>) -> io::Result<()> {
        assert!(offset >= self.end);
        self.end = offset + data.bytes().len() as u64;
        assert!(self.end <= self.size);
        Ok(())
    }
}
