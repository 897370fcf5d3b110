//! `qubes-admin backup`: tells what a backup would have, makes it, and shows how far it is.

use std::io::{BufRead, BufReader};
use std::thread::{self, JoinHandle};

use clap::Args;
use common::files;
use common::root::Root;
use common::run::Process;

use super::out::{self, Stop};
use super::progress::{self, Progress};
use super::reply::Message;
use super::service::Service;
use super::{complete, confirm};

const CALLER: &str = "dom0";
/// Where profiles are, each a file of this ending.
pub(super) const PROFILES: (&str, &str) = ("/etc/qubes/backup", ".conf");
/// What tells how far a backup is.
const PROGRESS: &str = "backup-progress";
/// What the line of the table begins with that has the sum.
const TOTAL: &str = "Total size: |";

/// Which backup.
#[derive(Args)]
pub(super) struct Backup {
    /// Do not ask whether to begin. Nothing is asked either where standard input is no terminal.
    #[arg(long)]
    yes: bool,
    /// The profile that describes it; all are told where none is named.
    #[arg(add = complete::profiles())]
    profile: Option<String>,
}

/// Makes a backup.
pub(super) fn run(backup: &Backup, root: &Root) -> Result<(), Stop> {
    let Some(profile) = &backup.profile else { return tell_profiles(root) };
    let table = call(root, "Info", profile)?;
    table.lines().try_for_each(out::line)?;
    if !backup.yes && !confirm::is_wanted("Make this backup?")? {
        return Err("no backup was made".to_owned().into());
    }
    let total = total(&table).unwrap_or_default();
    let followed = if progress::is_wanted() { Some(Followed::begin(root, profile, total)?) } else { None };
    let made = call(root, "Execute", profile);
    if let Some(followed) = followed {
        followed.end(made.is_ok());
    }
    made.map(drop)?;
    out::line(&format!("the backup {profile} is made"))
}

fn call(root: &Root, method: &str, profile: &str) -> Result<String, Stop> {
    let call = format!("admin.backup.{method}+{profile}");
    let content = Service::find(root, CALLER, "dom0", &call)?.content("", None)?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}

fn tell_profiles(root: &Root) -> Result<(), Stop> {
    let names = profiles(root);
    if names.is_empty() {
        let (folder, ending) = PROFILES;
        return Err(format!("there is no profile: none of {}/*{ending}", root.path(folder).display()).into());
    }
    names.iter().try_for_each(|name| out::line(name))
}

/// Names of all profiles.
pub(super) fn profiles(root: &Root) -> Vec<String> {
    let (folder, ending) = PROFILES;
    let files = files::list(&root.path(folder)).unwrap_or_default();
    files.iter().filter_map(|file| file.strip_suffix(ending)).map(str::to_owned).collect()
}

/// The sum that the table tells, in bytes.
fn total(table: &str) -> Option<u64> {
    const UNITS: [(&str, f64); 4] =
        [("", 1.0), ("KiB", 1024.0), ("MiB", 1_048_576.0), ("GiB", 1_073_741_824.0)];
    let sum = table.lines().find_map(|line| line.trim_start().strip_prefix(TOTAL))?;
    let sum = sum.trim_end_matches('|').trim();
    let (number, unit) = sum.split_once(' ').unwrap_or((sum, ""));
    let (_, factor) = UNITS.into_iter().find(|(known, _)| *known == unit)?;
    Some((number.parse::<f64>().ok()? * factor) as u64)
}

/// The events that tell how far the backup is, and the line that shows it.
struct Followed {
    child: Process,
    shown: JoinHandle<Progress>,
    total: u64,
}

impl Followed {
    /// Begins to listen, so that no event is missed.
    fn begin(root: &Root, profile: &str, total: u64) -> Result<Self, Stop> {
        out::error(&format!("this gives it up: qubes-admin call dom0 admin.backup.Cancel+{profile}"));
        let mut child =
            Service::find(root, CALLER, "dom0", "admin.Events")?.start(None::<std::io::Empty>, None)?;
        let reply = child.output().ok_or_else(|| "events cannot be read".to_owned())?;
        let mut reply = BufReader::new(reply);
        // The first tells that the others will come.
        Message::read(&mut reply)?;
        let profile = profile.to_owned();
        let shown = thread::spawn(move || show(reply, &profile, total));
        Ok(Self { child, shown, total })
    }

    fn end(self, is_made: bool) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Ok(mut shown) = self.shown.join() {
            if is_made {
                shown.show(self.total, self.total);
            }
            shown.end();
        }
    }
}

/// Shows what events tell, until there are no more.
fn show(mut reply: impl BufRead, profile: &str, total: u64) -> Progress {
    let mut shown = Progress::new();
    shown.show(0, total);
    while let Ok(Some(Message::Event(event))) = Message::read(&mut reply) {
        let is_ours = event.name() == PROGRESS && event.detail("backup_profile") == Some(profile);
        let share = event.detail("progress").and_then(|share| share.parse::<f64>().ok());
        if let Some(share) = share.filter(|_| is_ours) {
            shown.show((total as f64 * (share / 100.0)) as u64, total);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::total;

    #[test]
    fn the_sum_of_a_table_is_found() {
        let table = |sum: &str| format!("  a |  VM |  5 |\n      Total size: |{sum:>28} |\n------+\n");
        for (sum, bytes) in
            [("0", 0), ("1023", 1023), ("1.5 KiB", 1536), ("2.0 MiB", 2 << 20), ("8192.0 GiB", 1 << 43)]
        {
            assert_eq!(total(&table(sum)), Some(bytes));
        }
        assert_eq!(total("nothing"), None);
        assert_eq!(total(&table("1.5 XiB")), None);
    }
}
