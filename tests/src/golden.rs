//! The recorded conversations of the reference server: their cases, the system they start from, and the lists of those
//! that deviate by rule or wait for a call to be served.

use std::collections::BTreeMap;
use std::process::Command;

use serde::Deserialize;

use crate::fixture::readable;
use crate::{Fixture, executables};

const STORE: &str = include_str!("../conformance/initial.qubes.xml");
const FILES: &str = include_str!("../conformance/files.txt");
const POLICY: &str = "admin.vm.List * work dom0 allow\nadmin.vm.List * work work allow\n\
    admin.vm.List * work sys-net allow\nadmin.Events * work work allow\n";

/// The profiles of backups `prof1.conf` and on.
const PROFILES: [&str; 5] = [
    include_str!("../conformance/backup-profiles/prof1.conf"),
    include_str!("../conformance/backup-profiles/prof2.conf"),
    include_str!("../conformance/backup-profiles/prof3.conf"),
    include_str!("../conformance/backup-profiles/prof4.conf"),
    include_str!("../conformance/backup-profiles/prof5.conf"),
];

/// What the template's agent had written to its QubesDB while this was recorded.
pub const WRITTEN_BY_TEMPLATE: &str = "/features-request/bogus 1\n/features-request/gui 1\n/features-request/os Linux\n\
    /features-request/os-distribution debian\n/features-request/os-version 12\n/features-request/qrexec 1\n\
    /features-request/qubes-agent-version 4.3\n/features-request/supported-feature.vmexec 1\n\
    /features-request/supported-service.cups 1\n/qubes-tools/default-user user\n/qubes-tools/gui 1\n/qubes-tools/os Linux\n\
    /qubes-tools/qrexec 1\n";

/// One recorded request with its answer.
#[derive(Deserialize)]
pub struct Case {
    pub id: u32,
    #[serde(default)]
    sock: Option<String>,
    #[serde(default)]
    pub method: Option<String>,
    #[serde(default)]
    pub dest: Option<String>,
    #[serde(default)]
    pub src: Option<String>,
    #[serde(default)]
    pub arg: Option<String>,
    #[serde(default)]
    pub payload: Option<String>,
    #[serde(default)]
    pub raw: Option<String>,
    pub response: String,
    #[serde(default)]
    pub events: String,
    /// What is done while a stream is open, each a whole request.
    #[serde(default)]
    pub actions: Vec<String>,
    #[serde(default)]
    pub events_stable: Option<bool>,
}

/// A recorded text with the server's own folder where it was.
pub fn located(text: &str) -> String {
    text.replace("@BASE@", "/var/lib/qubes")
}

/// Bytes from latin-1 text.
pub fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect()
}

impl Case {
    fn recorded_socket(&self) -> &str {
        self.sock.as_deref().unwrap_or("admin")
    }

    /// The file of the socket at which it was recorded.
    pub fn socket(&self) -> String {
        match self.recorded_socket() {
            "admin" => "qubesd.sock".to_owned(),
            other => format!("qubesd.{other}.sock"),
        }
    }

    /// Whether it was recorded at a socket that its call is not for: what nothing but sockets can tell.
    pub fn is_at_a_wrong_socket(&self) -> bool {
        let own = match self.recorded_socket() {
            "misc" => "qubes.",
            "internal" => "internal.",
            _ => "admin.",
        };
        let method = self.method.as_deref().unwrap_or_default();
        let is_for = |prefix: &&str| method.starts_with(prefix);
        ["admin.", "internal.", "qubes."].iter().any(|prefix| *prefix != own && is_for(prefix))
    }
}

impl Case {
    /// The whole request as it goes over the wire.
    pub fn request(&self, drawn: &Drawn) -> Vec<u8> {
        match &self.raw {
            Some(raw) => bytes(raw),
            None => {
                let part =
                    |text: &Option<String>| bytes(&drawn.now(&located(text.as_deref().unwrap_or_default())));
                let header: [&[u8]; 9] = [
                    &part(&self.method),
                    b"+",
                    &part(&self.arg),
                    b" ",
                    &part(&self.src),
                    b" name ",
                    &part(&self.dest),
                    b"\0",
                    &part(&self.payload),
                ];
                header.concat()
            }
        }
    }
}

/// The name the executable of a request is started under: its own method.
pub fn program(request: &[u8]) -> String {
    let end = request.iter().position(|byte| b"+ \0".contains(byte)).unwrap_or(request.len());
    String::from_utf8_lossy(&request[..end]).into_owned()
}

/// The devices that the machine had while it was recorded, as a kernel and udev tell of them.
pub fn devices(fixture: &Fixture) {
    let put = |path: String, text: &str| {
        let path = fixture.path(&path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{text}\n")).unwrap();
    };
    for (slot, product, class) in
        [("14.0", "8cb1", "0c0330"), ("19.0", "15bc", "020000"), ("1f.3", "a348", "040300")]
    {
        let folder = format!("/sys/bus/pci/devices/0000:00:{slot}");
        put(format!("{folder}/vendor"), "0x8086");
        put(format!("{folder}/device"), &format!("0x{product}"));
        put(format!("{folder}/class"), &format!("0x{class}"));
    }
    put("/usr/share/hwdata/pci.ids".to_owned(), PCI_IDS.trim_end());
    for (name, place, number, model, label) in [
        ("sda", "sda", "8:0", "Samsung_SSD_970", "DATA"),
        ("sda1", "sda/sda1", "8:1", "Samsung_SSD_970", "EFI"),
        ("sr0", "sr0", "11:0", "DVD-RW", ""),
    ] {
        let folder = format!("/sys/devices/block/{place}");
        put(format!("{folder}/dev"), number);
        put(format!("{folder}/size"), "2097152");
        put(format!("{folder}/ro"), if name == "sr0" { "1" } else { "0" });
        put(format!("/run/udev/data/b{number}"), &format!("E:ID_MODEL={model}\nE:ID_FS_LABEL={label}"));
        let link = fixture.path(&format!("/sys/class/block/{name}"));
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(format!("../../devices/block/{place}"), link).unwrap();
    }
    put("/sys/devices/block/sda/sda1/partition".to_owned(), "1");
}

const PCI_IDS: &str = "8086  Intel Corporation\n\t15bc  Ethernet Connection (7) I219-V\n\
    \t8cb1  9 Series Chipset Family USB xHCI Controller\n\ta348  Cannon Lake PCH cAVS\n\
    C 0c  Serial bus controller\n\t03  USB controller\n";

/// The recorded start state, imported with our own importer.
pub fn system() -> Fixture {
    let fixture = Fixture::empty();
    fixture.policy("10-recording.policy", POLICY);
    let base = fixture.path("/var/lib/qubes");
    for kernel in ["6.12.59-1.fc37", "6.6.48-1.fc37"] {
        let folder = base.join("vm-kernels").join(kernel);
        std::fs::create_dir_all(&folder).unwrap();
        for file in ["vmlinuz", "initramfs", "modules.img"] {
            std::fs::write(folder.join(file), [0; 4096]).unwrap();
        }
    }
    std::fs::remove_dir_all(base.join("vm-kernels/1.0")).unwrap();
    std::fs::create_dir_all(base.join("pool-file")).unwrap();
    for line in FILES.lines().filter(|line| line.starts_with("appvms") || line.starts_with("vm-templates")) {
        let mut words = line.split(' ');
        let (path, size) = (base.join(words.next().unwrap()), words.next().unwrap().parse().unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create(path).unwrap().set_len(size).unwrap();
    }
    devices(&fixture);
    for (number, profile) in (1..).zip(PROFILES) {
        fixture.profile(&format!("prof{number}"), profile);
    }
    let file = fixture.path("/initial.xml");
    std::fs::write(&file, located(STORE)).unwrap();
    let root = fixture.path("/");
    let imported = Command::new(executables::executable("qubes-admin"))
        .arg("--root")
        .arg(root)
        .arg("import")
        .arg(file)
        .output();
    assert!(imported.unwrap().status.success());
    fixture
}

/// The cases of one recording in a list, with what stands behind them: `10:12 …`, `10:12-15 …`.
pub fn listed(text: &str, recording: u32) -> BTreeMap<u32, String> {
    let prefix = format!("{recording}:");
    let mut ids = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix(&prefix)) {
        let (range, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        for id in first.parse::<u32>().unwrap()..=last.parse().unwrap() {
            assert!(ids.insert(id, rest.to_owned()).is_none(), "{id} is listed twice");
        }
    }
    ids
}

/// Stands for a token in the recordings, as a token does in a reply: 32 letters and digits and nothing else.
fn is_token(text: &str) -> bool {
    let content = text.strip_prefix("0·").unwrap_or_default();
    content.len() == 32 && content.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether a character belongs to a random value.
type Belongs = fn(char) -> bool;

/// What is drawn at random when qubes are made, and where it stands.
const RANDOM: [(&str, Belongs); 7] = [
    ("xid default=True type=int ", |character| character.is_ascii_digit()),
    ("start_time default=True type=str ", |character| character.is_ascii_digit() || character == '.'),
    ("uuid=", |character| character.is_ascii_hexdigit() || character == '-'),
    ("0·uuid:", |character| character.is_ascii_hexdigit() || character == '-'),
    ("uuid default=False type=str ", |character| character.is_ascii_hexdigit() || character == '-'),
    ("dispid default=False type=int ", |character| character.is_ascii_digit()),
    (" 10.138.", |character| character.is_ascii_digit() || character == '.'),
];

/// Readable bytes in which random values are masked; known UUIDs stay.
pub fn masked(bytes: &[u8]) -> String {
    let mut text = readable(bytes).replace('\n', "⏎");
    if is_token(&text) {
        return "0·(token)".to_owned();
    }
    for (before, belongs) in RANDOM {
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(before) {
            let (kept, value) = rest.split_at(at + before.len());
            let end = value.find(|character| !belongs(character)).unwrap_or(value.len());
            let known = end == 0
                || before.starts_with("uuid")
                    && (STORE.contains(&value[..end]) || value.starts_with("00000000-"));
            out.push_str(kept);
            out.push_str(if known { &value[..end] } else { "(random)" });
            rest = &value[end..];
        }
        out.push_str(rest);
        text = out;
    }
    text
}

/// Names of disposables, made from numbers that are drawn: as recorded, and as drawn now.
#[derive(Default)]
pub struct Drawn(Vec<(String, String)>);

impl Drawn {
    /// Learns a name from the events of a case in which a disposable was made.
    pub fn learn(&mut self, recorded: &str, given: &str) {
        if let (Some(recorded), Some(given)) = (drawn_name(recorded), drawn_name(given)) {
            self.0.push((recorded, given));
        }
    }

    /// A recorded text as it would read now.
    pub fn now(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (recorded, given)| text.replace(recorded, given))
    }
}

/// The name of the disposable that some events say was added.
fn drawn_name(events: &str) -> Option<String> {
    let (_, behind) = events.split_once("domain-add\0vm\0disp")?;
    let end = behind.find(|character: char| !character.is_ascii_digit())?;
    (end > 0).then(|| format!("disp{}", &behind[..end]))
}

/// A text with its lines in the order of their letters.
pub fn in_order(text: &str) -> String {
    let mut lines: Vec<&str> = text.split('⏎').collect();
    lines.sort_unstable();
    lines.join("⏎")
}

/// A text in which the numbers behind some `name=` or `folder/` are masked; the names stand in a list after its reason's
/// colon. A number that stands alone is listed as `value`.
pub fn without_numbers(text: &str, listed: &str) -> String {
    let names: Vec<&str> = listed.rsplit(": ").next().unwrap().split(' ').collect();
    let masked = |word: &str| {
        let value = word.trim_end_matches([' ', '⏎']);
        let (name, number) =
            value.split_once('=').or_else(|| value.rsplit_once('/')).unwrap_or(("value", value));
        let is_listed = names.contains(&name.rsplit('·').next().unwrap());
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let rest = &word[value.len()..];
        if is_listed && is_number { format!("{name}=(number){rest}") } else { word.to_owned() }
    };
    text.split_inclusive([' ', '⏎']).map(masked).collect()
}
