//! qrexec policy: reading the administrator's files and deciding by them (spec 50 §13, §14).

mod evaluate;
mod parse;
mod token;

pub use evaluate::{IndexedSystem, SystemInfo};

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::files;
use crate::root::Root;
use token::Token;

/// Why there is no policy. Everything is denied then.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A directory or file cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file's name has other characters than the engine allows.
    #[error("{0}: illegal file name")]
    IllegalName(PathBuf),
    /// A line cannot be understood.
    #[error("{path}:{line}: {text}")]
    Syntax {
        /// File.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        text: &'static str,
    },
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Allow,
    Ask,
    Deny,
}

/// One rule. No service or argument stands for all.
#[derive(Debug, Clone)]
struct Rule {
    service: Option<String>,
    argument: Option<String>,
    source: Token,
    target: Token,
    action: Action,
    /// Where an allowed call really goes, instead of to its target.
    redirect: Option<String>,
    /// Whether a call may start its target.
    autostart: bool,
}

/// All rules in the order in which they are asked.
#[derive(Debug)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// Directories of policy files. A file in the first hides one of the same name in the second.
const DIRECTORIES: [&str; 2] = ["/run/qubes/policy.d", "/etc/qubes/policy.d"];

impl Policy {
    /// Reads all policy files below a root.
    ///
    /// # Errors
    /// [`PolicyError`]; nothing is allowed then, by anyone's rules.
    pub fn load(root: &Root) -> Result<Self, PolicyError> {
        let mut chosen: std::collections::BTreeMap<String, PathBuf> = std::collections::BTreeMap::new();
        for directory in DIRECTORIES.map(|directory| root.path(directory)) {
            for name in policy_files(&directory)? {
                chosen.entry(name.clone()).or_insert_with(|| directory.join(name));
            }
        }
        let mut rules = Vec::new();
        for path in chosen.values() {
            parse::file(root, path, &mut rules)?;
        }
        Ok(Self { rules })
    }
}

/// Names of the files in a directory that count.
fn policy_files(directory: &std::path::Path) -> Result<Vec<String>, PolicyError> {
    let unreadable = |source| PolicyError::Unreadable { path: directory.to_path_buf(), source };
    if !directory.is_dir() {
        return Err(unreadable(io::ErrorKind::NotFound.into()));
    }
    let counts = |name: &OsString| {
        let bytes = name.as_bytes();
        bytes.ends_with(b".policy") && !bytes.starts_with(b".") && directory.join(name).is_file()
    };
    let is_legal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'_' | b'.' | b'-');
    let names = files::entries(directory).map_err(unreadable)?;
    let legal = |name: OsString| match name.into_string() {
        Ok(name) if name.bytes().all(is_legal) => Ok(name),
        other => {
            Err(PolicyError::IllegalName(directory.join(other.map_or_else(|name| name, OsString::from))))
        }
    };
    names.into_iter().filter(counts).map(legal).collect()
}
