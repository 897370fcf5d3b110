//! A throwaway root with dom0, a template and some qubes, and a way to call the real executables against it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use common::audit;
use common::event::Event;
use common::hypervisor::Connection;
use common::model::{Class, Labels, Pool, Pools, Qube, System, Value, Volume};
use common::names::{PoolName, QubeName, QubeUuid, TagName};
use common::root::Root;
use common::storage::Layout;
use common::store::{LoggedEvent, Store, View};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::Pid;

use crate::executables;

/// Files and folders with their content, which of folders and of volumes' images is left out.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A throwaway root.
pub struct Fixture {
    scratch: tempfile::TempDir,
}

/// Ends the domains of the root, their watchers first, which would go on to work in it.
impl Drop for Fixture {
    fn drop(&mut self) {
        let names = |folder: &str| {
            let entries = std::fs::read_dir(self.path("/run/qubes/admin").join(folder));
            entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>()
        };
        let watchers = names("watchers").into_iter().filter_map(|socket| listening(&socket));
        let guest = |file: &PathBuf| Some(Pid::from_raw(file.file_name()?.to_str()?.parse().ok()?));
        let alive = |file: &PathBuf| common::store::is_locked_by_another(file);
        watchers.for_each(|watcher| kill(watcher, Signal::SIGKILL).unwrap_or_default());
        let guests = names("simulated").into_iter().filter(alive).filter_map(|file| guest(&file));
        guests.for_each(|guest| kill(guest, Signal::SIGKILL).unwrap_or_default());
    }
}

/// The process that listens at a socket.
pub fn listening(socket: &Path) -> Option<Pid> {
    let connection = Connection::to(socket).ok()?;
    getsockopt(&connection.as_fd(), sockopt::PeerCredentials).ok().map(|peer| Pid::from_raw(peer.pid()))
}

impl Default for Fixture {
    fn default() -> Self {
        Self::new()
    }
}

impl Fixture {
    /// dom0; TemplateVM `test-template` (black); AppVM `test-vm1` (red, on it); AppVM `test-net` (provides network).
    pub fn new() -> Self {
        let fixture = Self::empty();
        let store = fixture.store();
        let mut txn = store.write().unwrap();
        txn.put_labels(Labels::built_in());
        txn.put_pools(pools());
        txn.put_system(system());
        for mut qube in qubes() {
            if qube.class.is_qubes_vm() {
                qube.volumes = volumes(&fixture.root(), &txn, &qube);
            }
            txn.insert_qube(qube).unwrap();
        }
        txn.commit().unwrap();
        fixture
    }

    /// The same with AppVMs `q1` and on, made after `test-vm1`.
    pub fn with_qubes(count: u16) -> Self {
        let fixture = Self::new();
        let store = fixture.store();
        let mut txn = store.write().unwrap();
        let model = txn.qube_named("test-vm1").unwrap().unwrap();
        for number in 1..=count {
            let mut qube = Qube::clone(&model);
            qube.name = QubeName::parse(&format!("q{number}")).unwrap();
            qube.qid = number + 3;
            qube.uuid = uuid(qube.qid);
            qube.volumes = volumes(&fixture.root(), &txn, &qube);
            txn.insert_qube(qube).unwrap();
        }
        txn.commit().unwrap();
        fixture
    }

    /// Directories, a kernel and the size of the host only.
    pub fn empty() -> Self {
        let fixture = Self { scratch: crate::scratch() };
        fixture.store().prepare().unwrap();
        for directory in
            ["/var/lib/qubes/test", "/etc/qubes/policy.d", "/run/qubes/policy.d", "/var/log/qubes"]
        {
            std::fs::create_dir_all(fixture.path(directory)).unwrap();
        }
        let kernel = fixture.path("/var/lib/qubes/vm-kernels/1.0");
        std::fs::create_dir_all(&kernel).unwrap();
        for file in ["vmlinuz", "initramfs", "modules.img"] {
            std::fs::write(kernel.join(file), file).unwrap();
        }
        let host = r#"{"host": {"memory_mib": 16384, "cpus": 4}}"#;
        std::fs::write(fixture.path("/etc/qubes/admin.json"), host).unwrap();
        fixture
    }

    /// Another root that is just like this one.
    pub fn copy(&self) -> Self {
        let copy = Self { scratch: tempfile::tempdir().unwrap() };
        let copied = Command::new("cp").arg("-a").args([self.path("/."), copy.path("/")]).status();
        assert!(copied.unwrap().success());
        copy
    }

    pub fn root(&self) -> Root {
        Root::at(self.scratch.path())
    }

    pub fn path(&self, absolute: &str) -> PathBuf {
        self.root().path(absolute)
    }

    pub fn store(&self) -> Store {
        Store::at(&self.root())
    }

    /// Everything the store keeps, file by file.
    pub fn stored(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.path("/var/lib/qubes/admin");
        let folders = [state.clone(), state.join("qubes"), state.join("journal")];
        let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
        let paths = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        paths.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    }

    /// A stored qube.
    pub fn qube(&self, name: &str) -> Qube {
        let store = self.store();
        let view = store.read().unwrap();
        let qube = view.qube_named(name).unwrap().unwrap();
        (*qube).clone()
    }

    /// Changes a stored qube where no call can.
    pub fn edit(&self, qube: &str, edit: impl FnOnce(&mut Qube)) {
        let store = self.store();
        let mut txn = store.write().unwrap();
        txn.edit_qube(&QubeName::parse(qube).unwrap(), edit).unwrap();
        txn.commit().unwrap();
    }

    /// A stand-in for a qube's domain: published and locked as its watcher does, until what is given back is dropped.
    pub fn domain(&self, qube: &str, state: &str) -> Watcher {
        let numbers =
            r#""domid": 7, "start_time_us": 1700000000000000, "memory_kib": 409600, "cpu_time_ns": 5"#;
        self.published(qube, &format!(r#"{{"state": "{state}", {numbers}}}"#))
    }

    /// The same with all that the watcher publishes, as JSON text.
    pub fn published(&self, qube: &str, domain: &str) -> Watcher {
        let path = self.path("/run/qubes/admin/domains").join(qube);
        std::fs::write(&path, domain).unwrap();
        let file = File::open(&path).unwrap();
        fs2::FileExt::lock_exclusive(&file).unwrap();
        Watcher { file, path }
    }

    /// Everything below the root but the audit log, which has a line also of what changes nothing.
    pub fn files(&self) -> Files {
        let mut files = Files::new();
        collect(self.scratch.path(), &mut files);
        files.remove(&self.path(audit::FILE));
        files
    }

    /// The lines of the audit log.
    pub fn audited(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.path(audit::FILE)).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// Writes a policy file.
    pub fn policy(&self, name: &str, text: &str) {
        std::fs::write(self.path("/etc/qubes/policy.d").join(name), text).unwrap();
    }

    /// Writes the profile of a backup.
    pub fn profile(&self, id: &str, text: &str) {
        let folder = self.path("/etc/qubes/backup");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{id}.conf")), text).unwrap();
    }

    /// The reply to a call of dom0, as bytes.
    pub fn call(&self, call: &str, destination: &str, payload: impl AsRef<[u8]>) -> Vec<u8> {
        self.call_as("dom0", call, destination, payload)
    }

    /// The reply to a call of any qube.
    pub fn call_as(&self, source: &str, call: &str, destination: &str, payload: impl AsRef<[u8]>) -> Vec<u8> {
        let call = if call.contains('+') { call.to_owned() } else { format!("{call}+") };
        let mut frame = format!("{call} {source} name {destination}\0").into_bytes();
        frame.extend_from_slice(payload.as_ref());
        let method = call.split('+').next().unwrap_or_default().to_owned();
        let output = self.run(&method, &frame);
        assert!(output.status.success(), "a service exits 0 whatever it answers: {:?}", output.status);
        output.stdout
    }

    /// Runs the executable of `method` with a whole request on standard input.
    pub fn run(&self, method: &str, request: &[u8]) -> Output {
        let mut command = self.command(method);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(request);
        output_of(child)
    }

    /// The reply to a call started as qrexec starts it, without payload.
    pub fn by_qrexec(&self, method: &str, variables: &[(&str, &str)], argument: Option<&str>) -> Vec<u8> {
        let mut command = self.command(method);
        command.envs(variables.iter().copied()).args(argument).stdin(Stdio::null());
        command.output().unwrap().stdout
    }

    /// The executable of a method, started under that name, with nothing in its environment but our root.
    pub fn command(&self, method: &str) -> Command {
        let mut command = Command::new(executables::serving(method));
        command.arg0(method).env_clear().env("QUBES_ADMIN_ROOT", self.scratch.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The content of an OK reply.
    pub fn ok(&self, call: &str, destination: &str, payload: impl AsRef<[u8]>) -> String {
        let reply = self.call(call, destination, payload);
        let content = reply.strip_prefix(b"0\0").unwrap_or_else(|| panic!("{call}: {}", readable(&reply)));
        String::from_utf8(content.to_vec()).unwrap()
    }

    /// `Class: text` of an EXCEPTION reply.
    pub fn refused(&self, call: &str, destination: &str, payload: impl AsRef<[u8]>) -> String {
        refusal(&self.call(call, destination, payload))
    }

    /// Asserts that the connection is dropped without an answer.
    pub fn dropped(&self, call: &str, destination: &str, payload: impl AsRef<[u8]>) {
        assert_eq!(readable(&self.call(call, destination, payload)), "", "{call}");
    }

    /// Every event so far, rendered `subject event key=value …`.
    pub fn events(&self) -> Vec<String> {
        let render = |event: Event| {
            let mut text = event.subject.map(|name| name.to_string()).unwrap_or_default();
            text.push_str(&format!(" {}", event.name));
            for (key, value) in event.details {
                text.push_str(&format!(" {key}={value}"));
            }
            text
        };
        logged_events(&self.event_log()).into_iter().map(render).collect()
    }

    /// The text of the event log, as far as it is still there.
    pub fn event_log(&self) -> String {
        let mut segments: Vec<PathBuf> = std::fs::read_dir(self.path("/run/qubes/admin/events"))
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default();
        segments.sort();
        segments.iter().map(|segment| std::fs::read_to_string(segment).unwrap()).collect()
    }

    /// The events that `act` causes.
    pub fn events_of(&self, act: impl FnOnce(&Self)) -> Vec<String> {
        let before = self.events().len();
        act(self);
        self.events().split_off(before)
    }
}

/// The events in a text of the event log.
pub fn logged_events(log: &str) -> Vec<Event> {
    let parsed = |line: &str| serde_json::from_str::<LoggedEvent>(line).ok();
    log.lines().filter_map(parsed).map(|logged| logged.event).collect()
}

/// The output of a call; of a stream of events, which ends only when nobody listens any more, the first bytes.
pub fn output_of(mut child: Child) -> Output {
    let mut stdout = child.stdout.take().unwrap();
    let mut reply = Vec::new();
    stdout.by_ref().take(2).read_to_end(&mut reply).unwrap();
    if reply == b"1\0" {
        let mut first = [0; 4_096];
        let length = stdout.read(&mut first).unwrap();
        reply.extend_from_slice(&first[..length]);
    } else {
        stdout.read_to_end(&mut reply).unwrap();
    }
    drop(stdout);
    Output { stdout: reply, ..child.wait_with_output().unwrap() }
}

fn collect(folder: &Path, files: &mut Files) {
    const LARGEST: u64 = 1 << 20;
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let about = entry.metadata().unwrap();
        let is_text = about.is_file() && about.len() < LARGEST;
        files.insert(entry.path(), if is_text { std::fs::read(entry.path()).unwrap() } else { Vec::new() });
        if about.is_dir() {
            collect(&entry.path(), files);
        }
    }
}

/// A stand-in for the watcher of a running domain.
pub struct Watcher {
    file: File,
    path: PathBuf,
}

/// Closing the file would not do: a child of another test may hold it too, between its fork and its exec.
impl Drop for Watcher {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).unwrap();
        fs2::FileExt::unlock(&self.file).unwrap();
    }
}

/// `Class: text` of an EXCEPTION's bytes.
pub fn refusal(reply: &[u8]) -> String {
    let fields: Vec<&[u8]> = reply.split(|byte| *byte == 0).collect();
    match fields.as_slice() {
        [b"2", class, b"", text, b""] => {
            format!("{}: {}", String::from_utf8_lossy(class), String::from_utf8_lossy(text))
        }
        _ => panic!("not an exception: {}", readable(reply)),
    }
}

/// Bytes with NUL as `·`.
pub fn readable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "·")
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn system() -> System {
    let mut system = System::default();
    for (name, value) in [
        ("default_kernel", text("1.0")),
        ("default_netvm", Value::None),
        ("default_pool", text("varlibqubes")),
        ("default_pool_kernel", text("linux-kernel")),
        ("default_template", text("test-template")),
    ] {
        system.properties.insert(name.to_owned(), value);
    }
    system
}

fn pools() -> Pools {
    let pool = |name: &str, driver: &str, directory: &str| Pool {
        name: PoolName::parse(name).unwrap(),
        driver: driver.to_owned(),
        settings: match driver {
            "linux-kernel" => vec![("dir_path".to_owned(), directory.to_owned())],
            _ => vec![
                ("dir_path".to_owned(), directory.to_owned()),
                ("revisions_to_keep".to_owned(), "1".to_owned()),
                ("ephemeral_volatile".to_owned(), "False".to_owned()),
            ],
        },
    };
    Pools {
        pools: vec![
            pool("varlibqubes", "file-reflink", "/var/lib/qubes"),
            pool("linux-kernel", "linux-kernel", "/var/lib/qubes/vm-kernels"),
            pool("test", "file", "/var/lib/qubes/test"),
        ],
    }
}

/// The volumes of a class, as creation defines them; the template is there already.
fn volumes(root: &Root, view: &View<'_>, qube: &Qube) -> Vec<Volume> {
    let pool =
        |volume: &str| Ok(Some(if volume == "kernel" { "linux-kernel" } else { "varlibqubes" }.to_owned()));
    let template = |name: &str| Ok(view.qube_named(name)?);
    Layout { root, pools: &pools(), default_pool: &pool, template: &template }.volumes_of(qube).unwrap()
}

fn qubes() -> Vec<Qube> {
    let qube = |name: &str, class: Class, qid: u16, properties: &[(&str, Value)]| {
        let uuid = if qid == 0 { QubeUuid::dom0() } else { uuid(qid) };
        let mut qube = Qube::new(QubeName::parse(name).unwrap(), class, qid, uuid);
        for (property, value) in properties {
            qube.properties.insert((*property).to_owned(), value.clone());
        }
        if class.is_qubes_vm() {
            qube.tags.extend(["guivm-dom0", "audiovm-dom0"].map(|tag| TagName::parse(tag).unwrap()));
        }
        qube
    };
    let based = ("template", text("test-template"));
    vec![
        qube("dom0", Class::AdminVM, 0, &[("label", text("black"))]),
        qube("test-template", Class::TemplateVM, 1, &[("label", text("black"))]),
        qube("test-vm1", Class::AppVM, 2, &[("label", text("red")), based.clone()]),
        qube(
            "test-net",
            Class::AppVM,
            3,
            &[("label", text("red")), based, ("provides_network", Value::Bool(true)), ("netvm", Value::None)],
        ),
    ]
}

/// The UUID of the fixture's qube with that number.
pub fn uuid(qid: u16) -> QubeUuid {
    QubeUuid::parse(&format!("00000000-0000-4000-8000-{qid:012}")).unwrap()
}
