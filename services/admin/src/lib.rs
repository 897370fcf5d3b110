//! The operator's tool: `qubes-admin`.

pub mod generate;
pub mod tool;
pub mod xml;
