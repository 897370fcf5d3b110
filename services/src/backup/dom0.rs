//! What a backup has of dom0: the home directory of its user, the first member of group `qubes`.

use std::path::PathBuf;

use common::failure::Failure;
use common::files;
use common::root::Root;

use super::content::{Piece, Source};
use super::profile::{Profile, refused};

const GROUP: &str = "qubes";
const NO_HOME: &str = "dom0 has no user in group qubes whose home directory could be backed up";

/// A user and where their files are.
pub(super) struct Home {
    pub(super) user: String,
    pub(super) folder: PathBuf,
}

impl Home {
    /// The home directory of dom0's user.
    ///
    /// # Errors
    /// `QubesException` if there is none.
    pub(super) fn of(root: &Root) -> Result<Self, Failure> {
        let found = || {
            let members = field(root, "/etc/group", GROUP, 3)?;
            let user = members.split(',').next().filter(|user| !user.is_empty())?.to_owned();
            let folder = root.path(&field(root, "/etc/passwd", &user, 5)?);
            Some(Self { user, folder })
        };
        found().ok_or_else(|| refused(NO_HOME))
    }

    /// Refuses a backup that would be part of itself.
    ///
    /// # Errors
    /// `QubesException`.
    pub(super) fn check(&self, root: &Root, profile: &Profile) -> Result<(), Failure> {
        let target = files::real_path_so_far(&root.path(&profile.path));
        if profile.destination.is_dom0() && target.starts_with(files::real_path_so_far(&self.folder)) {
            return Err(refused("Can not backup dom0 home directory to itself!"));
        }
        Ok(())
    }

    pub(super) fn piece(self) -> Piece {
        let Self { user, folder } = self;
        Piece { name: format!("dom0-home/{user}"), source: Source::Home { user, folder } }
    }
}

/// The home directory of dom0's user, whose files a backup may have.
///
/// # Errors
/// `QubesException` if there is none.
pub fn home(root: &Root) -> Result<PathBuf, Failure> {
    Home::of(root).map(|home| home.folder)
}

/// A field of an entry, by its number, of a file whose lines are fields with colons between them.
fn field(root: &Root, file: &str, entry: &str, number: usize) -> Option<String> {
    let text = String::from_utf8(files::read(&root.path(file)).ok()?).ok()?;
    let mut lines = text.lines().map(|line| line.split(':'));
    lines
        .find_map(|mut fields| (fields.next()? == entry).then(|| fields.nth(number.checked_sub(1)?))?)
        .map(str::to_owned)
}
