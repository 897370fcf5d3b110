//! What storage reads: lists that programs print, names of revisions and devices, the callback configuration, options of
//! pools, and what calls on volumes are told.

use common::model::Pool;
use common::names::{
    CloneToken, DataSize, ImportOutcome, PoolName, RevisionId, RevisionsToKeep, Switch, VolumeId, VolumeSize,
};
use common::storage::callback::Settings;
use common::storage::lvm_thin::table::{Row, Table};
use common::storage::options::{DRIVERS, find};
use common::storage::zfs::listing;
use common::storage::{file_reflink, lvm_thin, thin_directory, zfs};
use common::untrusted::Untrusted;
use serde_json::json;
use services::pool::options;

use super::names::accepted;

pub(super) fn check(bytes: &[u8]) {
    check_thin_volumes(bytes);
    check_callback(bytes);
    check_payloads(bytes);
    check_pool_options(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        check_datasets(text);
        check_names(text);
        check_values(text);
    }
}

/// The rows of a report, printed as a report, are the same but for usages, which are rounded.
fn check_thin_volumes(bytes: &[u8]) {
    let Some(table) = Table::parse(bytes) else { return };
    let printed: Vec<_> = table.rows().map(report_row).collect();
    let printed = json!({ "report": [{ "lv": printed }] }).to_string();
    let again = Table::parse(printed.as_bytes()).unwrap();
    assert_eq!(again.rows().count(), table.rows().count());
    for (row, twin) in table.rows().zip(again.rows()) {
        let told = |row: &Row| {
            (
                row.name.clone(),
                row.size,
                row.pool.clone(),
                row.attributes.clone(),
                row.origin.clone(),
                row.metadata.0,
            )
        };
        assert_eq!(told(row), told(twin));
        assert_eq!((twin.usage, twin.metadata.1), (twin.size, Some(0)));
        assert!(table.find(&row.name).is_some());
    }
}

fn report_row(row: &Row) -> serde_json::Value {
    let (group, name) = row.name.split_once('/').unwrap();
    json!({
        "vg_name": group, "lv_name": name, "pool_lv": row.pool, "lv_size": format!("{}B", row.size),
        "data_percent": "100.00", "lv_attr": row.attributes, "origin": row.origin,
        "lv_metadata_size": format!("{}B", row.metadata.0), "metadata_percent": "0",
    })
}

fn check_datasets(text: &str) {
    let Some(rows) = listing::parse(text) else { return };
    let switch = |is_on| if is_on { "on" } else { "off" };
    let print = |row: &listing::Row| {
        let (going, dirty) = (switch(row.is_going), switch(row.is_dirty));
        let numbers = format!("{}\t{}\t{}", row.size, row.usage, row.created);
        format!("{}\t{numbers}\t{going}\t{}\t{dirty}\n", row.name, row.origin)
    };
    let printed: String = rows.iter().map(print).collect();
    assert_eq!(listing::parse(&printed), Some(rows));
}

/// A name that is read is the one that would be made of what was read.
fn check_names(text: &str) {
    if let Some((number, time)) = file_reflink::revision::parse(text) {
        assert_eq!(format!(".{number}@{time}Z"), text);
    }
    if let Some(seconds) = lvm_thin::revision_of("vg/vm-a-root", text) {
        assert_eq!(format!("vg/vm-a-root-{seconds}-back"), text);
    }
    if let Some(micros) = zfs::revision_time(text) {
        assert!(text.starts_with("qubes:"));
        assert!(text.ends_with(&format!(":{}.{:06}", micros / 1_000_000, micros % 1_000_000)));
    }
    if let Some((group, pool)) = thin_directory::parse_pool(text) {
        assert_eq!(format!("{}-{}-tpool", group.replace('-', "--"), pool.replace('-', "--")), text);
    }
}

/// What an option stores is what it stores of that.
fn check_values(text: &str) {
    for option in DRIVERS.iter().flat_map(|driver| driver.options) {
        if let Ok(stored) = option.checked(text) {
            assert_eq!(option.checked(&stored), Ok(stored.clone()), "{}", option.name);
            assert!(!stored.contains(|character: char| character.is_ascii_control()));
        }
    }
}

/// A back end is a pool that could be added, under the name of ours.
fn check_callback(bytes: &[u8]) {
    let Ok(settings) = Settings::parse(bytes, "c") else { return };
    for event in ["pre_sinit", "post_volume_export_end", "cmd"] {
        assert!(settings.command(event).is_none_or(|(command, _)| !command.is_empty() && command != "-"));
    }
    let pool = Pool {
        name: PoolName::parse("p").unwrap(),
        driver: "callback".to_owned(),
        settings: vec![("conf_id".to_owned(), "c".to_owned())],
    };
    let Ok(back) = settings.back_end(&pool) else { return };
    let driver = find(&back.driver).unwrap();
    assert!(back.name == pool.name && driver.name != "callback");
    assert_eq!(driver.settings(&back.settings), Ok(back.settings));
}

/// Numbers, switches and names of calls on pools and volumes.
fn check_payloads(bytes: &[u8]) {
    let read = |text: String| Untrusted::new(text.into_bytes());
    if let Ok(number) = Untrusted::new(bytes.to_vec()).sanitise::<RevisionsToKeep>() {
        assert_eq!(read(number.0.to_string()).sanitise(), Ok(number));
    }
    if let Ok(size) = Untrusted::new(bytes.to_vec()).sanitise::<VolumeSize>() {
        assert_eq!(read(size.0.to_string()).sanitise(), Ok(size));
        assert_eq!(read(size.0.to_string()).sanitise(), Ok(DataSize(size.0)));
    }
    if let Ok(size) = Untrusted::new(bytes.to_vec()).sanitise::<DataSize>() {
        assert_eq!(read(format!(" {}\n", size.0)).sanitise(), Ok(VolumeSize(size.0)));
    }
    if let Ok(switch) = Untrusted::new(bytes.to_vec()).sanitise::<Switch>() {
        assert_eq!(read(common::storage::options::text_of(switch.0)).sanitise(), Ok(switch));
    }
    if let Ok(ImportOutcome::Failed(reason)) = Untrusted::new(bytes.to_vec()).sanitise::<ImportOutcome>() {
        assert_eq!(read(format!("fail\n{reason}")).sanitise(), Ok(ImportOutcome::Failed(reason)));
    }
    let consists_of = |text: &str, marks: &str| {
        text.chars().all(|character| character.is_ascii_alphanumeric() || marks.contains(character))
    };
    assert!(accepted(bytes, RevisionId::as_str).is_none_or(|id| consists_of(&id, ":-_.")));
    assert!(accepted(bytes, VolumeId::as_str).is_none_or(|id| consists_of(&id, "-_./:@")));
    assert!(
        accepted(bytes, CloneToken::as_str).is_none_or(|token| token.len() == 32 && consists_of(&token, ""))
    );
}

/// Lines that are read, printed and read again are the same, whichever driver they are for.
fn check_pool_options(bytes: &[u8]) {
    for driver in &DRIVERS {
        let Ok(request) = options::parse(driver, &Untrusted::new(bytes.to_vec())) else { continue };
        let name = request.name.as_ref().map(PoolName::as_str).unwrap_or_default();
        let lines = request.options.iter().map(|(key, value)| format!("{key}={value}\n"));
        let printed = format!("name={name}\n{}", lines.collect::<String>());
        let again = options::parse(driver, &Untrusted::new(printed.into_bytes())).unwrap();
        assert_eq!((&again.name, &again.options), (&request.name, &request.options));
        let keys: std::collections::BTreeSet<_> = request.options.iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), request.options.len());
        assert!(keys.iter().all(|key| driver.option(key).is_some()));
        if let Ok(settings) = driver.settings(&request.options) {
            assert_eq!(driver.settings(&settings), Ok(settings));
        }
    }
}
