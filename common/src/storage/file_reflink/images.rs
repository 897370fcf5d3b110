//! The files of one volume: names, copies, revisions, and the commit that replaces one state by the next.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::revision;
use crate::files;
use crate::model::Volume;
use crate::storage::{Revision, clone, isodate, log_untidied};

const IMAGE_MODE: u32 = 0o660;
const DIRECTORY_MODE: u32 = 0o775;

/// Where a volume's files lie: `<directory>/<vid>` and a suffix.
pub(super) struct Images {
    stem: String,
}

/// Which time of last change a copy gets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    Time,
    Nothing,
}

/// When the next start's image is made ahead of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ahead {
    Always,
    /// Where that takes no time. A start waits for its copy once, a caller that brings new content does not.
    WhereShared,
}

impl Images {
    pub(super) fn of(directory: &Path, vid: &str) -> Self {
        Self { stem: directory.join(vid).display().to_string() }
    }

    fn named(&self, suffix: &str) -> PathBuf {
        PathBuf::from(format!("{}{suffix}", self.stem))
    }

    /// The last committed state; of a started snapshot a link to its source's.
    pub(super) fn clean(&self) -> PathBuf {
        self.named(".img")
    }

    /// What a domain uses.
    pub(super) fn dirty(&self) -> PathBuf {
        self.named("-dirty.img")
    }

    /// What the next start takes for its dirty image: equal to the clean one, its time included.
    pub(super) fn precache(&self) -> PathBuf {
        self.named("-precache.img")
    }

    /// An import in progress.
    pub(super) fn import(&self) -> PathBuf {
        self.named("-import.img")
    }

    /// All of the volume's files.
    pub(super) fn all(&self) -> io::Result<Vec<PathBuf>> {
        const KINDS: [&str; 4] = [".img", "-dirty.img", "-precache.img", "-import.img"];
        let belongs = |rest: &str| {
            let kind = KINDS.iter().find_map(|kind| rest.strip_prefix(kind));
            kind.is_some_and(|rest| {
                let name = rest.split('~').next().unwrap_or_default();
                name.is_empty() || revision::parse(name).is_some()
            })
        };
        self.matching(belongs)
    }

    /// Copies that were never finished, and an import that was not.
    pub(super) fn unfinished(&self) -> io::Result<Vec<PathBuf>> {
        Ok(self.all()?.into_iter().filter(|path| is_temporary(path) || *path == self.import()).collect())
    }

    fn matching(&self, belongs: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
        let stem = Path::new(&self.stem);
        let (Some(folder), Some(name)) = (stem.parent(), stem.file_name()) else { return Ok(Vec::new()) };
        let name = name.to_string_lossy();
        let files = files::list(folder)?.into_iter();
        let ours = files.filter(|file| file.strip_prefix(&*name).is_some_and(&belongs));
        Ok(ours.map(|file| folder.join(file)).collect())
    }

    /// Makes the directory the images lie in. The one it lies in is the pool's: where that is gone, its disk may be.
    pub(super) fn make_directory(&self) -> io::Result<()> {
        let folder = Path::new(&self.stem).parent();
        folder.map_or(Ok(false), |folder| files::make_directory(folder, DIRECTORY_MODE)).map(drop)
    }

    /// Old states with their numbers, oldest first. A link to the clean image is none yet: its commit never came.
    pub(super) fn revisions(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let current = identity(&self.clean())?;
        let mut revisions = self.links()?;
        revisions.retain(|(_, path)| current.is_none() || identity(path).ok().flatten() != current);
        Ok(revisions)
    }

    /// All files that have a revision's name, oldest first.
    fn links(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let clean = format!("{}.img", self.stem);
        let number = |path: PathBuf| {
            let (number, _) = revision::parse(path.to_str()?.strip_prefix(&clean)?)?;
            Some((number, path))
        };
        let mut links: Vec<_> = self.all()?.into_iter().filter_map(number).collect();
        links.sort_unstable_by(|one, other| (one.0, one.1.as_os_str()).cmp(&(other.0, other.1.as_os_str())));
        Ok(links)
    }

    /// The same as calls see them.
    pub(super) fn described(&self) -> io::Result<Vec<Revision>> {
        let clean = format!("{}.img", self.stem);
        let describe = |(_, path): &(u64, PathBuf)| {
            let (number, time) = revision::parse(path.to_str()?.strip_prefix(&clean)?)?;
            Some(Revision { id: number.to_string(), time: time.to_owned() })
        };
        Ok(self.revisions()?.iter().filter_map(describe).collect())
    }

    /// The name of the next revision: its number and the time of the clean image's last change.
    pub(super) fn next_revision(&self) -> io::Result<(u64, PathBuf)> {
        let number = self.revisions()?.last().map_or(0, |(number, _)| *number).saturating_add(1);
        let changed = files::open(&self.clean())?.metadata()?.modified()?;
        let seconds = changed.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Ok((number, self.named(&format!(".img.{number}@{}Z", isodate(seconds)))))
    }

    /// Makes an image the committed state: the rename is the instant. The state before becomes a revision if `keep` is
    /// true, by a link that is none before that instant. What comes after it only tidies up.
    pub(super) fn commit(&self, image: &Path, keep: bool) -> io::Result<()> {
        files::open(image)?.sync_all()?;
        self.drop_early_link()?;
        if keep {
            files::hard_link(&self.clean(), &self.next_revision()?.1)?;
        }
        let renamed = files::remove(&self.precache()).and_then(|()| files::rename(image, &self.clean()));
        if renamed.is_err() {
            // If this fails too, the next commit does it.
            let _ = self.drop_early_link();
        }
        renamed
    }

    /// Removes a link that a commit made which never came.
    fn drop_early_link(&self) -> io::Result<()> {
        let revisions = self.revisions()?;
        self.links()?
            .iter()
            .filter(|link| !revisions.contains(link))
            .try_for_each(|(_, path)| files::remove(path))
    }

    /// Removes revisions that are too many and prepares the next start: neither changes what the volume holds, so that
    /// a failure is only logged.
    pub(super) fn tidy(&self, volume: &Volume, ahead: Ahead) {
        let keep = usize::try_from(volume.revisions_to_keep).unwrap_or_default();
        log_untidied(volume, self.prune(keep));
        self.prepare_start(volume, ahead);
    }

    /// Copies the clean image for the next start, which does without if this fails.
    pub(super) fn prepare_start(&self, volume: &Volume, ahead: Ahead) {
        log_untidied(volume, self.make_precache(volume, ahead));
    }

    /// Removes all but the newest revisions.
    pub(super) fn prune(&self, keep: usize) -> io::Result<()> {
        self.revisions()?.iter().rev().skip(keep).try_for_each(|(_, path)| files::remove(path))
    }

    /// Copies the clean image for the next start.
    pub(super) fn make_precache(&self, volume: &Volume, ahead: Ahead) -> io::Result<()> {
        if volume.has_snapshots_disabled() {
            return Ok(());
        }
        match ahead {
            Ahead::Always => copy(&self.clean(), &self.precache(), None, Keep::Time),
            Ahead::WhereShared => self.share_ahead(),
        }
    }

    /// Has no name until it is complete: nothing is left of one that fails, or that cannot be.
    fn share_ahead(&self) -> io::Result<()> {
        let clean = files::open(&self.clean())?;
        let folder = self.clean().parent().map(Path::to_path_buf).unwrap_or_default();
        let Ok(ahead) = files::create_unnamed(&folder, IMAGE_MODE) else { return Ok(()) };
        if clone::share(&clean, &ahead) {
            ahead.set_modified(clean.metadata()?.modified()?)?;
            ahead.sync_all()?;
            files::give_name(&ahead, &self.precache())?;
        }
        Ok(())
    }

    /// Whether the precached image equals the clean one in size and time of last change.
    pub(super) fn is_precache_fresh(&self) -> io::Result<bool> {
        let stamp = |path: &Path| -> io::Result<Option<(u64, SystemTime)>> {
            let about = files::present(files::about(path))?;
            about.map(|about| Ok((about.len(), about.modified()?))).transpose()
        };
        Ok(stamp(&self.precache())? == stamp(&self.clean())?)
    }
}

/// Makes an image of zeros.
pub(super) fn make_sparse(path: &Path, size: u64) -> io::Result<()> {
    let file = files::create(path, IMAGE_MODE)?;
    file.set_len(size)?;
    file.sync_all()?;
    files::sync_directory(path)
}

/// Copies an image, at most to be cut or extended to another size; it appears under its name when it is complete and
/// durable.
pub(super) fn copy(from: &Path, to: &Path, size: Option<u64>, keep: Keep) -> io::Result<()> {
    let temporary = PathBuf::from(format!("{}~", to.display()));
    let copied = (|| {
        let source = files::open(from)?;
        let about = source.metadata()?;
        let target = files::create(&temporary, IMAGE_MODE)?;
        clone::copy(&source, &target, &mut |_| {})?;
        target.set_len(size.unwrap_or(about.len()))?;
        if keep == Keep::Time {
            target.set_modified(about.modified()?)?;
        }
        target.sync_all()?;
        files::rename(&temporary, to)
    })();
    if copied.is_err() {
        // What stays of it is cleared at the next start or removal.
        let _ = files::remove(&temporary);
    }
    copied
}

/// Device and number of a file, by which links to it are told.
pub(super) fn identity(path: &Path) -> io::Result<Option<(u64, u64)>> {
    Ok(files::present(files::about(path))?.map(|about| (about.dev(), about.ino())))
}

fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains('~'))
}
