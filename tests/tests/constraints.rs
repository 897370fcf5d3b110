//! The administrator's constraints from outside: values, quotas, hidden qubes, broken files, and the examples of
//! `docs/constraints.md`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::io::Write;
use std::process::{Child, Stdio};

use common::names::{FeatureName, FeatureValue, TagName};
use tests::Fixture;
use tests::fixture::{readable, refusal};
use tests::listener::Listener;

const FOLDER: &str = "/etc/qubes/admin-constraints.d";
const DENIED: &str = "PermissionDenied: denied by the administrator's constraints";
const SET_MEMORY: &str = "admin.vm.property.Set+memory";
const CREATE: &str = "admin.vm.Create.AppVM+test-template";

/// dom0 made `mgmt`, with the tag `manager`, `other` and the netvms; `mgmt` made `work`. Policy allows everything.
fn system() -> Fixture {
    let fixture = Fixture::new();
    fixture.policy("30-all.policy", "* * @anyvm @anyvm allow\n* * @anyvm @adminvm allow\n");
    for name in ["mgmt", "other", "sys-net", "other-net"] {
        fixture.ok(CREATE, "dom0", format!("name={name} label=red"));
    }
    for name in ["sys-net", "other-net"] {
        fixture.ok("admin.vm.property.Set+provides_network", name, "True");
    }
    fixture.ok("admin.vm.tag.Set+manager", "mgmt", "");
    assert_eq!(fixture.call_as("mgmt", CREATE, "dom0", "name=work label=red"), b"0\0");
    fixture
}

fn constrain(fixture: &Fixture, file: &str, text: &str) {
    std::fs::create_dir_all(fixture.path(FOLDER)).unwrap();
    std::fs::write(fixture.path(FOLDER).join(file), text).unwrap();
}

fn is_denied(fixture: &Fixture, caller: &str, call: &str, destination: &str, payload: &str) -> bool {
    let reply = fixture.call_as(caller, call, destination, payload);
    let denied = reply.starts_with(b"2\0PermissionDenied\0");
    assert!(denied || reply.starts_with(b"0\0"), "{call}: {}", readable(&reply));
    denied
}

/// What a denied call writes to its log.
fn log(fixture: &Fixture, caller: &str, call: &str, destination: &str, payload: &str) -> String {
    let method = call.split('+').next().unwrap();
    let output = fixture.run(method, format!("{call} {caller} name {destination}\0{payload}").as_bytes());
    assert_eq!(refusal(&output.stdout), DENIED);
    String::from_utf8(output.stderr).unwrap()
}

/// The blocks of `docs/constraints.md`: a file, and the rows of the table that follows.
fn examples() -> Vec<(String, Vec<Vec<String>>)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/constraints.md");
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("```toml\n").skip(1).map(|block| block.split_once("```").unwrap());
    let cells = |line: &str| line.trim_matches('|').split(" |").map(|cell| cell.trim().to_owned()).collect();
    let table = |text: &str| {
        let lines =
            text.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
        lines.skip(2).map(cells).collect()
    };
    blocks.map(|(file, rest)| (file.to_owned(), table(rest))).collect()
}

#[test]
fn the_documentation_tells_the_truth() {
    let examples = examples();
    assert!(examples.len() >= 4, "{} examples", examples.len());
    for (file, rows) in examples {
        let fixture = system();
        constrain(&fixture, "50-example.toml", &file);
        assert!(rows.len() >= 5, "{file}");
        for row in rows {
            let [caller, call, destination, payload, outcome] = row.as_slice() else { panic!("{row:?}") };
            let reply = fixture.call_as(caller, call, destination, payload);
            let expected: &[u8] = match outcome.as_str() {
                "allowed" => b"0\0",
                "denied" => b"2\0PermissionDenied\0",
                "absent" => b"2\0QubesVMNotFoundError\0",
                other => panic!("{other}"),
            };
            assert!(reply.starts_with(expected), "{row:?}: {}", readable(&reply));
        }
    }
}

#[test]
fn callers_are_told_by_name_tag_and_type_and_dom0_is_none() {
    let fixture = system();
    fixture.ok("admin.vm.Create.RemoteVM", "dom0", "name=far label=red");
    for (callers, denied) in [
        (r#""mgmt""#, &["mgmt"][..]),
        (r#""mg*""#, &["mgmt"]),
        (r#""@tag:manager""#, &["mgmt"]),
        (r#""@type:RemoteVM""#, &["far"]),
        (r#""@type:AppVM", "far""#, &["mgmt", "other", "far"]),
        (r#""@anyvm""#, &["mgmt", "other", "far"]),
        (r#""dom0", "@type:AdminVM""#, &[]),
    ] {
        constrain(
            &fixture,
            "a.toml",
            &format!("[[constraint]]\ncallers = [{callers}]\nproperty.memory = [\"..4000\"]\n"),
        );
        for caller in ["dom0", "mgmt", "other", "far"] {
            assert_eq!(
                is_denied(&fixture, caller, SET_MEMORY, "work", "4001"),
                denied.contains(&caller),
                "{callers} {caller}"
            );
            assert!(!is_denied(&fixture, caller, SET_MEMORY, "work", "300"), "{callers} {caller}");
        }
    }
}

#[test]
fn who_has_some_qubes_learns_of_no_others_from_policy() {
    let fixture = system();
    fixture.policy(
        "20-svc.policy",
        "svc +ask work @anyvm ask default_target=other\nsvc +to work sys-net allow target=other\nsvc * * * deny\n",
    );
    let ask = |caller: &str, call: &str, ends: &str| {
        let reply = fixture.call_as(caller, call, "dom0", ends);
        reply.strip_prefix(b"0\0").map(|content| String::from_utf8(content.to_vec()).unwrap())
    };
    let rule = |line: usize| format!("rule=/etc/qubes/policy.d/20-svc.policy:{line}\n");
    let all = ask("mgmt", "policy.Eval+svc+ask", "work\0sys-net").unwrap();
    assert!(all.contains("other-net") && all.contains("default_target=other\n"), "{all}");
    let qubes = "[[constraint]]\ncallers = [\"mgmt\"]\nqubes = [\"@created\", \"sys-net\"]\n";
    constrain(&fixture, "a.toml", qubes);
    let seen = ask("mgmt", "policy.Eval+svc+ask", "work\0sys-net").unwrap();
    assert_eq!(seen, format!("result=ask\ncandidates=sys-net\n{}", rule(1)));
    let sent = ask("mgmt", "policy.Eval+svc+to", "work\0sys-net").unwrap();
    assert_eq!(sent, format!("result=allow\n{}", rule(2)));
    for (ends, is_answered) in [
        ("work\0@default", true),
        ("work\0@adminvm", true),
        ("work\0dom0", true),
        ("work\0@dispvm:sys-net", true),
        ("work\0other", false),
        ("work\0nobody", false),
        ("other\0work", false),
        ("work\0@dispvm:other", false),
        ("work\0sys-net\0other", false),
    ] {
        for call in ["policy.Eval+svc", "policy.EvalSimple+svc"] {
            // The simple questions know no relay.
            if call == "policy.Eval+svc" || ends.split('\0').count() == 2 {
                assert_eq!(ask("mgmt", call, ends).is_some(), is_answered, "{call} {ends:?}");
                assert!(ask("other", call, ends).is_some() || ends.contains("dispvm"), "{call} {ends:?}");
            }
        }
    }
    for (call, file, include) in [
        ("policy.Get+30-all", true, false),
        ("policy.Get+20-svc", false, false),
        ("policy.include.Get+x", false, true),
    ] {
        constrain(&fixture, "a.toml", qubes);
        assert!(is_denied(&fixture, "mgmt", call, "dom0", ""), "{call}");
        for (key, is_allowed) in [("file = [\"30-*\"]", file), ("include = [\"x\"]", include)] {
            constrain(&fixture, "a.toml", &format!("{qubes}policy.{key}\n"));
            let reply = fixture.call_as("mgmt", call, "dom0", "");
            assert_eq!(refusal_of(&reply) != Some(DENIED.to_owned()), is_allowed, "{call} {key}");
        }
    }
    constrain(&fixture, "a.toml", &format!("{qubes}policy.files = [\"x\"]\n"));
    assert!(is_denied(&fixture, "mgmt", "admin.label.List", "dom0", ""), "an unknown kind of file");
}

/// What a reply refuses, if it does.
fn refusal_of(reply: &[u8]) -> Option<String> {
    reply.starts_with(b"2\0").then(|| refusal(reply))
}

#[test]
fn a_remote_qube_calls_and_is_called_within_constraints() {
    let fixture = system();
    fixture.ok("admin.vm.Create.RemoteVM", "dom0", "name=far label=red");
    fixture.ok("admin.vm.property.Set+relayvm", "far", "sys-net");
    constrain(
        &fixture,
        "a.toml",
        "[[constraint]]\ncallers = [\"far\"]\nqubes = [\"@self\", \"@created\"]\nmax-qubes = 1\n",
    );
    assert_eq!(fixture.call_as("far", CREATE, "dom0", "name=one label=red"), {
        let text = b"2\0PermissionDenied\0\0denied by the administrator's constraints\0";
        text.to_vec()
    });
    constrain(
        &fixture,
        "a.toml",
        "[[constraint]]\ncallers = [\"far\"]\nqubes = [\"@self\", \"@created\", \"test-template\"]\nmax-qubes = 1\n",
    );
    assert!(!is_denied(&fixture, "far", CREATE, "dom0", "name=one label=red"));
    assert!(is_denied(&fixture, "far", CREATE, "dom0", "name=two label=red"));
    assert!(!is_denied(&fixture, "far", SET_MEMORY, "one", "300"));
    let absent = fixture.call_as("far", SET_MEMORY, "work", "300");
    assert_eq!(refusal(&absent), "QubesVMNotFoundError: No such domain: 'work'");
    constrain(
        &fixture,
        "a.toml",
        "[[constraint]]\ncallers = [\"mgmt\"]\nqubes = [\"@type:RemoteVM\"]\nproperty.relayvm = []\n",
    );
    assert!(!is_denied(&fixture, "mgmt", "admin.vm.tag.Set+t", "far", ""));
    assert!(is_denied(&fixture, "mgmt", "admin.vm.property.Set+relayvm", "far", "far"));
}

#[test]
fn all_constraints_of_all_files_must_hold() {
    let fixture = system();
    let text = |values: &str| format!("[[constraint]]\ncallers = [\"mgmt\"]\nproperty.memory = [{values}]\n");
    constrain(&fixture, "10.toml", &text("\"300\", \"400\""));
    constrain(&fixture, "20.toml", &(text("\"400..\"") + &text("\"..1000\"")));
    for (file, memory, denied) in [("10", "401", true), ("20", "300", true), ("", "400", false)] {
        assert_eq!(is_denied(&fixture, "mgmt", SET_MEMORY, "work", memory), denied);
        if denied {
            let told = log(&fixture, "mgmt", SET_MEMORY, "work", memory);
            let place = format!(
                "work: denied {FOLDER}/{file}.toml:3: this value of property memory is not among those allowed"
            );
            assert!(told.contains(&place), "{told}");
        }
    }
    for ignored in [".10.toml", "10.toml~", "10.conf"] {
        constrain(&fixture, ignored, &text(""));
    }
    assert!(!is_denied(&fixture, "mgmt", SET_MEMORY, "work", "400"));
}

#[test]
fn what_is_broken_denies_what_it_is_about_and_says_so() {
    let fixture = system();
    let whole = "[[constraint]]\ncallers = [\"other\"]\nproperty.memory = [\"..4000\"]\n";
    for (text, line, wrong, everyone) in [
        (
            "[[constraint]]\ncallers = [\"mgmt\"]\nproperty.memroy = [\"1\"]\n",
            3,
            "an unknown property",
            false,
        ),
        (
            "[[constraint]]\ncallers = [\"mgmt\"]\nmemory = [\"1\"]\n",
            3,
            "an unknown key, or a value of the wrong kind",
            false,
        ),
        (
            "[[constraint]]\ncallers = [\"mgmt\"]\nmax-qubes = [\"1\"]\n",
            3,
            "an unknown key, or a value of the wrong kind",
            false,
        ),
        (
            "[[constraint]]\ncallers = [\"mgmt\"]\ntag = \"1\"\n",
            3,
            "neither a list of texts nor a whole number",
            false,
        ),
        ("[[constraint]]\ncallers = [\"mgmt\"]\n", 1, "it constrains nothing", false),
        (
            "[[constraint]]\ntag = []\n\n# the end\ncallers = [\"@created\"]\n",
            5,
            "callers are told by name, tag or type",
            true,
        ),
        ("[[constraint]]\ntag = []\n", 1, "no callers", true),
        (
            "[[constraint]]\ntag = [\"a*b\"]\ncallers = [\"mgmt\"]\n",
            2,
            "a star that is not at the end",
            false,
        ),
        (
            "[[constraint]]\ntag = [\"a\ncallers = [\"mgmt\"]\n",
            2,
            "a text that does not end, or a backslash before another character than itself and the quote",
            true,
        ),
        ("[[constraints]]\ncallers = [\"mgmt\"]\n", 1, "another table than [[constraint]]", true),
        ("callers = [\"mgmt\"]\n", 1, "a key before the first [[constraint]]", true),
        ("# caf\u{e9}\n\u{0}\n", 2, "a control character", true),
    ] {
        // What stands before and behind goes on to mean what it says.
        constrain(&fixture, "50.toml", &format!("{text}{whole}"));
        assert!(is_denied(&fixture, "mgmt", "admin.label.List", "dom0", ""), "{text}");
        let told = log(&fixture, "mgmt", SET_MEMORY, "work", "400");
        let place = format!("{FOLDER}/50.toml:{line}: it is broken: {wrong}\n");
        assert!(told.ends_with(&place), "{text}: {told}");
        assert_eq!(is_denied(&fixture, "other", SET_MEMORY, "work", "400"), everyone, "{text}");
        assert_eq!(is_denied(&fixture, "sys-net", SET_MEMORY, "work", "4001"), everyone, "{text}");
        assert!(is_denied(&fixture, "other", SET_MEMORY, "work", "4001"), "{text}");
        assert!(!is_denied(&fixture, "dom0", SET_MEMORY, "work", "400"));
        let problem =
            format!("{FOLDER}/50.toml:{line}: {wrong}; it denies all that it is about; mend the file\n");
        assert!(check(&fixture).contains(&problem), "{}", check(&fixture));
    }
    std::fs::write(fixture.path(FOLDER).join("50.toml"), b"\xff").unwrap();
    assert!(log(&fixture, "sys-net", SET_MEMORY, "work", "1").contains("50.toml:1: it is broken: not UTF-8"));
    std::fs::remove_file(fixture.path(FOLDER).join("50.toml")).unwrap();
    std::fs::create_dir(fixture.path(FOLDER).join("50.toml")).unwrap();
    assert!(
        log(&fixture, "sys-net", SET_MEMORY, "work", "1")
            .contains("50.toml:0: it is broken: it cannot be read")
    );
    assert!(!is_denied(&fixture, "dom0", SET_MEMORY, "work", "400"));
}

/// What `qubes-admin check` prints.
fn check(fixture: &Fixture) -> String {
    let mut tool = std::process::Command::new(tests::executables::executable("qubes-admin"));
    let output = tool.arg("--root").arg(fixture.path("/")).arg("check").env_clear().output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn names_of_calls_that_there_are_not_are_found_by_the_check() {
    let fixture = system();
    let text = |calls: &str| format!("[[constraint]]\ncallers = [\"mgmt\"]\ncalls = [{calls}]\ntag = []\n");
    constrain(&fixture, "50.toml", &text("\"admin.vm.tag.*\", \"admin.vm.tag.Set\""));
    assert!(!check(&fixture).contains("50.toml"), "{}", check(&fixture));
    constrain(&fixture, "50.toml", &text("\"admin.vm.tag.Sett\""));
    assert!(check(&fixture).contains("50.toml:1: it names a call that there is not; mend the file\n"));
}

#[test]
fn a_missing_program_denies_the_constrained_and_nobody_else() {
    let fixture = system();
    constrain(&fixture, "50.toml", "[[constraint]]\ncallers = [\"mgmt\"]\nproperty.memory = [\"..4000\"]\n");
    let alone = tests::scratch();
    let program = alone.path().join("admin-vm-property");
    tests::executables::copy(&tests::executables::serving("admin.vm.property.Set"), &program);
    let reply = |caller: &str, qube: &str| {
        use std::os::unix::process::CommandExt;
        let mut command = std::process::Command::new(&program);
        command.arg0("admin.vm.property.Set").env_clear().env("QUBES_ADMIN_ROOT", fixture.path("/"));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let request = format!("{SET_MEMORY} {caller} name {qube}\x00400");
        child.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
        child.wait_with_output().unwrap().stdout
    };
    // What there is must not be told from what there is not, as it cannot be told what the caller may see.
    for qube in ["work", "nosuch"] {
        let absent = format!("QubesVMNotFoundError: No such domain: '{qube}'");
        assert_eq!(refusal(&reply("mgmt", qube)), absent);
    }
    assert_eq!(refusal(&reply("mgmt", "dom0")), DENIED);
    assert_eq!(reply("dom0", "work"), b"0\0");
}

#[test]
fn a_denied_caller_does_not_learn_which_properties_there_are() {
    let fixture = system();
    constrain(
        &fixture,
        "50.toml",
        "[[constraint]]\ncallers = [\"mgmt\"]\nproperty.\"*\" = []\nproperty.memory = [\"*\"]\n",
    );
    let reply =
        |property: &str| fixture.call_as("mgmt", &format!("admin.vm.property.Set+{property}"), "work", "1");
    assert_eq!(refusal(&reply("vcpus")), DENIED);
    assert_eq!(reply("nosuch"), reply("vcpus"));
    let reset =
        |property: &str| fixture.call_as("mgmt", &format!("admin.vm.property.Reset+{property}"), "work", "");
    assert_eq!(reset("nosuch"), reset("vcpus"));
    assert!(!is_denied(&fixture, "mgmt", SET_MEMORY, "work", "300"));
}

/// Starts a call whose answer is read later.
fn begin(fixture: &Fixture, caller: &str, call: &str, destination: &str, payload: &str) -> Child {
    let mut command = fixture.command(call.split('+').next().unwrap());
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let request = format!("{call} {caller} name {destination}\0{payload}");
    child.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
    child
}

/// How many of some calls made at once are answered OK; the others must be refused for the quota.
fn granted(calls: Vec<Child>) -> usize {
    let replies = calls.into_iter().map(|call| call.wait_with_output().unwrap().stdout);
    let refused = |reply: &Vec<u8>| {
        let is_refused = reply.starts_with(b"2\0");
        assert!(!is_refused || refusal(reply) == "PermissionDenied: this exceeds the caller's quota");
        is_refused
    };
    replies.filter(|reply| !refused(reply)).count()
}

#[test]
fn a_quota_of_qubes_holds_when_many_are_made_at_once() {
    let fixture = system();
    constrain(&fixture, "50.toml", "[[constraint]]\ncallers = [\"@tag:manager\"]\nmax-qubes = 4\n");
    fixture.ok("admin.vm.tag.Set+manager", "other", "");
    let calls = |caller: &str| {
        let names = (0..8).map(|number| format!("name={caller}-{number} label=red"));
        names.map(|payload| begin(&fixture, caller, CREATE, "dom0", &payload)).collect::<Vec<_>>()
    };
    let (mgmt, other) = (calls("mgmt"), calls("other"));
    // One of mgmt's is there already.
    assert_eq!((granted(mgmt), granted(other)), (3, 4));
    assert!(
        !fixture.path("/var/lib/qubes/appvms").read_dir().unwrap().any(|home| {
            let name = home.unwrap().file_name().into_string().unwrap();
            fixture.call("admin.vm.tag.List", &name, "").starts_with(b"2\0")
        }),
        "a refused qube left its directory"
    );
    fixture.ok("admin.vm.Remove", "work", "");
    assert!(!is_denied(&fixture, "mgmt", CREATE, "dom0", "name=again label=red"));
    assert!(is_denied(&fixture, "mgmt", CREATE, "dom0", "name=more label=red"));
    constrain(&fixture, "50.toml", "[[constraint]]\ncallers = [\"@tag:manager\"]\nmax-qubes = 1\n");
    assert!(!is_denied(&fixture, "mgmt", "admin.vm.tag.Set+t", "again", ""), "what it has it may change");
}

/// Bytes of all volumes of a qube that it may write to.
fn bytes_of(fixture: &Fixture, qube: &str) -> u64 {
    fixture.qube(qube).volumes.iter().filter(|volume| volume.rw).map(|volume| volume.size).sum()
}

#[test]
fn a_quota_of_bytes_holds_when_volumes_grow_at_once() {
    let fixture = system();
    assert_eq!(fixture.call_as("mgmt", CREATE, "dom0", "name=play label=red"), b"0\0");
    let has = bytes_of(&fixture, "work") + bytes_of(&fixture, "play");
    let size = |qube: &str| fixture.ok("admin.vm.volume.Info+private", qube, "");
    let private = fixture.qube("work").volumes.iter().find(|it| it.name.as_str() == "private").unwrap().size;
    constrain(
        &fixture,
        "50.toml",
        &format!("[[constraint]]\ncallers = [\"mgmt\"]\nmax-bytes = {}\n", has + 1_500_000),
    );
    let grown = (private + 1_000_000).to_string();
    let resize = "admin.vm.volume.Resize+private";
    let calls = ["work", "play"].map(|qube| begin(&fixture, "mgmt", resize, qube, &grown));
    assert_eq!(granted(calls.into()), 1);
    let sizes = ["work", "play"].map(size);
    assert_eq!(sizes.iter().filter(|info| info.contains(&format!("size={grown}\n"))).count(), 1, "{sizes:?}");
    assert!(is_denied(&fixture, "mgmt", CREATE, "dom0", "name=third label=red"));
    assert!(!is_denied(&fixture, "mgmt", "admin.vm.tag.Set+t", "work", ""));
}

#[test]
fn under_a_quota_of_bytes_volumes_grow_by_a_resize_alone() {
    const TEXT: &str = "PermissionDenied: under a quota of bytes only a resize makes a volume larger";
    let fixture = system();
    constrain(&fixture, "50.toml", "[[constraint]]\ncallers = [\"mgmt\"]\nmax-bytes = 900000000000\n");
    let token = fixture.ok("admin.vm.volume.CloneFrom+root", "test-template", "");
    let refused = refusal(&fixture.call_as("mgmt", "admin.vm.volume.CloneTo+private", "work", &token));
    assert_eq!(refused, TEXT);
    let streamed = |call: &str, argument: &str, destination: &str, payload: &[u8]| {
        let mut command = fixture.command(call);
        command
            .args([argument])
            .envs([("QREXEC_REMOTE_DOMAIN", "mgmt"), ("QREXEC_REQUESTED_TARGET", destination)]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(payload);
        child.wait_with_output().unwrap().stdout
    };
    let large = streamed("admin.vm.volume.ImportWithSize", "private", "work", b"99999999999\n");
    assert_eq!(refusal(&large), TEXT);
    assert_eq!(streamed("admin.vm.volume.ImportWithSize", "private", "work", b"4\nfour"), b"0\0");
    assert_eq!(refusal(&streamed("admin.vm.CreateTemplate", "new", "dom0", b"image")), TEXT);
    let states = fixture.ok("admin.vm.volume.ListSnapshots+private", "work", "");
    let oldest = states.lines().next().unwrap();
    assert_eq!(refusal(&fixture.call_as("mgmt", "admin.vm.volume.Revert+private", "work", oldest)), TEXT);
    assert_eq!(fixture.call("admin.vm.volume.Revert+private", "work", oldest), b"0\0");
}

#[test]
fn disposables_count() {
    let fixture = system();
    constrain(
        &fixture,
        "50.toml",
        "[[constraint]]\ncallers = [\"mgmt\"]\nmax-qubes = 2\nproperty.template = [\"base\"]\n",
    );
    for base in ["base", "wrong"] {
        fixture.ok(CREATE, "dom0", format!("name={base} label=red"));
        fixture.ok("admin.vm.property.Set+template_for_dispvms", base, "True");
    }
    let create = "admin.vm.CreateDisposable";
    assert!(is_denied(&fixture, "mgmt", create, "wrong", ""));
    assert!(is_denied(&fixture, "mgmt", create, "dom0", ""));
    assert!(!is_denied(&fixture, "mgmt", create, "base", ""));
    assert!(is_denied(&fixture, "mgmt", create, "base", ""));
    assert!(!is_denied(&fixture, "other", create, "base", ""));
}

const SOME: &str = "[[constraint]]\ncallers = [\"mgmt\"]\nqubes = [\"@created\", \"mgmt\", \"sys-net\"]\n";

fn listed(fixture: &Fixture, caller: &str, call: &str, destination: &str) -> Vec<String> {
    let reply = fixture.call_as(caller, call, destination, "");
    let text = String::from_utf8(reply.strip_prefix(b"0\0").unwrap().to_vec()).unwrap();
    text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn a_hidden_qube_is_in_no_list() {
    let fixture = system();
    let all = listed(&fixture, "mgmt", "admin.vm.List", "dom0");
    assert!(all.len() > 6, "{all:?}");
    constrain(&fixture, "50.toml", SOME);
    assert_eq!(listed(&fixture, "mgmt", "admin.vm.List", "dom0"), ["mgmt", "sys-net", "work"]);
    assert_eq!(listed(&fixture, "other", "admin.vm.List", "dom0"), all);
    assert_eq!(listed(&fixture, "mgmt", "admin.vm.List", "work"), ["work"]);
    let one = |name: &str| fixture.call_as("mgmt", &format!("admin.vm.List+{name}"), "dom0", "");
    assert_eq!(one("other"), one("nobody"));
    assert!(one("work").starts_with(b"0\0work "));
}

/// The reply's bytes with one name in the place of another.
fn as_of(reply: Vec<u8>, name: &str) -> String {
    String::from_utf8(reply).unwrap().replace(name, "NAME")
}

#[test]
fn a_hidden_qube_answers_as_one_that_is_not_there() {
    let fixture = system();
    constrain(&fixture, "50.toml", SOME);
    let rows = services::FAMILIES.iter().flat_map(|family| family.calls).map(|call| call.row);
    let methods: Vec<&str> = rows.filter(|row| !row.is_internal()).map(|row| row.name).collect();
    assert!(methods.len() > 100);
    let nobody = "nobod";
    for method in methods.into_iter().chain(["admin.vm.NoSuch", "admin.vm.volume.Import"]) {
        for (argument, payload) in [("", ""), ("memory", "400"), ("a b", "\u{e9}")] {
            let reply = |name: &str| fixture.call_as("mgmt", &format!("{method}+{argument}"), name, payload);
            let (hidden, absent) = (as_of(reply("other"), "other"), as_of(reply(nobody), nobody));
            assert_eq!(hidden, absent, "{method}+{argument}");
        }
    }
    let uuid = fixture.qube("other").uuid.to_string();
    let by_uuid = |uuid: &str| fixture.call_as("mgmt", "admin.vm.tag.List", &format!("uuid:{uuid}"), "");
    let unknown = "00000000-0000-4000-8000-0000000000ff";
    assert_eq!(as_of(by_uuid(&uuid), &uuid), as_of(by_uuid(unknown), unknown));
    let mine = fixture.qube("work").uuid.to_string();
    assert!(by_uuid(&mine).starts_with(b"0\0"));
    for (call, payload) in [
        ("admin.vm.property.Set+netvm", "NAME"),
        ("admin.vm.property.Set+guivm", "NAME"),
        ("admin.vm.property.Set+template", "NAME"),
        ("admin.vm.device.block.Attach+NAME+sda", ""),
        ("admin.vm.device.block.Assign+NAME+sda", "mode='required'"),
    ] {
        let reply = |name: &str| {
            fixture.call_as("mgmt", &call.replace("NAME", name), "work", payload.replace("NAME", name))
        };
        assert_eq!(as_of(reply("other-net"), "other-net"), as_of(reply(nobody), nobody), "{call}");
    }
    let create = |name: &str| {
        fixture.call_as("mgmt", &format!("admin.vm.Create.AppVM+{name}"), "dom0", "name=x label=red")
    };
    assert_eq!(create("test-template"), create(nobody));
    assert_eq!(refusal(&create("test-template")), DENIED);
}

#[test]
fn no_event_tells_of_a_hidden_qube() {
    let fixture = system();
    constrain(&fixture, "50.toml", SOME);
    let listener = Listener::to(&fixture, "admin.Events", "mgmt", "dom0");
    fixture.ok("admin.vm.tag.Set+t", "other", "");
    fixture.ok(CREATE, "dom0", "name=hidden label=red");
    fixture.ok("admin.vm.Remove", "hidden", "");
    fixture.ok("admin.vm.property.Set+netvm", "work", "other-net");
    fixture.ok("admin.vm.tag.Set+t", "work", "");
    assert_eq!(fixture.call_as("mgmt", "admin.vm.Remove", "work", ""), b"0\0");
    fixture.ok("admin.vm.tag.Set+end", "sys-net", "");
    let seen = listener.until("domain-tag-add:end");
    assert!(
        seen.iter().all(|event| !["other", "hidden"].iter().any(|name| event.contains(name))),
        "{seen:#?}"
    );
    for event in ["1·work·domain-tag-add:t·tag·t··", "1··domain-pre-delete·vm·work··"] {
        assert!(seen.iter().any(|it| it == event), "{event}: {seen:#?}");
    }
}

#[test]
fn events_are_told_by_name_and_a_broken_file_shows_none() {
    let fixture = system();
    let text = "[[constraint]]\ncallers = [\"mgmt\"]\nevents = [\"domain-tag-*\"]\n";
    constrain(&fixture, "50.toml", text);
    let listener = Listener::to(&fixture, "admin.Events", "mgmt", "dom0");
    fixture.ok("admin.vm.feature.Set+f", "work", "1");
    fixture.ok("admin.vm.tag.Set+t", "work", "");
    assert_eq!(listener.next().unwrap(), "1·work·domain-tag-add:t·tag·t··");
    constrain(&fixture, "50.toml", &format!("{text}x = 1\n"));
    fixture.ok("admin.vm.tag.Set+unseen", "work", "");
    // The listener has looked at that once it sees what comes after the file is whole again.
    let other = Listener::to(&fixture, "admin.Events", "dom0", "dom0");
    fixture.ok("admin.vm.tag.Set+before", "work", "");
    other.until("domain-tag-add:before");
    let refused = fixture.call_as("mgmt", "admin.Events", "dom0", "");
    assert_eq!(refusal(&refused), DENIED);
}

#[test]
fn a_preloaded_disposable_is_not_handed_out_beyond_a_quota() {
    let fixture = system();
    constrain(&fixture, "50.toml", "[[constraint]]\ncallers = [\"mgmt\"]\nmax-qubes = 1\n");
    fixture.ok(CREATE, "dom0", "name=base label=red");
    fixture.ok("admin.vm.property.Set+template_for_dispvms", "base", "True");
    let feature =
        |name: &str, value: &str| (FeatureName::parse(name).unwrap(), FeatureValue::parse(value).unwrap());
    let made = fixture.ok("admin.vm.CreateDisposable", "base", "");
    fixture.edit("base", |qube| {
        let (name, value) = feature("preload-dispvm", &made);
        qube.set_feature(name, value);
    });
    assert!(is_denied(&fixture, "mgmt", "admin.vm.CreateDisposable", "base", ""));
    let tag = TagName::parse("created-by-mgmt").unwrap();
    assert!(!fixture.qube(&made).tags.contains(&tag));
}

#[test]
fn nobody_gets_more_than_its_quota_by_having_disposables_made_in_advance() {
    let fixture = system();
    constrain(&fixture, "50.toml", "[[constraint]]\ncallers = [\"mgmt\"]\nmax-qubes = 2\n");
    for service in
        ["qrexec", "supported-rpc.qubes.WaitForRunningSystem", "supported-rpc.qubes.WaitForSession"]
    {
        fixture.ok(&format!("admin.vm.feature.Set+{service}"), "test-template", "1");
    }
    assert_eq!(fixture.call_as("mgmt", CREATE, "dom0", "name=base label=red"), b"0\0");
    assert_eq!(fixture.call_as("mgmt", "admin.vm.property.Set+template_for_dispvms", "base", "True"), b"0\0");
    let set = |caller: &str, value: &str| {
        is_denied(&fixture, caller, "admin.vm.feature.Set+preload-dispvm-max", "base", value)
    };
    for value in ["1", "50"] {
        assert!(set("mgmt", value), "{value}");
        assert!(fixture.qube("base").feature("preload-dispvm-max").is_none());
    }
    assert!(!set("mgmt", "0"));
    fixture.edit("base", |qube| {
        qube.set_feature(
            FeatureName::parse("preload-dispvm-max").unwrap(),
            FeatureValue::parse("2").unwrap(),
        );
    });
    assert!(set("mgmt", "3") && !set("mgmt", "2") && !set("mgmt", "0") && set("mgmt", "1"));
    assert!(!set("other", "0"), "whoever has no quota is free");
    let refused = fixture.call_as("mgmt", "admin.vm.feature.Set+preload-dispvm-max", "dom0", "9");
    assert_eq!(refusal(&refused), "PermissionDenied: under a quota no more disposables are made in advance");
}
