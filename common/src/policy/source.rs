//! Where policy's files are read from: the disk, with changes that are only proposed laid over it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::PolicyError;
use crate::files;
use crate::root::Root;

/// A file as it shall be; without content it shall be gone.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// The file, whose directory is there.
    pub path: PathBuf,
    /// What it shall hold.
    pub content: Option<Vec<u8>>,
}

/// The files of one reading. Each is read once, so that one that changes meanwhile is not seen half old, half new.
pub(super) struct Source<'a> {
    pub(super) root: &'a Root,
    proposals: &'a [Proposal],
    known: BTreeMap<PathBuf, Rc<[u8]>>,
}

impl<'a> Source<'a> {
    pub(super) fn new(root: &'a Root, proposals: &'a [Proposal]) -> Self {
        Self { root, proposals, known: BTreeMap::new() }
    }

    /// A file's name for people, and for other programs.
    pub(super) fn shown(&self, path: &Path) -> Rc<str> {
        self.root.without(path).to_string_lossy().into()
    }

    /// The files that were read so far.
    pub(super) fn files(&self) -> Vec<Rc<str>> {
        self.known.keys().map(|path| self.shown(path)).collect()
    }

    pub(super) fn unreadable(&self, path: &Path, source: io::Error) -> PolicyError {
        PolicyError::Unreadable { path: self.root.without(path), source }
    }

    pub(super) fn read(&mut self, path: &Path) -> Result<Rc<[u8]>, PolicyError> {
        if let Some(known) = self.known.get(path) {
            return Ok(Rc::clone(known));
        }
        let content = match self.proposed(path) {
            Some(proposal) => proposal.content.clone().ok_or_else(|| io::ErrorKind::NotFound.into()),
            None => files::read(path),
        };
        let content: Rc<[u8]> = content.map_err(|error| self.unreadable(path, error))?.into();
        self.known.insert(path.to_owned(), Rc::clone(&content));
        Ok(content)
    }

    fn proposed(&self, path: &Path) -> Option<&'a Proposal> {
        let real = (!self.proposals.is_empty()).then(|| files::real_path_so_far(path))?;
        let is_same = |proposal: &&Proposal| {
            proposal.path == path || proposal.path == real || files::real_path_so_far(&proposal.path) == real
        };
        self.proposals.iter().find(is_same)
    }

    /// Names of the policy files in a directory, in order.
    pub(super) fn policy_files(&self, directory: &Path) -> Result<Vec<String>, PolicyError> {
        if !directory.is_dir() {
            return Err(self.unreadable(directory, io::ErrorKind::NotFound.into()));
        }
        let counts = |name: &OsString| {
            let bytes = name.as_bytes();
            bytes.ends_with(b".policy") && !bytes.starts_with(b".") && self.is_there(directory, name)
        };
        let legal = |name: OsString| match name.into_string() {
            Ok(name) if is_legal_name(&name) => Ok(name),
            other => {
                let name = other.map_or_else(|name| name, OsString::from);
                Err(PolicyError::IllegalName(self.root.without(&directory.join(name))))
            }
        };
        self.names(directory)?.into_iter().filter(counts).map(legal).collect()
    }

    fn is_there(&self, directory: &Path, name: &OsString) -> bool {
        match self.proposals.iter().find(|proposal| proposal.path == directory.join(name)) {
            Some(proposal) => proposal.content.is_some(),
            None => directory.join(name).is_file(),
        }
    }

    /// All names in a directory, those that are only proposed among them.
    pub(super) fn names(&self, directory: &Path) -> Result<Vec<OsString>, PolicyError> {
        let mut names = files::entries(directory).map_err(|error| self.unreadable(directory, error))?;
        let proposed = self.proposals.iter().filter(|proposal| proposal.path.parent() == Some(directory));
        names.extend(proposed.filter_map(|proposal| proposal.path.file_name().map(OsString::from)));
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

/// Whether the engine takes a file of that name. One other name, and it denies every call.
pub fn is_legal_name(name: &str) -> bool {
    name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'_' | b'.' | b'-'))
}
