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
    /// All that it says.
    document: Rc<Node>,
}

/// How the files of a backup are compressed.
pub(super) struct Compression {
    pub(super) is_on: bool,
    /// The name of the program, which is told whether it is used or not.
    pub(super) filter: String,
}

/// Where the passphrase comes from.
pub(super) enum Secret {
    /// The profile itself.
    Said(String),
    /// A qube that is asked.
    Asked(QubeName),
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
        Ok(Self { destination, path, include, exclude, document })
    }

    /// How it is compressed.
    ///
    /// # Errors
    /// `QubesException` for what no reader would take as the name of a filter.
    pub(super) fn compression(&self) -> Result<Compression, Failure> {
        const USUAL: &str = "gzip";
        let said = self.document.get("compression").filter(|said| !said.is_null());
        let switch = said.map_or(Some(true), Node::switch);
        if let Some(is_on) = switch {
            return Ok(Compression { is_on, filter: USUAL.to_owned() });
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let name = said.and_then(Node::text).filter(|name| name.bytes().all(is_plain));
        let name = name.ok_or_else(|| invalid("compression is no name of a program"))?;
        Ok(Compression { is_on: true, filter: name.to_owned() })
    }

    /// Where its passphrase comes from: what is said counts more than who is asked.
    ///
    /// # Errors
    /// What is wrong with the profile in this.
    pub(super) fn secret(&self, view: &View<'_>) -> Result<Secret, Failure> {
        let said = |key: &str| self.document.get(key).filter(|said| !said.is_null());
        if let Some(text) = said("passphrase_text") {
            let text = text.text().ok_or_else(|| invalid("passphrase_text is no text"))?;
            return Ok(Secret::Said(text.to_owned()));
        }
        const NEITHER: &str = "you need to specify passphrase_text or passphrase_vm";
        let asked = said("passphrase_vm").ok_or_else(|| invalid(NEITHER))?;
        match asked.text().and_then(|name| QubeName::parse(name).ok()) {
            Some(name) if view.exists(&name)? => Ok(Secret::Asked(name)),
            _ => Err(invalid("invalid passphrase_vm")),
        }
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
