//! Devices: what is accepted prints and reads back the same, and whatever is told can be read.

use common::names::{ANY, DeviceName, Interface, Mode, Pairs, PortName, Wish};
use common::untrusted::Untrusted;

pub(super) fn check(bytes: &[u8]) {
    let untrusted = Untrusted::new(bytes.to_vec());
    let _ =
        (untrusted.sanitise::<common::names::GuestText>(), untrusted.sanitise::<common::names::Decoded>());
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(pairs) = Pairs::parse(text) {
        check_pairs(&pairs);
    }
    if let Ok(device) = DeviceName::parse(text) {
        check_name(&device);
    }
    if let Ok(port) = PortName::parse(text) {
        assert_eq!(format!("{}+{}", port.backend, port.port), text);
    }
    if let Ok(interface) = Interface::parse(text) {
        assert!(interface.matches(interface.as_str()) && interface.matches("*******"));
        assert_eq!(Interface::all_in(text), [text]);
        assert!(!interface.category().is_empty());
    }
    assert_eq!(Interface::all_in(text).concat(), text);
    check_told(text);
    for parse in [Wish::parse, Wish::parse_any] {
        let mut device = DeviceName::parse("dom0+sda+_").unwrap();
        if let Ok(wish) = parse(text, "block", &mut device) {
            check_wish(&wish, &device);
        }
    }
}

fn check_pairs(pairs: &Pairs) {
    let printed = pairs.to_string();
    assert_eq!(Pairs::parse(&printed).as_ref(), Ok(pairs), "{printed}");
    assert!(printed.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{printed}");
}

/// Whatever a guest calls its device, others can read what is told of it.
fn check_told(text: &str) {
    let (key, value) = text.split_at(text.char_indices().nth(3).map_or(0, |(end, _)| end));
    let mut pairs = Pairs::default();
    for (key, value) in [(key, value), ("name", text), ("serial", value)] {
        pairs.tell(key, value);
    }
    check_pairs(&pairs);
}

fn check_name(device: &DeviceName) {
    let shown = device.to_string();
    assert!(shown.bytes().all(|byte| byte.is_ascii_graphic()), "{shown}");
    // Exactly seven of these signs in a row stand for an unknown interface. More of them, which are some of its own beside
    // it or two interfaces without anything between, do not.
    let is_ambiguous = device.identity.contains('_') || device.identity.contains("?******?******");
    if !is_ambiguous {
        assert_eq!(DeviceName::parse(&device.to_argument()).as_ref(), Ok(device));
    }
}

/// An assignment as it is told reads as the same wish.
fn check_wish(wish: &Wish, device: &DeviceName) {
    assert!(device.identity != ANY || device.to_string() == "dom0:sda:*");
    let mut pairs = Pairs::default();
    pairs.put("device_id", &device.identity).unwrap();
    if let Some(mode) = wish.mode {
        assert_eq!(Mode::parse(mode.as_str()), Some(mode));
        pairs.put("mode", mode.as_str()).unwrap();
    }
    for (key, value) in &wish.options {
        pairs.put(&format!("_{key}"), value).unwrap();
    }
    let mut again = DeviceName::parse("dom0+sda+_").unwrap();
    let read = Wish::parse(&pairs.to_string(), "block", &mut again).unwrap();
    assert_eq!((read.mode, &read.options, &again), (wish.mode, &wish.options, device));
}
