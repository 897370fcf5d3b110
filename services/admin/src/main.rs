//! `qubes-admin`: the operator's tool.

mod xml;

fn main() {}
