//! What a backup has, by what its profile chooses and by the state of qubes.

use common::names::{FeatureName, FeatureValue};
use tests::startable::run_of;

use super::*;

#[test]
fn lists_of_all_forms_choose_qubes_and_dom0_comes_last() {
    let fixture = system();
    with_home(&fixture);
    fixture.ok("admin.vm.tag.Set+kept", "net", "");
    let names = |said: &str| {
        to_folder(&fixture, said);
        fixture.ok(EXECUTE, "dom0", "");
        let restored = taken(&fixture);
        restored.names()[1..].iter().map(|name| (*name).to_owned()).collect::<Vec<String>>()
    };
    let private = |qube: &str| format!("{}private.img", folder(&fixture, qube));
    let root = format!("{}root.img", folder(&fixture, "test-template"));
    assert_eq!(names("include: ['@tag:kept', dom0]"), [private("net"), "dom0-home/user".to_owned()]);
    assert_eq!(names("include: [$type:TemplateVM]"), [root, private("test-template")]);
    assert_eq!(names("include: [work, net]\nexclude: ['@tag:kept']"), [private("work")]);
    assert_eq!(names("include: []"), [""; 0]);
    // dom0 has no time of its last backup.
    fixture.refused("admin.vm.property.Get+backup_timestamp", "dom0", "");
}

#[test]
fn the_store_lies_in_it_with_marks_of_what_else_does() {
    let fixture = system();
    let set = [("preload-dispvm-max", "2"), ("preload-dispvm-delay", "5"), ("other", "x")];
    let feature = |(name, value)| (FeatureName::parse(name).unwrap(), FeatureValue::parse(value).unwrap());
    fixture.edit("work", |qube| qube.features = set.map(feature).to_vec());
    to_folder(&fixture, "include: [work]");
    fixture.ok(EXECUTE, "dom0", "");
    let contents = taken(&fixture).contents();
    let features = |qube: &str| {
        let after = contents.split(&format!("<property name=\"name\">{qube}</property>")).nth(1).unwrap();
        let features = after.split("</features>").next().unwrap();
        let lines = features.lines().filter(|line| line.contains("<feature name"));
        lines.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    let path = folder(&fixture, "work");
    let mut work = features("work");
    let size = work.pop().unwrap();
    assert_eq!(
        work,
        [
            "<feature name=\"preload-dispvm-max\">2</feature>",
            "<feature name=\"other\">x</feature>",
            "<feature name=\"backup-content\">1</feature>",
            &format!("<feature name=\"backup-path\">{path}</feature>"),
        ]
    );
    let bytes = size.strip_prefix("<feature name=\"backup-size\">").unwrap();
    let bytes: u64 = bytes.strip_suffix("</feature>").unwrap().parse().unwrap();
    assert!((200_000..400_000).contains(&bytes), "{size}");
    assert_eq!(
        features("net"),
        ["<feature name=\"servicevm\">1</feature>", "<feature name=\"backup-content\"></feature>"]
    );
    // What is stored has no such marks.
    assert_eq!(fixture.qube("work").features.len(), 3);
}

#[test]
fn a_running_qube_is_backed_up_as_it_was_before_its_start() {
    let fixture = system();
    to_folder(&fixture, "include: [work]");
    fixture.ok("admin.vm.property.Set+netvm", "work", "");
    fixture.ok("admin.vm.Start", "work", "");
    assert!(run_of(&fixture, "work").is_some());
    let own = image(&fixture, "work").with_file_name("private-dirty.img");
    fs::write(&own, noise(9, 200_000)).unwrap();
    fixture.ok(EXECUTE, "dom0", "");
    assert!(taken(&fixture).file(&format!("{}private.img", folder(&fixture, "work"))) == noise(1, 200_000));
    fixture.ok("admin.vm.Kill", "work", "");
    fixture.ok(EXECUTE, "dom0", "");
    assert!(taken(&fixture).file(&format!("{}private.img", folder(&fixture, "work"))) == noise(9, 200_000));
}

#[test]
fn a_running_qube_without_snapshots_is_refused() {
    let fixture = system();
    fixture.edit("work", |qube| qube.volumes.iter_mut().for_each(|volume| volume.revisions_to_keep = -1));
    to_folder(&fixture, "include: [work]");
    let running = fixture.domain("work", "Running");
    let refused = fixture.refused(EXECUTE, "dom0", "");
    assert!(refused.starts_with("QubesVMNotHaltedError: "), "{refused}");
    drop(running);
    fixture.ok(EXECUTE, "dom0", "");
    assert_eq!(taken(&fixture).names().len(), 2);
}

#[test]
fn a_qube_without_anything_has_an_empty_file() {
    let fixture = system();
    fixture.ok("admin.vm.Create.RemoteVM", "dom0", "name=far label=red");
    to_folder(&fixture, "include: [far]");
    fixture.ok(EXECUTE, "dom0", "");
    assert_eq!(taken(&fixture).file(&format!("{}empty", folder(&fixture, "far"))), b"");
}

/// Accounts with a user of dom0, and that user's home directory.
fn with_home(fixture: &Fixture) {
    fs::create_dir_all(fixture.path("/home/user/below")).unwrap();
    fs::write(fixture.path("/home/user/below/file"), noise(3, 70_000)).unwrap();
    fs::write(fixture.path("/etc/group"), "qubes:x:98:user\n").unwrap();
    fs::write(fixture.path("/etc/passwd"), "user:x:1000:1000::/home/user:/bin/bash\n").unwrap();
}

#[test]
fn the_home_of_dom0_is_its_users_then_and_a_tree() {
    let fixture = system();
    with_home(&fixture);
    executables::script(
        &fixture.path("/usr/bin/chown"),
        "#!/bin/sh\necho \"$*\" > \"${0%/usr/bin/chown}/owned\"\n",
    );
    to_folder(&fixture, "include: [dom0]");
    fixture.ok(EXECUTE, "dom0", "");
    let home = fixture.path("/home/user").display().to_string();
    assert_eq!(fs::read_to_string(fixture.path("/owned")).unwrap(), format!("-R user {home}\n"));
    let restored = taken(&fixture);
    let unpacked = tempfile::tempdir().unwrap();
    fs::write(unpacked.path().join("tree"), restored.file("dom0-home/user")).unwrap();
    let mut tar = std::process::Command::new("tar");
    assert!(tar.args(["-xf", "tree"]).current_dir(unpacked.path()).status().unwrap().success());
    assert!(fs::read(unpacked.path().join("dom0-home/user/below/file")).unwrap() == noise(3, 70_000));
    assert!(restored.contents().contains("<feature name=\"backup-path\">dom0-home/user</feature>"));
    let path = "destination_vm: dom0\ndestination_path: /home/user/x\ninclude: [dom0]\npassphrase_text: a";
    fixture.profile("p", path);
    assert_eq!(
        fixture.refused(EXECUTE, "dom0", ""),
        "QubesException: Can not backup dom0 home directory to itself!"
    );
}
