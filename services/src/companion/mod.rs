//! What accompanies a running domain: parts of other packages, each used where it is there and done without where it is
//! not. They are the memory daemon, QubesDB and qrexec (spec 40 §3.2 to §3.6).

mod base64;
pub mod clients;
pub mod entries;
pub mod memory;
pub mod qrexec;
pub mod qubesdb;
pub mod service;

use std::time::Duration;

/// How long a daemon may take to start, but for what it waits for itself.
const START_DEADLINE: Duration = Duration::from_secs(30);
