//! What the store reads back: objects, index and event lines.

use common::event::Event;
use common::model::{Labels, Pools, Qube, System};
use common::reply;
use common::store::{Entry, Index, LoggedEvent, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) fn check(bytes: &[u8]) {
    let _ = decode::<Qube>("raw", bytes);
    let sealed = sealed(bytes);
    for check in [object::<Qube>, object::<System>, object::<Labels>, object::<Pools>] {
        check(&sealed);
    }
    if let Ok((_, qube)) = decode::<Qube>("qube", &sealed) {
        check_entry(&qube);
    }
    check_index(bytes);
    for line in bytes.split(|byte| *byte == b'\n') {
        check_event(line);
    }
}

/// The bytes with a right checksum line, so that what is behind it is reached.
fn sealed(json: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in json {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    [json, format!("#{:08x}\n", !crc).as_bytes()].concat()
}

/// An object that is read is written and read again the same.
fn object<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    if let Ok((generation, object)) = decode::<T>("object", bytes) {
        let written = encode(generation, &object).unwrap();
        let (again, twin) = decode::<T>("again", &written).unwrap();
        assert_eq!(again, generation);
        assert_eq!(serde_json::to_value(twin).unwrap(), serde_json::to_value(object).unwrap());
    }
}

/// The columns that come from types with a grammar say what the qube says.
fn check_entry(qube: &Qube) {
    let entry = Entry::of(qube);
    assert_eq!(entry.name(), qube.name.as_str());
    assert_eq!(entry.class(), qube.class);
    assert_eq!(entry.uuid(), qube.uuid.to_string());
    assert_eq!(entry.qid(), qube.qid);
    if qube.devices.iter().all(|device| device.backend.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
        let devices = qube.devices.iter().map(|device| (device.backend.as_str(), device.id.clone()));
        assert_eq!(entry.device_backends().collect::<Vec<_>>(), devices.collect::<Vec<_>>());
    }
}

fn check_index(bytes: &[u8]) {
    let Some(index) = Index::parse(bytes.to_vec()) else { return };
    assert_eq!(Index::parse(index.to_bytes()), Some(index.clone()));
    for entry in index.entries() {
        index.entry(entry.name());
        let _ = (entry.class(), entry.uuid(), entry.qid(), entry.dispid(), entry.label());
        let _ = (entry.tags().count(), entry.references().count(), entry.device_backends().count());
    }
}

fn check_event(line: &[u8]) {
    let Ok(logged) = serde_json::from_slice::<LoggedEvent>(line) else { return };
    let again = serde_json::to_vec(&logged).unwrap();
    assert!(!again.contains(&b'\n'));
    assert_eq!(serde_json::from_slice::<LoggedEvent>(&again).unwrap(), logged);
    check_event_frame(&logged.event);
}

/// Each text of an event is one field of its frame.
fn check_event_frame(event: &Event) {
    let fields = reply::event(event).iter().filter(|byte| **byte == 0).count();
    assert_eq!(fields, 4 + 2 * event.details.len());
}
