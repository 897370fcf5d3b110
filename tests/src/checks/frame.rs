//! Framing: requests are cut where the specification says, replies are one frame whatever their text holds.

use common::event::Event;
use common::failure::Exception;
use common::names::Ascii;
use common::reply;
use common::request::{Request, from_descriptor};
use common::untrusted::Untrusted;

pub(super) fn check(bytes: &[u8]) {
    let own = method_of(bytes);
    if let Ok(request) = from_descriptor(own, bytes) {
        check_request(own, bytes, &request);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        check_replies(text);
    }
}

/// The method a descriptor asks for.
pub(super) fn method_of(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| b"+ \0".contains(byte)).next().unwrap_or_default()
}

fn check_request(own: &[u8], bytes: &[u8], request: &Request) {
    let header = bytes.iter().position(|byte| *byte == 0).unwrap();
    assert_eq!(request.payload.len(), bytes.len() - header - 1);
    assert_eq!(request.method.len(), own.len());
    let Some(printed) = print(request) else { return };
    let again = from_descriptor(own, &printed).unwrap();
    assert_eq!(print(&again), Some(printed));
}

/// A request as a descriptor again, if all of it is ASCII.
fn print(request: &Request) -> Option<Vec<u8>> {
    let text = |part: &Untrusted| part.sanitise::<Ascii>().map(|text| text.to_string()).ok();
    let (method, argument) = (text(&request.method)?, text(&request.argument)?);
    let (source, destination) = (text(&request.source)?, text(&request.destination)?);
    let payload = text(&request.payload)?;
    assert!(![&method, &argument, &source].iter().any(|part| part.contains([' ', '\0'])));
    Some(format!("{method}+{argument} {source} name {destination}\0{payload}").into_bytes())
}

fn check_replies(text: &str) {
    for exception in [Exception::QubesException, Exception::ProtocolError] {
        let reply = reply::exception(exception, "", text);
        assert!(super::whole::is_one_frame(&reply), "{}", crate::fixture::readable(&reply));
    }
    let event = reply::event(&Event::system(text).with(text, text));
    assert_eq!(event.iter().filter(|byte| **byte == 0).count(), 6);
}
