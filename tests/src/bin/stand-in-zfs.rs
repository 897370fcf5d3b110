//! A stand-in for `zfs` and `zpool`: datasets are files below the root that this program lies in, and each command is
//! recorded. Snapshots hold copies of their volume's data. The file `/stand-in` there may ask for something else.
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

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

use misbehave::misbehave;
use serde::{Deserialize, Serialize};

/// One dataset or snapshot.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Dataset {
    created: u64,
    origin: String,
    is_going: bool,
    properties: BTreeMap<String, String>,
}

#[derive(Default, Serialize, Deserialize)]
struct Machine {
    clock: u64,
    datasets: BTreeMap<String, Dataset>,
    #[serde(skip)]
    root: PathBuf,
}

/// Copies data, leaving holes.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("/bin/cp").arg(from).arg(to).status().unwrap().success());
}

fn fail(text: &str) -> ! {
    eprintln!("{text}");
    exit(1)
}

impl Machine {
    fn load(root: &Path) -> Self {
        let text =
            fs::read(root.join("zfs.json")).unwrap_or_else(|_| b"{\"clock\": 0, \"datasets\": {}}".to_vec());
        Self { root: root.to_path_buf(), ..serde_json::from_slice(&text).unwrap() }
    }

    fn store(&self) {
        fs::write(self.root.join("zfs.json.new"), serde_json::to_vec(self).unwrap()).unwrap();
        fs::rename(self.root.join("zfs.json.new"), self.root.join("zfs.json")).unwrap();
    }

    fn data(&self, name: &str) -> PathBuf {
        let folder = if name.contains('@') { "zfs-snapshots" } else { "dev/zvol" };
        self.root.join(folder).join(name)
    }

    fn get(&self, name: &str) -> &Dataset {
        self.datasets
            .get(name)
            .unwrap_or_else(|| fail(&format!("cannot open '{name}': dataset does not exist")))
    }

    fn put(&mut self, name: &str, mut dataset: Dataset, data: Option<&str>) {
        self.clock += 1;
        dataset.created = self.clock;
        let path = self.data(name);
        if let Some(from) = data {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            copy(&self.data(from), &path);
        }
        self.datasets.insert(name.to_owned(), dataset);
    }

    /// Datasets on the way to a name.
    fn parents(&mut self, name: &str) {
        let ends: Vec<usize> = name.match_indices('/').map(|(at, _)| at).collect();
        for end in ends {
            if !self.datasets.contains_key(&name[..end]) {
                self.put(&name[..end], Dataset::default(), None);
            }
        }
    }

    fn below(&self, name: &str) -> Vec<String> {
        let is_below = |other: &&String| {
            other.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '@']))
        };
        self.datasets.keys().filter(is_below).cloned().collect()
    }

    fn list(&self, container: &str) {
        self.get(container);
        for name in self.below(container) {
            let dataset = &self.datasets[&name];
            let data = fs::metadata(self.data(&name)).ok().filter(|data| data.is_file());
            let size = data.map_or("-".to_owned(), |data| data.len().to_string());
            let dirty = dataset.properties.get("org.qubes:dirty").map_or("-", String::as_str);
            let going = if dataset.is_going { "on" } else { "off" };
            let origin = if dataset.origin.is_empty() { "-" } else { &dataset.origin };
            println!("{name}\t{size}\t4096\t{}\t{going}\t{origin}\t{dirty}", dataset.created);
        }
    }

    fn drop_one(&mut self, name: &str) {
        let _ = fs::remove_file(self.data(name));
        self.datasets.remove(name);
    }

    fn destroy(&mut self, name: &str, deferred: bool) {
        self.get(name);
        let all = self.below(name);
        let clone =
            self.datasets.iter().find(|(other, row)| all.contains(&row.origin) && !all.contains(other));
        match (clone.is_some(), deferred) {
            (true, true) => self.datasets.get_mut(name).unwrap().is_going = true,
            (true, false) => fail(&format!("cannot destroy '{name}': filesystem has dependent clones")),
            (false, _) => all.iter().for_each(|name| self.drop_one(name)),
        }
    }

    fn rename(&mut self, old: &str, new: &str) {
        self.get(old);
        if self.datasets.contains_key(new) {
            fail(&format!("cannot rename '{old}': dataset already exists"));
        }
        self.parents(new);
        for name in self.below(old) {
            let moved = format!("{new}{}", &name[old.len()..]);
            if self.data(&name).is_file() {
                fs::create_dir_all(self.data(&moved).parent().unwrap()).unwrap();
                fs::rename(self.data(&name), self.data(&moved)).unwrap();
            }
            let dataset = self.datasets.remove(&name).unwrap();
            self.datasets.insert(moved.clone(), dataset);
            self.datasets
                .values_mut()
                .filter(|row| row.origin == name)
                .for_each(|row| row.origin.clone_from(&moved));
        }
    }

    /// Gives the snapshots up to a clone's origin to the clone.
    fn promote(&mut self, clone: &str) {
        let origin = self.get(clone).origin.clone();
        let (owner, _) = origin.split_once('@').unwrap();
        let last = self.get(&origin).created;
        let prefix = format!("{owner}@");
        let is_moving = |(name, row): &(&String, &Dataset)| name.starts_with(&prefix) && row.created <= last;
        let moving: Vec<String> =
            self.datasets.iter().filter(is_moving).map(|(name, _)| name.clone()).collect();
        for name in moving {
            self.rename(&name, &format!("{clone}@{}", &name[prefix.len()..]));
        }
        let taken_over = std::mem::take(&mut self.datasets.get_mut(clone).unwrap().origin);
        self.datasets.get_mut(owner).unwrap().origin = taken_over;
    }

    fn rollback(&mut self, snapshot: &str) {
        let (volume, _) = snapshot.split_once('@').unwrap();
        let created = self.get(snapshot).created;
        let prefix = format!("{volume}@");
        let newer = |(name, row): (&String, &Dataset)| {
            (name.starts_with(&prefix) && row.created > created).then(|| name.clone())
        };
        for name in self.datasets.iter().filter_map(newer).collect::<Vec<_>>() {
            self.drop_one(&name);
        }
        copy(&self.data(snapshot), &self.data(volume));
    }

    fn set(&mut self, name: &str, setting: &str) {
        self.get(name);
        let (key, value) = setting.split_once('=').unwrap();
        if key == "volsize" {
            let data = fs::OpenOptions::new().write(true).open(self.data(name)).unwrap();
            data.set_len(value.parse().unwrap()).unwrap();
        }
        self.datasets.get_mut(name).unwrap().properties.insert(key.to_owned(), value.to_owned());
    }
}

/// Options `-o key=value`.
fn properties(words: &[String]) -> BTreeMap<String, String> {
    let options = words.windows(2).filter(|pair| pair[0] == "-o").filter_map(|pair| pair[1].split_once('='));
    options.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let program = Path::new(&arguments[0]);
    let root = program.ancestors().nth(3).unwrap();
    let (name, words) = (program.file_name().unwrap().to_string_lossy().into_owned(), &arguments[1..]);
    let mut log = fs::OpenOptions::new().create(true).append(true).open(root.join("zfs.log")).unwrap();
    log.write_all(format!("{name} {}\n", words.join(" ")).as_bytes()).unwrap();
    misbehave(root, if name == "zpool" { "zpool" } else { &words[0] }, fail);
    if name == "zpool" {
        println!("1000000\t250000");
        return;
    }
    let mut machine = Machine::load(root);
    let last = words.last().unwrap().clone();
    let dataset = Dataset { properties: properties(words), ..Dataset::default() };
    match words[0].as_str() {
        "list" => machine.list(&last),
        "get" => {
            let value =
                machine.get(&last).properties.get(&words[words.len() - 2]).map_or("-", String::as_str);
            println!("{value}");
        }
        "create" => {
            if machine.datasets.contains_key(&last) {
                fail(&format!("cannot create '{last}': dataset already exists"));
            }
            machine.parents(&last);
            machine.put(&last, dataset, None);
            if let Some(at) = words.iter().position(|word| word == "-V") {
                let path = machine.data(&last);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::File::create(path).unwrap().set_len(words[at + 1].parse().unwrap()).unwrap();
            }
        }
        "snapshot" => {
            let volume = last.split_once('@').unwrap().0.to_owned();
            machine.get(&volume);
            machine.put(&last, Dataset::default(), Some(&volume));
        }
        "clone" => {
            let origin = words[words.len() - 2].clone();
            machine.get(&origin);
            machine.parents(&last);
            machine.put(&last, Dataset { origin: origin.clone(), ..dataset }, Some(&origin));
        }
        "rename" => machine.rename(&words[words.len() - 2], &last),
        "destroy" => machine.destroy(&last, words.contains(&"-d".to_owned())),
        "promote" => machine.promote(&last),
        "rollback" => machine.rollback(&last),
        "set" => words[1..words.len() - 1].iter().for_each(|setting| machine.set(&last, setting)),
        "inherit" => drop(machine.datasets.get_mut(&last).unwrap().properties.remove(&words[1])),
        _ => fail("unknown command"),
    }
    machine.store();
}
