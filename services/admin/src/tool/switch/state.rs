//! The state on its way: from `qubes.xml` into the store, and back if anything changed in between.

use std::io;
use std::path::{Path, PathBuf};

use common::files;
use common::hypervisor::{Hypervisor, Published};
use common::root::Root;
use common::store::{SYSTEM_INFO, Store, View};

use super::super::out::Stop;
use super::qubesd::refuse;
use super::record::{COPIES, FOLDER, Phase, Record};
use crate::xml::{self, Imported};

/// What qubesd keeps.
pub(super) const FILE: &str = "/var/lib/qubes/qubes.xml";
/// What qubesd kept until then, after a way back on which it was written.
const BEFORE: &str = "/var/lib/qubes/qubes.xml.before-switch-back";
/// Where the store lies after the way back.
pub(super) const ASIDE: &str = "/var/lib/qubes/admin/before-switch-back";
/// The first of the store's files to go, the only one that stays, and its folders.
const SYSTEM: &str = "system.json";
const LOCK: &str = "lock";
const FOLDERS: [&str; 2] = ["qubes", "journal"];
/// What follows from the store's files.
const CACHES: [&str; 2] = ["index", SYSTEM_INFO];

/// The file that was imported, and what that would be written as.
fn copies(root: &Root) -> [PathBuf; 2] {
    COPIES.map(|name| root.path(FOLDER).join(name))
}

pub(super) fn read(root: &Root) -> Result<Imported, Stop> {
    let text = String::from_utf8(bytes(root)?).map_err(|_| format!("{FILE}: not UTF-8"))?;
    Ok(xml::import(&text).map_err(|error| format!("{FILE}: {error}"))?)
}

fn bytes(root: &Root) -> Result<Vec<u8>, Stop> {
    Ok(files::read(&root.path(FILE)).map_err(|error| format!("{FILE}: {error}"))?)
}

pub(super) fn refuse_filled(root: &Root) -> Result<(), Stop> {
    if is_filled(root) { Err("the store is not empty".to_owned().into()) } else { Ok(()) }
}

pub(super) fn is_filled(root: &Root) -> bool {
    files::exists(&root.state().join(SYSTEM))
}

/// The store, with what a kill left of an import finished.
pub(super) fn settled(root: &Root) -> Result<Store, Stop> {
    let store = Store::at(root);
    store.prepare()?;
    drop(store.read()?);
    Ok(store)
}

/// Fills the store, unless it was filled before a kill, and keeps what that gave to compare with. qubesd may have gone on with
/// its file after a kill.
pub(super) fn import(root: &Root) -> Result<(), Stop> {
    let (store, [source, imported]) = (settled(root)?, copies(root));
    if !is_filled(root) || is_outdated(root)? {
        let (new, txn) = (bytes(root)?, store.write()?);
        put_aside(root).map_err(|error| format!("{ASIDE}: {error}"))?;
        drop(txn);
        files::remove(&imported)
            .and_then(|()| files::replace(&source, &new, 0o600))
            .map_err(|error| format!("{FOLDER}: {error}"))?;
        let imported = read(root)?.prefer_homes(root);
        imported.and_then(|it| it.store(&store, root)).map_err(|error| format!("{FILE}: {error}"))?;
    }
    if files::exists(&imported) {
        return Ok(());
    }
    let text = xml::export(&store.read()?, root)?;
    Ok(files::replace(&imported, text.as_bytes(), 0o600).map_err(|error| error.to_string())?)
}

/// Whether the store came from an older file.
fn is_outdated(root: &Root) -> Result<bool, Stop> {
    let [source, _] = copies(root);
    let source = files::read_if_present(&source).map_err(|error| error.to_string())?;
    if source == Some(bytes(root)?) {
        Ok(false)
    } else if is_changed(root)? {
        Err(format!("both the store and {FILE} changed; first: qubes-admin switch back").into())
    } else {
        Ok(true)
    }
}

pub(super) fn refuse_running(root: &Root) -> Result<(), Stop> {
    let hypervisor = Published::at(root);
    let names = if is_filled(root) { Store::at(root).read()?.names()? } else { Vec::new() };
    let running: Vec<&str> =
        names.iter().filter(|name| hypervisor.domain(name).is_some()).map(|name| name.as_str()).collect();
    refuse(&running)
}

/// Whether the store holds anything else than what came.
pub(super) fn is_changed(root: &Root) -> Result<bool, Stop> {
    let store = Store::at(root);
    Ok(changes(root, &store.read()?)?.is_some())
}

/// The new `qubes.xml`, if there is to be one. Before there is something to compare with, no call led to the store.
fn changes(root: &Root, view: &View<'_>) -> Result<Option<String>, Stop> {
    if !is_filled(root) {
        return Ok(None);
    }
    let [_, imported] = copies(root);
    let before = files::read_if_present(&imported).map_err(|error| error.to_string())?;
    let Some(before) = before else { return Ok(None) };
    let text = xml::export(view, root)?;
    Ok((before != text.as_bytes()).then_some(text))
}

/// Hands the state over to qubesd. Nobody changes the store in between: its lock is held from the last look at it until it is
/// empty.
pub(super) fn return_to_qubesd(root: &Root, record: &mut Record) -> Result<(), Stop> {
    let store = Store::at(root);
    store.prepare()?;
    let txn = store.write()?;
    if record.phase != Phase::PuttingAside {
        if let Some(text) = changes(root, &txn)? {
            xml::firewall_to_homes(&txn, root)?;
            write(root, &text).map_err(|error| format!("{FILE}: {error}"))?;
        }
        record.enter(root, Phase::PuttingAside)?;
    }
    put_aside(root).map_err(|error| format!("{ASIDE}: {error}"))?;
    drop(txn);
    Ok(())
}

fn write(root: &Root, text: &str) -> io::Result<()> {
    let (file, before) = (root.path(FILE), root.path(BEFORE));
    // After a kill the new content may be there already.
    if files::read_if_present(&file)?.is_some_and(|bytes| bytes != text.as_bytes()) {
        files::remove(&before)?;
        files::hard_link(&file, &before)?;
    }
    files::replace_for_group(&file, text.as_bytes(), 0o660)
}

fn put_aside(root: &Root) -> io::Result<()> {
    let (state, aside) = (root.state(), root.path(ASIDE));
    if is_filled(root) {
        files::remove_tree(&aside)?;
        files::make_directories(&aside, 0o770)?;
        files::rename(&state.join(SYSTEM), &aside.join(SYSTEM))?;
        files::sync_directory(&state.join(SYSTEM))?;
    }
    let is_object = |name: &String| name != LOCK && state.join(name).is_file();
    for name in files::list(&state)?.into_iter().filter(is_object) {
        move_to(&state, &aside, &name)?;
    }
    for folder in FOLDERS {
        files::make_directories(&aside.join(folder), 0o770)?;
        for name in files::list(&state.join(folder))? {
            move_to(&state.join(folder), &aside.join(folder), &name)?;
        }
    }
    CACHES.iter().try_for_each(|name| files::remove(&root.run().join(name)))
}

fn move_to(from: &Path, to: &Path, name: &str) -> io::Result<()> {
    files::present(files::rename_plainly(&from.join(name), &to.join(name))).map(drop)
}
