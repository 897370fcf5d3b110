//! Devices as calls name them, and what an assignment says (spec 30 §2.1, §3.4).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::pairs::{BadDevice, Pairs};
use super::{Switch, ascii};
use crate::failure::Exception;
use crate::quote::quote;
use crate::untrusted::{Broken, Sanitise, sealed};

/// Stands for any qube, port or device.
pub const ANY: &str = "*";
/// What is known of the device at a port where none is found.
pub const UNKNOWN_IDENTITY: &str = "0000:0000::?******";

/// Longest port and longest identity; that of a USB device lists all of its interfaces.
const PORT_MAX: usize = 128;
const IDENTITY_MAX: usize = 1024;
/// How an argument writes the one interface that nothing is known of, as its signs cannot stand there.
const UNKNOWN_INTERFACE: (usize, &str) = (7, "?******");

/// How an assignment is meant to be brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the modes are the specification's own words")]
pub enum Mode {
    Manual,
    AskToAttach,
    AutoAttach,
    Required,
}

impl Mode {
    const ALL: [Self; 4] = [Self::Manual, Self::AskToAttach, Self::AutoAttach, Self::Required];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::AskToAttach => "ask-to-attach",
            Self::AutoAttach => "auto-attach",
            Self::Required => "required",
        }
    }

    /// The mode of that word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text)
    }
}

const NO_MODE: Broken =
    Broken::new(Exception::QubesUnrecognizedDeviceAssignmentMode, "Invalid assignment mode");

/// A mode that an assignment may be given: all but manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssignedMode(pub Mode);

impl sealed::Sealed for AssignedMode {}

impl Sanitise for AssignedMode {
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
        let mode = ascii(bytes).ok().and_then(Mode::parse).filter(|mode| *mode != Mode::Manual);
        mode.map(Self).ok_or(NO_MODE)
    }
}

/// The same in the words of an older interface: `True` is required, `False` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequiredSwitch(pub Mode);

impl sealed::Sealed for RequiredSwitch {}

impl Sanitise for RequiredSwitch {
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
        match bytes {
            b"True" => Ok(Self(Mode::Required)),
            b"False" => Ok(Self(Mode::AutoAttach)),
            _ => Err(NO_MODE),
        }
    }
}

/// A port of a backend, as lists of devices are narrowed by it: `backend+port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortName {
    /// Name of the qube, in whatever form.
    pub backend: String,
    /// The port's identifier.
    pub port: String,
}

impl PortName {
    /// Cuts at the first `+`.
    ///
    /// # Errors
    /// A drop where there is none.
    pub fn parse(text: &str) -> Result<Self, Broken> {
        let parts = text.split_once('+').ok_or(NO_PORT)?;
        Ok(Self { backend: parts.0.to_owned(), port: parts.1.to_owned() })
    }
}

impl sealed::Sealed for PortName {}

impl Sanitise for PortName {
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
        Self::parse(ascii(bytes)?)
    }
}

/// Where there is no `+` at all, the specification drops the connection.
const NO_PORT: Broken = Broken::dropped("a device without a port");
const STRANGE: Broken =
    Broken::new(Exception::ProtocolError, "a device has invalid characters or is too long");

/// A device as an argument names it: `backend+port[+identity]`, each of which may be [`ANY`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceName {
    /// Name of the qube that provides it.
    pub backend: String,
    /// Where it is plugged in there.
    pub port: String,
    /// What is plugged in.
    pub identity: String,
}

impl DeviceName {
    /// Parses an argument.
    ///
    /// # Errors
    /// A drop where there is no port; `ProtocolError` for signs that no list could hold, and for what is too long.
    pub fn parse(text: &str) -> Result<Self, Broken> {
        let (backend, rest) = text.split_once('+').ok_or(NO_PORT)?;
        let (port, identity) = rest.split_once('+').unwrap_or((rest, ""));
        let any = |text: &str| if matches!(text, "_" | ANY) { ANY.to_owned() } else { text.to_owned() };
        let identity = if identity.is_empty() { ANY.to_owned() } else { any(identity) };
        let device = Self { backend: any(backend), port: any(port), identity: spelled(&identity) };
        let fits = device.port.len() <= PORT_MAX && is_identity(&device.identity);
        if fits && is_word(&device.backend) && is_word(&device.port) { Ok(device) } else { Err(STRANGE) }
    }

    /// The argument that names it, as clients write it.
    pub fn to_argument(&self) -> String {
        let part = |text: &str| if text == ANY { "_".to_owned() } else { text.to_owned() };
        let identity = self.identity.replace(UNKNOWN_INTERFACE.1, "_______").replace(':', "+");
        format!("{}+{}+{}", part(&self.backend), part(&self.port), part(&identity))
    }
}

/// As messages and events show it.
impl fmt::Display for DeviceName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}", self.backend, self.port, self.identity)
    }
}

impl sealed::Sealed for DeviceName {}

impl Sanitise for DeviceName {
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
        Self::parse(ascii(bytes)?)
    }
}

/// Whether lists can hold a text as one word.
fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.ends_with('=')
}

fn is_identity(text: &str) -> bool {
    text.len() <= IDENTITY_MAX && is_word(text)
}

/// An identity with the signs that an argument cannot have.
fn spelled(identity: &str) -> String {
    let mut spelled = String::new();
    let mut rest = identity;
    while let Some(first) = rest.chars().next() {
        let run = rest.bytes().take_while(|byte| *byte == b'_').count();
        let length = if run > 0 { run } else { first.len_utf8() };
        let (part, behind) = rest.split_at(length);
        match part {
            "+" => spelled.push(':'),
            _ if run == UNKNOWN_INTERFACE.0 => spelled.push_str(UNKNOWN_INTERFACE.1),
            _ => spelled.push_str(part),
        }
        rest = behind;
    }
    spelled
}

/// Text of a payload, or where it first is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded(Result<String, (u8, usize)>);

impl Decoded {
    /// The text.
    ///
    /// # Errors
    /// Names the first byte that is not ASCII, and its place.
    pub fn text(&self) -> Result<&str, BadDevice> {
        self.0.as_deref().map_err(|(byte, place)| {
            BadDevice::new(format!(
                "'ascii' codec can't decode byte 0x{byte:02x} in position {place}: ordinal not in range(128)"
            ))
        })
    }
}

impl sealed::Sealed for Decoded {}

impl Sanitise for Decoded {
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
        let strange = bytes.iter().position(|byte| !byte.is_ascii());
        let strange = strange.and_then(|place| Some((*bytes.get(place)?, place)));
        Ok(Self(strange.map_or_else(|| Ok(String::from_utf8_lossy(bytes).into_owned()), Err)))
    }
}

/// What is asked for a device: the payload of Assign and Attach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// The mode, if it says one.
    pub mode: Option<Mode>,
    /// Options in order.
    pub options: Vec<(String, String)>,
    /// Whether an Attach shall assign the device, too.
    pub is_persistent: bool,
}

const PERSISTENT: &str = "persistent";
/// Which keys an assignment may have besides its options.
const KEYS: [&str; 8] = [
    "backend_domain",
    "port_id",
    "devclass",
    "device_id",
    "mode",
    "frontend_domain",
    "required",
    "attach_automatically",
];

impl Wish {
    /// Reads what is said of a device of a class, which gets the identity that is said where it had any.
    ///
    /// # Errors
    /// What is malformed or speaks of another device.
    pub fn parse(text: &str, class: &str, device: &mut DeviceName) -> Result<Self, BadDevice> {
        Self::of(&Pairs::parse(text)?, class, device)
    }

    /// The same where the oldest form may be meant: words `key=value`, `persistent=yes` among them.
    ///
    /// # Errors
    /// As [`Wish::parse`].
    pub fn parse_any(text: &str, class: &str, device: &mut DeviceName) -> Result<Self, BadDevice> {
        if text.contains("='") || !text.contains('=') {
            return Self::parse(text, class, device);
        }
        let (mut pairs, mut is_persistent) = (Pairs::default(), false);
        for word in text.split_ascii_whitespace() {
            let (key, value) = word.split_once('=').ok_or_else(|| unexpected(word))?;
            if key == PERSISTENT {
                is_persistent = switch(value)?;
            } else if KEYS.contains(&key) || key.starts_with('_') {
                pairs.put(key, value)?;
            } else {
                pairs.put(&format!("_{key}"), value)?;
            }
        }
        Ok(Self { is_persistent, ..Self::of(&pairs, class, device)? })
    }

    fn of(pairs: &Pairs, class: &str, device: &mut DeviceName) -> Result<Self, BadDevice> {
        let is_known = |key: &str| key.starts_with('_') || KEYS.contains(&key);
        if let Some((key, _)) = pairs.iter().find(|(key, _)| !is_known(key)) {
            return Err(unexpected(key));
        }
        check_same(pairs, class, device)?;
        let mode = mode(pairs)?;
        let options = pairs.iter().filter_map(|(key, value)| Some((key.strip_prefix('_')?, value)));
        let options = options.map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<Vec<_>>();
        if options.iter().any(|(key, _)| key.is_empty()) {
            return Err(BadDevice::new("Empty option name"));
        }
        Ok(Self { mode, options, is_persistent: false })
    }
}

fn unexpected(key: &str) -> BadDevice {
    let key = quote(key);
    BadDevice::new(format!("DeviceAssignment.__init__() got an unexpected keyword argument {key}"))
}

/// Whether pairs speak of this device.
fn check_same(pairs: &Pairs, class: &str, device: &mut DeviceName) -> Result<(), BadDevice> {
    let other = |key: &str, expected: &str| pairs.get(key).filter(|got| *got != expected);
    if let Some(got) = other("backend_domain", &device.backend) {
        let expected = &device.backend;
        let text = format!("Got device exposed by {got}when expected devices from {expected}.");
        return Err(BadDevice::new(text));
    }
    if let Some(got) = other("port_id", &device.port) {
        let expected = &device.port;
        return Err(BadDevice::new(format!("Got device from port: {got} when expected port: {expected}.")));
    }
    if let Some(got) = other("devclass", class) {
        return Err(BadDevice::new(format!("Got {got} device when expected {class}.")));
    }
    match other("device_id", &device.identity) {
        Some(got) if device.identity == ANY && is_identity(got) => got.clone_into(&mut device.identity),
        Some(got) => {
            let expected = &device.identity;
            return Err(BadDevice::new(format!(
                "Unrecognized device identity '{got}' expected '{expected}'"
            )));
        }
        None => {}
    }
    Ok(())
}

/// The mode, also in the words of an older interface.
fn mode(pairs: &Pairs) -> Result<Option<Mode>, BadDevice> {
    if let Some(word) = pairs.get("mode") {
        let unknown = || BadDevice::new(format!("{} is not a valid AssignmentMode", quote(word)));
        return Mode::parse(word).ok_or_else(unknown).map(Some);
    }
    for (key, mode) in [("required", Mode::Required), ("attach_automatically", Mode::AutoAttach)] {
        if pairs.get(key).map(switch).transpose()? == Some(true) {
            return Ok(Some(mode));
        }
    }
    Ok(None)
}

fn switch(value: &str) -> Result<bool, BadDevice> {
    let text = || BadDevice::new(format!("Invalid literal for boolean property: {}", quote(value)));
    Switch::parse(value).map(|switch| switch.0).ok_or_else(text)
}
