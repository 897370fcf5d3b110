//! Standard input and output as plain files: std's own keep a buffer each, which one read and one write need not.
#![allow(unsafe_code, reason = "std gives files only for descriptors it opened")]

use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};

/// Standard input.
pub fn input() -> ManuallyDrop<File> {
    borrowed(0)
}

/// Standard output.
pub fn output() -> ManuallyDrop<File> {
    borrowed(1)
}

fn borrowed(descriptor: RawFd) -> ManuallyDrop<File> {
    // SAFETY: the start of the process saw to it that the descriptor is open, and it is never closed.
    ManuallyDrop::new(unsafe { File::from_raw_fd(descriptor) })
}
