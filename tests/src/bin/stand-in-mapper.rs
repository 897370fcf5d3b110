//! A stand-in for `losetup` and `dmsetup`, by the name it is started under: a loop device is a link to its file, an origin
//! a link to its image, a snapshot a copy of what it is made over. Each command is recorded. The file `/mapper.fail` in the
//! root that this program lies in may hold the beginning of a command that fails.
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
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::exit;

/// What the device mapper writes to the beginning of an empty store.
const HEADER: &[u8] = b"SnAp\x01\0\0\0\x01\0\0\0\0\x01\0\0";

struct Machine {
    root: PathBuf,
}

fn fail(text: &str) -> ! {
    eprintln!("{text}");
    exit(1)
}

impl Machine {
    fn mapping(&self, name: &str) -> PathBuf {
        self.root.join("dev/mapper").join(name)
    }

    /// The file with a mapping's table.
    fn table(&self, name: &str) -> PathBuf {
        self.root.join("dm").join(name)
    }

    fn attach(&self, file: &Path) {
        let file = fs::canonicalize(file).unwrap();
        let mut number = 0;
        let device = loop {
            let device = self.root.join(format!("dev/loop{number}"));
            match fs::read_link(&device) {
                Ok(there) if there != file => number += 1,
                Ok(_) => break device,
                Err(_) => {
                    symlink(&file, &device).unwrap();
                    break device;
                }
            }
        };
        let told = self.told_of(&device);
        fs::create_dir_all(&told).unwrap();
        fs::write(told.join("backing_file"), format!("{}\n", file.display())).unwrap();
        fs::write(told.join("autoclear"), "0\n").unwrap();
        println!("{}", device.display());
    }

    /// Nobody uses a loop device of ours: what is made over one is made over its file.
    fn detach(&self, device: &Path) {
        fs::remove_file(device).unwrap();
        fs::remove_dir_all(self.told_of(device)).unwrap();
    }

    /// What the system tells of a loop device.
    fn told_of(&self, device: &Path) -> PathBuf {
        self.root.join("sys/block").join(device.file_name().unwrap()).join("loop")
    }

    fn create(&self, name: &str, table: &str) {
        if self.table(name).exists() {
            fail("Device or resource busy");
        }
        self.make_node(name, table);
        fs::create_dir_all(self.root.join("dm")).unwrap();
        fs::write(self.table(name), table).unwrap();
    }

    fn make_node(&self, name: &str, table: &str) {
        let words: Vec<&str> = table.split(' ').collect();
        let base = fs::canonicalize(words[3]).unwrap();
        match words[2] {
            "snapshot-origin" => symlink(base, self.mapping(name)).unwrap(),
            _ => {
                let store = fs::OpenOptions::new().write(true).open(words[4]).unwrap();
                store.write_all_at(HEADER, 0).unwrap();
                fs::copy(base, self.mapping(name)).map(drop).unwrap();
            }
        }
    }

    fn table_of(&self, name: &str) -> String {
        fs::read_to_string(self.table(name)).unwrap_or_else(|_| fail("No such device or address"))
    }

    /// Whoever has an open file in its place, or a mapping over it, keeps it.
    fn remove(&self, name: &str) {
        let over = format!("/dev/mapper/{name} ");
        let tables = fs::read_dir(self.root.join("dm")).unwrap();
        if tables.into_iter().any(|table| fs::read_to_string(table.unwrap().path()).unwrap().contains(&over))
        {
            fail("device-mapper: remove ioctl failed: Device or resource busy");
        }
        fs::remove_file(self.table(name)).unwrap_or_else(|_| fail("No such device or address"));
        // What was made by half has no device's file.
        let _ = fs::remove_file(self.mapping(name));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let program = Path::new(&arguments[0]);
    let root = program.ancestors().nth(3).unwrap().to_path_buf();
    let command = format!("{} {}", program.file_name().unwrap().display(), arguments[1..].join(" "));
    let log = fs::OpenOptions::new().create(true).append(true).open(root.join("mapper.log"));
    log.unwrap().write_all(format!("{command}\n").as_bytes()).unwrap();
    if fs::read_to_string(root.join("mapper.fail")).is_ok_and(|failing| command.starts_with(&failing)) {
        fail("no \u{1b}[31m way %");
    }
    let machine = Machine { root };
    let words: Vec<&str> = arguments[1..].iter().map(String::as_str).collect();
    match words[..] {
        ["--find", "--nooverlap", "--show", file] => machine.attach(file.as_ref()),
        ["--detach", device] => machine.detach(device.as_ref()),
        ["create", name, "--verifyudev", "--table", table] => machine.create(name, table),
        ["remove", "--retry", "--verifyudev", name] | ["remove", "--verifyudev", name] => {
            machine.remove(name)
        }
        ["table", name] => println!("{}", machine.table_of(name)),
        ["mknodes", name] => machine.make_node(name, &machine.table_of(name)),
        ["load", name, "--table", table] => fs::write(machine.table(name), table).unwrap(),
        ["resume", _] => {}
        _ => fail("unknown command"),
    }
}
