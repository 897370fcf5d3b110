//! The files for qubes, in a root that has the programs of a qube and nothing else: applications started by their id, and
//! entries of the menu that make calls.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tests::executables;

const SERVICE: &str = "/etc/qubes-rpc/qubes.StartApp";
const LAUNCHERS: &str = "/usr/bin/qubes-launchers";
const APPLICATIONS: &str = "/usr/share/applications";
const REFUSED: &str = "there is no such application";
/// Keeps its words, each followed by a mark, and what it can read; says something.
const RECORDER: &str = "read -r line; printf '%s\\036' \"$0\" \"$@\" >/words; printf %s \"$line\" >/read; pwd >/pwd; echo said; echo said >&2";
/// Lends the folders and programs of the machine to a root, then runs a command there with nothing but a path and a home.
const ENTER: &str = r#"set -e; root=$1; shift
for folder in /lib /lib64 /usr/lib; do
    [ ! -e $folder ] || { mkdir -p "$root$folder"; mount --bind $folder "$root$folder"; }
done
for file in /usr/bin/sh /usr/bin/env /usr/bin/python3 /dev/null; do
    mkdir -p "$root${file%/*}"; : >>"$root$file"; mount --bind "$(realpath $file)" "$root$file"
done
exec chroot "$root" /usr/bin/env -i PATH=/usr/bin HOME=/home/user LC_ALL="${WORDS:-C}" "$@""#;

/// A root as a qube has it, where the files for qubes are installed.
struct Qube {
    scratch: tempfile::TempDir,
}

impl Qube {
    fn new() -> Self {
        let qube = Self { scratch: tempfile::tempdir().unwrap() };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("install.sh");
        let output = Command::new("/bin/sh").arg(script).arg("--vm").env("DESTDIR", qube.path("")).output();
        assert!(output.unwrap().status.success());
        for folder in ["/tmp", "/home/user", APPLICATIONS] {
            fs::create_dir_all(qube.path(folder)).unwrap();
        }
        symlink("usr/bin", qube.path("/bin")).unwrap();
        qube.program("recorder", RECORDER);
        qube
    }

    fn path(&self, absolute: &str) -> PathBuf {
        self.scratch.path().join(absolute.trim_start_matches('/'))
    }

    fn write(&self, file: &str, text: &str) {
        fs::create_dir_all(self.path(file).parent().unwrap()).unwrap();
        fs::write(self.path(file), text).unwrap();
    }

    fn program(&self, name: &str, script: &str) {
        let file = format!("/usr/bin/{name}");
        executables::script(&self.path(&file), &format!("#!/bin/sh\n{script}\n"));
    }

    /// An entry of an application, by the path below one of the folders that have them.
    fn entry(&self, file: &str, keys: &str) {
        self.write(file, &format!("# A comment\n[Desktop Entry]\nType=Application\nName=It\n{keys}\n"));
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", ENTER, "sh"]).arg(self.path("")).args(words);
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// The words that a call started the recorder with.
    fn started(&self, id: &str) -> Vec<String> {
        let _ = fs::remove_file(self.path("/words"));
        let output = self.run(&[SERVICE, id]);
        assert!(output.status.success(), "{id}: {output:?}");
        assert_eq!((&*output.stdout, &*output.stderr), (&b""[..], &b""[..]), "{id}");
        self.recorded()
    }

    fn recorded(&self) -> Vec<String> {
        let words = fs::read_to_string(self.path("/words")).unwrap();
        words.strip_suffix('\u{1e}').unwrap().split('\u{1e}').map(str::to_owned).collect()
    }

    /// What a call says that starts nothing.
    fn refused(&self, words: &[&str]) -> String {
        let _ = fs::remove_file(self.path("/words"));
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {output:?}");
        assert!(output.stdout.is_empty() && !self.path("/words").exists(), "{words:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
        said.trim_end().trim_start_matches("qubes.StartApp: ").to_owned()
    }
}

#[test]
#[cfg_attr(not(qube), ignore = "needs Python, and root to have mounts of its own")]
fn an_application_shares_nothing_with_the_caller() {
    let qube = Qube::new();
    qube.entry(&format!("{APPLICATIONS}/it.desktop"), "Exec=recorder");
    let input = qube.path("/input");
    fs::write(&input, "from the caller\n").unwrap();
    let mut call = qube.command(&[SERVICE, "it"]);
    let output = call.stdin(fs::File::open(input).unwrap()).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(qube.recorded(), ["/usr/bin/recorder"]);
    assert_eq!(fs::read_to_string(qube.path("/read")).unwrap(), "");
    assert_eq!(fs::read_to_string(qube.path("/pwd")).unwrap(), "/home/user\n");
    qube.program("failing", "exit 7");
    qube.entry(&format!("{APPLICATIONS}/it.desktop"), "Exec=failing\nPath=/nowhere");
    assert_eq!(qube.run(&[SERVICE, "it"]).status.code(), Some(7));
}

#[test]
#[cfg_attr(not(qube), ignore = "needs Python, and root to have mounts of its own")]
fn a_command_line_becomes_words_as_the_rules_for_entries_say() {
    let qube = Qube::new();
    let table: [(&str, &[&str]); 18] = [
        (r"recorder a  b", &["a", "b"]),
        (r#"recorder "a  b" """#, &["a  b", ""]),
        (r#"recorder "\\"q\\" \\$x \\`y\\` \\\\z""#, &[r#""q" $x `y` \z"#]),
        (r"recorder 'a b' c\\ d --e='f g'h", &["a b", "c d", "--e=f gh"]),
        (r"recorder a\sb\tc", &["a", "b", "c"]),
        ("recorder %f %F %u %U", &[]),
        ("recorder %d %D %n %N %v %m", &[]),
        ("recorder --open=%u %% 100%%", &["--open=", "%", "100%"]),
        ("recorder %i", &["--icon", "an icon"]),
        ("recorder --name=%c %c", &["--name=It", "It"]),
        ("recorder %k", &["/usr/share/applications/it.desktop"]),
        ("recorder ; touch /pwned", &[";", "touch", "/pwned"]),
        ("recorder $(touch /pwned)", &["$(touch", "/pwned)"]),
        ("recorder `touch /pwned`", &["`touch", "/pwned`"]),
        ("recorder * ~ $HOME > /pwned", &["*", "~", "$HOME", ">", "/pwned"]),
        ("recorder ' && touch /pwned'", &[" && touch /pwned"]),
        ("recorder Prüfung", &["Prüfung"]),
        ("/usr/bin/recorder -- -x", &["--", "-x"]),
    ];
    for (line, words) in table {
        qube.entry(&format!("{APPLICATIONS}/it.desktop"), &format!("Icon=an icon\nExec={line}"));
        assert_eq!(qube.started("it")[1..], *words, "{line}");
    }
    assert!(!qube.path("/pwned").exists());
}

#[test]
#[cfg_attr(not(qube), ignore = "needs Python, and root to have mounts of its own")]
fn what_an_entry_says_of_itself_counts() {
    let qube = Qube::new();
    let table: [(&str, Result<&str, &str>); 19] = [
        ("NoDisplay=true\nExec=recorder a", Ok("a")),
        ("TryExec=recorder\nExec=recorder a", Ok("a")),
        ("Exec = recorder a", Ok("a")),
        ("Exec=recorder a\n[Desktop Action b]\nExec=recorder b", Ok("a")),
        ("Exec=recorder %c\nName[de]=Es\nName[de_AT]=Sie", Ok("Sie")),
        ("Exec=recorder %c\nName[de]=Es\nName[fr]=Lui", Ok("Es")),
        ("Exec=recorder %c\nName[fr]=Lui", Ok("It")),
        ("Path=/tmp\nExec=recorder a", Ok("a")),
        ("DBusActivatable=true\nExec=recorder a", Ok("a")),
        ("DBusActivatable=true\nExec=", Err("the application's program is not there")),
        ("Hidden=true\nExec=recorder", Err(REFUSED)),
        ("Type=Link\nExec=recorder", Err(REFUSED)),
        ("TryExec=missing\nExec=recorder", Err("the application is not installed")),
        ("TryExec=/words\nExec=recorder", Err("the application is not installed")),
        ("Exec=missing", Err("the application's program is not there")),
        ("URL=file:///", Err("the application's program is not there")),
        ("Exec=recorder \"a", Err("the entry has a quote without an end")),
        ("Exec=recorder %x", Err("the entry has an unknown field code")),
        ("Exec=recorder\nTerminal=true", Err("there is no terminal for it")),
    ];
    for (keys, expected) in table {
        qube.entry(&format!("{APPLICATIONS}/it.desktop"), keys);
        let mut call = qube.command(&[SERVICE, "it"]);
        let output = call.env("WORDS", "de_AT.UTF-8").output().unwrap();
        match expected {
            Ok(word) => assert_eq!(qube.recorded(), ["/usr/bin/recorder", word], "{keys}: {output:?}"),
            Err(said) => assert_eq!(qube.refused(&[SERVICE, "it"]), said, "{keys}"),
        }
    }
    for text in ["", "Exec=recorder\n", "[Other]\nExec=recorder\n", "[Desktop Entry]\nExec=recorder \0\n"] {
        qube.write(&format!("{APPLICATIONS}/it.desktop"), text);
        assert_eq!(qube.refused(&[SERVICE, "it"]), "this is no entry of an application", "{text:?}");
    }
}

#[test]
#[cfg_attr(not(qube), ignore = "needs Python, and root to have mounts of its own")]
fn programs_for_a_terminal_get_one_and_others_are_asked_over_the_bus() {
    let qube = Qube::new();
    qube.program("xterm", RECORDER);
    qube.program("gapplication", RECORDER);
    qube.entry(&format!("{APPLICATIONS}/it.desktop"), "Terminal=true\nExec=recorder 'a b'");
    assert_eq!(qube.started("it"), ["/usr/bin/xterm", "-e", "recorder", "a b"]);
    qube.program("x-terminal-emulator", RECORDER);
    assert_eq!(qube.started("it")[..3], ["/usr/bin/x-terminal-emulator", "-e", "recorder"]);
    qube.entry(&format!("{APPLICATIONS}/org.Bus.desktop"), "DBusActivatable=true");
    assert_eq!(qube.started("org.Bus.desktop"), ["/usr/bin/gapplication", "launch", "org.Bus"]);
}

#[test]
#[cfg_attr(not(qube), ignore = "needs Python, and root to have mounts of its own")]
fn the_first_folder_that_has_an_id_decides() {
    let qube = Qube::new();
    let folders = [APPLICATIONS, "/usr/local/share/applications", "/home/user/.local/share/applications"];
    for (count, folder) in folders.iter().enumerate() {
        qube.entry(&format!("{folder}/it.desktop"), &format!("Exec=recorder {count}"));
        assert_eq!(qube.started("it")[1..], [count.to_string()]);
        assert_eq!(qube.started("it.desktop")[1..], [count.to_string()]);
    }
    qube.entry(&format!("{}/it.desktop", folders[2]), "Hidden=true\nExec=recorder 2");
    assert_eq!(qube.refused(&[SERVICE, "it"]), REFUSED);
    let set = ["env", "XDG_DATA_HOME=relative", "XDG_DATA_DIRS=:relative:/usr/share:/usr/local/share"];
    assert!(qube.run(&[&set[..], &[SERVICE, "it"]].concat()).status.success());
    assert_eq!(qube.recorded()[1..], ["0"]);
    qube.entry(&format!("{APPLICATIONS}/kde/games/chess-2.desktop"), "Exec=recorder below");
    assert_eq!(qube.started("kde-games-chess-2")[1..], ["below"]);
}

#[test]
#[cfg_attr(not(qube), ignore = "needs Python, and root to have mounts of its own")]
fn no_argument_leads_anywhere_else() {
    let qube = Qube::new();
    qube.entry("/usr/share/outside.desktop", "Exec=recorder");
    qube.entry("/tmp/outside.desktop", "Exec=recorder");
    qube.entry(&format!("{APPLICATIONS}/kde/it.desktop"), "Exec=recorder");
    qube.entry(&format!("{APPLICATIONS}/.desktop"), "Exec=recorder");
    fs::create_dir(qube.path(&format!("{APPLICATIONS}/folder.desktop"))).unwrap();
    let unknown = ["kde-..-..-outside", "kde-..-kde-it", "kde--it", "folder", "kde", "kde-.-it"];
    for id in unknown {
        assert_eq!(qube.refused(&[SERVICE, id]), REFUSED, "{id}");
    }
    let long = "a".repeat(5000);
    for id in
        ["", "../outside", "/tmp/outside", "kde/it", "-it", ".", "a b", "a\n", "it;id", "ü", "--help", &long]
    {
        assert_eq!(qube.refused(&[SERVICE, id]), "the argument must be the id of an application", "{id}");
    }
    assert_eq!(qube.refused(&[SERVICE]), "the argument must be the id of an application");
    assert_eq!(qube.refused(&[SERVICE, "a", "b"]), "the argument must be the id of an application");
}

#[test]
#[cfg_attr(not(qube), ignore = "needs Python, and root to have mounts of its own")]
fn a_launcher_makes_exactly_its_call() {
    let qube = Qube::new();
    qube.program("qrexec-client-vm", RECORDER);
    let payloads =
        ["", "True", " a  b ", "100% %f %%", r#"q"u'o\te`s` $x \n"#, "two\nlines\t\r", "--help", "größer"];
    for payload in payloads {
        let name = "Do it: \"100%\" \\ ü";
        let call = ["call", "work", "admin.vm.property.Set+netvm", "--to", APPLICATIONS, "--name", name];
        let payload_option = format!("--payload={payload}");
        let output = qube.run(&[&[LAUNCHERS], &call[..], &[&payload_option]].concat());
        assert!(output.status.success(), "{output:?}");
        let file = String::from_utf8(output.stdout).unwrap();
        let id = file.trim_end().strip_prefix("/usr/share/applications/").unwrap();
        let words = qube.started(id);
        assert_eq!(words[1..], ["work", call[2], LAUNCHERS, "answer", "--", name, payload]);
    }
    assert_eq!(
        fs::read_dir(qube.path(APPLICATIONS)).unwrap().count(),
        1,
        "the same name is the same launcher"
    );
    for wrong in [["wo/rk", "admin.vm.Start"], ["-x", "admin.vm.Start"], ["work", "admin.vm.Start; id"]] {
        assert_eq!(qube.run(&[LAUNCHERS, "call", wrong[0], wrong[1]]).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
#[cfg_attr(not(qube), ignore = "needs Python, and root to have mounts of its own")]
fn a_launcher_sends_its_payload_and_shows_the_answer() {
    let qube = Qube::new();
    qube.program("notify-send", RECORDER);
    let answer = |reply: &[u8]| {
        let _ = fs::remove_file(qube.path("/words"));
        qube.write("/reply", "");
        fs::write(qube.path("/reply"), reply).unwrap();
        let mut inner = qube.command(&[LAUNCHERS, "answer", "--", "Start it", "a payload"]);
        let output = inner.stdin(fs::File::open(qube.path("/reply")).unwrap()).output().unwrap();
        assert_eq!(output.stdout, b"a payload");
        let shown = qube.path("/words").exists().then(|| qube.recorded()[1..].to_vec());
        (output.status.success(), shown)
    };
    let shown = |text: &str| Some(["--", "Start it", text].map(str::to_owned).to_vec());
    assert_eq!(answer(b"0\0"), (true, None));
    assert_eq!(answer(b"0\0power_state=Halted"), (true, shown("power_state=Halted")));
    let failed = b"2\0QubesVMError\0\0Cannot %s <it>: 100%%\0start\x1b\0".as_slice();
    assert_eq!(answer(failed), (false, shown("Cannot start_ &lt;it&gt;: 100%")));
    for broken in [&b""[..], b"2\0", b"1\0", b"\xff"] {
        assert_eq!(answer(broken), (false, shown("there was no answer")), "{broken:?}");
    }
}

#[test]
#[cfg_attr(not(qube), ignore = "needs Python, and root to have mounts of its own")]
fn launchers_follow_the_menu_of_a_qube() {
    let qube = Qube::new();
    let menu = |items: &str| {
        qube.program("qrexec-client-vm", &format!("{{ {RECORDER}; }} >/dev/null 2>&1; printf '{items}'"))
    };
    let make = || qube.run(&[LAUNCHERS, "apps", "work", "--to", "/menu"]);
    let files = || {
        let entries = fs::read_dir(qube.path("/menu")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    };
    qube.write("/menu/qubes-app+work.2+firefox.desktop", "another qube's");
    menu("0\\0firefox.desktop org.gnome.Files.desktop ../bad.desktop other");
    assert!(make().status.success());
    assert_eq!(qube.recorded()[1..], ["work", "admin.vm.feature.Get+menu-items"]);
    let both = ["qubes-app+work+firefox.desktop", "qubes-app+work+org.gnome.Files.desktop"];
    assert_eq!(files(), [both[0], both[1], "qubes-app+work.2+firefox.desktop"]);
    menu("0\\0org.gnome.Files.desktop");
    assert!(make().status.success());
    assert_eq!(files(), [both[1], "qubes-app+work.2+firefox.desktop"]);
    menu("2\\0QubesVMNotFoundError\\0\\0No such domain\\0");
    let output = make();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "qubes-launchers: No such domain\n");
    assert_eq!(files().len(), 2, "nothing is lost where the menu cannot be read");
    fs::rename(qube.path("/menu"), qube.path(APPLICATIONS).join("menu")).unwrap();
    menu("");
    assert_eq!(qube.run(&[SERVICE, "menu-qubes-app+work+org.gnome.Files"]).status.code(), Some(0));
    assert_eq!(qube.recorded()[1..], ["work", "qubes.StartApp+org.gnome.Files"]);
}
