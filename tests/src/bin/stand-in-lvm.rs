//! A stand-in for `lvm`: volumes are files below the root that this program lies in, and each command is recorded.
//!
//! The file `/stand-in` there may ask for something else.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::panic,
    reason = "test code"
)]

#[path = "../misbehave.rs"]
mod misbehave;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

use misbehave::misbehave;

/// What is known of a volume besides its data.
#[derive(Default)]
struct About {
    pool: String,
    origin: String,
}

struct Machine {
    root: PathBuf,
}

/// Copies data, leaving holes.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("/bin/cp").arg(from).arg(to).status().unwrap().success());
}

fn fail(text: &str) -> ! {
    eprintln!("  {text}");
    exit(5)
}

/// A size in bytes, of which LVM takes only whole sectors.
fn bytes(text: &str) -> u64 {
    let size = text.trim_end_matches('B').parse().unwrap();
    if size % 512 == 0 { size } else { fail(&format!("Size is not a multiple of 512: {size}")) }
}

impl Machine {
    fn about(&self, name: &str) -> PathBuf {
        self.root.join("lvm").join(name)
    }

    fn device(&self, name: &str) -> PathBuf {
        self.root.join("dev").join(name)
    }

    fn mapper(&self, name: &str) -> PathBuf {
        self.root.join("dev/mapper").join(name.replace('-', "--").replace('/', "-"))
    }

    fn read(&self, name: &str) -> Option<About> {
        let text = fs::read_to_string(self.about(name)).ok()?;
        let (pool, origin) = text.split_once('\n').unwrap();
        Some(About { pool: pool.to_owned(), origin: origin.to_owned() })
    }

    fn write(&self, name: &str, about: &About) {
        for path in [self.about(name), self.device(name), self.mapper(name)] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        fs::write(self.about(name), format!("{}\n{}", about.pool, about.origin)).unwrap();
        let _ = std::os::unix::fs::symlink(self.device(name), self.mapper(name));
    }

    /// Letters of a volume; the file `/lvm-open` names one that is open.
    fn kind(&self, name: &str) -> &'static str {
        let open = fs::read_to_string(self.root.join("lvm-open")).is_ok_and(|open| open == name);
        if open { "Vwi-aotz--" } else { "Vwi-a-tz--" }
    }

    fn all(&self) -> Vec<String> {
        let mut names = Vec::new();
        for group in fs::read_dir(self.root.join("lvm")).into_iter().flatten().flatten() {
            for volume in fs::read_dir(group.path()).unwrap().flatten() {
                names.push(format!("{}/{}", group.file_name().display(), volume.file_name().display()));
            }
        }
        names.sort();
        names
    }

    fn list(&self) {
        let row = |name: &String| {
            let (group, short) = name.split_once('/').unwrap();
            let about = self.read(name).unwrap();
            let size = fs::metadata(self.device(name)).map_or(1 << 40, |data| data.len());
            let (attributes, metadata, percent) = if about.pool.is_empty() {
                ("twi-aotz--", "1000B", "7.50")
            } else {
                (self.kind(name), "", "")
            };
            format!(
                "{{\"vg_name\": \"{group}\", \"lv_name\": \"{short}\", \"pool_lv\": \"{}\", \"lv_size\": \"{size}B\", \
                 \"data_percent\": \"25.00\", \"lv_attr\": \"{attributes}\", \"origin\": \"{}\", \
                 \"lv_metadata_size\": \"{metadata}\", \"metadata_percent\": \"{percent}\"}}",
                about.pool, about.origin
            )
        };
        let rows: Vec<String> = self.all().iter().map(row).collect();
        println!("{{\"report\": [{{\"lv\": [{}]}}]}}", rows.join(","));
    }

    fn create(&self, option: impl Fn(&str) -> Option<String>, last: &str) {
        if option("--type").is_some() {
            fail("Command does not accept option: --snapshot.");
        }
        let (group, in_group) = last.split_once('/').unwrap();
        let name = format!("{group}/{}", option("--name").unwrap());
        if self.read(&name).is_some() {
            fail(&format!("Logical Volume \"{name}\" already exists in volume group"));
        }
        let Some(given) = self.read(last) else { fail(&format!("Failed to find logical volume \"{last}\"")) };
        match option("--virtualsize") {
            Some(size) => {
                self.write(&name, &About { pool: in_group.to_owned(), origin: String::new() });
                let data = fs::File::create(self.device(&name)).unwrap();
                data.set_len(bytes(&size)).unwrap();
            }
            None => {
                copy(&self.device(last), &self.device(&name));
                self.write(&name, &About { pool: given.pool, origin: in_group.to_owned() });
            }
        }
    }

    fn remove(&self, name: &str) {
        for path in [self.about(name), self.mapper(name), self.device(name)] {
            let _ = fs::remove_file(path);
        }
    }

    fn rename(&self, old: &str, new: &str) {
        let Some(about) = self.read(old) else {
            fail(&format!("Existing logical volume \"{old}\" not found"))
        };
        if self.read(new).is_some() {
            fail(&format!("Logical Volume \"{new}\" already exists"));
        }
        let short = |name: &str| name.split_once('/').unwrap().1.to_owned();
        for name in self.all() {
            let about = self.read(&name).unwrap();
            if about.origin == short(old) {
                self.write(&name, &About { origin: short(new), ..about });
            }
        }
        fs::rename(self.device(old), self.device(new)).unwrap();
        self.write(new, &about);
        self.remove(old);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let root = Path::new(&arguments[0]).ancestors().nth(3).unwrap().to_path_buf();
    let (command, rest) = (arguments[1].as_str(), &arguments[2..]);
    let mut log = fs::OpenOptions::new().create(true).append(true).open(root.join("lvm.log")).unwrap();
    log.write_all(format!("{}\n", arguments[1..].join(" ")).as_bytes()).unwrap();
    misbehave(&root, command, fail);
    let machine = Machine { root };
    let option = |name: &str| {
        rest.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
    };
    let last = rest.last().unwrap();
    match command {
        "lvs" => machine.list(),
        "lvcreate" => machine.create(option, last),
        "lvremove" => machine.remove(last),
        "lvrename" => machine.rename(&rest[rest.len() - 2], last),
        "lvresize" => {
            let data = fs::OpenOptions::new().write(true).open(machine.device(last)).unwrap();
            data.set_len(bytes(&option("--size").unwrap())).unwrap();
        }
        "lvchange" if machine.read(last).is_some() => {}
        _ => fail("unknown command or volume"),
    }
}
