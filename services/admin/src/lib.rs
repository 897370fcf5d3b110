//! The operator's tool: `qubes-admin`.

pub mod tool;
pub mod xml;
