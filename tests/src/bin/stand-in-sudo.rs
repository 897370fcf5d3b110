//! A stand-in for `sudo`: where it belongs to root and has the set-user-ID bit, it becomes root and records what it then
//! starts. Without the bit it refuses, as the real one does where a password is asked for.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::indexing_slicing,
    reason = "test code"
)]

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, exit};

use nix::unistd::{Gid, Uid, setgid, setuid};

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if !Uid::effective().is_root() || words[1..3] != ["-n", "--"] {
        eprintln!("sudo: a password is \u{1b}[31m required");
        exit(1);
    }
    setgid(Gid::from_raw(0)).and_then(|()| setuid(Uid::from_raw(0))).unwrap();
    let root = Path::new(&words[0]).ancestors().nth(3).unwrap();
    let mut log = std::fs::OpenOptions::new().create(true).append(true).open(root.join("sudo.log")).unwrap();
    log.write_all(format!("{}\n", words[3..].join(" ")).as_bytes()).unwrap();
    eprintln!("sudo: {}", Command::new(&words[3]).args(&words[4..]).exec());
    exit(1);
}
