//! A backup's run: what `qubes-backup run` does, from the passphrase to the time that its qubes are told (spec 40 §14).

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use common::event::Event;
use common::failure::{Exception, Failure};
use common::packing::{Begin, Fault, Piece};
use common::root::Root;
use common::store::Store;
use common::work::is_asked;
use common::{clock, files, log, run};

use super::content::Source;
use super::exported::{self, Exports};
use super::job::{Job, Secret};
use super::packer::{Packer, Trouble};
use super::profile::refused;
use super::progress::Progress;
use super::target::Target;
use super::{passphrase, stamped};
use crate::lifecycle;

/// The file that says what the others are.
const CONTENTS: &str = "qubes.xml";
/// Longer than this, stock systems do not read it (spec 40 §16.4).
const MOST_CONTENTS: usize = 1 << 20;
/// Where one encrypted chunk is kept at a time.
const SCRATCH: &str = "/var/tmp";
/// What gives dom0's home directory to its user.
const CHOWN: &str = "/usr/bin/chown";
const CHOWN_DEADLINE: Duration = Duration::from_secs(120);

/// Someone asked the run to stop.
pub(super) fn cancelled() -> Failure {
    Failure::new(Exception::BackupCancelledError, "Backup cancelled")
}

/// A run.
pub(super) struct Run<'a> {
    pub(super) root: &'a Root,
    pub(super) store: &'a Store,
    pub(super) job: &'a Job,
    /// Is readable once someone asks it to stop.
    pub(super) stop: BorrowedFd<'a>,
}

impl Run<'_> {
    /// Makes the backup, or leaves nothing behind.
    ///
    /// # Errors
    /// What the caller is told.
    pub(super) fn make(&self, secret: Secret) -> Result<(), Failure> {
        let mut exports = Exports::of(self.root, self.store, self.job, self.stop)?;
        self.tell_of_services(&secret)?;
        let passphrase = passphrase::of(self.root, &self.job.id, secret, self.stop)?;
        let target = Target::open(self.root, self.job, self.stop)?;
        match self.write(&mut exports, &target, passphrase) {
            Ok(()) => {}
            Err(Trouble::Failure(failure)) => return Err(failure),
            Err(Trouble::Fault(fault, text)) => {
                log::line(&text);
                return Err(if fault == Fault::Output { target.failure() } else { refused(text) });
            }
        }
        drop(exports);
        let kept = target.finish()?;
        if is_asked(self.stop, Duration::ZERO) {
            kept.remove();
            return Err(cancelled());
        }
        self.stamp().inspect_err(|_| kept.remove())
    }

    /// Listeners hear of each service before it is run.
    fn tell_of_services(&self, secret: &Secret) -> Result<(), Failure> {
        let asked = match secret {
            Secret::Asked(server) => Some(server),
            Secret::Said(_) => None,
        };
        let servers = asked.into_iter().chain(&self.job.server).filter(|server| !server.qube.is_dom0());
        let event = |name| Event::on(name, "domain-cmd-pre-run").with("start_guid", "False");
        lifecycle::announce(self.store, servers.map(|server| event(&server.qube)))
    }

    fn write(&self, exports: &mut Exports<'_>, target: &Target, passphrase: Vec<u8>) -> Result<(), Trouble> {
        let job = self.job;
        let begin = Begin {
            compressed: job.compressed,
            filter: job.filter.clone(),
            id: format!("{}-{}", clock::local_stamp().replace('-', ""), std::process::id()),
            passphrase,
            scratch: self.scratch()?,
        };
        let packer = Packer::begin(self.root, target.output()?, begin, self.stop)?;
        let (id, length) = (&job.id, job.xml.len());
        if length > MOST_CONTENTS {
            log::line(&format!(
                "backup {id}: stock systems cannot restore it, as its {CONTENTS} has {length} bytes"
            ));
        }
        let contents = exported::in_memory(&job.xml)?;
        let first = job.contents.qubes.iter().flatten().next();
        let next = first.map(|piece| piece.name.clone());
        let piece = Piece { name: CONTENTS.to_owned(), tree: None, next };
        packer.pack(piece, Some(contents.as_fd()), &mut |_| ())?;
        let total = job.parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.size));
        let mut progress = Progress::new(self.store, &job.id, total);
        for number in 0..job.parts.len() {
            self.qube(number, exports, &packer, &mut progress)?;
        }
        packer.finish()
    }

    /// Writes the pieces of a qube.
    fn qube(
        &self,
        number: usize,
        exports: &mut Exports<'_>,
        packer: &Packer<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<(), Trouble> {
        let (Some(part), Some(pieces)) = (self.job.parts.get(number), self.job.contents.qubes.get(number))
        else {
            return Ok(());
        };
        progress.next(part.size);
        pieces.iter().try_for_each(|piece| self.give_home(&piece.source))?;
        let opened = exported::open(exports, self.store, &part.name, pieces, self.stop)?;
        let after = self.job.contents.qubes.get(number.saturating_add(1)..).unwrap_or_default();
        let mut names = pieces.iter().chain(after.iter().flatten()).map(|piece| piece.name.clone()).skip(1);
        for (piece, content) in pieces.iter().zip(&opened.contents) {
            let (file, tree) = content.parts();
            let told = Piece { name: piece.name.clone(), tree, next: names.next() };
            let packed = packer.pack(told, file, &mut |length| progress.count(length));
            packed.map_err(|trouble| unreadable(piece.source.path(), trouble))?;
        }
        // What is open cannot be removed.
        drop(opened);
        exports.end();
        Ok(())
    }

    /// Gives dom0's home directory to its user, who may not be able to read all of it otherwise.
    fn give_home(&self, source: &Source) -> Result<(), Failure> {
        let Source::Home { user, folder } = source else { return Ok(()) };
        if !files::exists(&self.root.path(CHOWN)) {
            return Ok(());
        }
        let words = ["-R", user.as_str(), &folder.display().to_string()];
        match run::as_root(self.root, CHOWN, &words, CHOWN_DEADLINE) {
            Ok(done) if done.is_success() => Ok(()),
            Ok(done) => Err(refused(format!("Giving {} to {user}: {}", folder.display(), done.errors()))),
            Err(error) => Err(refused(format!("Giving {} to {user}: {error}", folder.display()))),
        }
    }

    fn scratch(&self) -> Result<String, Failure> {
        let path = self.root.path(SCRATCH);
        let broken = |error| refused(format!("Making {SCRATCH}: {error}"));
        if !files::exists(&path) {
            files::make_directories(&path, 0o1777).map_err(broken)?;
        }
        Ok(path.display().to_string())
    }

    fn stamp(&self) -> Result<(), Failure> {
        let mut txn = self.store.write()?;
        txn.by(&self.job.caller, "admin.backup.Execute");
        stamped::stamp(&mut txn, &self.job.stamped, clock::seconds_now())?;
        Ok(txn.commit()?)
    }
}

/// What is told of a file that cannot be read.
fn unreadable(path: Option<&Path>, trouble: Trouble) -> Trouble {
    match (trouble, path) {
        (Trouble::Fault(Fault::Content, text), Some(path)) => {
            log::line(&text);
            exported::not_archived(path).into()
        }
        (trouble, _) => trouble,
    }
}
