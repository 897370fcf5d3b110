//! The block devices of dom0 as its kernel and udev tell of them. What dom0 uses itself is not for others (spec 30 §4.1).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use common::failure::Failure;
use common::files;
use common::root::Root;

use super::dom0_used::Used;
use super::guest::Record;
use crate::property::Case;

const FOLDER: &str = "/sys/class/block";
/// Kinds that are never anybody's: disks of other domains, volumes of ZFS, compressed memory, memory.
const HIDDEN: [&str; 4] = ["xvd", "zd", "zram", "ram"];
/// Snapshots of storage.
const HIDDEN_MAPPINGS: [&str; 2] = ["snapshot-", "origin-"];
/// How identities of mappings begin that are logical volumes, as those of qubes are.
const LOGICAL_VOLUME: &str = "LVM-";
/// A folder with such a file keeps the images below it to itself.
const EXCLUDES: &str = ".qubes-exclude-block-devices";

/// What is known of each device that others may use, by its name.
///
/// # Errors
/// What the store says.
pub(super) fn records(case: &Case<'_>) -> Result<BTreeMap<String, Record>, Failure> {
    let root = case.context.root;
    let (used, images) = (Used::now(case), folders_of_images(case)?);
    let names = files::list(&root.path(FOLDER)).unwrap_or_default();
    let devices: Vec<Device<'_>> = names.iter().map(|name| Device::of(root, name)).collect();
    let is_taken = |it: &&Device<'_>| it.is_busy(&used) || used.is_attached(it.name);
    let parted: BTreeSet<&str> =
        devices.iter().filter(is_taken).filter_map(|it| it.disk.as_deref()).collect();
    // One that a qube has is told of, with its partitions, until it is taken away.
    let is_whole = |device: &Device<'_>| used.is_attached(device.name) || !parted.contains(device.name);
    let told = devices.iter().filter(|device| !device.is_busy(&used) && is_whole(device));
    let told = told.filter(|device| !device.is_hidden(&images));
    Ok(told.map(|device| (device.name.to_owned(), device.record())).collect())
}

/// Where pools keep volumes as files.
fn folders_of_images(case: &Case<'_>) -> Result<Vec<PathBuf>, Failure> {
    let root = case.context.root;
    let pools = case.view.pools()?;
    let folders = pools.pools.iter().filter_map(|pool| pool.setting("dir_path"));
    Ok(folders.map(|folder| files::real_path_so_far(&root.path(folder))).collect())
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
    fn is_busy(&self, used: &Used) -> bool {
        let holders = files::list(&self.root.path(FOLDER).join(self.name).join("holders"));
        used.is_busy(self.text("dev").as_deref())
            || used.is_busy(Some(self.name))
            || used.is_busy(self.text("dm/name").as_deref())
            || holders.is_ok_and(|holders| !holders.is_empty())
    }

    fn is_hidden(&self, images: &[PathBuf]) -> bool {
        let is_empty = self.text("size").is_none_or(|size| size == "0");
        let image = self.text("loop/backing_file");
        let mapping = self.text("dm/name").unwrap_or_default();
        is_empty
            || image.is_some_and(|image| self.is_private(&image, images))
            || HIDDEN.iter().any(|kind| self.name.starts_with(kind))
            || HIDDEN_MAPPINGS.iter().any(|kind| mapping.starts_with(kind))
            || self.text("dm/uuid").is_some_and(|uuid| uuid.starts_with(LOGICAL_VOLUME))
    }

    /// Whether an image is a volume of a qube, or in a folder that keeps what is there to itself.
    fn is_private(&self, image: &str, images: &[PathBuf]) -> bool {
        let real = files::real_path_so_far(&self.root.path(image));
        let mut folders = Path::new(image).ancestors().skip(1);
        images.iter().any(|folder| real.starts_with(folder))
            || folders.any(|folder| files::exists(&self.root.path(&folder.to_string_lossy()).join(EXCLUDES)))
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
