//! Loop devices: which lie over a file, and telling them that it has another size.
#![allow(unsafe_code, reason = "LOOP_SET_CAPACITY has no wrapper in nix")]

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use crate::files;
use crate::opened::{self, Purpose};

const SET_CAPACITY: libc::c_ulong = 0x4c07;

// SAFETY: LOOP_SET_CAPACITY takes no argument and reads or writes no memory of ours; the descriptor is open for as long
// as the call lasts, because the caller borrows its file.
nix::ioctl_none_bad!(set_capacity, SET_CAPACITY);

/// Where the system tells of block devices.
pub(super) const DEVICES: &str = "/sys/block";

/// The names of the loop devices over a file. `devices` is the folder with an entry for each block device.
///
/// # Errors
/// What the system says.
pub(super) fn over(devices: &Path, file: &Path) -> io::Result<Vec<String>> {
    let Some(file) = files::present(files::real_path(file))? else { return Ok(Vec::new()) };
    let mut names = files::list(devices)?;
    names.retain(|name| {
        let backing = attribute(devices, name, "backing_file");
        name.starts_with("loop")
            && backing.is_some_and(|backing| backing == file.as_os_str().as_encoded_bytes())
    });
    Ok(names)
}

/// Whether a loop device goes by itself once nobody uses it.
pub(super) fn goes_by_itself(devices: &Path, name: &str) -> bool {
    attribute(devices, name, "autoclear").is_none_or(|value| value != b"0")
}

/// What the system tells of a loop device; nothing of one that is over no file, or is gone since.
fn attribute(devices: &Path, name: &str, attribute: &str) -> Option<Vec<u8>> {
    let value = files::read_if_present(&devices.join(name).join("loop").join(attribute)).ok().flatten()?;
    Some(value.trim_ascii_end().to_vec())
}

/// Gives every loop device over an image the image's size of now.
///
/// # Errors
/// What the system says.
pub(super) fn update_sizes(image: &Path) -> io::Result<()> {
    for device in over(DEVICES.as_ref(), image)? {
        let device = opened::open(&Path::new("/dev").join(device), Purpose::Writing)?;
        // SAFETY: the descriptor is open, see above; anything but a loop device answers with an error.
        unsafe { set_capacity(device.as_raw_fd()) }?;
    }
    Ok(())
}
