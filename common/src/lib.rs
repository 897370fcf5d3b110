//! What every executable of the Admin API shares: framing, sanitising, the three stages and the store.
//!
//! A call goes `request` → `untrusted`/`names` (stage 1) → `permission` (stage 2) → `call::World` (stage 3)
//! → `reply`. Everything that touches the outside lives in one module each: files in [`files`], the
//! environment in [`environment`], the log in [`log`].

pub mod audit;
pub mod autostart;
pub mod beneath;
pub mod call;
pub mod capture;
pub mod clock;
mod command;
pub mod constraint;
pub mod environment;
pub mod event;
pub mod failure;
pub mod files;
mod filling;
pub mod hypervisor;
pub mod log;
pub mod model;
pub mod names;
pub mod opened;
pub mod packing;
pub mod past;
pub mod peer;
pub mod permission;
pub mod plain;
pub mod policy;
pub mod progress;
pub mod qubesdb;
pub mod quota;
pub mod quote;
pub mod random;
pub mod reply;
pub mod request;
pub mod root;
pub mod run;
pub mod serve;
mod spawn;
pub mod standard;
pub mod start;
pub mod storage;
pub mod store;
pub mod stream;
pub mod terminal;
pub mod trace;
pub mod untrusted;
pub mod upload;
pub mod work;
