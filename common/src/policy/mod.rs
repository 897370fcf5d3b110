//! qrexec policy: reading the administrator's files and deciding by them (spec 50 §13, §14).

mod evaluate;
mod lint;
mod old;
mod parse;
mod rule;
mod source;
mod system;
mod token;

pub use evaluate::{Decision, Place, Question, Reason, Verdict};
pub use lint::{Warning, lint};
pub use rule::{Action, Origin, Rule};
pub use source::{Proposal, is_legal_name};
pub use system::{IndexedSystem, SystemInfo};
pub use token::canonical;

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::log;
use crate::root::Root;
use source::Source;
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
        /// Line, from 1; 0 for the file as a whole.
        line: usize,
        /// What is wrong.
        text: &'static str,
    },
    /// What a line includes cannot be read.
    #[error("{path}:{line}: {cause}")]
    Included {
        /// File of the line.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Why not.
        cause: Box<PolicyError>,
    },
}

impl PolicyError {
    /// Whether something is not there, which it may be again or no more when looked for once more.
    fn is_about_absence(&self) -> bool {
        match self {
            Self::Unreadable { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Included { cause, .. } => cause.is_about_absence(),
            Self::IllegalName(_) | Self::Syntax { .. } => false,
        }
    }
}

/// All rules in the order in which they are asked.
#[derive(Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    /// The files that were read, each once.
    files: Vec<Rc<str>>,
}

/// Where the administrator's files are.
pub const DIRECTORY: &str = "/etc/qubes/policy.d";
/// Directories of policy files. A file in the first hides one of the same name in the second.
pub const DIRECTORIES: [&str; 2] = ["/run/qubes/policy.d", DIRECTORY];

impl Policy {
    /// Reads all policy files below a root.
    ///
    /// # Errors
    /// [`PolicyError`]; nothing is allowed then, by anyone's rules.
    pub fn load(root: &Root) -> Result<Self, PolicyError> {
        Self::load_with(root, &[])
    }

    /// The same for those who go on without policy, that is, with nothing allowed: the log tells why.
    pub fn load_or_log(root: &Root) -> Option<Self> {
        let tell = |error: &PolicyError| log::line(&format!("policy denies everything: {error}"));
        Self::load(root).inspect_err(tell).ok()
    }

    /// The policy as it would be after changes.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with(root: &Root, proposals: &[Proposal]) -> Result<Self, PolicyError> {
        /// A file that goes between its directory's being listed and its being read is no reason to deny everything.
        const ATTEMPTS: usize = 10;
        let mut loaded = Self::read(root, proposals);
        for _ in 1..ATTEMPTS {
            match loaded {
                Err(error) if error.is_about_absence() => loaded = Self::read(root, proposals),
                settled => return settled,
            }
        }
        loaded
    }

    fn read(root: &Root, proposals: &[Proposal]) -> Result<Self, PolicyError> {
        let mut source = Source::new(root, proposals);
        let mut rules = Vec::new();
        for path in top_level(&source)? {
            parse::file(&mut source, &path, &mut rules)?;
        }
        Ok(Self { rules, files: source.files() })
    }

    /// The rules in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The files that were read, as they are for those who know nothing of another root.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| &**file)
    }

    /// Reads a file on its own, in today's format or in the old one of included service files.
    ///
    /// # Errors
    /// What is wrong with it in today's format, where it is good in neither.
    pub fn check_alone(root: &Root, proposal: &Proposal) -> Result<(), PolicyError> {
        let mut source = Source::new(root, std::slice::from_ref(proposal));
        let base = root.path(DIRECTORY);
        let in_new = parse::included(&mut source, &base, &proposal.path);
        in_new.or_else(|error| old::included(&mut source, &base, &proposal.path).map_or(Err(error), Ok))
    }
}

/// The top-level files in the order in which they are read.
fn top_level(source: &Source<'_>) -> Result<Vec<PathBuf>, PolicyError> {
    let mut chosen: std::collections::BTreeMap<String, PathBuf> = std::collections::BTreeMap::new();
    for directory in DIRECTORIES.map(|directory| source.root.path(directory)) {
        for name in source.policy_files(&directory)? {
            chosen.entry(name.clone()).or_insert_with(|| directory.join(name));
        }
    }
    Ok(chosen.into_values().collect())
}

/// The directory that a top-level file's includes count from.
fn base_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}
