//! The request: from argv and environment under qrexec, else as a descriptor on standard input (spec 10 §1.1, 50 §4).

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::call::{Family, Presence, Row, no_such_method};
use crate::environment::{self, REMOTE_DOMAIN, REQUESTED_TARGET};
use crate::failure::{Exception, Failure};
use crate::standard;
use crate::untrusted::Untrusted;
use crate::upload::Upload;

/// Most bytes of header, NUL and payload together.
pub const REQUEST_MAX: usize = 65_536;
/// The same for a call whose payload may be larger: a note of 256,000 bytes and its header.
pub const NOTES_REQUEST_MAX: usize = 256_000 + 4_096;
/// The same for a policy file of a mebibyte.
pub const POLICY_REQUEST_MAX: usize = 1_048_576 + 4_096;
/// The calls with a limit of their own.
const LIMITS: [(&[u8], usize); 3] = [
    (b"admin.vm.notes.Set", NOTES_REQUEST_MAX),
    (b"policy.Replace", POLICY_REQUEST_MAX),
    (b"policy.include.Replace", POLICY_REQUEST_MAX),
];

/// One request before anything in it is trusted.
pub struct Request {
    /// Method as asked for.
    pub method: Untrusted,
    /// Argument, empty if there is none.
    pub argument: Untrusted,
    /// Calling qube: name or `uuid:…`.
    pub source: Untrusted,
    /// Destination: name or `uuid:…`.
    pub destination: Untrusted,
    /// Everything after the header; of an upload only a line that announces its size.
    pub payload: Untrusted,
    /// Whether standard input is still to come: only qrexec's own way of starting a call has such ones.
    pub is_streamed: bool,
}

/// A malformed frame gets no answer.
const FRAMING: Failure = Failure::Dropped(Cow::Borrowed("framing error"));
/// Nor does a request that is too long.
const TOO_LONG: Failure = Failure::Dropped(Cow::Borrowed("request too long"));
/// Hardly any request is longer.
const USUAL: usize = 1024;

/// The row of the call that this process was started for, if its family has that.
pub(crate) fn row_of(family: &Family, arguments: &[OsString]) -> Option<Row> {
    family.find(&method_of(arguments.first())).map(|entry| entry.row)
}

/// Whether this process was started for a call that takes standard input for itself.
pub fn is_streamed(family: &Family, arguments: &[OsString]) -> bool {
    let is_from_qrexec = environment::variable(REMOTE_DOMAIN).is_some();
    is_from_qrexec && row_of(family, arguments).is_some_and(|row| row.payload.is_taken_from_qrexec())
}

/// Whether the caller learns of the outcome by the exit status alone.
pub fn is_told_by_status(family: &Family, arguments: &[OsString]) -> bool {
    let is_from_qrexec = environment::variable(REMOTE_DOMAIN).is_some();
    is_from_qrexec && row_of(family, arguments).is_some_and(|row| row.is_from_guests())
}

/// Whether the answer has no frame.
pub fn is_plain(family: &Family, arguments: &[OsString]) -> bool {
    let is_from_qrexec = environment::variable(REMOTE_DOMAIN).is_some();
    is_from_qrexec && row_of(family, arguments).is_some_and(|row| row.is_plain())
}

/// Reads the request this process was started for, to its end but for what a streaming call takes itself.
///
/// # Errors
/// A drop for malformed frames and too long requests, `QubesException` where the request cannot be read.
pub fn receive(family: &Family, arguments: &[OsString]) -> Result<Request, Failure> {
    let method = method_of(arguments.first());
    let row = row_of(family, arguments);
    match (environment::variable(REMOTE_DOMAIN), row) {
        (Some(_), Some(row)) if row.is_internal() => Err(no_such_method(row.name)),
        (Some(source), Some(row)) if row.payload.is_taken_from_qrexec() => {
            let request = from_qrexec(method, arguments.get(1), source, |_| Ok(Vec::new()))?;
            Ok(Request { payload: announced_size(row.payload)?, is_streamed: true, ..request })
        }
        (Some(source), _) => {
            let limit = limit_of(&method);
            from_qrexec(method, arguments.get(1), source, |used| read_limited(used, limit))
        }
        (None, _) if standard::input().is_terminal() => Ok(by_hand(method, arguments.get(1))),
        (None, _) => from_descriptor(&method, &read_limited(0, limit_of(&method))?),
    }
}

/// Reads the request of a connection that any call may come by. Gives the method too, which nobody vouches for.
///
/// # Errors
/// As [`receive`].
pub fn receive_any() -> Result<(Vec<u8>, Request), Failure> {
    let mut bytes = Vec::with_capacity(USUAL);
    // The longest of most calls first: what is too long is refused at once, without waiting for its end.
    read_on(&mut bytes, REQUEST_MAX.saturating_add(1))?;
    let method = bytes.split(|byte| b"+ \0".contains(byte)).next().unwrap_or_default().to_vec();
    let limit = limit_of(&method);
    if limit > REQUEST_MAX {
        read_on(&mut bytes, limit.saturating_add(1))?;
    }
    if bytes.len() > limit {
        return Err(TOO_LONG);
    }
    let request = from_descriptor(&method, &bytes)?;
    Ok((method, request))
}

/// The executable's own base name up to a `+`: one executable serves a family through symbolic links.
fn method_of(program: Option<&OsString>) -> Vec<u8> {
    let path = program.map(|program| program.as_bytes()).unwrap_or_default();
    let base = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    base.split(|byte| *byte == b'+').next().unwrap_or_default().to_vec()
}

/// The line with the size of an upload that has one.
fn announced_size(payload: Presence) -> Result<Untrusted, Failure> {
    const LINE_MAX: usize = 21;
    if payload != Presence::SizedStream {
        return Ok(Untrusted::new(Vec::new()));
    }
    let line = Upload::of_standard_input().line(LINE_MAX, |byte| (0x20..=0x7e).contains(&byte));
    line.ok().flatten().ok_or(Failure::Dropped(Cow::Borrowed("no line with the size of new data")))
}

fn from_qrexec(
    method: Vec<u8>,
    argv1: Option<&OsString>,
    source: OsString,
    payload: impl FnOnce(usize) -> Result<Vec<u8>, Failure>,
) -> Result<Request, Failure> {
    let argument = environment::variable("QREXEC_SERVICE_ARGUMENT").or_else(|| argv1.cloned());
    let argument = argument.unwrap_or_default().into_vec();
    let source = source.into_vec();
    let destination = requested_target(&source)?;
    let header = [method.len(), argument.len(), source.len(), destination.len()];
    const SEPARATORS: usize = "+ ".len() + " name ".len() + "\0".len();
    let used = header.iter().fold(SEPARATORS, |sum, length| sum.saturating_add(*length));
    Ok(request(&method, &argument, &source, &destination, &payload(used)?))
}

/// The target as qrexec hands it on: a name, the keyword `adminvm`, or nothing for a caller in dom0.
fn requested_target(source: &[u8]) -> Result<Vec<u8>, Failure> {
    let kind = environment::variable("QREXEC_REQUESTED_TARGET_TYPE").unwrap_or_default();
    let name = environment::variable(REQUESTED_TARGET);
    let keyword = environment::variable("QREXEC_REQUESTED_TARGET_KEYWORD");
    match (kind.as_bytes(), name, keyword) {
        (b"keyword", _, Some(keyword)) => target(b"keyword", keyword.as_bytes()),
        (b"name" | b"", Some(name), _) => target(b"name", name.as_bytes()),
        (b"", None, None) if source == b"dom0" => Ok(b"dom0".to_vec()),
        _ => Err(FRAMING),
    }
}

fn target(kind: &[u8], value: &[u8]) -> Result<Vec<u8>, Failure> {
    match (kind, value) {
        (b"name", name) => Ok(name.to_vec()),
        (b"keyword", b"adminvm") => Ok(b"dom0".to_vec()),
        _ => Err(FRAMING),
    }
}

/// Typed at a terminal in dom0: the argument from the command line, no payload.
fn by_hand(method: Vec<u8>, argument: Option<&OsString>) -> Request {
    let argument = argument.map(|argument| argument.as_bytes()).unwrap_or_default();
    request(&method, argument, b"dom0", b"dom0", b"")
}

/// Reads `method[+argument] SP source SP type SP destination NUL payload`; the method must be the executable's own.
///
/// # Errors
/// A drop for malformed frames.
pub fn from_descriptor(own: &[u8], bytes: &[u8]) -> Result<Request, Failure> {
    let end = bytes.iter().position(|byte| *byte == 0).ok_or(FRAMING)?;
    let (header, rest) = bytes.split_at_checked(end).ok_or(FRAMING)?;
    let payload = rest.get(1..).unwrap_or_default();
    let mut fields = header.splitn(4, |byte| *byte == b' ');
    let (Some(call), Some(source), Some(kind), Some(value)) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(FRAMING);
    };
    let mut halves = call.splitn(2, |byte| *byte == b'+');
    let method = halves.next().unwrap_or_default();
    let argument = halves.next().unwrap_or_default();
    let destination = target(kind, value)?;
    if method != own {
        return Err(FRAMING);
    }
    Ok(request(method, argument, source, &destination, payload))
}

fn limit_of(method: &[u8]) -> usize {
    LIMITS.iter().find(|(own, _)| *own == method).map_or(REQUEST_MAX, |(_, limit)| *limit)
}

fn request(method: &[u8], argument: &[u8], source: &[u8], destination: &[u8], payload: &[u8]) -> Request {
    let untrusted = |bytes: &[u8]| Untrusted::new(bytes.to_vec());
    Request {
        method: untrusted(method),
        argument: untrusted(argument),
        source: untrusted(source),
        destination: untrusted(destination),
        payload: untrusted(payload),
        is_streamed: false,
    }
}

/// Reads standard input to its end, refusing as soon as there is more than the limit leaves room for.
fn read_limited(used: usize, limit: usize) -> Result<Vec<u8>, Failure> {
    let room = limit.checked_sub(used).ok_or(TOO_LONG)?;
    let mut bytes = Vec::with_capacity(USUAL);
    read_on(&mut bytes, room.saturating_add(1))?;
    if bytes.len() > room { Err(TOO_LONG) } else { Ok(bytes) }
}

/// Reads on in standard input, until this much is read of it in all or its end is reached.
fn read_on(bytes: &mut Vec<u8>, most: usize) -> Result<(), Failure> {
    let room = u64::try_from(most.saturating_sub(bytes.len())).unwrap_or(u64::MAX);
    standard::input().by_ref().take(room).read_to_end(bytes).map_err(|error| unreadable(&error))?;
    Ok(())
}

fn unreadable(error: &io::Error) -> Failure {
    let text = format!("The request cannot be read: {}", error.kind());
    Failure::new(Exception::QubesException, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_cut_at_the_first_nul_and_three_spaces() {
        let own = b"admin.vm.feature.Set";
        assert!(from_descriptor(own, b"admin.vm.feature.Set+a+b dom0 name work x\0pay\0load").is_ok());
        for bad in [
            &b""[..],
            b"\0",
            b"admin.vm.feature.Set",
            b"admin.vm.feature.Set+ dom0 name dom0",
            b"admin.vm.feature.Set+ dom0 dom0\0",
            b"admin.vm.feature.Set+ dom0 keyword default\0",
            b"admin.vm.feature.Set+ dom0 bogus dom0\0",
            b"admin.vm.feature.Get+ dom0 name dom0\0",
        ] {
            assert_eq!(from_descriptor(own, bad).err(), Some(FRAMING));
        }
    }

    #[test]
    fn the_method_is_the_base_name_before_a_plus() {
        assert_eq!(method_of(Some(&"/etc/qubes-rpc/admin.vm.List".into())), b"admin.vm.List");
        assert_eq!(method_of(Some(&"admin.vm.List+work".into())), b"admin.vm.List");
        assert_eq!(method_of(None), b"");
    }
}
