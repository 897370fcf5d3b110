//! A system with qubes of all kinds, and the backup that we make of it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use common::model::{Class, Qube};
use common::names::{FeatureName, FeatureValue, Rule};
use services::xml::{export_with, firewall_text};
use tests::Fixture;
use tests::tool::tool;

use super::{Files, fresh, image, path};

/// A system of a template, a netvm, qubes connected to it, and disposables.
pub(super) fn system() -> Fixture {
    let fixture = fresh();
    let create = |class: &str, template: &str, name: &str| {
        fixture.ok(&format!("admin.vm.Create.{class}+{template}"), "dom0", format!("name={name} label=blue"));
    };
    create("TemplateVM", "", "tpl");
    fixture.ok("admin.property.Set+default_template", "dom0", "tpl");
    for (class, template, name) in [
        ("AppVM", "tpl", "net"),
        ("AppVM", "tpl", "work"),
        ("AppVM", "tpl", "dvm"),
        ("StandaloneVM", "", "alone"),
    ] {
        create(class, template, name);
    }
    let set = |qube: &str, property: &str, value: &str| {
        fixture.ok(&format!("admin.vm.property.Set+{property}"), qube, value);
    };
    fixture.ok("admin.label.Create+mine", "dom0", "0x123456");
    for (qube, property, value) in [
        ("net", "provides_network", "True"),
        ("net", "netvm", ""),
        ("dvm", "template_for_dispvms", "True"),
        ("work", "label", "mine"),
        ("work", "netvm", "net"),
        ("work", "default_dispvm", "dvm"),
        ("work", "maxmem", "1234"),
        ("work", "memory", "321"),
        ("work", "autostart", "True"),
        ("work", "default_user", "someone"),
        ("alone", "netvm", ""),
        ("alone", "virt_mode", "hvm"),
        ("alone", "kernel", ""),
    ] {
        set(qube, property, value);
    }
    create("DispVM", "dvm", "disp");
    set("disp", "auto_cleanup", "False");
    fixture.ok("admin.vm.feature.Set+service.cups", "work", "1");
    fixture.ok("admin.vm.feature.Set+empty", "work", "");
    fixture.ok("admin.vm.tag.Set+mine", "work", "");
    fixture.ok("admin.vm.tag.Set+created-by-alone", "work", "");
    fixture.ok("admin.vm.notes.Set", "work", "some ✓\nnotes");
    fixture.ok(
        "admin.vm.firewall.Set",
        "work",
        "action=accept dsthost=example.org comment=of mine\naction=drop",
    );
    // No rule at all, which lets nothing through.
    fixture.ok("admin.vm.firewall.SetPolicy", "dvm", "drop");
    fixture.ok("admin.vm.device.pci.Assign+dom0+00_1f.6+0x8086+0x15bc++p020000", "alone", "mode='required'");
    fixture.ok("admin.vm.device.block.Assign+net+sda+_", "work", "mode='ask-to-attach' _read-only='True'");
    fixture.ok("admin.vm.volume.Set.revisions_to_keep+private", "work", "3");
    fixture.ok("admin.vm.volume.Set.rw+root", "alone", "False");
    fixture.ok("admin.vm.volume.Set.ephemeral+volatile", "net", "True");
    for (number, (qube, volume)) in VOLUMES.iter().enumerate() {
        fill(&fixture, qube, volume, number as u64);
    }
    fixture
}

/// Volumes that outlive a run.
pub(super) const VOLUMES: [(&str, &str); 7] = [
    ("tpl", "root"),
    ("tpl", "private"),
    ("net", "private"),
    ("work", "private"),
    ("dvm", "private"),
    ("alone", "root"),
    ("alone", "private"),
];

/// Fills a volume with some data between holes, differently each.
fn fill(fixture: &Fixture, qube: &str, volume: &str, number: u64) {
    let content = path(fixture, "/content");
    let file = File::create(&content).unwrap();
    // Ends in a hole, in data, or is nothing but a hole.
    file.set_len(1 << 20).unwrap();
    if number != 4 {
        file.write_all_at(format!("{qube}:{volume}").as_bytes(), 300_000 + number).unwrap();
        file.write_all_at(&vec![7; 70_000], if number.is_multiple_of(2) { (1 << 20) - 70_000 } else { 4096 })
            .unwrap();
    }
    let imported = tool(fixture, &["import-volume", &content, qube, volume]);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
}

/// The files of a backup of all qubes but dom0, as ours has them.
pub(super) fn backed_up(fixture: &Fixture) -> Files {
    let store = fixture.store();
    let view = store.read().unwrap();
    let mut files = vec![("qubes.xml".to_owned(), xml(fixture).into_bytes())];
    for name in view.names().unwrap() {
        let qube = view.qube(&name).unwrap().unwrap();
        if qube.class != Class::AdminVM {
            pieces(fixture, &qube, &mut files);
        }
    }
    files
}

fn pieces(fixture: &Fixture, qube: &Qube, files: &mut Files) {
    let begun = files.len();
    let folder = format!("vm{}", qube.qid);
    for volume in qube.volumes.iter().filter(|volume| volume.save_on_stop) {
        let content = image(fixture, qube.name.as_str(), volume.name.as_str());
        files.push((format!("{folder}/{}.img", volume.name), content));
    }
    if let Some(rules) = &qube.firewall {
        files.push((format!("{folder}/firewall.xml"), firewall_text(rules).into_bytes()));
    }
    let notes = fixture.path("/var/lib/qubes").join(qube.home().unwrap()).join("notes.txt");
    if let Ok(notes) = std::fs::read(notes) {
        files.push((format!("{folder}/notes.txt"), notes));
    }
    if files.len() == begun {
        files.push((format!("{folder}/empty"), Vec::new()));
    }
}

/// The store with what a backup adds to it (spec 40 §16.3).
fn xml(fixture: &Fixture) -> String {
    let marked = |qube: &Qube| {
        let mut qube = qube.clone();
        // A backup has its rules in files of their own.
        qube.firewall = None::<Vec<Rule>>;
        let folder = format!("vm{}/", qube.qid);
        let included =
            [("backup-content", "1"), ("backup-path", folder.as_str()), ("backup-size", "2097152")];
        let is_included = qube.class != Class::AdminVM;
        for (name, value) in if is_included { &included[..] } else { &[("backup-content", "")] } {
            qube.set_feature(FeatureName::parse(name).unwrap(), FeatureValue::parse(value).unwrap());
        }
        qube
    };
    export_with(&fixture.store().read().unwrap(), &fixture.root(), &marked).unwrap()
}
