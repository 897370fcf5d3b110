//! Replays what the kernel's device-mapper target `log-writes` recorded: a disk as a power loss would leave it.
//!
//! `replay-writes list LOG` prints a line for every moment: `NUMBER durable` for a write the disk had to keep, with all
//! before it, and `NUMBER mark TEXT` for a mark. `replay-writes apply LOG DISK FROM TO [STEP]` writes the recorded
//! writes FROM up to TO, without TO, or every STEP-th of them. The format is Linux's
//! `Documentation/admin-guide/device-mapper/log-writes.rst`: a super block and entries of one sector each, numbers in
//! little-endian order, each entry followed by its data.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "test code"
)]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

struct Log {
    file: File,
    sector: u64,
    entries: u64,
}

/// One recorded write: where on the disk, how many sectors, and where in the log its data lie.
struct Entry {
    start: u64,
    count: u64,
    flags: u64,
    text: String,
    data: u64,
}

impl Log {
    fn open(path: &str) -> Self {
        let file = File::open(path).unwrap();
        let mut head = [0; 28];
        file.read_exact_at(&mut head, 0).unwrap();
        assert_eq!(number(&head, 0), MAGIC, "{path} is no log of writes");
        let sector = u64::from(u32::from_le_bytes(head[24..28].try_into().unwrap()));
        Self { file, sector, entries: number(&head, 16) }
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        let mut next = self.sector;
        (0..self.entries).map(move |_| {
            let entry = self.entry(next);
            next = entry.data + if entry.has_data() { entry.count * self.sector } else { 0 };
            entry
        })
    }

    fn entry(&self, at: u64) -> Entry {
        let mut head = vec![0; usize::try_from(self.sector).unwrap()];
        self.file.read_exact_at(&mut head, at).unwrap();
        let length = usize::try_from(number(&head, 24)).unwrap();
        Entry {
            start: number(&head, 0),
            count: number(&head, 8),
            flags: number(&head, 16),
            text: String::from_utf8(head[32..32 + length].to_vec()).unwrap(),
            data: at + self.sector,
        }
    }

    fn apply(&self, entry: &Entry, disk: &File) {
        let mut data = vec![0; usize::try_from(entry.count * self.sector).unwrap()];
        self.file.read_exact_at(&mut data, entry.data).unwrap();
        disk.write_all_at(&data, entry.start * self.sector).unwrap();
    }
}

impl Entry {
    fn has_data(&self) -> bool {
        self.flags & (DISCARD | MARK) == 0
    }

    fn moment(&self) -> Option<String> {
        if self.flags & MARK != 0 {
            Some(format!("mark {}", self.text))
        } else if self.flags & (FLUSH | FUA) != 0 {
            Some("durable".to_owned())
        } else {
            None
        }
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let log = Log::open(&arguments[2]);
    if arguments[1] == "list" {
        for (number, entry) in log.entries().enumerate() {
            if let Some(moment) = entry.moment() {
                println!("{number} {moment}");
            }
        }
        return;
    }
    let disk = OpenOptions::new().write(true).open(&arguments[3]).unwrap();
    let [from, to] = [4, 5].map(|place| arguments[place].parse::<usize>().unwrap());
    let step = arguments.get(6).map_or(1, |step| step.parse().unwrap());
    for entry in log.entries().take(to).skip(from).step_by(step).filter(Entry::has_data) {
        log.apply(&entry, &disk);
    }
    disk.sync_all().unwrap();
}
