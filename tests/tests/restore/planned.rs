//! Which qubes are restored, as what, and what of them cannot be.

use common::model::Value;

use super::system::{backed_up, system};
use super::{Files, fresh, has_files, image, names, restore, said, written};

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// The backup of the system, with a change of its `qubes.xml`.
fn changed(change: impl FnOnce(String) -> String) -> Vec<u8> {
    let mut files = backed_up(&system());
    let xml = String::from_utf8(files.remove(0).1).unwrap();
    let after = change(xml.clone());
    assert_ne!(xml, after);
    files.insert(0, ("qubes.xml".to_owned(), after.into_bytes()));
    written(None, &files)
}

#[test]
fn a_name_that_is_taken_is_left_out_and_another_can_be_given() {
    let (system, target) = (system(), fresh());
    let backup = written(None, &backed_up(&system));
    target.ok("admin.vm.Create.StandaloneVM", "dom0", "name=alone label=red");
    let before = target.qube("alone");
    let told = said(&restore(&target, &backup, &["--qubes", "alone", "tpl"]), false);
    assert!(
        told.contains("skipped: the name alone is taken; --rename alone=OTHER gives it another"),
        "{told}"
    );
    assert!(told.contains("tpl: restored") && told.contains("left out: alone"), "{told}");
    assert_eq!(names(&target), ["alone", "tpl"]);
    assert_eq!(target.qube("alone"), before);
    let told = said(&restore(&target, &backup, &["--rename", "alone=other"]), false);
    assert!(told.contains("restored as other") && told.contains("left out: tpl"), "{told}");
    assert!(image(&target, "other", "private") == image(&system, "alone", "private"));
    assert_eq!(target.qube("alone"), before);
}

#[test]
fn what_is_restored_with_a_renamed_qube_refers_to_its_new_name() {
    let (system, target) = (system(), fresh());
    // What has the old name here is none of theirs.
    for name in ["net", "dvm", "tpl"] {
        target.ok("admin.vm.Create.StandaloneVM", "dom0", format!("name={name} label=red"));
    }
    let renamed = ["--rename", "net=net2", "dvm=dvm2", "tpl=tpl2", "disp=disp2"];
    said(&restore(&target, &written(None, &backed_up(&system)), &renamed), true);
    let work = target.qube("work");
    for (property, name) in [("netvm", "net2"), ("default_dispvm", "dvm2"), ("template", "tpl2")] {
        assert_eq!(work.properties[property], text(name));
    }
    assert_eq!(target.qube("disp2").properties["template"], text("dvm2"));
    assert!(work.devices.iter().all(|device| device.backend == "net2"));
}

#[test]
fn no_two_get_the_same_name_and_no_wish_is_about_nobody() {
    let (system, target) = (system(), fresh());
    let backup = written(None, &backed_up(&system));
    let told =
        said(&restore(&target, &backup, &["--rename", "alone=work", "--qubes", "alone,work", "tpl"]), false);
    assert!(told.contains("skipped: another one gets the name work"), "{told}");
    for wish in [["--qubes", "nobody"], ["--rename", "nobody=other"]] {
        assert!(said(&restore(&target, &backup, &wish), false).contains("the backup has no nobody"));
    }
    let bad = restore(&target, &backup, &["--rename", "alone=-x"]);
    assert_eq!(bad.status.code(), Some(2));
    assert!(
        said(&restore(&fresh(), &backup, &["--qubes", "dom0"]), false).contains("the backup has no dom0")
    );
}

#[test]
fn what_misses_its_template_or_netvm_is_left_out_unless_that_is_wished_for() {
    let (system, target) = (system(), fresh());
    let backup = written(None, &backed_up(&system));
    let chosen = ["--qubes", "work", "dvm", "disp"];
    let told = said(&restore(&target, &backup, &chosen), false);
    assert!(told.contains("its template tpl is missing; --ignore-missing restores it without"), "{told}");
    // It would only be based on one that is left out.
    assert!(told.contains("its template dvm is missing") && told.contains("nothing to restore"), "{told}");
    let ignoring = [&chosen[..], &["--ignore-missing"]].concat();
    let told = said(&restore(&target, &backup, &ignoring), false);
    assert!(told.contains("its template tpl is missing, and there is no default"), "{told}");
    target.ok("admin.vm.Create.TemplateVM", "dom0", "name=own label=black");
    target.ok("admin.property.Set+default_template", "dom0", "own");
    let told = said(&restore(&target, &backup, &ignoring), true);
    assert!(told.contains("its template tpl is missing: it gets own"), "{told}");
    assert!(told.contains("its netvm net is missing: it gets none"), "{told}");
    let work = target.qube("work");
    assert_eq!((&work.properties["netvm"], &work.properties["template"]), (&Value::None, &text("own")));
    assert_eq!(work.properties["default_dispvm"], text("dvm"));
    assert_eq!(target.qube("disp").properties["template"], text("dvm"));
}

#[test]
fn a_netvm_that_is_missing_alone_is_told() {
    let (system, target) = (system(), fresh());
    let backup = written(None, &backed_up(&system));
    let told = said(&restore(&target, &backup, &["--qubes", "work", "tpl"]), false);
    assert!(told.contains("its netvm net is missing; --ignore-missing restores it without"), "{told}");
    assert_eq!(names(&target), ["tpl"]);
    // What is here by that name will do.
    target.ok("admin.vm.Create.AppVM+tpl", "dom0", "name=net label=red");
    target.ok("admin.vm.property.Set+provides_network", "net", "True");
    let told = said(&restore(&target, &backup, &["--qubes", "work"]), true);
    assert!(told.contains("its default_dispvm dvm is missing: it gets none"), "{told}");
    let work = target.qube("work");
    assert_eq!((&work.properties["netvm"], &work.properties["default_dispvm"]), (&text("net"), &Value::None));
}

#[test]
fn a_netvm_that_is_none_is_never_replaced_by_another() {
    let (system, target) = (system(), fresh());
    // What has that name here provides no network, and there is a default one that does.
    target.ok("admin.vm.Create.StandaloneVM", "dom0", "name=net label=red");
    target.ok("admin.vm.Create.StandaloneVM", "dom0", "name=open label=red");
    target.ok("admin.vm.property.Set+provides_network", "open", "True");
    target.ok("admin.vm.property.Set+netvm", "open", "");
    target.ok("admin.property.Set+default_netvm", "dom0", "open");
    let backup = written(None, &backed_up(&system));
    let told = said(&restore(&target, &backup, &["--qubes", "work", "tpl"]), true);
    assert!(told.contains("work: property netvm is none now: "), "{told}");
    assert_eq!(target.qube("work").properties["netvm"], Value::None);
}

#[test]
fn parts_that_nobody_knows_are_told_and_left_out() {
    let name = "<property name=\"name\">work</property>";
    let more = format!("{name}<property name=\"future\">1</property><property name=\"vcpus\">-3</property>");
    let target = fresh();
    let backup = changed(|xml| xml.replace(name, &more));
    let told = said(&restore(&target, &backup, &[]), true);
    assert!(told.contains("property 'future' not applicable to 'AppVM'"), "{told}");
    assert!(told.contains("work: property vcpus: "), "{told}");
    assert!(!target.qube("work").properties.contains_key("vcpus"));
    assert_eq!(target.qube("work").properties["default_user"], text("someone"));
}

#[test]
fn a_qube_that_cannot_be_read_keeps_no_other_from_being_restored() {
    let target = fresh();
    for (change, why) in [
        (("class=\"StandaloneVM\"", "class=\"FutureVM\""), "no such VM class: 'FutureVM'"),
        (("<property name=\"name\">alone<", "<property name=\"name\">al\u{202e}one<"), "illegal characters"),
        (("<property name=\"name\">alone<", "<property name=\"name\">../alone<"), "cannot start with hyphen"),
        (("<property name=\"name\">alone<", "<property name=\"name\">work<"), "stands twice"),
    ] {
        let told = said(
            &restore(&target, &changed(|xml| xml.replacen(change.0, change.1, 1)), &["--verify-only"]),
            false,
        );
        assert!(told.contains(why) && told.contains("tpl: would be restored"), "{told}");
        assert!(!told.contains("alone: would be restored") && !told.contains('\u{202e}'), "{told}");
    }
}

#[test]
fn data_lies_where_data_can_and_belongs_to_one() {
    let system = system();
    let place = format!("<feature name=\"backup-path\">vm{}/<", system.qube("alone").qid);
    let other = format!("vm{}/", system.qube("work").qid);
    for (path, why) in [
        ("vm/", "in no place"),
        ("vm3", "in no place"),
        ("../", "in no place"),
        ("", "in no place"),
        (other.as_str(), "twice"),
    ] {
        let backup = changed(|xml| xml.replace(&place, &format!("<feature name=\"backup-path\">{path}<")));
        let target = fresh();
        let told = said(&restore(&target, &backup, &["--verify-only"]), false);
        assert!(told.contains(why) && !told.contains("alone: would"), "{told}");
    }
}

#[test]
fn disposables_are_made_in_advance_only_once_their_template_is_whole() {
    let feature = |name: &str, value: &str| format!("<feature name=\"{name}\">{value}</feature>");
    let first = feature("backup-content", "1");
    let needed = ["qrexec", "supported-rpc.qubes.WaitForRunningSystem", "supported-rpc.qubes.WaitForSession"]
        .map(|name| feature(name, "1"));
    // What is wished for, before what it needs; and what there was, which is none of this system's.
    let wished = [feature("preload-dispvm-max", "0"), feature("preload-dispvm", "x")];
    let target = fresh();
    let backup =
        changed(|xml| xml.replace(&first, &[first.clone(), wished.concat(), needed.concat()].concat()));
    let told = said(&restore(&target, &backup, &[]), true);
    let events = target.events();
    let at = |wanted: &str| events.iter().position(|event| event.starts_with(wanted)).unwrap();
    let released = at("dvm domain-tag-delete:backup-restore-in-progress");
    assert!(released < at("dvm domain-feature-set:preload-dispvm-max"), "{told}");
    let dvm = target.qube("dvm");
    assert_eq!((dvm.feature("preload-dispvm-max"), dvm.feature("preload-dispvm")), (Some("0"), None));
}

#[test]
fn what_the_system_refuses_of_a_qube_is_told_but_its_rules_must_be_had() {
    let system = system();
    let mut files: Files = backed_up(&system);
    let rules = format!("vm{}/firewall.xml", system.qube("work").qid);
    for (name, content) in &mut files {
        if *name == rules {
            *content = b"<firewall version=\"2\"><rules><rule><properties><property name=\"action\">perhaps</property>\
                </properties></rule></rules></firewall>"
                .to_vec();
        }
    }
    let target = fresh();
    let told = said(&restore(&target, &written(None, &files), &[]), false);
    assert!(told.contains("work could not be restored: firewall.xml: "), "{told}");
    assert!(told.contains("1 of 6 qubes could not be restored"), "{told}");
    assert_eq!(names(&target), ["alone", "disp", "dvm", "net", "tpl"]);
    assert!(!has_files(&target, "work"));
}

#[test]
fn a_default_netvm_that_is_another_one_here_is_told() {
    let system = system();
    let files = backed_up(&system);
    let remark = |target: &tests::Fixture, xml: &dyn Fn(&str) -> String, options: &[&str]| {
        let mut files = files.clone();
        files[0].1 = xml(std::str::from_utf8(&files[0].1).unwrap()).into_bytes();
        let told =
            said(&restore(target, &written(None, &files), &[&["--verify-only"], options].concat()), true);
        let line = told.lines().find(|line| line.starts_with("dvm ")).unwrap().to_owned();
        // Those that name theirs keep it.
        assert!(
            !told.lines().any(|line| line.starts_with("work ") && line.contains("default netvm")),
            "{told}"
        );
        line.split_once("; ").map(|(_, remark)| remark.to_owned())
    };
    let same = |xml: &str| xml.to_owned();
    let had = |xml: &str| {
        let after = "<property name=\"default_netvm\">net</property>";
        assert_eq!(xml.matches(after).count(), 0);
        xml.replacen(
            "<property name=\"default_template\"",
            &format!("{after}<property name=\"default_template\""),
            1,
        )
    };
    let target = fresh();
    assert_eq!(remark(&target, &same, &[]), None);
    let was = |old: &str, new: &str| Some(format!("it has the default netvm, which was {old} and is {new}"));
    assert_eq!(remark(&target, &had, &[]), was("net", "none"));
    let have = |name: &str| {
        target.ok("admin.vm.Create.StandaloneVM", "dom0", format!("name={name} label=red"));
        target.ok("admin.vm.property.Set+netvm", name, "");
        target.ok("admin.vm.property.Set+provides_network", name, "True");
        target.ok("admin.property.Set+default_netvm", "dom0", name);
    };
    have("other");
    assert_eq!(remark(&target, &same, &[]), was("none", "other"));
    assert_eq!(remark(&target, &had, &[]), was("net", "other"));
    have("net2");
    assert_eq!(remark(&target, &had, &[]), was("net", "net2"));
    assert_eq!(remark(&target, &had, &["--rename", "net=net3"]), was("net", "net2"));
}
