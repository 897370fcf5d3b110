//! The block devices of dom0 as its kernel and udev tell of them. What dom0 uses itself is not for others (spec 30 §4.1).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use common::files;
use common::root::Root;

use super::guest::Record;

const FOLDER: &str = "/sys/class/block";
/// Kinds that are never anybody's: disks of other domains, snapshots of storage, compressed memory.
const HIDDEN: [&str; 3] = ["xvd", "zram", "ram"];
const HIDDEN_MAPPINGS: [&str; 2] = ["snapshot-", "origin-"];
/// A folder with such a file keeps the images below it to itself.
const EXCLUDES: &str = ".qubes-exclude-block-devices";

/// What is known of each device that others may use, by its name.
pub(super) fn records(root: &Root) -> BTreeMap<String, Record> {
    let used = in_use(root);
    let names = files::list(&root.path(FOLDER)).unwrap_or_default();
    let devices: Vec<Device<'_>> = names.iter().map(|name| Device::of(root, name)).collect();
    let busy: BTreeSet<&str> =
        devices.iter().filter(|it| it.is_busy(&used)).filter_map(|it| it.disk.as_deref()).collect();
    let is_free = |device: &&Device<'_>| !device.is_busy(&used) && !busy.contains(device.name);
    let told = devices.iter().filter(is_free).filter(|device| !device.is_hidden());
    told.map(|device| (device.name.to_owned(), device.record())).collect()
}

/// Numbers of devices that have a mounted file system or that memory is swapped to.
fn in_use(root: &Root) -> BTreeSet<String> {
    let read = |path: &str| files::read(&root.path(path)).unwrap_or_default();
    let mounts = read("/proc/self/mountinfo");
    let mounts = String::from_utf8_lossy(&mounts).into_owned();
    let mut used: BTreeSet<String> =
        mounts.lines().filter_map(|line| line.split(' ').nth(2)).map(str::to_owned).collect();
    let swaps = String::from_utf8_lossy(&read("/proc/swaps")).into_owned();
    let files = swaps.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().next());
    let names = files.filter_map(|file| Path::new(file).file_name()?.to_str());
    used.extend(names.map(str::to_owned));
    used
}

struct Device<'a> {
    root: &'a Root,
    name: &'a str,
    /// The whole disk, if it is a partition.
    disk: Option<String>,
}

impl<'a> Device<'a> {
    fn of(root: &'a Root, name: &'a str) -> Self {
        let folder = root.path(FOLDER).join(name);
        let is_part = files::exists(&folder.join("partition"));
        let place = files::real_path(&folder).ok().filter(|_| is_part);
        let disk = place.and_then(|place| Some(place.parent()?.file_name()?.to_str()?.to_owned()));
        Self { root, name, disk }
    }

    fn text(&self, file: &str) -> Option<String> {
        let bytes = files::read(&self.root.path(FOLDER).join(self.name).join(file)).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Whether the machine itself has it open: as a file system, as swap, or as a part of another device.
    fn is_busy(&self, used: &BTreeSet<String>) -> bool {
        let holders = files::list(&self.root.path(FOLDER).join(self.name).join("holders"));
        let is_used = |name: Option<&str>| name.is_some_and(|name| used.contains(name));
        is_used(self.text("dev").as_deref())
            || is_used(Some(self.name))
            || is_used(self.text("dm/name").as_deref())
            || holders.is_ok_and(|holders| !holders.is_empty())
    }

    fn is_hidden(&self) -> bool {
        let is_empty = self.text("size").is_none_or(|size| size == "0");
        let image = self.text("loop/backing_file");
        let is_excluded = image.is_some_and(|image| {
            Path::new(&image)
                .ancestors()
                .skip(1)
                .any(|folder| files::exists(&self.root.path(&folder.to_string_lossy()).join(EXCLUDES)))
        });
        let mapping = self.text("dm/name").unwrap_or_default();
        is_empty
            || is_excluded
            || HIDDEN.iter().any(|kind| self.name.starts_with(kind))
            || HIDDEN_MAPPINGS.iter().any(|kind| mapping.starts_with(kind))
    }

    /// What udev knows of it.
    fn properties(&self) -> Record {
        let number = self.text("dev").unwrap_or_default();
        let bytes = files::read(&self.root.path("/run/udev/data").join(format!("b{number}")));
        let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
        let pairs = text.lines().filter_map(|line| line.strip_prefix("E:")?.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn record(&self) -> Record {
        let properties = self.properties();
        let label = properties.get("ID_FS_LABEL").map(String::as_str).unwrap_or_default();
        let of_disk = self.disk.as_deref().map(|name| Device { root: self.root, name, disk: None });
        let of_device = of_disk.map_or_else(|| self.text("device/model"), |disk| disk.text("device/model"));
        let model = properties.get("ID_MODEL").cloned().or(of_device);
        let model = model.unwrap_or_default().trim().replace(' ', "_");
        let desc = match (self.text("dm/name"), self.text("loop/backing_file")) {
            (Some(mapping), _) => mapping,
            (None, Some(image)) => image,
            (None, None) => format!("{model} ({label})"),
        };
        let mode = if self.text("ro").as_deref() == Some("1") { "r" } else { "w" };
        let parent = self.disk.clone().or_else(|| self.usb_interface()).unwrap_or_default();
        let pairs = [("desc", desc), ("mode", mode.to_owned()), ("parent", parent)];
        pairs.map(|(key, value)| (key.to_owned(), value)).into()
    }

    /// The interface of a USB device that it is, `1-1.2:1.0` for example.
    fn usb_interface(&self) -> Option<String> {
        let place = files::real_path(&self.root.path(FOLDER).join(self.name)).ok()?;
        let is_interface = |part: &&str| {
            part.split_once(':').is_some_and(|(port, number)| {
                let is_of_port = |byte: u8| byte.is_ascii_digit() || byte == b'-' || byte == b'.';
                port.contains('-') && port.bytes().all(is_of_port) && number.contains('.')
            })
        };
        let mut parts = place.components().filter_map(|part| part.as_os_str().to_str());
        parts.find(is_interface).map(str::to_owned)
    }
}
