//! Files that are proposed: how they would lie in the policy's directory.

use std::path::{Path, PathBuf};

use clap::Args;
use common::files;
use common::policy::{DIRECTORY, Policy, Proposal};
use common::root::Root;

use super::super::out::Stop;

/// What is laid over the policy that is there.
#[derive(Args)]
pub(super) struct Proposed {
    /// Take this file into account as if it were in /etc/qubes/policy.d, or all files of this directory.
    ///
    /// Files of a directory named include count as in /etc/qubes/policy.d/include.
    #[arg(long = "with", value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
}

impl Proposed {
    /// The policy as it would be.
    pub(super) fn load(&self, root: &Root) -> Result<Policy, Stop> {
        Policy::load_with(root, &self.proposals(root)?).map_err(|error| error.to_string().into())
    }

    fn proposals(&self, root: &Root) -> Result<Vec<Proposal>, Stop> {
        let mut proposals = Vec::new();
        for path in &self.paths {
            // A directory may be given with a slash behind it, or as a dot.
            let path = files::real_path(path).map_err(|error| unreadable(path, &error))?;
            collect(root, &path, &mut proposals)?;
        }
        Ok(proposals)
    }
}

fn collect(root: &Root, path: &Path, proposals: &mut Vec<Proposal>) -> Result<(), Stop> {
    if path.is_dir() {
        let names = files::list(path).map_err(|error| unreadable(path, &error))?;
        let counts = |name: &&String| {
            *name == "include"
                || name.ends_with(".policy")
                || path.file_name().is_some_and(|own| own == "include")
        };
        return names.iter().filter(counts).try_for_each(|name| collect(root, &path.join(name), proposals));
    }
    let content = files::read(path).map_err(|error| unreadable(path, &error))?;
    let is_included = path.parent().and_then(Path::file_name).is_some_and(|parent| parent == "include");
    let directory = root.path(DIRECTORY).join(if is_included { "include" } else { "" });
    let name = path.file_name().unwrap_or_default();
    proposals.push(Proposal { path: directory.join(name), content: Some(content) });
    Ok(())
}

/// A file that cannot be read.
pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Stop {
    format!("{}: {error}", path.display()).into()
}
