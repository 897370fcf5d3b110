//! `qubes-constraints standing` tells how a caller stands to a destination, `qubes-constraints verdict` what the
//! administrator's constraints say of a call. Calls ask; what about comes by standard input.

fn main() {
    if let Err(text) = services::constraints::program() {
        common::log::line(&format!("qubes-constraints: {text}"));
        std::process::exit(1);
    }
}
