//! Small file systems of any kind in a file, mounted through a loop device, as root.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Mounts of this thread are nobody else's and end with it.
pub fn own_namespace() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
}

/// A mounted file system; unmounted and removed when dropped.
pub struct Mounted {
    image: PathBuf,
    point: PathBuf,
}

/// The command that makes file systems of a kind: the machine's, else the one of the emulated machine's packages, with
/// that machine's own loader and libraries.
fn maker(kind: &str) -> Option<Command> {
    let name = format!("mkfs.{kind}");
    let known = ["/usr/sbin", "/sbin"].map(|folder| Path::new(folder).join(&name));
    if let Some(program) = known.iter().find(|program| program.exists()) {
        return Some(Command::new(program));
    }
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(".cache/xen/tree");
    let program = tree.join("sbin").join(name);
    if !program.exists() {
        return None;
    }
    let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|folder| tree.join(folder));
    let mut command = Command::new(tree.join("lib64/ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(std::env::join_paths(libraries).unwrap()).arg(program);
    Some(command)
}

fn quiet(command: &mut Command) -> Result<(), String> {
    let done = command.stdin(Stdio::null()).stdout(Stdio::null()).output();
    let done = done.map_err(|error| format!("{command:?}: {error}"))?;
    let told = || format!("{command:?}: {}", String::from_utf8_lossy(&done.stderr).trim());
    if done.status.success() { Ok(()) } else { Err(told()) }
}

impl Mounted {
    /// Makes one of so many bytes in a file beside the folder it is mounted at; the error says why that cannot be.
    pub fn new(kind: &str, image: &Path, bytes: u64, point: &Path) -> Result<Self, String> {
        let mut maker = maker(kind).ok_or_else(|| format!("mkfs.{kind} is not there"))?;
        File::create(image).and_then(|file| file.set_len(bytes)).map_err(|error| error.to_string())?;
        std::fs::create_dir_all(point).map_err(|error| error.to_string())?;
        let mounted = Self { image: image.to_owned(), point: point.to_owned() };
        quiet(maker.arg("-q").arg(image))?;
        quiet(Command::new("mount").args(["-o", "loop", "-t", kind]).args([image, point]))?;
        Ok(mounted)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = quiet(Command::new("umount").arg(&self.point));
        let _ = std::fs::remove_file(&self.image);
    }
}

/// A file as a block device; it is none any more when dropped.
pub struct Device(PathBuf);

impl Device {
    /// Makes it one.
    pub fn of(file: &Path) -> Self {
        let done = Command::new("losetup").args(["--find", "--show"]).arg(file).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Self(PathBuf::from(String::from_utf8(done.stdout).unwrap().trim_end()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = quiet(Command::new("losetup").arg("--detach").arg(&self.0));
    }
}
