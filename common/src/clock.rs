//! The time of day as people beside the machine read it.
#![allow(unsafe_code, reason = "localtime_r has no wrapper in nix")]

use std::mem;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// Now, in the machine's time zone.
pub fn local_now() -> String {
    local(seconds_now())
}

/// Now, in the machine's time zone and as part of a name: `YYYY-MM-DDTHHMMSS`.
pub fn local_stamp() -> String {
    local_now().replace(' ', "T").replace(':', "")
}

/// A time, in the machine's time zone: `YYYY-MM-DD HH:MM:SS`.
pub fn local(seconds: u64) -> String {
    let seconds = libc::time_t::try_from(seconds).unwrap_or_default();
    // SAFETY: the structure is numbers and a pointer, for all of which zero is a value.
    let mut parts: libc::tm = unsafe { mem::zeroed() };
    // SAFETY: both outlive the call, which keeps neither.
    unsafe { libc::localtime_r(&raw const seconds, &raw mut parts) };
    let (year, month) = (parts.tm_year.saturating_add(1900), parts.tm_mon.saturating_add(1));
    let libc::tm { tm_mday: day, tm_hour: hour, tm_min: minute, tm_sec: second, .. } = parts;
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}
