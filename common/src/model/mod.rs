//! The state as plain data: what one file of the store holds each.

mod label;
mod note;
mod pool;
mod qube;
mod system;
mod value;
mod volume;

pub use label::{BUILT_IN_LABELS, Label, Labels, parse_index};
pub use note::{Halfway, Place};
pub use pool::{Pool, Pools};
pub use qube::{Class, Device, OWN_FEATURES, Qube};
pub use system::System;
pub use value::Value;
pub use volume::{Import, Volume};
