//! `qubes-backup run` makes a backup, for the call that is answered when it ends, and goes on if that is ended.

fn main() {
    if let Err(text) = services::backup::program() {
        common::log::line(&format!("qubes-backup: {text}"));
        std::process::exit(1);
    }
}
