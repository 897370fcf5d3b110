//! `qubes-admin restore`: makes the qubes of a backup again, by the calls that anybody would make (spec 40 §16.4).
//!
//! Each qube is restored as a whole or not at all. All are made first, with a tag that keeps them from being started; each volume
//! is one import, which takes effect only once the whole of it was proven; what refers to other qubes comes last, and the tag
//! goes. A qube of which anything is missing is removed again.

mod batch;
mod fill;
mod finish;
mod home;
mod host;
mod make;
mod plan;
mod read;
mod shown;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use common::model::Qube;
use common::names::QubeName;
use common::root::Root;
use common::store::Store;
use services::tag::RESTORING;

use self::batch::Batch;
use self::plan::{Fate, Planned, Wishes};
use super::confirm;
use super::out::{self, Stop};
use super::service::Service;
use super::source::{self, CONTENTS, Opened, Source};
use crate::xml::Contents;

const CALLER: &str = "dom0";
/// Members of a backup: as many as stock clients read of a qube, and one for each chunk, twice over.
const MEMBERS_PER_QUBE: u64 = 10;

/// What is restored, and how.
#[derive(Args)]
pub(super) struct Restore {
    #[command(flatten)]
    source: Source,
    /// Restore only these of its qubes; dom0 stands for its files. The names come after FILE.
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    qubes: Vec<String>,
    /// Restore a qube under another name. What is restored with it refers to it by that name.
    #[arg(long, value_name = "OLD=NEW", num_args = 1.., value_delimiter = ',', value_parser = renaming)]
    rename: Vec<(String, QubeName)>,
    /// Restore also qubes whose template or netvm is neither in the backup nor here: with the default template, and with no
    /// netvm.
    #[arg(long)]
    ignore_missing: bool,
    /// The directory that dom0's files go into, which is made [default: home-restore-DATE in the home of dom0's user].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    dom0_home: Option<PathBuf>,
    /// Read and prove the whole backup, and tell what would be restored, without changing anything.
    #[arg(long)]
    verify_only: bool,
    /// Do not ask whether to begin. Nothing is asked either where standard input is no terminal.
    #[arg(long)]
    yes: bool,
}

fn renaming(text: &str) -> Result<(String, QubeName), String> {
    let (old, new) = text.split_once('=').ok_or("not OLD=NEW")?;
    Ok((old.to_owned(), QubeName::parse(new).map_err(|broken| broken.message)?))
}

/// Restores what a backup has.
pub(super) fn run(restore: &Restore, root: &Root) -> Result<(), Stop> {
    let store = Store::at(root);
    tell_of_left_overs(&store)?;
    home::tell_of_left_overs(root);
    let mut opened = restore.source.open(root)?;
    let contents = contents(&mut opened).map_err(|error| restore.source.at(&error))?;
    limit(&mut opened, &contents);
    let wishes = Wishes {
        chosen: &restore.qubes,
        renamed: restore
            .rename
            .iter()
            .map(|(old, new)| (old.as_str(), new.clone()))
            .collect::<BTreeMap<_, _>>(),
        ignore_missing: restore.ignore_missing,
        home: restore.dom0_home.as_deref(),
    };
    let planned = plan::plan(&contents, &wishes, &store.read()?, root)?;
    shown::print(&planned)?;
    let mut batch = Batch::new(root, &contents, &planned, restore.verify_only);
    if batch.is_empty() && !restore.verify_only {
        return Err("there is nothing to restore".to_owned().into());
    }
    if !restore.verify_only && !restore.yes && !confirm::is_wanted("Restore these qubes?")? {
        return Err("nothing was restored".to_owned().into());
    }
    batch.make();
    opened.show();
    let read = batch.read(&mut opened.reader);
    drop(opened);
    batch.finish(read.is_ok());
    let read = read.map_err(|error| restore.source.at(&error));
    let told = batch.tell();
    read.and(told).and(check_chosen(&restore.qubes, &planned))
}

/// Reads what the backup says that it has.
fn contents(opened: &mut Opened) -> Result<Contents, String> {
    let first = opened.reader.next().map_err(|error| error.to_string())?;
    let first = first.filter(|packed| packed.name() == CONTENTS);
    let first = first.ok_or_else(|| format!("the backup does not begin with {CONTENTS}"))?;
    let text = source::text(first).map_err(|error| error.to_string())?;
    Contents::parse(&text).map_err(|error| format!("{CONTENTS}: {error}"))
}

/// Reads no more members than what is said to be there can have, where that is said of all. A qube whose pool was not ready when
/// it was measured is said to take nothing.
fn limit(opened: &mut Opened, contents: &Contents) {
    let mut sizes =
        contents.qubes.iter().map(|qube| qube.size.filter(|size| *size > 0 || qube.volumes.is_empty()));
    let total = sizes.try_fold(0_u64, |sum, size| Some(sum.saturating_add(size?)));
    if let Some(total) = total {
        let qubes = (contents.qubes.len() as u64).saturating_add(1);
        let chunks = total.checked_div(backup::CHUNK).unwrap_or_default();
        let members = qubes.saturating_mul(MEMBERS_PER_QUBE).saturating_add(chunks).saturating_mul(2);
        let limits = opened.reader.limits();
        limits.members = limits.members.min(members);
    }
}

/// Tells of qubes that a restore left that was killed.
fn tell_of_left_overs(store: &Store) -> Result<(), Stop> {
    let view = store.read()?;
    for name in view.names()? {
        if let Some(qube) = view.qube(&name)?.filter(|qube| is_left_over(qube)) {
            let name = &qube.name;
            out::error(&format!(
                "{name} is of a restore that is not finished, and cannot start; {}",
                remedy(name)
            ));
        }
    }
    Ok(())
}

fn is_left_over(qube: &Qube) -> bool {
    qube.tags.iter().any(|tag| tag.as_str() == RESTORING)
}

fn remedy(name: &QubeName) -> String {
    format!("if none goes on, this removes it: qubes-admin call {name} admin.vm.Remove")
}

/// What was asked for, all or by name, and is left out is no success.
fn check_chosen(chosen: &[String], planned: &[Planned<'_>]) -> Result<(), Stop> {
    let left_out = planned.iter().filter(|planned| {
        let is_chosen = chosen.is_empty() || chosen.contains(&planned.backed_up.name);
        is_chosen && matches!(planned.fate, Fate::Skipped(_))
    });
    let names: Vec<&str> = left_out.map(|planned| planned.backed_up.name.as_str()).collect();
    if names.is_empty() { Ok(()) } else { Err(format!("left out: {}", names.join(", ")).into()) }
}

/// Makes a call that answers nothing.
fn call(root: &Root, destination: &str, call: &str, payload: &str) -> Result<(), String> {
    let made = Service::find(root, CALLER, destination, call).and_then(|it| it.content(payload, None));
    made.map(drop).map_err(reason)
}

fn reason(stop: Stop) -> String {
    match stop {
        Stop::Failed(text) => text,
        Stop::Unread => String::new(),
    }
}
