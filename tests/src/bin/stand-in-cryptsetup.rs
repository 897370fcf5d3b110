//! A stand-in for `cryptsetup`: a mapping is a file of noise, as long as what it encrypts, below the root that this program
//! lies in, and each command is recorded. The file `/cryptsetup.fail` there may name the action that fails.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::exit;

fn fail(text: &str) -> ! {
    eprintln!("{text}");
    exit(1)
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let root = Path::new(&arguments[0]).ancestors().nth(3).unwrap();
    let log = root.join("cryptsetup.log");
    let mut log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    log.write_all(format!("{}\n", arguments[1..].join(" ")).as_bytes()).unwrap();
    let words = arguments.iter().position(|word| word == "--").unwrap();
    let (action, words) = arguments[words + 1..].split_first().unwrap();
    if fs::read_to_string(root.join("cryptsetup.fail")).is_ok_and(|failing| failing == *action) {
        fail("Device is \u{1b}[31m busy %");
    }
    let mapping = root.join("dev/mapper").join(words.last().unwrap());
    match action.as_str() {
        "open" if mapping.exists() => fail("Device already exists."),
        "open" => {
            let length = fs::metadata(&words[0]).unwrap().len();
            fs::create_dir_all(mapping.parent().unwrap()).unwrap();
            fs::write(mapping, vec![0xee; usize::try_from(length).unwrap()]).unwrap();
        }
        _ => fs::remove_file(mapping).unwrap_or_else(|_| fail("Device is not active.")),
    }
}
