//! Loop devices: telling them that the file behind them has another size.
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

/// Gives every loop device over an image the image's size of now.
///
/// # Errors
/// What the system says.
pub(super) fn update_sizes(image: &Path) -> io::Result<()> {
    const DEVICES: &str = "/sys/block";
    let image = files::real_path(image)?;
    for device in files::list(DEVICES.as_ref())?.iter().filter(|name| name.starts_with("loop")) {
        let backing = Path::new(DEVICES).join(device).join("loop/backing_file");
        let Some(backing) = files::read_if_present(&backing)? else { continue };
        if backing.trim_ascii_end() == image.as_os_str().as_encoded_bytes() {
            let device = opened::open(&Path::new("/dev").join(device), Purpose::Writing)?;
            // SAFETY: the descriptor is open, see above; anything but a loop device answers with an error.
            unsafe { set_capacity(device.as_raw_fd()) }?;
        }
    }
    Ok(())
}
