//! Where things lie: every absolute path goes through one root directory.

use std::path::{Path, PathBuf};

use crate::environment;

/// Name of the variable that stands in front of every absolute path.
pub const ROOT_VARIABLE: &str = "QUBES_ADMIN_ROOT";

/// The directory in front of every absolute path: `/` in dom0, a throwaway one in a demonstration or test.
#[derive(Debug, Clone)]
pub struct Root(PathBuf);

impl Root {
    /// A root at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The root the environment asks for. The variable is ignored in a process with raised privileges and
    /// after `sudo`, where the caller may have chosen it.
    pub fn from_environment() -> Self {
        match environment::variable(ROOT_VARIABLE) {
            Some(path) if !path.is_empty() && !environment::is_privileged_by_another() => Self(path.into()),
            _ => Self(PathBuf::from("/")),
        }
    }

    /// Whether this is the real system.
    pub fn is_system(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// `absolute`, below this root.
    pub fn path(&self, absolute: &str) -> PathBuf {
        self.0.join(absolute.trim_start_matches('/'))
    }

    /// The path as it is for those who know nothing of this root.
    pub fn without(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.0).map_or_else(|_| path.to_owned(), |path| Path::new("/").join(path))
    }

    /// `/var/lib/qubes`: images, kernels, notes.
    pub fn lib(&self) -> PathBuf {
        self.path("/var/lib/qubes")
    }

    /// `/var/lib/qubes/admin`: the state that survives.
    pub fn state(&self) -> PathBuf {
        self.path("/var/lib/qubes/admin")
    }

    /// `/run/qubes/admin`: the state that does not survive a boot.
    pub fn run(&self) -> PathBuf {
        self.path("/run/qubes/admin")
    }
}
