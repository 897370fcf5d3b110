//! `qubes-run verify NAME` and `qubes-run start NAME` make a qube's volumes ready for a start, whose lifecycle lock they get;
//! `qubes-run imports NAME` ends imports into them that were killed, likewise;
//! `qubes-run end NAME BEGUN` does what follows from the end of a qube's run, for the watcher of its domain; `qubes-run
//! settle NAME [REASON]` starts a watcher in place of one that was killed.

fn main() {
    if let Err(text) = services::lifecycle::program() {
        common::log::line(&format!("qubes-run: {text}"));
        std::process::exit(1);
    }
}
