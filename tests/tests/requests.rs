//! What every call shares before it acts: vectors, order of checks, refused shapes, hostile names (spec 10 §1,
//! appendix B, behaviours 122 to 127 of §11).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use common::call::{Destination, Presence, Row};
use tests::Fixture;
use tests::fixture::{readable, refusal};

/// Requests and replies of appendix B, NUL as `·` and LF as `⏎`. A list takes an identifier here, so the vector of
/// an argument too many is that of a call that lists nothing.
const VECTORS: &[(&str, &str)] = &[
    ("admin.vmclass.List dom0 name dom0·", "0·AdminVM⏎AppVM⏎DispVM⏎RemoteVM⏎StandaloneVM⏎TemplateVM⏎"),
    ("admin.vmclass.List+ dom0 keyword adminvm·", "0·AdminVM⏎AppVM⏎DispVM⏎RemoteVM⏎StandaloneVM⏎TemplateVM⏎"),
    ("admin.vmclass.List dom0 keyword dispvm·", ""),
    ("admin.vmclass.List+x dom0 name test-vm1·payload", "2·ProtocolError··unexpected payload·"),
    ("admin.property.GetAll+x dom0 name test-vm1·", "2·ProtocolError··unexpected argument·"),
    ("admin.vmclass.List dom0 name test-vm1·", "2·ProtocolError··expected destination to be AdminVM·"),
    ("admin.nosuch dom0 name dom0·", "2·ProtocolError··no such method: 'admin.nosuch'·"),
    ("admin.nosuch nosuch name nosuch·", "2·QubesVMNotFoundError··No such domain: 'nosuch'·"),
    ("admin.vm.List dom0 name ·", "2·QubesValueError··VM name contains illegal characters·"),
    ("admin.vm.List dom0 name x-dm·", "2·QubesValueError··VM name cannot end with -dm·"),
    ("admin.vm.property.Get dom0 name test-vm1·", "2·ProtocolError··expected an argument·"),
    (
        "admin.vm.property.Get+nope dom0 name test-vm1·",
        "2·QubesNoSuchPropertyError··Invalid property 'nope' of test-vm1·",
    ),
    (
        "admin.property.Get+nope dom0 name dom0·",
        "2·QubesNoSuchPropertyError··Invalid property 'nope' of Qubes·",
    ),
    (
        "admin.vm.property.Set+netvm dom0 name test-vm1·nosuch",
        "2·QubesPropertyValueError··Can't set netvm to non-existing qube nosuch·",
    ),
    ("admin.vm.property.Set+netvm dom0 name test-vm1·\u{ff}", "2·QubesValueError···"),
    (
        "admin.vm.property.Set+klass dom0 name test-vm1·x",
        "2·QubesPropertyValueError··property 'klass' on AppVM instance cannot be set·",
    ),
    (
        "admin.vm.property.Set+debug dom0 name test-vm1·2",
        "2·QubesValueError··Invalid literal for boolean property: '2'·",
    ),
    (
        "admin.vm.property.Reset+template dom0 name test-vm1·",
        "2·QubesValueError··Cannot unset template. You can set it to the current default (test-template) instead·",
    ),
    ("admin.label.Get+nope dom0 name dom0·", "2·QubesLabelNotFoundError··Label does not exist: nope·"),
    (
        "admin.vm.feature.Get+nope dom0 name test-vm1·",
        "2·QubesFeatureNotFoundError··Feature not set for domain test-vm1: nope·",
    ),
    ("admin.vm.tag.Set+a.b dom0 name test-vm1·", "2·QubesInvalidTagError··disallowed characters·"),
    ("admin.vm.notes.Get dom0 name dom0·", "2·ProtocolError··expected destination to not be AdminVM·"),
    (
        "admin.vm.Create.AppVM+test-template dom0 name dom0·name=test-vm1 label=red",
        "2·QubesVMAlreadyExistsError··Qube already exists: test-vm1·",
    ),
    (
        "admin.vm.Remove dom0 name test-template·",
        "2·QubesVMInUseError··Domain is in use: 'test-template';  see 'journalctl -u qubesd -e' in dom0 for details·",
    ),
    ("admin.vm.CurrentState dom0 name test-vm1·", "0·mem=0 mem_static_max=0 cputime=0 power_state=Halted"),
    ("admin.vm.feature.Set+f dom0 name test-vm1·v", "0·"),
];

/// A request's bytes from its readable form; `\u{ff}` stands for the byte.
fn bytes(text: &str) -> Vec<u8> {
    let byte = |character| match character {
        '·' => 0,
        character => u8::try_from(u32::from(character)).unwrap(),
    };
    text.chars().map(byte).collect()
}

#[test]
fn the_vectors_hold_byte_for_byte() {
    let fixture = Fixture::new();
    for (request, reply) in VECTORS {
        let method = request.split(['+', ' ']).next().unwrap();
        let output = fixture.run(method, &bytes(request));
        assert_eq!(readable(&output.stdout).replace('\n', "⏎"), *reply, "{request}");
    }
}

#[test]
fn later_pluses_spaces_and_nuls_belong_to_what_they_stand_in() {
    let fixture = Fixture::new();
    for (request, reply) in [
        (
            "admin.vm.feature.Get+a+b dom0 name test-vm1·",
            "2·QubesFeatureNotFoundError··Feature not set for domain test-vm1: a+b·",
        ),
        ("admin.vm.List dom0 name test-vm1 x·", "2·QubesValueError··VM name contains illegal characters·"),
        (
            "admin.vm.feature.Set+f dom0 name test-vm1·a·b",
            "2·ProtocolError··f value contains illegal characters·",
        ),
        ("ADMIN.VM.LIST dom0 name dom0·", "2·ProtocolError··no such method: 'ADMIN.VM.LIST'·"),
        ("admin.vm.Lis dom0 name dom0·", "2·ProtocolError··no such method: 'admin.vm.Lis'·"),
    ] {
        let method = request.split(['+', ' ']).next().unwrap();
        assert_eq!(readable(&fixture.run(method, &bytes(request)).stdout), reply, "{request}");
    }
}

#[test]
fn the_source_is_resolved_before_the_destination_and_both_before_the_method() {
    let fixture = Fixture::new();
    let said =
        |source: &str, destination: &str| refusal(&fixture.call_as(source, "admin.nosuch", destination, "x"));
    assert_eq!(said("nobody", "-"), "QubesVMNotFoundError: No such domain: 'nobody'");
    assert_eq!(said("dom0", "nothing"), "QubesVMNotFoundError: No such domain: 'nothing'");
    assert_eq!(said("uuid:", "nothing"), "QubesVMInvalidUUIDError: VM UUID is not valid: ''");
    assert_eq!(said("dom0", "dom0"), "ProtocolError: no such method: 'admin.nosuch'");
    let by_uuid = format!("uuid:{}", tests::fixture::uuid(2));
    assert_eq!(said(&by_uuid, &by_uuid), "ProtocolError: no such method: 'admin.nosuch'");
}

#[test]
fn bytes_that_are_not_ascii_get_no_answer() {
    let fixture = Fixture::new();
    for request in [
        "admin.vm.L\u{ff}st dom0 name dom0·",
        "admin.vm.feature.Get+\u{ff} dom0 name dom0·",
        "admin.vm.List d\u{ff}m0 name dom0·",
        "admin.vm.List dom0 name d\u{ff}m0·",
        "admin.vm.List uuid:\u{ff} name dom0·",
    ] {
        let output = fixture.run("admin.vm.List", &bytes(request));
        assert!(output.stdout.is_empty() && output.status.success(), "{request}");
        let method = request.split(['+', ' ']).next().unwrap();
        let output = fixture.run(method, &bytes(request));
        assert!(output.stdout.is_empty() && output.status.success(), "{request}");
    }
}

#[test]
fn hostile_names_are_nobody_in_every_place() {
    let fixture = Fixture::new();
    let before = fixture.stored();
    let start = "QubesValueError: VM name cannot start with hyphen, underscore, dot or numbers";
    let illegal = "QubesValueError: VM name contains illegal characters";
    let reserved = "QubesValueError: VM name cannot be 'none' nor 'default'";
    for (name, said) in [
        ("../x", start),
        ("-dm", start),
        ("0", start),
        ("a/b", illegal),
        ("a\tb", illegal),
        ("none", reserved),
        ("default", reserved),
        ("Domain-0", "QubesValueError: VM name cannot be 'Domain-0'"),
        ("x-dm", "QubesValueError: VM name cannot end with -dm"),
        (&"a".repeat(32), "QubesValueError: VM name must be shorter than 32 characters"),
    ] {
        assert_eq!(fixture.refused("admin.vm.List", name, ""), said, "{name:?}");
        assert_eq!(refusal(&fixture.call_as(name, "admin.vm.List", "dom0", "")), said, "{name:?}");
        let payload = format!("name={name} label=red");
        assert_eq!(fixture.refused("admin.vm.Create.RemoteVM", "dom0", payload), said, "{name:?}");
        assert_eq!(fixture.refused("admin.vm.property.Set+netvm", "test-vm1", name), said, "{name:?}");
        if !name.contains('\t') {
            let template = format!("admin.vm.Create.AppVM+{name}");
            let said = format!("QubesVMNotFoundError: No such domain: '{name}'");
            assert_eq!(fixture.refused(&template, "dom0", "name=n label=red"), said);
        }
    }
    let longest = "a".repeat(31);
    let unknown = format!("QubesVMNotFoundError: No such domain: '{longest}'");
    assert_eq!(fixture.refused("admin.vm.List", &longest, ""), unknown);
    assert!(fixture.stored() == before && fixture.events().is_empty());
    fixture.ok("admin.vm.Create.RemoteVM", "dom0", format!("name={longest} label=red"));
    assert!(fixture.ok("admin.vm.List", &longest, "").starts_with(&longest));
}

/// The index of calls (spec 10 §1.11): dest A dom0, N not dom0, * any; argument and payload - none, ? optional,
/// ! required. Lists take an identifier, which the index does not know.
const INDEX: &str = "\
    admin.vmclass.List A ? -
    admin.vm.List * ? -
    admin.vm.Create.AppVM A ? ?
    admin.vm.CreateInPool.AppVM A ? ?
    admin.vm.Remove * - -
    admin.vm.CurrentState * - -
    admin.property.List A ? -
    admin.property.Get A ! -
    admin.property.GetAll A - -
    admin.property.GetDefault A ! -
    admin.property.Help A ! -
    admin.property.HelpRst A ! -
    admin.property.Set A ! ?
    admin.property.Reset A ! -
    admin.vm.property.List * ? -
    admin.vm.property.Get * ! -
    admin.vm.property.GetAll * - -
    admin.vm.property.GetDefault * ! -
    admin.vm.property.Help * ! -
    admin.vm.property.HelpRst * ! -
    admin.vm.property.Set * ! ?
    admin.vm.property.Reset * ! -
    admin.label.List A ? -
    admin.label.Get A ! -
    admin.label.Index A ! -
    admin.label.Create A ! !
    admin.label.Remove A ! -
    admin.vm.feature.List * ? -
    admin.vm.feature.Get * ! -
    admin.vm.feature.CheckWithTemplate * ! -
    admin.vm.feature.CheckWithNetvm * ! -
    admin.vm.feature.CheckWithAdminVM * ! -
    admin.vm.feature.CheckWithTemplateAndAdminVM * ! -
    admin.vm.feature.Set * ! ?
    admin.vm.feature.Remove * ! -
    admin.vm.tag.List * ? -
    admin.vm.tag.Get * ! -
    admin.vm.tag.Set * ! -
    admin.vm.tag.Remove * ! -
    admin.vm.notes.Get N - -
    admin.vm.notes.Set N - ?";

fn rows() -> impl Iterator<Item = Row> {
    services::FAMILIES.iter().flat_map(|family| family.calls).map(|call| call.row)
}

#[test]
fn the_rows_are_those_of_the_index() {
    let presence = |presence: Presence| match presence {
        Presence::No | Presence::Conversation => "-",
        Presence::Optional => "?",
        Presence::Required | Presence::Stream | Presence::SizedStream => "!",
    };
    let destination = |destination: Destination| match destination {
        Destination::Dom0 => "A",
        Destination::Qube => "N",
        Destination::Any => "*",
    };
    for line in INDEX.lines().map(str::trim) {
        let name = line.split(' ').next().unwrap();
        let row = rows().find(|row| row.name == name).unwrap_or_else(|| panic!("{name} is not served"));
        let shape = [destination(row.destination), presence(row.argument), presence(row.payload)];
        assert_eq!(format!("{name} {}", shape.join(" ")), line);
    }
    for class in ["AdminVM", "AppVM", "DispVM", "RemoteVM", "StandaloneVM", "TemplateVM"] {
        for call in ["admin.vm.Create", "admin.vm.CreateInPool"] {
            assert!(rows().any(|row| row.name == format!("{call}.{class}")), "{call}.{class}");
        }
    }
}

fn takes_payload(row: &Row) -> bool {
    !matches!(row.payload, Presence::No | Presence::Conversation)
}

/// Text of the refusal that a call's row asks for; none if it lets the shape pass.
fn expected(row: &Row, argument: &str, destination: &str, payload: &str) -> Option<&'static str> {
    let checks = [
        (row.payload == Presence::Required && payload.is_empty(), "expected payload"),
        (!takes_payload(row) && !payload.is_empty(), "unexpected payload"),
        (row.argument == Presence::Required && argument.is_empty(), "expected an argument"),
        (row.argument == Presence::No && !argument.is_empty(), "unexpected argument"),
        (row.destination == Destination::Dom0 && destination != "dom0", "expected destination to be AdminVM"),
        (
            row.destination == Destination::Qube && destination == "dom0",
            "expected destination to not be AdminVM",
        ),
    ];
    checks.into_iter().find(|(applies, _)| *applies).map(|(_, text)| text)
}

#[test]
fn every_call_refuses_the_wrong_shape_in_every_combination() {
    let fixture = Fixture::new();
    let before = fixture.stored();
    let mut refused = 0;
    // A stream is no request of this kind: `imports` holds the shape of one.
    for row in rows().filter(|row| !row.payload.is_stream()) {
        for argument in ["", "some-arg"] {
            for destination in ["dom0", "test-vm1"] {
                for payload in ["", "payload"] {
                    let Some(text) = expected(&row, argument, destination, payload) else { continue };
                    let call = format!("{}+{argument}", row.name);
                    let said = fixture.refused(&call, destination, payload);
                    assert_eq!(said, format!("ProtocolError: {text}"), "{call} {destination} {payload}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 150, "{refused}");
    assert!(fixture.stored() == before && fixture.events().is_empty());
}

#[test]
fn dom0_is_a_destination_like_others_of_calls_on_qubes() {
    let fixture = Fixture::new();
    assert_eq!(fixture.ok("admin.vm.property.Get+klass", "dom0", ""), "default=True type=str AdminVM");
    fixture.ok("admin.vm.feature.Set+f", "dom0", "1");
    fixture.ok("admin.vm.tag.Set+t", "dom0", "");
    let state = fixture.ok("admin.vm.CurrentState", "dom0", "");
    assert!(state.contains(" mem_static_max=4194304 ") && state.ends_with(" power_state=Running"), "{state}");
    assert!(fixture.ok("admin.vm.List", "dom0", "").lines().count() > 1);
}

#[test]
fn tracebacks_are_for_the_debug_switch_alone() {
    let fixture = Fixture::new();
    let traceback = || {
        let reply = fixture.call("admin.label.Get+nope", "dom0", "");
        let fields: Vec<String> = readable(&reply).split('·').map(str::to_owned).collect();
        assert_eq!(
            (fields[1].as_str(), fields[3].as_str()),
            ("QubesLabelNotFoundError", "Label does not exist: nope")
        );
        fields[2].clone()
    };
    assert_eq!(traceback(), "");
    std::fs::write(fixture.path("/etc/qubes/admin-debug"), "").unwrap();
    assert!(traceback().contains("label.rs"), "{}", traceback());
}
