//! Pools of drivers whose programs are stand-ins, and volumes in them.

use std::path::PathBuf;
use std::process::Stdio;

use common::model::Volume;
use common::storage::{self, PoolDriver};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Fixture, executables};

/// Puts stand-ins in the place of programs.
fn install(fixture: &Fixture, stand_in: &str, programs: &[&str]) {
    let folder = fixture.path("/usr/sbin");
    std::fs::create_dir_all(&folder).unwrap();
    for program in programs {
        std::os::unix::fs::symlink(executables::executable(stand_in), folder.join(program)).unwrap();
    }
}

/// A stand-in for `lvm` with the thin pool `vg/pool` and the volume `vg/plain`, which is none.
pub fn install_lvm(fixture: &Fixture) {
    install(fixture, "stand-in-lvm", &["lvm"]);
    std::fs::create_dir_all(fixture.path("/lvm/vg")).unwrap();
    std::fs::write(fixture.path("/lvm/vg/pool"), "\n").unwrap();
    std::fs::write(fixture.path("/lvm/vg/plain"), "other\n").unwrap();
}

/// A pool `lvm` in it.
pub fn add_lvm(fixture: &Fixture) {
    install_lvm(fixture);
    fixture.ok("admin.pool.Add+lvm_thin", "dom0", "name=lvm\nvolume_group=vg\nthin_pool=pool");
}

/// A stand-in for `zfs`, and a pool of that name in the container `tank/vms`.
pub fn add_zfs(fixture: &Fixture) {
    install(fixture, "stand-in-zfs", &["zfs", "zpool"]);
    fixture.ok("admin.pool.Add+zfs", "dom0", "name=zfs\ncontainer=tank/vms");
}

/// A pool `callback` whose back end is `file-reflink` in `/var/lib/qubes/back`, with these further settings.
pub fn add_callback(fixture: &Fixture, settings: &str) {
    configure_callback(fixture, settings);
    std::fs::create_dir_all(fixture.path("/bin")).unwrap();
    std::os::unix::fs::symlink("/bin/bash", fixture.path("/bin/bash")).unwrap();
    fixture.ok("admin.pool.Add+callback", "dom0", "name=callback\nconf_id=c");
}

/// The configuration of such a pool.
pub fn configure_callback(fixture: &Fixture, settings: &str) {
    let back = r#""bdriver": "file-reflink", "bdriver_args": {"dir_path": "/var/lib/qubes/back", "setup_check": false}"#;
    let file = format!("{{\"c\": {{{back}{settings}}}}}");
    std::fs::write(fixture.path("/etc/qubes_callback.json"), file).unwrap();
}

/// A stand-in for `cryptsetup`.
pub fn install_cryptsetup(fixture: &Fixture) {
    install(fixture, "stand-in-cryptsetup", &["cryptsetup"]);
}

/// A stand-in for the device mapper.
pub fn install_mapper(fixture: &Fixture) {
    install(fixture, "stand-in-mapper", &["losetup", "dmsetup"]);
    std::fs::create_dir_all(fixture.path("/dev/mapper")).unwrap();
    std::fs::write(fixture.path("/dev/mapper/control"), "").unwrap();
}

/// Asks a stand-in to do something else than a command, after that many of them.
pub fn spoil(fixture: &Fixture, fault: &str, command: &str, earlier: u32) {
    std::fs::write(fixture.path("/stand-in"), format!("{fault} {command} {earlier}")).unwrap();
}

/// The commands recorded by a stand-in since the last time.
pub fn commands(fixture: &Fixture, program: &str) -> Vec<String> {
    let log = fixture.path(&format!("/{program}.log"));
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    std::fs::write(log, "").unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The driver of a pool.
pub fn driver(fixture: &Fixture, pool: &str) -> Box<dyn PoolDriver> {
    let store = fixture.store();
    let pools = store.read().unwrap().pools().unwrap();
    storage::driver(&fixture.root(), pools.find(pool).unwrap()).unwrap()
}

/// A stored volume.
pub fn volume(fixture: &Fixture, qube: &str, name: &str) -> Volume {
    let volumes = fixture.qube(qube).volumes;
    volumes.into_iter().find(|volume| volume.name.as_str() == name).unwrap()
}

/// Starts a volume and gives its device.
pub fn start(fixture: &Fixture, volume: &Volume) -> PathBuf {
    let driver = driver(fixture, volume.pool.as_str());
    driver.verify(volume).unwrap();
    driver.start(volume).unwrap();
    driver.block_device(volume).unwrap().unwrap()
}

/// Stops a volume.
pub fn stop(fixture: &Fixture, volume: &Volume) {
    driver(fixture, volume.pool.as_str()).stop(volume).unwrap();
}

/// Writes a word to the beginning of a device.
pub fn write(device: &std::path::Path, word: &str) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(device).unwrap();
    file.write_all_at(word.as_bytes(), 0).unwrap();
}

/// The beginning of a device, up to its first zero.
pub fn read(device: &std::path::Path) -> String {
    use std::os::unix::fs::FileExt;
    let mut start = [0; 16];
    let length = std::fs::File::open(device).unwrap().read_at(&mut start, 0).unwrap();
    let text = start[..length].split(|byte| *byte == 0).next().unwrap();
    String::from_utf8(text.to_vec()).unwrap()
}

/// What a volume holds: its committed state.
pub fn committed(fixture: &Fixture, volume: &Volume) -> String {
    let driver = driver(fixture, volume.pool.as_str());
    let exported = driver.export(volume, false).unwrap();
    let word = read(&exported);
    driver.export_end(volume, &exported).unwrap();
    word
}

/// Starts a volume, writes a word and stops it.
pub fn rewrite(fixture: &Fixture, volume: &Volume, word: &str) {
    write(&start(fixture, volume), word);
    stop(fixture, volume);
}

/// Starts a call on a volume of `new` that stops before one of its programs. Kills both there, or tells that the call had
/// no such program.
pub fn kill_before_program(fixture: &Fixture, call: &str, payload: &str, earlier: u32) -> bool {
    let hanging = fixture.path("/hanging");
    let _ = std::fs::remove_file(&hanging);
    std::fs::write(fixture.path("/request"), format!("{call} dom0 name new\0{payload}")).unwrap();
    let request = std::fs::File::open(fixture.path("/request")).unwrap();
    spoil(fixture, "hang", "any", earlier);
    let mut command = fixture.command(call.split('+').next().unwrap());
    let mut call = command.stdin(request).stdout(Stdio::null()).spawn().unwrap();
    while !hanging.exists() {
        if call.try_wait().unwrap().is_some() {
            std::fs::remove_file(fixture.path("/stand-in")).unwrap();
            return false;
        }
        std::thread::yield_now();
    }
    call.kill().unwrap();
    call.wait().unwrap();
    let program: i32 = std::fs::read_to_string(hanging).unwrap().parse().unwrap();
    kill(Pid::from_raw(program), Signal::SIGKILL).unwrap();
    true
}
