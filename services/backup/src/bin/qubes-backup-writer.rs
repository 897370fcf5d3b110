//! `qubes-backup-writer` writes a backup to its standard output. What shall be in it comes by standard input, one end of a
//! conversation (`common::packing`).

fn main() {
    if let Err(text) = backup::program() {
        common::log::line(&format!("qubes-backup-writer: {text}"));
        std::process::exit(1);
    }
}
