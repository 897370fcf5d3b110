//! Every parser under random and remembered inputs: the claims of `tests::checks` hold, and refusals echo nothing.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::path::Path;

use common::names::Notes;
use common::request::from_descriptor;
use common::untrusted::Untrusted;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};
use services::property::{self, Kind};
use services::vm::options;
use tests::checks::Target;

/// The same inputs in every run.
fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        max_shrink_iters: 500,
        ..Config::default()
    })
}

fn hold(target: &str, inputs: impl Strategy<Value = Vec<u8>>) {
    let target = Target::named(target).unwrap();
    let checked = runner(2_000).run(&inputs, |bytes| {
        target.check(&bytes);
        Ok(())
    });
    match checked {
        Err(TestError::Fail(reason, bytes)) => panic!("{reason}: {:?}", bytes.escape_ascii().to_string()),
        result => assert!(result.is_ok(), "no input to try"),
    }
}

/// Words of a language, mixed with any characters and any bytes.
fn mixed(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec()),
        2 => prop::string::bytes_regex("[!-~]{1,8}").unwrap(),
        1 => any::<char>().prop_map(|character| character.to_string().into_bytes()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

#[test]
fn names_and_values() {
    hold(
        "names",
        mixed(&[
            "work",
            "-dm",
            "none",
            "Domain-0",
            ".",
            "..",
            "/",
            "_",
            "0x",
            "00ff7f",
            "true",
            "No",
            "-",
            "+",
            "1_0",
            "9223372036854775807",
            "127.0.0.1",
            "fd09::",
            ":",
            "uuid:",
            "67e92c87-65a9-4c7f-b2d3-35c459de9eb5",
            " ",
            "\t",
            "\n",
            "'",
            "\"",
            "\\",
            "name=",
            "label=",
            "pool=",
            "pool:root=",
            "red",
            "\u{e9}",
        ]),
    );
    hold(
        "names",
        prop::string::bytes_regex("name=[a-z]{1,3} label=[a-z]{1,3}( pool:(root|private)=[!-~]{0,3}){0,3}")
            .unwrap(),
    );
    hold("names", prop::string::bytes_regex("[0-9a-fA-F:.x_-]{1,40}").unwrap());
}

#[test]
fn constraints() {
    hold(
        "constraints",
        mixed(&[
            "[[constraint]]",
            "\n",
            "\n[[",
            "callers = ",
            "tag = ",
            "property",
            ".",
            "\"netvm\"",
            " = ",
            "[",
            "]",
            ",",
            "[\"mgmt\"]",
            "[\"a\", \"b*\"]",
            "\"",
            "\\",
            "# x",
            "max-qubes = ",
            "17",
            "0",
            "01",
            "\r\n",
            "\t",
            "@tag:t",
        ]),
    );
    let entry = "(callers|calls|tag|property\\.\"?[a-z*]{1,6}\"?|max-qubes) = (\\[(\"[a-z@:*.]{0,8}\",? ?){0,3}\\]?|[0-9]{1,4})";
    hold(
        "constraints",
        prop::string::bytes_regex(&format!("(\\[\\[constraint\\]\\]\n({entry}\n){{0,3}}){{0,3}}")).unwrap(),
    );
}

#[test]
fn devices_and_assignments() {
    let key = "(_?[a-z-]{1,6}|mode|port_id|device_id|devclass|backend_domain|required)";
    let value = "(manual|required|auto-attach|sda|dom0|block|yes|[ -~]{0,6}|[a-z' =\\\\]{0,6})";
    hold(
        "devices",
        prop::string::bytes_regex(&format!("({key}='{value}' ){{0,3}}{key}='{value}'?")).unwrap(),
    );
    hold(
        "devices",
        prop::string::bytes_regex(&format!("({key}={value} ?){{0,3}}persistent=(yes|no|x)")).unwrap(),
    );
    hold(
        "devices",
        prop::string::bytes_regex("[a-z0-9_*]{1,4}\\+[a-z0-9_*.-]{0,4}(\\+[a-f0-9_*:?+]{0,12})?").unwrap(),
    );
    hold("devices", prop::string::bytes_regex("([bump?*][0-9a-f*]{6}){0,3}[a-z*]{0,2}").unwrap());
    hold(
        "devices",
        mixed(&["mode", "='", "' ", "'", "\\'", "\\", "=", "_x", "required", "device_id", "*", " "]),
    );
}

#[test]
fn firewall_rules() {
    let option = "(action=(accept|drop)|dst4=[0-9.]{7,9}(/[0-9]{1,3})?|dst6=[0-9a-f:]{2,8}(/[0-9]{1,3})?|\
        dsthost=[a-zA-Z0-9.-]{0,4}|proto=(tcp|udp|icmp)|dstports=[0-9]{1,5}(-[0-9]{1,5})?|icmptype=[0-9]{1,3}|\
        specialtarget=dns|expire=[0-9]{0,20}|dstname=a)";
    let rule = format!("action=(accept|drop)( {option}){{0,3}}( comment=[a-c ,=]{{0,5}})?");
    hold("rules", prop::string::bytes_regex(&rule).unwrap());
    hold("rules", prop::string::bytes_regex(&format!("({rule}\n){{0,3}}\n?")).unwrap());
    hold("rules", prop::string::bytes_regex("action=accept proto=tcp dstports=[0-9-]{1,11}").unwrap());
    hold(
        "rules",
        mixed(&["action=accept", "action=", "drop", " ", "comment=", "proto=tcp", "dst4=1.2.3.4/", "\n"]),
    );
}

#[test]
fn frames() {
    hold(
        "frame",
        mixed(&[
            "admin.vm.List",
            "+",
            " ",
            "dom0",
            "name",
            " name ",
            "keyword",
            "adminvm",
            "\0",
            "work",
            "%s",
        ]),
    );
    hold("frame", prop::string::bytes_regex("[a-z.]{1,5}(\\+[!-~]{0,5})? [!-~]{1,5} (name|keyword) ([!-~]{1,5}|adminvm)\\x00[\\x00-\\xff]{0,20}").unwrap());
}

/// The lines that policy files are made of, and some others.
fn policy_line() -> impl Strategy<Value = String> {
    let qube = "(\\*|@anyvm|@adminvm|dom0|work|uuid:2|@tag:t|@type:AppVM|@dispvm:(base|@tag:t)|nosuch)";
    let target = format!("({qube}|@default|@dispvm)");
    let parameters = "( (target=work|user=u|notify=(yes|no)|default_target=@adminvm|autostart=no)){0,2}";
    let line = |pattern: &str| prop::string::string_regex(pattern).unwrap();
    prop_oneof![
        6 => line(&format!("(\\*|svc) (\\*|\\+|\\+arg) {qube} {target} (allow|deny|ask){parameters}")),
        2 => line(&format!("{qube} {target} (allow|deny)(,user=u)?")),
        2 => line("!(include include/more|include-service svc \\+arg include/more|include-dir include|compat-4\\.0)"),
        1 => line("#[ -~]{0,5}"),
        1 => line("[!-~]{1,4}( [!-~]{1,4}){0,5}"),
    ]
}

#[test]
fn policies() {
    let file = prop::collection::vec(policy_line(), 0..4).prop_map(|lines| lines.join("\n"));
    let files = prop::collection::vec(file, 1..4);
    hold("policy", files.prop_map(|files| files.join("\x1c").into_bytes()));
    hold(
        "policy",
        mixed(&["*", " ", "@anyvm", "allow", "\n", "!include", "include/more", "+", "svc", "\x1c"]),
    );
    hold(
        "policy",
        mixed(&[
            "any", "new", "sha256:", "\n", "work", "\0", "@dispvm:", "uuid:", "30-user", "svc", "+", ".",
        ]),
    );
}

/// A qube's JSON with some of everything.
fn qube_json() -> impl Strategy<Value = String> {
    let value = "(null|true|-?[0-9]{1,4}|1\\.5|\"[ -!#-\\[\\]-~]{0,8}\"|\"a\\\\tb,c\\\\n\")";
    let properties = format!("\"(label|netvm|template|dispid|x)\":{value}");
    let pattern = format!(
        "\\{{\"name\":\"[a-z]{{1,3}}\",\"class\":\"(AppVM|DispVM|AdminVM|x)\",\"qid\":-?[0-9]{{1,5}},\
        \"uuid\":\"[0-9a-f]{{8}}-0000-4000-8000-00000000000[0-9]\",\"properties\":\\{{({properties})?\\}},\
        \"features\":\\[(\\[\"[a-z]\",\"[!#-\\[]\"\\])?\\],\"tags\":\\[(\"[a-z_]{{1,4}}\")?\\]\\}}"
    );
    prop::string::string_regex(&pattern).unwrap()
}

#[test]
fn stored_objects_index_and_events() {
    let number = || prop_oneof![any::<u64>(), 0..5u64];
    let object = (number(), prop_oneof![Just(1u64), number()], qube_json());
    hold(
        "stored",
        object.prop_map(|(generation, format, qube)| {
            let head = format!("{{\"format\":{format},\"generation\":{generation}");
            format!("{head},\"object\":{qube}}}\n").into_bytes()
        }),
    );
    hold("stored", prop::string::bytes_regex("[0-9 +-]{20}\n([!-~\t,=@]{0,20}\r?\n){0,4}\\.\n").unwrap());
    let event = "\\{\"g\":[0-9]{1,20},\"i\":[0-9]{1,3},\"e\":\\{\"subject\":(null|\"[a-z]{1,9}\"),\
        \"name\":\"([ -!#-\\[\\]-~]|\\\\u00[01][0-9a-f]){0,9}\",\"details\":\\[(\\[\"k\",\"[a-z]?\"\\])?\\]\\}\\}";
    hold("stored", prop::string::bytes_regex(event).unwrap());
    hold(
        "stored",
        mixed(&["{", "}", "\"", "name", ":", ",", "[", "]", "null", "1", "1e9", "\n", "\t", ".\n"]),
    );
}

/// A report of logical volumes with some of everything.
fn lvm_report() -> impl Strategy<Value = Vec<u8>> {
    let field = |name: &str, usual: &str| format!("\"{name}\": \"({usual}|{usual}|[ -!#-\\[\\]-~]{{0,3}})\"");
    let row = [
        field("vg_name", "vg"),
        field("lv_name", "vm-a-root(-[0-9]{1,3}-back|-snap)?"),
        field("lv_size", "[0-9]{1,20}B"),
        field("data_percent", "[0-9]{1,3}\\.[0-9]{2}"),
        field("pool_lv", "pool"),
        field("lv_attr", "twi-aotz--"),
        field("lv_metadata_size", "[0-9]{1,5}B"),
        field("metadata_percent", "[0-9]{1,2}"),
    ];
    let row = format!("\\{{{}(, \"more\": 5)?\\}}", row.join(", "));
    let report = format!(
        "\\{{\"report\": \\[\\{{\"lv\": \\[({row}(, {row}){{0,2}})?\\]\\}}\\](, \"log\": \\[\\])?\\}}"
    );
    prop::string::bytes_regex(&report).unwrap()
}

/// A callback configuration whose back end is any driver with options that are mostly its own.
fn callback_configuration() -> impl Strategy<Value = Vec<u8>> {
    let value = "(\"(/var/lib/qubes/b|True|off|[ -!#-\\[\\]-~]{0,4})\"|true|-?[0-9]{1,2}|null|\\[\\])";
    let option = "(dir_path|revisions_to_keep|volume_group|thin_pool|container|ephemeral_volatile|conf_id)";
    let part = format!(
        "\\{{\"bdriver\": \"(file|file-reflink|lvm_thin|zfs|linux-kernel|callback|x)?\", \
        \"bdriver_args\": \\{{\"dir_path\": {value}, \"volume_group\": {value}, \"thin_pool\": {value}, \
        \"container\": {value}(, \"{option}\": {value}){{0,3}}\\}}(, \"(cmd|pre_sinit)\": {value})?\\}}"
    );
    prop::string::bytes_regex(&format!("\\{{\"(c|c|c|d)\": ({part}|{part}|{value})\\}}")).unwrap()
}

#[test]
fn what_storage_reads() {
    hold("storage", lvm_report());
    hold("storage", callback_configuration());
    let size = "(-|[0-9]{1,20})";
    let row = format!(
        "tank/vms(/a/root(@qubes(-clean-[a-z]{{2}}|:before-start:[0-9]{{1,3}}\\.[0-9]{{5,7}}))?)?\t{size}\t{size}\t[0-9]{{1,10}}\t\
        (on|off|-)\t(-|tank/vms@x)\t(on|off|-)"
    );
    hold("storage", prop::string::bytes_regex(&format!("({row}\n){{0,3}}([!-~\t]{{0,9}}\n)?")).unwrap());
    hold(
        "storage",
        prop::string::bytes_regex("\\.[0-9+]{1,3}@[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z?")
            .unwrap(),
    );
    hold("storage", prop::string::bytes_regex("vg/vm-a-root-[0-9+]{1,20}(-[0-9])?-back").unwrap());
    hold("storage", prop::string::bytes_regex("qubes:[a-z-]{1,12}:[0-9+]{1,15}\\.[0-9+]{5,7}").unwrap());
    hold("storage", prop::string::bytes_regex("[a-c/-]{1,9}-tpool").unwrap());
    hold("storage", prop::string::bytes_regex("[ \t]?-?[0-9]{1,21}\n?").unwrap());
    hold("storage", prop::string::bytes_regex("(ok|fail|[a-z]{0,3})(\n[ -~]{0,9}){0,3}").unwrap());
    hold("storage", prop::string::bytes_regex("[a-zA-Z0-9]{31,33}").unwrap());
    hold("storage", pool_options());
    hold(
        "storage",
        mixed(&[
            "name=",
            "dir_path=",
            "revisions_to_keep=",
            "conf_id=",
            "p",
            "/x",
            "1",
            "-1",
            "True",
            "on",
            "\n",
            "\r\n",
            "\x0b",
            "=",
            "{",
            "}",
            "\"c\"",
            ":",
            ",",
            "\"bdriver\"",
            "\"report\"",
            "[",
            "]",
            "\t",
            "-",
            "@",
        ]),
    );
}

/// Lines of options, mostly those of some driver.
fn pool_options() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::string::string_regex(
        "(dir_path|conf_id|container|volume_group|thin_pool)=[ -~]{0,6}|revisions_to_keep=-?[0-9]{1,2}|\
        (ephemeral_volatile|setup_check|snap_on_start_forensics)=(True|off|1|[!-~]{0,4})|[a-z]{0,4}=?[!-~]{0,3}",
    );
    let end = prop::sample::select(&["\n", "\r\n", "\r", "\x0c", "\x1e"][..]);
    let lines = prop::collection::vec((line.unwrap(), end), 0..3);
    let name = prop::string::string_regex("name=[a-z._ -]{0,4}\n").unwrap();
    (name, lines).prop_map(|(name, lines)| {
        let lines = lines.iter().map(|(line, end)| format!("{line}{end}"));
        format!("{name}{}", lines.collect::<String>()).into_bytes()
    })
}

/// A store's file: mostly right words, with any text in their places now and then.
fn qubes_xml() -> impl Strategy<Value = Vec<u8>> {
    const ODD: &str = "([a-z]{1,3}|[!#-%'-;=?-~]{0,3}|&(#10|#13|#9|lt|quot|#8232);| |\\.\\./x|\u{e9}){0,2}";
    let word = |usual: &str| format!("({usual}|{usual}|{usual}|{usual}|{usual}|{ODD})");
    let free = [("kernel", ""), ("kernelopts", ""), ("default_user", "user"), ("netvm", "a")];
    let numbers = [("memory", "400"), ("vcpus", "2"), ("autostart", "True"), ("qrexec_timeout", "60")];
    let property = free
        .iter()
        .chain(&numbers)
        .map(|(name, usual)| format!("<property name=\"{name}\">{}</property>", word(usual)));
    let property = property.collect::<Vec<_>>().join("|");
    let volume = format!(
        "<volume name=\"{}\" pool=\"{}\" vid=\"{}\" size=\"{}\" rw=\"True\"( source=\"{ODD}\")?/>",
        word("root"),
        word("test"),
        word("a/root"),
        word("5")
    );
    let device = format!(
        "<devices class=\"{}\"><device backend-domain=\"{}\" id=\"{}\"( mode=\"(manual|{ODD})\")?( identity=\"{ODD}\")?>\
        (<option name=\"{}\">{ODD}</option>)?</device></devices>",
        word("pci"),
        word("dom0"),
        word("00_1f\\.2"),
        word("o")
    );
    let uuid = "00000000-0000-4000-8000-00000000000[0-9]";
    let pattern = format!(
        "<qubes><labels><label id=\"label-1\" color=\"{}\">red</label>(<label id=\"label-9\">{}</label>)?</labels>\
        <pools>(<pool name=\"{}\" driver=\"file\" dir_path=\"{}\" x=\"{ODD}\"/>){{0,2}}</pools>\
        <properties>(<property name=\"(clockvm|default_kernel|stats_interval)\">{}</property>)?</properties>\
        <domains><domain id=\"domain-1\" class=\"(StandaloneVM|TemplateVM|RemoteVM)\"><properties>\
        <property name=\"name\">{}</property><property name=\"qid\">[1-9]</property>\
        <property name=\"uuid\">{uuid}</property><property name=\"label\">red</property>({property})?({property})?</properties>\
        (<features><feature name=\"{}\">{}</feature></features>)?(<tags><tag name=\"{}\"/></tags>)?({device}){{0,3}}\
        (<volume-config>{volume}</volume-config>)?</domain>\
        (<domain id=\"domain-2\" class=\"RemoteVM\"><properties><property name=\"name\">{}</property>\
        <property name=\"qid\">20</property><property name=\"uuid\">{uuid}</property></properties></domain>)?</domains></qubes>",
        word("0xcc0000"),
        word("new"),
        word("test"),
        word("/var/lib"),
        word("3"),
        word("a"),
        word("f"),
        word("1"),
        word("t"),
        word("b"),
    );
    prop::string::bytes_regex(&pattern).unwrap()
}

#[test]
fn qubes_xml_both_ways() {
    hold("xml", qubes_xml());
    hold(
        "xml",
        mixed(&[
            "<qubes>",
            "</qubes>",
            "<",
            ">",
            "/>",
            "&",
            "&#10;",
            "domains",
            "\"",
            "<![CDATA[",
            "]]>",
            "<!--",
        ]),
    );
}

/// The texts of all refusals of some bytes, but for switches, which the specification has echoed in quotes.
fn refusals(bytes: &[u8]) -> Vec<String> {
    let input = || Untrusted::new(bytes.to_vec());
    let mut texts = Vec::new();
    for kind in property::global_rows().iter().map(|row| row.kind).filter(|kind| *kind != Kind::Bool) {
        texts.extend(property::parse(kind, &input()).err().map(|refusal| format!("{refusal:?}")));
    }
    for allow_pool in [false, true] {
        texts.extend(options::parse(&input(), allow_pool, true).err().map(|refusal| format!("{refusal:?}")));
    }
    let notes = input().sanitise::<Notes>().unwrap();
    texts.extend(notes.text().err().map(str::to_owned));
    texts.extend(from_descriptor(b"x", bytes).err().map(|refusal| format!("{refusal:?}")));
    texts
}

#[test]
fn refusals_echo_nothing() {
    const TOKEN: &str = "qzj7319xkw";
    let around = mixed(&["name=", "label=", "pool:", "pool=", " ", "=", "\0", "x+", "0x"]);
    let tokens = around.prop_flat_map(|bytes| {
        (0..=bytes.len()).prop_map(move |place| [&bytes[..place], TOKEN.as_bytes(), &bytes[place..]].concat())
    });
    let checked = runner(5_000).run(&tokens, |bytes| {
        for text in refusals(&bytes) {
            prop_assert!(!text.contains(TOKEN), "{text}");
        }
        Ok(())
    });
    assert!(checked.is_ok(), "{}", checked.unwrap_err());
    assert!(refusals(TOKEN.as_bytes()).len() > 3);
}

/// Every file of a folder of the fuzzer, with the target it is for.
fn remembered(folder: &str) -> Vec<(Target, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder);
    let mut inputs = Vec::new();
    for target in Target::all() {
        let Ok(files) = std::fs::read_dir(folder.join(target.name())) else { continue };
        inputs.extend(files.map(|file| (target, std::fs::read(file.unwrap().path()).unwrap())));
    }
    inputs
}

#[test]
fn what_the_fuzzer_once_found_holds_now() {
    for (target, bytes) in remembered("findings") {
        target.check(&bytes);
    }
}

#[test]
fn every_target_has_seeds_that_hold() {
    let seeds = remembered("seeds");
    for target in Target::all() {
        assert!(
            seeds.iter().any(|(known, _)| known.name() == target.name()),
            "{} has no seed",
            target.name()
        );
    }
    for (target, bytes) in seeds {
        target.check(&bytes);
    }
}
