//! `install.sh` as whoever installs, removes or tries the software uses it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test code"
)]

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

use tests::executables;

const README: &str = include_str!("../../README.md");
const GOLDEN: &str = include_str!("../conformance/initial.qubes.xml");

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A place with a cargo that finds everything built already: the executables the other tests use.
struct Place {
    scratch: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { scratch: tempfile::tempdir().unwrap() };
        let built = executables::executable("qubes-admin").parent().unwrap().to_path_buf();
        symlink(built, place.folder("target").join("release")).unwrap();
        place.program("cargo", "[ \"$1\" != --version ] || echo cargo 99.0.0");
        place.program("rustc", "echo /nonexistent");
        place.program("cc", "");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn folder(&self, name: &str) -> PathBuf {
        std::fs::create_dir_all(self.path(name)).unwrap();
        self.path(name)
    }

    /// A program found before those of the system.
    fn program(&self, name: &str, script: &str) {
        let file = self.folder("bin").join(name);
        executables::script(&file, &format!("#!/bin/sh\n{script}\n"));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg(top().join("install.sh")).args(arguments).stdin(Stdio::null()).env_clear();
        command.env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()));
        command.env("CARGO_TARGET_DIR", self.path("target")).env("DESTDIR", self.path("root"));
        command
    }

    fn install(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What a successful run prints.
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.install(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a failing run says.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.install(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

fn tool(root: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(root.join("usr/bin/qubes-admin"));
    command.env_clear().env("QUBES_ADMIN_ROOT", root).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Files and links below a directory, relative to it.
fn files_below(folder: &Path) -> Vec<String> {
    let listed =
        Command::new("find").arg(folder).args(["!", "-type", "d", "-printf", "%P\n"]).output().unwrap();
    let mut files: Vec<String> =
        String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect();
    files.sort_unstable();
    files
}

/// The text without the line that changes with every call that is added.
fn without_counts(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with("calls ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_demonstration_prints_the_session_of_the_readme() {
    let place = Place::new();
    let root = place.path("it's a demo");
    let printed = place.done(&["--demo", root.to_str().unwrap()]);
    let (session, advice) = printed.split_once("\nGo on like this:\n").unwrap();
    let session = session.replace(root.to_str().unwrap(), "/home/you/qubes/target/demo");
    let (shown, printed) = (without_counts(README), without_counts(&session));
    assert!(shown.contains(printed.trim()), "the README shows another session than this:\n{session}");
    let typed = format!("{advice}\nqubes-admin call vault admin.vm.property.Get+netvm");
    let typed = typed.replace("  qubes-admin --help\n", "");
    let shell = Command::new("bash").args(["-ec", &typed]).env_clear().output().unwrap();
    assert_eq!(String::from_utf8(shell.stdout).unwrap(), "default=False type=vm ");
    assert!(tool(&root, &["check"]).status.success());
    assert!(place.refused(&["--demo", root.to_str().unwrap()]).contains("has a store already"));
}

#[test]
fn an_empty_demonstration_is_filled_by_an_import() {
    let place = Place::new();
    let root = place.path("demo");
    place.done(&["--demo", root.to_str().unwrap(), "--empty"]);
    assert!(!root.join("var/lib/qubes/admin/system.json").exists());
    let file = place.path("qubes.xml");
    std::fs::write(&file, GOLDEN).unwrap();
    assert!(tool(&root, &["import", file.to_str().unwrap()]).status.success());
    assert_eq!(tool(&root, &["export"]).stdout, GOLDEN.as_bytes());
    let mut service = Command::new(root.join("etc/qubes-rpc/admin.vm.property.Get"));
    let request = "admin.vm.property.Get+label dom0 name work\0";
    let input = place.path("request");
    std::fs::write(&input, request).unwrap();
    let input = std::fs::File::open(input).unwrap();
    let reply = service.env_clear().env("QUBES_ADMIN_ROOT", &root).stdin(input).output().unwrap();
    assert_eq!(reply.stdout, b"0\0default=False type=label blue");
}

#[test]
fn everything_has_its_place_and_mode() {
    let place = Place::new();
    place.done(&[]);
    let root = place.path("root");
    let mode = |path: &str| std::fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777;
    for directory in ["var/lib/qubes/admin/qubes", "var/lib/qubes/admin/journal", "run/qubes/admin/locks"] {
        assert_eq!(mode(directory), 0o2770, "{directory}");
    }
    for family in services::FAMILIES {
        assert_eq!(mode(&format!("usr/lib/qubes/admin/{}", family.name)), 0o755);
        for call in family.calls.iter().filter(|call| !call.row.is_internal()) {
            let link = std::fs::read_link(root.join("etc/qubes-rpc").join(call.row.name)).unwrap();
            assert_eq!(link, Path::new("../../usr/lib/qubes/admin").join(family.name));
            let config = std::fs::read_to_string(root.join("etc/qubes/rpc-config").join(call.row.name));
            assert!(config.unwrap().contains("wait-for-session = false"));
        }
    }
    assert_eq!(mode("usr/lib/qubes/admin/qubes-domain"), 0o755);
    assert_eq!(mode("etc/qubes/policy.d/90-admin-default.policy"), 0o664);
    assert_eq!(mode("etc/qubes/policy.d/include/admin-local-rwx"), 0o664);
    assert!(root.join("usr/share/man/man1/qubes-admin.1.gz").exists());
    assert!(root.join("usr/lib/tmpfiles.d/qubes-admin.conf").exists());
    assert!(root.join("usr/lib/systemd/system/sysinit.target.wants/qubes-admin-boot.service").is_file());
    assert!(root.join("usr/lib/systemd/system/sleep.target.wants/qubes-admin-sleep.service").is_file());
    let wants = root.join("usr/lib/systemd/system/multi-user.target.wants");
    assert!(wants.join("qubes-admin-qubes.service").is_file());
    assert!(wants.join("qubes-admin-preload.service").is_file());
    assert!(root.join(STARTER).is_file());
    assert_eq!(mode("run/qubes-service"), 0o2775);
    assert!(place.done(&["--check"]).contains("as it should be"));
}

#[test]
#[cfg_attr(not(systemd), ignore = "systemd's checker of units is not installed")]
fn systemd_finds_nothing_wrong_with_the_units() {
    let place = Place::new();
    place.done(&[]);
    let root = place.path("root");
    let units = root.join("usr/lib/systemd/system");
    for target in ["sysinit", "basic", "shutdown", "multi-user", "sockets", "sleep"] {
        std::fs::write(units.join(format!("{target}.target")), "[Unit]\nDescription=A target\n").unwrap();
    }
    for (template, instance) in [("qubes-vm@", "sys-net"), ("qubes-admin-devices@", "4711")] {
        let [from, to] = ["", instance].map(|instance| units.join(format!("{template}{instance}.service")));
        std::fs::copy(from, to).unwrap();
    }
    let mut check = Command::new("/usr/bin/systemd-analyze");
    check.args(["verify", "--man=no", "--root"]).arg(&root).args([
        "qubes-admin-boot.service",
        "qubes-admin-qubes.service",
        "qubes-admin-preload.service",
        "qubes-admin-sleep.service",
        "qubes-admin-devices@4711.service",
        "qubes-admin-gateway.socket",
        "qubes-admin-gateway.service",
        "qubes-vm@sys-net.service",
    ]);
    let output = check.output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert!(output.status.success());
}

/// A path below the root, what happens to it, and what a check says of it.
type Damage = (&'static str, fn(&Path), &'static str);

#[test]
fn a_check_names_every_difference_and_installing_again_mends_them() {
    let place = Place::new();
    assert!(place.refused(&["--check"]).contains("nothing is installed"));
    place.done(&[]);
    let root = place.path("root");
    let damage: [Damage; 8] = [
        ("etc/qubes-rpc/admin.vm.List", |it| std::fs::remove_file(it).unwrap(), "missing or not our link"),
        (
            "usr/lib/qubes/admin/admin-label",
            |it| std::fs::write(it, "#!/bin/sh\n").unwrap(),
            "not as installed",
        ),
        ("usr/lib/qubes/admin/qubes-domain", |it| std::fs::remove_file(it).unwrap(), "missing: "),
        (
            "usr/bin/qubes-admin",
            |it| std::fs::set_permissions(it, PermissionsExt::from_mode(0o777)).unwrap(),
            "not of mode 0755",
        ),
        (
            "etc/qubes-rpc/admin.vm.Gone",
            |it| symlink("../../usr/lib/qubes/admin/admin-label", it).unwrap(),
            "serves nothing any more",
        ),
        (
            "usr/lib/systemd/system/qubes-admin-boot.service",
            |it| {
                std::fs::remove_file(it.with_file_name("sysinit.target.wants").join(it.file_name().unwrap()))
                    .unwrap()
            },
            "not started at boot",
        ),
        ("run/qubes/admin/locks", |it| std::fs::remove_dir(it).unwrap(), "not of mode 2770"),
        (
            "etc/qubes/policy.d/90-admin-default.policy",
            |it| std::fs::write(it, "admin.vm.List * @anyvm dom0 allow\n").unwrap(),
            "not as installed",
        ),
    ];
    for (path, hurt, _) in damage {
        hurt(&root.join(path));
    }
    let reported = place.refused(&["--check"]);
    for (path, _, said) in damage {
        assert!(
            reported.lines().any(|line| line.contains(said) && line.ends_with(path)),
            "{path}: {reported}"
        );
    }
    assert!(reported.contains("8 differences; install.sh mends them"), "{reported}");
    place.done(&[]);
    place.done(&["--check"]);
}

#[test]
fn removing_leaves_the_state_and_what_belongs_to_others() {
    let place = Place::new();
    let root = place.path("root");
    let foreign = [
        ("etc/qubes/policy.d/90-admin-default.policy", "another package's"),
        ("etc/qubes/policy.d/include/admin-local-ro", "work @anyvm allow target=dom0\n"),
        ("usr/lib/qubes/other", "another package's"),
    ];
    for (file, content) in foreign {
        std::fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
        std::fs::write(root.join(file), content).unwrap();
    }
    std::fs::create_dir_all(root.join("etc/qubes-rpc")).unwrap();
    symlink("/var/run/qubesd.sock", root.join("etc/qubes-rpc/admin.vm.List")).unwrap();
    let before = files_below(&root);
    place.done(&[]);
    assert_eq!(std::fs::read_to_string(root.join(foreign[1].0)).unwrap(), foreign[1].1);
    assert!(tool(&root, &["init"]).status.success());
    // A second time, as for a newer version: what was there at first is still kept.
    place.done(&[]);
    assert!(place.done(&["--uninstall"]).contains("is untouched"));
    let after: Vec<String> = files_below(&root)
        .into_iter()
        .filter(|file| !file.starts_with("var/lib/qubes/admin") && !file.starts_with("run/qubes/admin"))
        .collect();
    assert_eq!(after, before);
    assert_eq!(std::fs::read_to_string(root.join(foreign[0].0)).unwrap(), foreign[0].1);
    let link = std::fs::read_link(root.join("etc/qubes-rpc/admin.vm.List")).unwrap();
    assert_eq!(link, Path::new("/var/run/qubesd.sock"));
    assert!(root.join("var/lib/qubes/admin/qubes/dom0.json").exists());
}

/// What the package is made of: a tree from which everything below these folders is taken.
const PACKAGED: [&str; 3] = ["usr", "etc/qubes/policy.d", "etc/logrotate.d"];
/// Runs a script of the package in a root of its own, with the programs of the machine beside those that it brings.
const SCRIPT: &str = r#"set -e; root=$1; shift
mkdir -p "$root/lib" "$root/lib64" "$root/programs" "$root/sbin"
mount --bind /usr/lib "$root/lib"; [ ! -e /lib64 ] || mount --bind /lib64 "$root/lib64"
mkdir -p "$root/dev"; : >"$root/dev/null"; mount --bind /dev/null "$root/dev/null"
mount --bind /usr/bin "$root/programs"; mount --bind /usr/sbin "$root/sbin"
exec chroot "$root" /programs/env -i PATH=/usr/bin:/programs:/sbin sh "$@""#;

/// The unit that starts a qube.
const STARTER: &str = "usr/lib/systemd/system/qubes-vm@.service";

/// The place where packages are made is one for all.
static STAGE: Mutex<()> = Mutex::new(());

/// What `install.sh --deb` gives cargo-deb to package.
fn packaged(place: &Place) -> PathBuf {
    let _alone = STAGE.lock().unwrap();
    let kept = place.path("packaged");
    let keep = format!("cp -a '{}/target/package' '{}'", top().display(), kept.display());
    place.program("cargo", &format!("case $* in --version) echo cargo 99.0.0 ;; 'deb -p '*) {keep} ;; esac"));
    place.done(&["--deb"]);
    assert!(!top().join("target/package").exists(), "the next package is made of a new one");
    kept
}

/// Modes, places and targets of links.
fn listing(folder: &Path) -> String {
    let mut find = Command::new("find");
    find.arg(folder).args(["!", "-type", "d", "-printf", "%m %P %l\\n"]);
    let listed = String::from_utf8(find.output().unwrap().stdout).unwrap();
    let mut lines: Vec<&str> = listed.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[test]
fn the_package_has_what_an_installation_has() {
    let place = Place::new();
    let package = packaged(&place);
    place.done(&[]);
    let root = place.path("root");
    // Links are made by the package's scripts.
    for folder in ["etc/qubes-rpc", "etc/qubes/rpc-config"] {
        std::fs::remove_dir_all(root.join(folder)).unwrap();
    }
    std::fs::remove_file(root.join(STARTER)).unwrap();
    assert_eq!(listing(&package), listing(&root));
    let settings = std::fs::read_to_string(top().join("services/admin/Cargo.toml")).unwrap();
    for folder in PACKAGED {
        let asset = format!("{{ source = \"../../target/package/{folder}/**/*\", dest = \"{folder}/\" }},");
        assert!(settings.contains(&asset), "{asset}");
    }
    assert_eq!(settings.matches("target/package/").count(), PACKAGED.len());
    let left: Vec<String> = files_below(&package)
        .into_iter()
        .filter(|file| !PACKAGED.iter().any(|folder| Path::new(file).starts_with(folder)))
        .collect();
    assert!(left.is_empty(), "not packaged: {left:?}");
}

#[test]
#[cfg_attr(not(qube), ignore = "needs root to have mounts of its own")]
fn the_scripts_of_the_package_do_what_an_installation_does() {
    let place = Place::new();
    let root = place.path("root");
    std::fs::rename(packaged(&place), &root).unwrap();
    std::fs::create_dir_all(root.join("etc/qubes-rpc")).unwrap();
    let foreign = root.join("etc/qubes-rpc/admin.vm.List");
    symlink("/var/run/qubesd.sock", &foreign).unwrap();
    std::fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\n").unwrap();
    // Stands in for the list that dpkg keeps of the package.
    let list: String = files_below(&root).iter().map(|file| format!("/{file}\n")).collect();
    std::fs::write(root.join("list"), list).unwrap();
    let query = root.join("usr/bin/dpkg-query");
    executables::script(&query, "#!/programs/sh\ncat /list\n");
    let output = |script: &str, word: &str| {
        std::fs::copy(top().join("rpc-config/debian").join(script), root.join(script)).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", SCRIPT, "sh"]).arg(&root).args([&format!("/{script}"), word]);
        command.output().unwrap()
    };
    let run = |script: &str, word: &str| {
        let output = output(script, word);
        assert!(output.status.success(), "{script}: {output:?}");
    };
    run("preinst", "install");
    run("postinst", "configure");
    run("postinst", "configure");
    assert!(place.done(&["--check"]).contains("as it should be"));
    assert!(root.join(STARTER).is_file());
    let groups = std::fs::read_to_string(root.join("etc/group")).unwrap();
    let group: u32 = groups
        .lines()
        .find_map(|line| line.strip_prefix("qubes:x:")?.strip_suffix(':')?.parse().ok())
        .unwrap();
    for shared in [
        "etc/qubes/policy.d/90-admin-default.policy",
        "etc/qubes/policy.d/include/admin-local-ro",
        "var/lib/qubes/admin/qubes",
    ] {
        assert_eq!(std::fs::metadata(root.join(shared)).unwrap().gid(), group, "{shared}");
    }
    let record = root.join("etc/qubes/admin-switch/record.json");
    std::fs::create_dir_all(record.parent().unwrap()).unwrap();
    for (phase, is_over) in [("to", false), ("back", false), ("putting-aside", false), ("done", true)] {
        std::fs::write(&record, format!("{{\n  \"phase\": \"{phase}\",\n  \"places\": []\n}}")).unwrap();
        assert_eq!(output("preinst", "upgrade").status.success(), is_over, "{phase}");
        assert!(!output("prerm", "remove").status.success(), "{phase}");
    }
    run("preinst", "abort-upgrade");
    std::fs::remove_file(&record).unwrap();
    run("preinst", "upgrade");
    run("prerm", "upgrade");
    assert!(place.done(&["--check"]).contains("as it should be"));
    run("prerm", "remove");
    assert!(root.join(STARTER).symlink_metadata().is_err());
    assert_eq!(files_below(&root.join("etc/qubes-rpc")), ["admin.vm.List"]);
    assert_eq!(std::fs::read_link(foreign).unwrap(), Path::new("/var/run/qubesd.sock"));
    assert!(files_below(&root.join("etc/qubes/rpc-config")).is_empty());
    assert!(root.join("var/lib/qubes/admin/journal").exists(), "the state stays");
}

#[test]
fn the_files_for_qubes_go_into_a_template_or_into_what_an_app_qube_keeps() {
    let place = Place::new();
    let root = place.path("root");
    let service = root.join("etc/qubes-rpc/qubes.StartApp");
    std::fs::create_dir_all(service.parent().unwrap()).unwrap();
    std::fs::write(&service, "another package's").unwrap();
    for (options, prefix, programs) in
        [(&["--vm"][..], "", "usr"), (&["--vm", "--local"], "usr/local/", "usr/local")]
    {
        let before = files_below(&root);
        place.done(options);
        place.done(options);
        let mode = |path: String| std::fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(format!("{prefix}etc/qubes-rpc/qubes.StartApp")), 0o755);
        assert_eq!(mode(format!("{prefix}etc/qubes/rpc-config/qubes.StartApp")), 0o644);
        assert_eq!(mode(format!("{programs}/bin/qubes-launchers")), 0o755);
        place.done(&[options, &["--uninstall"]].concat());
        assert_eq!(files_below(&root), before);
        assert!(place.refused(&[options, &["--uninstall"]].concat()).contains("nothing is installed"));
    }
    assert_eq!(std::fs::read_to_string(&service).unwrap(), "another package's");
}

#[test]
fn what_is_qubesds_stays_its_own_until_the_switch() {
    let place = Place::new();
    let root = place.path("root");
    let units = root.join("usr/lib/systemd/system");
    let record = root.join("etc/qubes/admin-switch/record.json");
    for folder in [&units, record.parent().unwrap(), &root.join("etc/qubes-rpc")] {
        std::fs::create_dir_all(folder).unwrap();
    }
    for unit in ["qubesd.service", "qubes-vm@.service"] {
        std::fs::write(units.join(unit), "qubesd's").unwrap();
    }
    let call = root.join("etc/qubes-rpc/admin.vm.List");
    symlink("../../var/run/qubesd.sock", &call).unwrap();
    let before = files_below(&root);
    assert!(place.done(&[]).contains("next: qubes-admin switch to; until then qubesd serves all calls"));
    assert!(place.done(&["--check"]).contains("as it should be"));
    assert_eq!(std::fs::read_link(&call).unwrap(), Path::new("../../var/run/qubesd.sock"));
    assert_eq!(files_below(&root.join("etc/qubes-rpc")), ["admin.vm.List"]);
    for phase in ["to", "back", "putting-aside"] {
        std::fs::write(&record, format!("{{\n  \"phase\": \"{phase}\",\n  \"places\": []\n}}")).unwrap();
        let between = files_below(&root);
        assert!(
            place.refused(&[]).contains("first end it: qubes-admin switch to, or qubes-admin switch back")
        );
        assert!(place.refused(&["--uninstall"]).contains("first: qubes-admin switch back"));
        assert_eq!(files_below(&root), between, "{phase}");
        assert_eq!(std::fs::read_link(&call).unwrap(), Path::new("../../var/run/qubesd.sock"), "{phase}");
    }
    std::fs::write(&record, "{\n  \"phase\": \"done\",\n  \"places\": []\n}").unwrap();
    place.done(&[]);
    assert!(place.done(&["--check"]).contains("as it should be"));
    assert!(std::fs::read_link(&call).unwrap().ends_with("admin-vm-list"));
    assert_eq!(std::fs::read_to_string(units.join("qubes-vm@.service")).unwrap(), "qubesd's");
    assert!(root.join("usr/lib/qubes/admin/qubes-vm@.service").exists());
    assert!(place.refused(&["--uninstall"]).contains("first: qubes-admin switch back"));
    std::fs::remove_file(&record).unwrap();
    place.done(&["--uninstall"]);
    assert_eq!(files_below(&root), before);
}

#[test]
fn a_missing_or_old_toolchain_is_named() {
    let place = Place::new();
    place.program("cargo", "echo cargo 1.63.0");
    assert!(place.refused(&[]).contains("cargo 1.63.0 is too old; install Rust 1.89 or newer"));
    place.program("cargo", "exit 1");
    assert!(place.refused(&[]).contains("cargo does not run"));
    let output = place.command(&[]).env("PATH", tools_without_cargo(&place)).output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("cargo is missing"));
    assert!(!place.path("root").exists());
}

/// A folder with the few programs the script needs before it looks for cargo.
fn tools_without_cargo(place: &Place) -> PathBuf {
    let folder = place.folder("tools");
    for name in ["dirname", "sed", "uname"] {
        symlink(Path::new("/usr/bin").join(name), folder.join(name)).unwrap();
    }
    folder
}

#[test]
fn executables_built_elsewhere_need_no_toolchain() {
    let place = Place::new();
    place.program("cargo", "exit 1");
    place.done(&["--built", place.path("target/release").to_str().unwrap()]);
    assert!(place.done(&["--check"]).contains("as it should be"));
    assert!(place.refused(&["--built", "/nonexistent"]).contains("no executables in /nonexistent"));
}

#[test]
fn a_check_names_libraries_of_xen_that_are_not_here() {
    let place = Place::new();
    place.done(&[]);
    place.program(
        "ldd",
        "printf '\\tlibc.so.6 => /lib/libc.so.6 (0x7f)\\n\\tlibxenlight.so.4.99 => not found\\n'",
    );
    let reported = place.refused(&["--check"]);
    let said = format!("needs libxenlight.so.4.99, which is not here: {}", place.path("root").display());
    assert!(reported.starts_with(&format!("{said}/usr/lib/qubes/admin/qubes-domain\n")), "{reported}");
    assert!(reported.contains("1 differences"), "{reported}");
}

#[test]
fn the_static_target_is_used_where_it_is_present() {
    let place = Place::new();
    place.program("rustc", &format!("echo {}", place.folder("libdir").display()));
    place.program("uname", "echo arch");
    let built = place.folder("target/arch-unknown-linux-musl");
    std::fs::rename(place.path("target/release"), built.join("release")).unwrap();
    // libxl's executable is the machine's own.
    symlink(executables::executable("qubes-domain"), place.folder("target/release").join("qubes-domain"))
        .unwrap();
    place.done(&[]);
    assert!(place.path("root/usr/bin/qubes-admin").exists());
    assert!(place.path("root/usr/lib/qubes/admin/qubes-domain").exists());
}

#[test]
fn a_wrong_command_line_is_answered_with_the_usage() {
    let place = Place::new();
    for arguments in [&["--bogus"][..], &["--demo", "a", "b"], &["--check", "x"]] {
        let output = place.install(arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8(output.stderr).unwrap().contains("--demo DIR [--empty]"));
    }
    assert!(place.done(&["--help"]).contains("--uninstall"));
    assert!(place.refused(&["--demo"]).contains("needs a directory"));
    assert!(place.refused(&["--demo", "--empty"]).contains("needs a directory"));
}
