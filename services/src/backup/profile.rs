//! What a backup is to be, as its profile says (spec 40 §12).

use std::io::ErrorKind;
use std::rc::Rc;

use common::call::no_such_domain;
use common::failure::{Exception, Failure};
use common::files;
use common::names::{BackupProfile, QubeName};
use common::quote::quote;
use common::root::Root;
use common::store::View;

use super::yaml::Node;

/// The folder of profiles, each a file `<id>.conf`.
const FOLDER: &str = "/etc/qubes/backup";

/// A profile whose destination is there.
pub(super) struct Profile {
    /// Where the backup goes; dom0 stands for a file.
    pub(super) destination: QubeName,
    /// Where there.
    pub(super) path: String,
    /// What is in it; nothing for what is in it by default.
    pub(super) include: Option<Vec<Item>>,
    /// What is not.
    pub(super) exclude: Vec<Item>,
}

/// Which qubes an entry of a list means.
pub(super) enum Item {
    Named(QubeName),
    Tagged(String),
    OfClass(String),
}

/// `QubesException`, with this text.
pub(super) fn refused(text: impl Into<String>) -> Failure {
    Failure::new(Exception::QubesException, text.into())
}

fn invalid(what: &str) -> Failure {
    refused(format!("Invalid backup profile - {what}"))
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    /// `QubesBackupProfileNotFoundError`, or what is wrong with it.
    pub(super) fn read(root: &Root, view: &View<'_>, id: &BackupProfile) -> Result<Self, Failure> {
        let document = document(root, id)?;
        let said = |key: &str| document.get(key).ok_or_else(|| invalid(&format!("missing {}", quote(key))));
        let (destination, path, include) =
            (said("destination_vm")?, said("destination_path")?, said("include")?);
        let destination = destination.text().and_then(|name| QubeName::parse(name).ok());
        let destination = match destination {
            Some(name) if view.exists(&name)? => name,
            _ => return Err(refused("Invalid destination_vm specified in backup profile")),
        };
        let path = path.text().ok_or_else(|| invalid("destination_path is no text"))?.to_owned();
        let include = if include.is_null() { None } else { Some(items("include", include)?) };
        let exclude = document.get("exclude").filter(|list| !list.is_null());
        let exclude = exclude.map_or(Ok(Vec::new()), |list| items("exclude", list))?;
        Ok(Self { destination, path, include, exclude })
    }
}

fn document(root: &Root, id: &BackupProfile) -> Result<Rc<Node>, Failure> {
    let bytes = files::read(&root.path(FOLDER).join(format!("{id}.conf"))).map_err(|error| {
        if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput | ErrorKind::InvalidFilename)
        {
            let text = format!("Backup profile does not exist: {id}");
            return Failure::new(Exception::QubesBackupProfileNotFoundError, text);
        }
        refused(format!("Backup profile {id}: {error}"))
    })?;
    let document = std::str::from_utf8(&bytes).ok().and_then(Node::parse);
    document.filter(|document| matches!(**document, Node::Map(_))).ok_or_else(|| invalid("not a YAML map"))
}

fn items(key: &str, list: &Node) -> Result<Vec<Item>, Failure> {
    let Node::List(list) = list else { return Err(invalid(&format!("{key} is no list"))) };
    list.iter()
        .map(|item| {
            let text = item.text().ok_or_else(|| invalid(&format!("{key} has an entry that is no text")))?;
            Item::parse(text)
        })
        .collect()
}

impl Item {
    fn parse(text: &str) -> Result<Self, Failure> {
        let text = text.replace('$', "@");
        if let Some(tag) = text.strip_prefix("@tag:") {
            return Ok(Self::Tagged(tag.to_owned()));
        }
        if let Some(class) = text.strip_prefix("@type:") {
            return Ok(Self::OfClass(class.to_owned()));
        }
        QubeName::parse(&text).map(Self::Named).map_err(|_| no_such_domain(&text))
    }
}
