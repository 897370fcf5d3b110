//! Whole requests, answered in this process: one frame or a defined drop each, and a sound store after them.

use std::cell::RefCell;

use common::call::Family;
use common::request::from_descriptor;
use common::root::Root;
use common::serve::{Answer, respond};
use common::store::LoggedEvent;

use super::frame::method_of;
use super::xml;
use crate::Fixture;
use crate::fixture::{Files, readable};

/// Stands between the requests of one input.
pub const SEPARATOR: &[u8] = b"\xff\n";
/// Most requests of one input that are answered.
const MOST: usize = 8;

thread_local! {
    /// A system, with its files as they were when it was new.
    static SYSTEM: RefCell<Option<(Fixture, Files)>> = const { RefCell::new(None) };
}

/// Answers the requests of an input against a system that looks new.
pub fn check(family: &Family, bytes: &[u8]) {
    let (fixture, files) = SYSTEM.take().unwrap_or_else(|| {
        let fixture = Fixture::new();
        let files = fixture.files();
        (fixture, files)
    });
    for request in requests(bytes).into_iter().take(MOST) {
        answer(family, request, &fixture.root());
    }
    if fixture.files() == files {
        SYSTEM.set(Some((fixture, files)));
    } else {
        check_system(&fixture);
    }
}

/// The requests of an input.
pub fn requests(bytes: &[u8]) -> Vec<&[u8]> {
    let mut requests = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.windows(SEPARATOR.len()).position(|window| window == SEPARATOR) {
        requests.push(&rest[..end]);
        rest = &rest[end + SEPARATOR.len()..];
    }
    requests.push(rest);
    requests
}

/// Answers one request in this process: with one frame, or with nothing if its header is not ASCII.
pub fn answer(family: &Family, bytes: &[u8], root: &Root) {
    let Ok(request) = from_descriptor(method_of(bytes), bytes) else { return };
    match respond(family, &request, root) {
        Some(Answer::Stream(_)) => {}
        Some(Answer::Message(reply)) => {
            assert!(is_one_frame(&reply), "{} got {}", readable(bytes), readable(&reply))
        }
        None => assert!(!is_header_ascii(bytes) || may_be_silent(bytes), "{} got no answer", readable(bytes)),
    }
}

/// The calls of which the specification keeps drops: what a driver has not, a pool without a name or with a vanished
/// folder (spec 20 §2.5, §3, §4); what names no device, the deny list of a remote qube (spec 30 §2); a caller without a
/// QubesDB (spec 30 §17).
const MAY_BE_SILENT: [&str; 7] = [
    "admin.vm.volume.",
    "admin.pool.volume.",
    "admin.pool.Add",
    "internal.vm.volume.",
    "admin.vm.device.",
    "qubes.FeaturesRequest",
    "qubes.NotifyTools",
];

/// Whether the specification keeps a drop for some of the method's requests.
pub fn may_be_silent(bytes: &[u8]) -> bool {
    MAY_BE_SILENT.iter().any(|start| bytes.starts_with(start.as_bytes()))
}

/// Whether there is a whole header and only ASCII in it.
pub fn is_header_ascii(bytes: &[u8]) -> bool {
    bytes.iter().position(|byte| *byte == 0).is_some_and(|end| bytes[..end].is_ascii())
}

/// Whether bytes are exactly one OK or EXCEPTION message.
pub fn is_one_frame(reply: &[u8]) -> bool {
    match reply.get(..2) {
        Some(b"0\0") => true,
        Some(b"2\0") => reply.iter().filter(|byte| **byte == 0).count() == 4 && reply.ends_with(b"\0"),
        _ => false,
    }
}

/// Whether bytes begin a stream of events.
pub fn is_stream(reply: &[u8]) -> bool {
    reply.starts_with(b"1\0\0connection-established\0\0")
}

/// The store is sound, its events can be read, and its export leads back to it.
pub fn check_system(fixture: &Fixture) {
    assert_eq!(fixture.store().check().unwrap(), []);
    let is_whole =
        |line: &str| matches!(line, "" | "\"closed\"") || serde_json::from_str::<LoggedEvent>(line).is_ok();
    assert!(fixture.event_log().lines().all(is_whole));
    xml::check_export(fixture);
}
