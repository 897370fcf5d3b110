//! Disks: the volumes, then the block devices that the qube cannot do without (spec 40 §9).

use std::path::PathBuf;

use common::failure::{Exception, Failure};
use common::hypervisor::Disk;
use common::model::Qube;
use common::names::{DeviceName, QubeName};
use common::quote::quote;
use common::storage::Started;

use super::kernel;
use crate::device;
use crate::property::{self, Case, Kind};

/// Sets up a disk in its backend; takes image files too.
const SCRIPT: &str = "/etc/xen/scripts/qubes-block";
/// Where each qube's usual volumes appear.
const SYSTEM: [(&str, &str); 4] =
    [("root", "xvda"), ("private", "xvdb"), ("volatile", "xvdc"), ("kernel", "xvdd")];
const FIRST_EXTRA: u8 = b'e';
const FIRST_DEVICE: u8 = b'i';

pub(super) fn all(case: &Case<'_>, qube: &Qube, volumes: &[Started]) -> Result<Vec<Disk>, Failure> {
    let mut disks = Vec::new();
    for started in volumes {
        let name = started.volume.name.as_str();
        let system =
            SYSTEM.iter().find(|(volume, _)| *volume == name).map(|(_, target)| (*target).to_owned());
        let target = system.unwrap_or_else(|| free(FIRST_EXTRA, &disks));
        disks.push(Disk {
            path: started.path.clone(),
            target,
            rw: started.volume.rw,
            cdrom: false,
            backend: None,
            script: Some(PathBuf::from(SCRIPT)),
        });
    }
    for needed in device::required(case, qube, "block")? {
        let wish = Options::parse(&needed.options)?;
        let disk = of_device(case, &needed.device, wish, needed.is_read_only, &disks)?;
        disks.push(disk);
    }
    Ok(disks)
}

/// The first name from a letter on that no disk has: single letters first, then pairs, then what comes before.
fn free(first: u8, disks: &[Disk]) -> String {
    let name = |letters: &[u8]| format!("xvd{}", String::from_utf8_lossy(letters));
    let single = (first..=b'z').map(|letter| name(&[letter]));
    let pairs = (b'a'..=b'z').flat_map(|one| (b'a'..=b'z').map(move |two| [one, two]));
    let early = (b'a'..first).map(|letter| name(&[letter]));
    let mut names = single.chain(pairs.map(|pair| name(&pair))).chain(early);
    names.find(|name| is_free(name, disks)).unwrap_or_default()
}

fn is_free(target: &str, disks: &[Disk]) -> bool {
    disks.iter().all(|disk| disk.target != target)
}

/// What the options of a device say that becomes a disk (spec 30 §4.1).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    target: Option<String>,
    read_only: Option<bool>,
    cdrom: bool,
}

impl Options {
    /// Reads them.
    ///
    /// # Errors
    /// `QubesValueError`.
    pub fn parse(given: &[(String, String)]) -> Result<Self, Failure> {
        let mut options = Self::default();
        for (key, value) in given {
            match (key.as_str(), value.as_str()) {
                ("frontend-dev", target) if target.starts_with("xvd") || target.starts_with("sd") => {
                    options.target = Some(target.to_owned());
                }
                ("frontend-dev", _) => {
                    return Err(bad(format!("Invalid frontend-dev option value: {value}")));
                }
                ("read-only", _) => options.read_only = Some(switch(value)?),
                ("devtype", "disk" | "cdrom") => options.cdrom = value == "cdrom",
                ("devtype", _) => {
                    return Err(bad("devtype option can only have 'disk' or 'cdrom' value".to_owned()));
                }
                _ => return Err(bad(format!("Unsupported option {key}"))),
            }
        }
        Ok(options)
    }
}

/// The disk that a device becomes beside others.
///
/// # Errors
/// `QubesValueError` where it cannot be written to but shall be; what the store says.
pub fn of_device(
    case: &Case<'_>,
    device: &DeviceName,
    options: Options,
    is_read_only: bool,
    disks: &[Disk],
) -> Result<Disk, Failure> {
    if is_read_only && options.read_only == Some(false) {
        return Err(bad("This device can be attached only read-only".to_owned()));
    }
    let no_kernel = kernel::in_dom0(case)?.is_none();
    let drive = (options.cdrom && no_kernel && is_free("xvdd", disks)).then(|| "xvdd".to_owned());
    let backend = QubeName::parse(&device.backend)?;
    Ok(Disk {
        path: device::node(&device.port),
        target: options.target.or(drive).unwrap_or_else(|| free(FIRST_DEVICE, disks)),
        rw: !options.read_only.unwrap_or(is_read_only) && !options.cdrom,
        cdrom: options.cdrom,
        script: has_script(case, &backend)?.then(|| PathBuf::from(SCRIPT)),
        backend: Some(backend).filter(|backend| !backend.is_dom0()),
    })
}

fn switch(value: &str) -> Result<bool, Failure> {
    let parsed = property::parse_stored(Kind::Bool, value).map(|value| value.is_true());
    parsed.map_err(|_| bad(format!("Invalid literal for boolean property: {}", quote(value))))
}

fn bad(text: String) -> Failure {
    Failure::new(Exception::QubesValueError, text)
}

/// Whether the backend has the program: dom0 has, and qubes since release 4.2.
fn has_script(case: &Case<'_>, backend: &QubeName) -> Result<bool, Failure> {
    let Some(qube) = case.view.qube(backend)?.filter(|_| !backend.is_dom0()) else { return Ok(true) };
    let release = case.at(&qube).feature("qubes-agent-version")?;
    Ok(release.is_some_and(|release| release.as_str() >= "4.2"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(target: String) -> Disk {
        Disk { path: PathBuf::new(), target, rw: true, cdrom: false, backend: None, script: None }
    }

    #[test]
    fn names_of_disks_are_free_and_go_on_after_z() {
        let mut disks = vec![disk("xvdf".to_owned())];
        let mut names = Vec::new();
        for _ in 0..24 {
            let name = free(FIRST_EXTRA, &disks);
            names.push(name.clone());
            disks.push(disk(name));
        }
        assert_eq!(names[..2], ["xvde", "xvdg"]);
        assert_eq!(names[20..], ["xvdz", "xvdaa", "xvdab", "xvdac"]);
    }
}
