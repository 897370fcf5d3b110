//! Which options each driver's pools have, and what may be said of them (spec 20 §2.2, §2.5, §2.7).

use std::path::{Component, Path, PathBuf};

use crate::failure::{Exception, Failure};
use crate::model::Pool;
use crate::names::Switch;
use crate::quote::quote;

/// Option of a pool: how many old states its volumes keep unless they say otherwise.
pub const REVISIONS_TO_KEEP: &str = "revisions_to_keep";
/// Option of a pool: whether its volatile volumes are encrypted unless they say otherwise.
pub const EPHEMERAL_VOLATILE: &str = "ephemeral_volatile";
/// Option of a new pool: whether its directory must be able to share blocks. Not stored.
pub const SETUP_CHECK: &str = "setup_check";

/// What driver `file` says of more old states than it keeps, to pools and volumes alike (spec 20 §2.7).
pub(super) const TOO_MANY_REVISIONS: &str = "FilePool supports maximum 1 volume revision to keep";

/// A driver by its name on the wire, with its options in the order of lists.
#[derive(Debug)]
pub struct Driver {
    /// The name.
    pub name: &'static str,
    /// What a pool of it is told.
    pub options: &'static [DriverOption],
}

/// One option of a driver.
#[derive(Debug)]
pub struct DriverOption {
    /// Its key.
    pub name: &'static str,
    /// What its value is.
    kind: Kind,
    /// Its value where none is given; without one it must be given.
    default: Option<&'static str>,
}

/// What an option's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Any text that names something.
    Text,
    /// An absolute path.
    Directory,
    /// A number from -1 up to this one.
    Revisions(i64),
    /// A word for on or off.
    Switch,
    /// The same, of fewer words; nothing means off.
    StrictSwitch,
}

const fn required(name: &'static str, kind: Kind) -> DriverOption {
    DriverOption { name, kind, default: None }
}

const fn optional(name: &'static str, kind: Kind, default: &'static str) -> DriverOption {
    DriverOption { name, kind, default: Some(default) }
}

const fn revisions(most: i64) -> DriverOption {
    optional(REVISIONS_TO_KEEP, Kind::Revisions(most), "1")
}

const EPHEMERAL: DriverOption = optional(EPHEMERAL_VOLATILE, Kind::StrictSwitch, "False");
const DIRECTORY: DriverOption = required("dir_path", Kind::Directory);

/// All drivers, sorted by name.
pub static DRIVERS: [Driver; 6] = [
    Driver { name: "callback", options: &[required("conf_id", Kind::Text)] },
    Driver { name: "file", options: &[revisions(1), DIRECTORY, EPHEMERAL] },
    Driver {
        name: "file-reflink",
        options: &[revisions(i64::MAX), DIRECTORY, optional(SETUP_CHECK, Kind::Switch, "True"), EPHEMERAL],
    },
    Driver { name: "linux-kernel", options: &[DIRECTORY] },
    Driver {
        name: "lvm_thin",
        options: &[
            revisions(i64::MAX),
            required("volume_group", Kind::Text),
            required("thin_pool", Kind::Text),
            EPHEMERAL,
        ],
    },
    Driver {
        name: "zfs",
        options: &[
            revisions(i64::MAX),
            required("container", Kind::Text),
            EPHEMERAL,
            optional("snap_on_start_forensics", Kind::Switch, "False"),
        ],
    },
];

/// The driver of that name.
pub fn find(name: &str) -> Option<&'static Driver> {
    DRIVERS.iter().find(|driver| driver.name == name)
}

impl Driver {
    /// The option of that name.
    pub fn option(&self, name: &str) -> Option<&'static DriverOption> {
        self.options.iter().find(|option| option.name == name)
    }

    /// Names of the options that must be given and are not, in the order of lists.
    pub fn missing(&self, given: &[(String, String)]) -> Vec<&'static str> {
        let is_missing =
            |option: &&DriverOption| option.default.is_none() && find_in(given, option).is_none();
        self.options.iter().filter(is_missing).map(|option| option.name).collect()
    }

    /// What a pool stores and checks at its beginning: every option with its value in its stored form, required ones
    /// first (the order of `qubes.xml`).
    ///
    /// # Errors
    /// The first bad value's.
    pub fn settings(&self, given: &[(String, String)]) -> Result<Vec<(String, String)>, Failure> {
        let (required, optional): (Vec<_>, Vec<_>) =
            self.options.iter().partition(|option| option.default.is_none());
        let ordered = required.into_iter().chain(optional);
        ordered
            .map(|option| {
                let value = find_in(given, option).or(option.default).unwrap_or_default();
                Ok((option.name.to_owned(), option.checked(value)?))
            })
            .collect()
    }
}

fn find_in<'a>(given: &'a [(String, String)], option: &DriverOption) -> Option<&'a str> {
    given.iter().find(|(key, _)| key == option.name).map(|(_, value)| value.as_str())
}

impl DriverOption {
    /// The value in its stored form.
    ///
    /// # Errors
    /// `QubesValueError`, or `QubesNotImplementedError` for more old states than the driver can keep.
    pub fn checked(&self, value: &str) -> Result<String, Failure> {
        let invalid = |text: String| Failure::new(Exception::QubesValueError, text);
        let of_option = || invalid(format!("Invalid value for {}", self.name));
        let no_switch = || invalid(format!("Invalid literal for boolean property: {}", quote(value)));
        match self.kind {
            _ if value.bytes().any(|byte| byte.is_ascii_control()) => Err(of_option()),
            // A program would take it for an option.
            Kind::Text if value.starts_with('-') => Err(of_option()),
            Kind::Text => Ok(value.to_owned()),
            Kind::Directory => Ok(normal(value).display().to_string()),
            Kind::Revisions(most) => {
                let number =
                    value.parse::<i64>().ok().filter(|number| *number >= -1).ok_or_else(of_option)?;
                let too_many = || Failure::new(Exception::QubesNotImplementedError, TOO_MANY_REVISIONS);
                Some(number.to_string()).filter(|_| number <= most).ok_or_else(too_many)
            }
            Kind::Switch => Switch::parse(value).map(|switch| text_of(switch.0)).ok_or_else(no_switch),
            Kind::StrictSwitch => strict(value).map(text_of).ok_or_else(no_switch),
        }
    }
}

fn strict(text: &str) -> Option<bool> {
    match text {
        "True" | "1" | "on" => Some(true),
        "False" | "0" | "off" | "" => Some(false),
        _ => None,
    }
}

/// A switch as it is stored and shown.
pub fn text_of(switch: bool) -> String {
    if switch { "True" } else { "False" }.to_owned()
}

/// A path from the root without `.`, `..` and double slashes, by its text alone.
fn normal(path: &str) -> PathBuf {
    let mut normal = PathBuf::from("/");
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => drop(normal.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    normal
}

impl Pool {
    /// Changes one setting, in its place if it is there.
    pub fn set(&mut self, key: &str, value: String) {
        match self.settings.iter_mut().find(|(known, _)| known == key) {
            Some(setting) => setting.1 = value,
            None => self.settings.push((key.to_owned(), value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_lose_what_does_not_matter_and_never_leave_the_root() {
        for (given, normal_form) in
            [("/a//b/./c/", "/a/b/c"), ("/a/../../b", "/b"), ("x", "/x"), ("", "/"), ("/..", "/")]
        {
            assert_eq!(normal(given), Path::new(normal_form));
        }
    }
}
