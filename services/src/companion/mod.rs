//! What accompanies a running domain: parts of other packages, each used where it is there and done without where it is
//! not. They are the memory daemon, QubesDB and qrexec (spec 40 §3.2 to §3.6).

mod base64;
pub mod clients;
pub mod entries;
pub mod live;
pub mod memory;
pub mod others;
pub mod qrexec;
pub mod qubesdb;
pub mod service;

use std::time::Duration;

use common::names::QubeName;
use common::root::Root;

/// The parts there are, and where each shows that it is there.
pub const PARTS: [(&str, &str); 3] =
    [("QubesDB", qubesdb::DAEMON), ("qrexec", qrexec::DAEMON), ("memory daemon", memory::SOCKET)];

/// How long a daemon may take to start, but for what it waits for itself.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// Ends what accompanied a domain that is gone.
pub fn stop(root: &Root, qube: &QubeName) {
    qrexec::stop(root, qube);
    qubesdb::stop(root, qube);
}
