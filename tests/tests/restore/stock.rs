//! Backups in the form in which existing systems write them.

use common::model::Value;
use tests::Fixture;

use super::{fresh, image, names, restore, said, written};

/// A qube with what a backup says of it.
fn domain(class: &str, name: &str, qid: u16, properties: &str, more: &str) -> String {
    format!(
        "    <domain id=\"domain-{qid}\" class=\"{class}\">\n      <properties>\n        \
        <property name=\"label\">red</property>\n        <property name=\"name\">{name}</property>\n        \
        <property name=\"qid\">{qid}</property>\n        \
        <property name=\"uuid\">00000000-0000-4000-8000-{qid:012}</property>\n{properties}      </properties>\n      \
        <features>\n        <feature name=\"backup-content\">1</feature>\n        \
        <feature name=\"backup-path\">vm{qid}/</feature>\n        \
        <feature name=\"backup-size\">4096</feature>\n      </features>\n{more}    </domain>\n"
    )
}

/// A `qubes.xml` with these qubes beside dom0.
pub(super) fn xml(domains: &str) -> String {
    format!(
        "<qubes>\n  <labels>\n    <label id=\"label-1\" color=\"0xcc0000\">red</label>\n    \
        <label id=\"label-8\" color=\"0x000000\">black</label>\n  </labels>\n  <pools>\n    \
        <pool name=\"vm-pool\" driver=\"lvm_thin\" volume_group=\"qubes_dom0\" thin_pool=\"vm-pool\"/>\n  </pools>\n  \
        <properties>\n    <property name=\"default_netvm\">sys-firewall</property>\n  </properties>\n  <domains>\n    \
        <domain id=\"domain-0\" class=\"AdminVM\">\n      <properties>\n        \
        <property name=\"label\" ref=\"label-8\"/>\n      </properties>\n      <features>\n        \
        <feature name=\"backup-content\"></feature>\n      </features>\n      <tags/>\n    </domain>\n{domains}  \
        </domains>\n</qubes>\n"
    )
}

/// A volume of a pool that is not here.
macro_rules! volume {
    ($name:literal, $kept:literal) => {
        concat!(
            "        <volume name=\"",
            $name,
            "\" pool=\"vm-pool\" vid=\"qubes_dom0/vm-x-",
            $name,
            "\" revisions_to_keep=\"1\" rw=\"True\" save_on_stop=\"",
            $kept,
            "\" snap_on_start=\"False\" size=\"2147483648\"/>\n"
        )
    };
}

/// A standalone qube, in full.
pub(super) const ALONE: &str = concat!(
    "    <domain id=\"domain-5\" class=\"StandaloneVM\">\n      <properties>\n",
    "        <property name=\"name\">alone</property>\n        <property name=\"qid\">5</property>\n",
    "        <property name=\"label\" ref=\"label-1\"/>\n      </properties>\n      <features>\n",
    "        <feature name=\"backup-content\">1</feature>\n",
    "        <feature name=\"backup-path\">vm5/</feature>\n",
    "        <feature name=\"backup-size\">4096</feature>\n      </features>\n      <tags/>\n",
    "      <volume-config>\n",
    volume!("root", "True"),
    volume!("private", "True"),
    volume!("volatile", "False"),
    "      </volume-config>\n    </domain>\n",
);

fn file(name: &str, content: &[u8]) -> (String, Vec<u8>) {
    (name.to_owned(), content.to_vec())
}

fn property(name: &str, value: &str) -> String {
    format!("        <property name=\"{name}\">{value}</property>\n")
}

/// A template and a qube with all that there is.
fn typical() -> Vec<(String, Vec<u8>)> {
    let volumes = |names: &str| format!("      <volume-config>\n{names}      </volume-config>\n");
    let both = volumes(concat!(volume!("root", "True"), volume!("private", "True")));
    let private = volumes(concat!(volume!("root", "False"), volume!("private", "True")));
    let devices = "      <devices class=\"pci\">\n        <device backend-domain=\"dom0\" id=\"00_1f.6\" \
        mode=\"auto-attach\" identity=\"*\">\n          <option name=\"no-strict-reset\">True</option>\n        </device>\n        \
        <device backend-domain=\"dom0\" id=\"00_14.0\" required=\"True\"/>\n      </devices>\n";
    let tags = "      <tags>\n        <tag name=\"anon\"/>\n        <tag name=\"guivm-dom0\"/>\n        \
        <tag name=\"guivm-elsewhere\"/>\n        <tag name=\"created-by-nobody\"/>\n      </tags>\n";
    let properties = [
        property("template", "debian-12"),
        property("netvm", ""),
        property("maxmem", "0"),
        property("kernelopts", "quiet swiotlb=2048 &amp; more"),
        property("virt_mode", "pvh"),
        property("installed_by_rpm", "True"),
        property("backup_timestamp", "1700000000"),
    ];
    let domains = [
        domain("TemplateVM", "debian-12", 3, &property("installed_by_rpm", "True"), &both),
        domain("AppVM", "work", 4, &properties.concat(), &[tags, devices, private.as_str()].concat()),
    ];
    let firewall = b"<firewall version=\"2\">\n  <rules>\n    <rule>\n      <properties>\n        \
        <property name=\"action\">accept</property>\n        <property name=\"dsthost\">192.0.2.0/24</property>\n        \
        <property name=\"proto\">tcp</property>\n        <property name=\"dstports\">443-443</property>\n      \
        </properties>\n    </rule>\n    <rule>\n      <properties>\n        <property name=\"action\">drop</property>\n      \
        </properties>\n    </rule>\n  </rules>\n</firewall>\n";
    vec![
        file("qubes.xml", xml(&domains.concat()).as_bytes()),
        file("vm3/root.img", &b"root".repeat(1024)),
        file("vm3/private.img", &[0; 8192]),
        file("vm4/private.img", &[&[0; 70_000], &b"private".repeat(1000)[..]].concat()),
        file("vm4/firewall.xml", firewall),
        file("vm4/notes.txt", "für später".as_bytes()),
    ]
}

#[test]
fn a_backup_of_an_existing_system_is_restored() {
    let target = fresh();
    let told = said(&restore(&target, &written(Some("gzip"), &typical()), &[]), true);
    assert!(told.contains("work       AppVM       red    debian-12  4.0 KiB  restored as work"), "{told}");
    assert!(told.contains("work: tag created-by-nobody: "), "{told}");
    assert_eq!(names(&target), ["debian-12", "work"]);
    let work = target.qube("work");
    let value = |name: &str| work.properties.get(name).cloned();
    assert_eq!(value("netvm"), Some(Value::None));
    assert_eq!(value("maxmem"), Some(Value::Int(0)));
    assert_eq!(value("kernelopts"), Some(Value::Text("quiet swiotlb=2048 & more".to_owned())));
    assert_eq!(value("backup_timestamp"), Some(Value::Int(1_700_000_000)));
    // Packages of the old system installed nothing here.
    assert_eq!(value("installed_by_rpm"), None);
    assert!(target.qube("debian-12").features.is_empty() && work.features.is_empty());
    let tags: Vec<&str> = work.tags.iter().map(|tag| tag.as_str()).collect();
    assert_eq!(tags, ["anon", "audiovm-dom0", "created-by-dom0", "guivm-dom0"]);
    let devices: Vec<String> = work
        .devices
        .iter()
        .map(|device| format!("{} {} {:?}", device.name(), device.mode.as_str(), device.options))
        .collect();
    assert_eq!(
        devices,
        ["dom0:00_1f.6:* auto-attach [(\"no-strict-reset\", \"True\")]", "dom0:00_14.0:* required []"]
    );
    assert_eq!(
        target.ok("admin.vm.firewall.Get", "work", ""),
        "action=accept dst4=192.0.2.0/24 proto=tcp dstports=443-443\naction=drop\n"
    );
    assert_eq!(target.ok("admin.vm.notes.Get", "work", ""), "für später");
    assert_eq!(image(&target, "debian-12", "root"), b"root".repeat(1024));
    assert_eq!(image(&target, "debian-12", "private"), [0; 8192]);
    assert!(image(&target, "work", "private") == typical()[3].1);
}

#[test]
fn a_label_that_is_not_here_is_made_and_one_that_is_stays() {
    let target: Fixture = fresh();
    let changed = |from: &str, to: &str| {
        let mut files = typical();
        files[0].1 = String::from_utf8(files[0].1.clone()).unwrap().replace(from, to).into_bytes();
        written(None, &files)
    };
    said(&restore(&target, &changed(">red<", ">crimson<"), &[]), true);
    let color =
        |name: &str| target.store().read().unwrap().labels().unwrap().find(name).unwrap().color.clone();
    assert_eq!((color("crimson"), color("red")), ("0xcc0000".to_owned(), "0xcc0000".to_owned()));
    assert_eq!(target.qube("work").properties["label"], Value::Text("crimson".to_owned()));
    let told = said(&restore(&fresh(), &changed(">red</label>", ">bad name</label>"), &[]), false);
    assert!(told.contains("qubes.xml: line "), "{told}");
}
