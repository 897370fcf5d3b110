//! Policy files by name: where they are, what they hold, and the token of that.

use std::io;
use std::path::{Path, PathBuf};

use common::failure::{Exception, Failure};
use common::files;
use common::log;
use common::names::{PolicyName, PolicyToken};
use common::policy::DIRECTORY;
use common::root::Root;
use sha2::{Digest, Sha256};

/// Which files a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Those that are read by themselves.
    Main,
    /// Those that others include.
    Included,
}

impl Kind {
    /// Where they are.
    pub(super) fn directory(self, root: &Root) -> PathBuf {
        match self {
            Self::Main => root.path(DIRECTORY),
            Self::Included => root.path(DIRECTORY).join("include"),
        }
    }

    /// What their names end in.
    pub(super) const fn ending(self) -> &'static str {
        match self {
            Self::Main => ".policy",
            Self::Included => "",
        }
    }

    /// The call by which a change of theirs is taken back.
    pub(super) const fn undoing_call(self) -> &'static str {
        match self {
            Self::Main => "policy.Replace",
            Self::Included => "policy.include.Replace",
        }
    }

    /// The path of a file, which must lie in the directory itself, links followed.
    pub(super) fn path(self, root: &Root, name: &PolicyName) -> Result<PathBuf, Failure> {
        let directory = self.directory(root);
        let path = directory.join(format!("{name}{}", self.ending()));
        let real = files::real_path_so_far(&path);
        if real.parent() == Some(&files::real_path_so_far(&directory)) {
            return Ok(path);
        }
        let text = "The policy file is a link that leads elsewhere";
        Err(Failure::new(Exception::PolicyAdminInvalidFilePathException, text))
    }
}

/// The content of a file, if it is there.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    files::read_if_present(path).map_err(|error| unusable(&error))
}

/// The token of a content.
pub(super) fn token(content: &[u8]) -> String {
    PolicyToken::of_digest(&Sha256::digest(content))
}

/// There is no such file.
pub(super) fn not_found() -> Failure {
    Failure::new(Exception::PolicyAdminFileNotFoundException, "There is no such policy file")
}

/// The policy's directory cannot be read or written to.
pub(super) fn unusable(error: &io::Error) -> Failure {
    log::line(&format!("policy files: {error}"));
    Failure::new(Exception::QubesException, format!("Policy files cannot be used: {error}"))
}
