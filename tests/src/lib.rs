//! Helpers of the tests: throwaway roots and real executables.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

pub mod cases;
pub mod checks;
pub mod companions;
pub mod executables;
pub mod fixture;
pub mod gateway;
pub mod golden;
pub mod in_use;
pub mod listener;
pub mod loops;
pub mod measure;
pub mod numbers;
pub mod pools;
pub mod preloaded;
pub mod scenario;
pub mod sim;
pub mod startable;
pub mod stepped;
pub mod stepper;
pub mod tool;
pub mod users;
pub mod volumes;
pub mod watching;

pub use fixture::Fixture;

/// A throwaway directory, in memory where there is such a place: thousands of roots sync their files there in no time.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
