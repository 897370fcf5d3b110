//! What the system tells of processes that have ended.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// CPU microseconds of all children that were waited for, user and system.
pub fn children_cpu() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let micros = |time: TimeVal| u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap();
    micros(usage.user_time()) + micros(usage.system_time())
}

/// The most memory that any child had at once which was waited for, in KiB.
pub fn children_peak() -> i64 {
    getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss()
}
