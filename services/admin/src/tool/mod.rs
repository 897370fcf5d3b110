//! The command line: one file per command.

mod backup;
mod call;
mod check;
mod complete;
mod confirm;
mod content;
mod dry_run;
mod event;
mod events;
mod explain;
mod gateway;
mod history;
mod init;
mod log;
mod machine;
mod man;
mod out;
mod policy;
mod power;
mod progress;
mod reply;
mod restore;
mod service;
mod show;
mod shutdown_all;
mod source;
mod status;
mod switch;
mod table;
mod transfer;
mod tree;
mod verify;
mod volume;

use std::path::PathBuf;
use std::process::{ExitCode, exit};

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::CompleteEnv;
use common::call::Row;
use common::root::Root;
use common::{environment, opened};

pub(crate) use gateway::SOCKETS;
use out::Stop;
pub use policy::Table;

const NAME: &str = "qubes-admin";

/// Administers qubes from dom0, without a daemon.
#[derive(Parser)]
#[command(name = NAME, version, max_term_width = 100)]
struct Arguments {
    /// Directory that stands in front of every absolute path [default: QUBES_ADMIN_ROOT, else /].
    #[arg(long, value_name = "DIR", global = true, value_hint = clap::ValueHint::DirPath)]
    root: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a fresh store: labels, pools and dom0.
    Init,
    /// Fill an empty store from a qubes.xml.
    ///
    /// The whole file is understood before anything is written, and written in one change. A store that is not
    /// empty stays as it is.
    Import {
        /// The file; - is standard input.
        #[arg(value_hint = clap::ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Write the store as qubes.xml.
    Export {
        /// The file; standard output if left out.
        #[arg(value_hint = clap::ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
    /// Tell what is there: versions, root, hypervisor, qubes, unfinished changes, health.
    Status,
    /// Verify every object, checksum and reference, and the index.
    Check {
        /// First finish unfinished changes and build the index anew.
        #[arg(long)]
        repair: bool,
    },
    /// Show properties, features and tags of a qube, or of all.
    Show(show::Show),
    /// Draw who is connected to whom, or based on whom.
    Tree(tree::Tree),
    /// Make a call and print its answer.
    ///
    /// Structured content is printed as a table on a terminal and as it came into a pipe. The payload is standard
    /// input, unless that is a terminal or the call takes none. The policy is not asked: whoever may write the store
    /// may make every call.
    Call(call::Call),
    /// Tell who decides on a call, and why, without making it.
    ///
    /// In the order in which they are asked: the policy, with file and line, the form of the request, the built-in rules,
    /// and the administrator's constraints, with file and line. The exit status is 0 if the call is granted.
    Explain(explain::Explain),
    /// Fill a volume of a halted qube from a file.
    ///
    /// The volume gets the size of the file. Where that cannot be known, as of a pipe, exactly as many bytes must come
    /// as the volume has, unless --size says how many. A terminal is shown the progress.
    ImportVolume(volume::ImportVolume),
    /// Fill a volume with what another holds.
    ///
    /// Within a pool whose volumes share their blocks this takes no time. Elsewhere data is copied, and a terminal is
    /// shown the progress.
    CloneVolume(volume::CloneVolume),
    /// Make the backup that a profile describes.
    ///
    /// What it will have is told first, with the sizes. A terminal is shown the progress. The backup goes on if this is ended.
    Backup(backup::Backup),
    /// Read a backup to its end, and tell whether all of it is as it was written.
    ///
    /// What was proven is told file by file, and what qubes.xml says to be in the backup must be there. The format does not tell
    /// whether other files, those of rules and notes, were cut out as a whole. Nothing is kept of it.
    VerifyBackup(verify::VerifyBackup),
    /// Make the qubes of a backup again.
    ///
    /// A table tells what becomes of each. A qube whose name is taken is left out, unless --rename gives it another; so is one
    /// whose template or netvm is neither in the backup nor here, unless --ignore-missing. What is missing of other references
    /// is told, and a default netvm that is another one here. A qube is restored as a whole, with its data and with what the
    /// backup has of its firewall's rules and its notes, or not at all: one of which anything was altered or is missing is
    /// removed again, and the others are restored. The format does not tell whether whole files of rules or notes were cut
    /// out. Until a qube is whole it cannot be started. dom0's files go into a new directory: files, directories and links
    /// alone, without what would run them as somebody else. The exit status is 0 only if all were restored.
    Restore(restore::Restore),
    /// Start qubes; their netvms before them.
    Start(power::Named),
    /// Ask qubes to shut down.
    Shutdown(power::Shutdown),
    /// Start every qube whose autostart is on.
    ///
    /// At boot a unit of systemd does that for each of them.
    Autostart,
    /// Make disposables in advance, as many of each template as are wished for.
    ///
    /// A unit of systemd does that at boot.
    Preload,
    /// Shut all qubes down, clients before those that serve them.
    ///
    /// As many as can be at once. One that takes too long is killed. A unit of systemd does that before the machine ends.
    ShutdownAll(shutdown_all::ShutdownAll),
    /// Send all qubes to sleep, before the machine does.
    ///
    /// Those that sleep already are remembered. A unit of systemd does that.
    SuspendAll,
    /// Wake the qubes again that suspend-all sent to sleep.
    ///
    /// A unit of systemd does that once the machine is awake.
    ResumeAll,
    /// Tell of dom0's block devices that came or went, and give new ones to the qubes that wait for them.
    ///
    /// udev has a unit of systemd do that.
    LookForDevices,
    /// Remove disposables that are halted, as a machine that ended under them left them.
    ///
    /// One that was just made and is not started yet goes, too. A unit of systemd does that at boot, before any is made.
    /// Firewall rules that end are watched from then on.
    CleanUp,
    /// Serve the sockets at which dom0's tools call.
    ///
    /// Each connection gets a process of its own. A unit of systemd starts this when somebody calls.
    Gateway(gateway::Gateway),
    /// Tell which calls changed something or were refused: when, by whom, on whom, and how it ended.
    ///
    /// Reads the journal, and the file /var/log/qubes/admin-audit.log, which has what no journal took.
    Log(log::Log),
    /// Tell how the configuration changed: when, by whom, and both values.
    ///
    /// Of each qube with its notes, the labels, the pools, the system and each policy file the last sixteen states are known.
    History(history::History),
    /// Take a change of the configuration back.
    ///
    /// Only while what it changed is as it left it; else it is told what changed since. The calls that anybody would make are
    /// made, in dom0's name.
    Undo(history::Undo),
    /// Have the calls served by us instead of qubesd, and back.
    #[command(subcommand)]
    Switch(switch::Switch),
    /// Test and check the policy of qrexec.
    Policy(policy::Policy),
    /// Print changes as they happen.
    Events(events::Events),
    /// Print every call with the executable that serves it.
    Methods,
    /// Print the script that makes a shell complete commands, methods, qubes and properties.
    Completions {
        /// The shell.
        #[arg(value_parser = ["bash", "zsh", "fish"])]
        shell: String,
    },
    /// Print the manual page.
    Man,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    if let Some((purpose, path)) = opened::asked(NAME, &environment::arguments()) {
        exit(opened::hand_over(purpose, path));
    }
    CompleteEnv::with_factory(Arguments::command).var(complete::VARIABLE).complete();
    let arguments = Arguments::parse();
    let root = arguments.root.map_or_else(Root::from_environment, Root::at);
    match run(&arguments.command, &root) {
        Ok(()) | Err(Stop::Unread) => ExitCode::SUCCESS,
        Err(Stop::Failed(text)) => {
            out::error(&text);
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command, root: &Root) -> Result<(), Stop> {
    match command {
        Command::Init => init::run(root),
        Command::Import { file } => transfer::import(root, file),
        Command::Export { file } => transfer::export(root, file.as_deref()),
        Command::Status => status::run(root),
        Command::Check { repair } => check::run(root, *repair),
        Command::Show(show) => show::run(show, root),
        Command::Tree(tree) => tree::run(tree, root),
        Command::Call(call) => call::run(call, root),
        Command::Explain(explain) => explain::run(explain, root),
        Command::ImportVolume(import) => volume::import(import, root),
        Command::CloneVolume(clone) => volume::clone(clone, root),
        Command::Backup(backup) => backup::run(backup, root),
        Command::VerifyBackup(verify) => verify::run(verify, root),
        Command::Restore(restore) => restore::run(restore, root),
        Command::Start(named) => power::start(named, root),
        Command::Shutdown(shutdown) => power::shutdown(shutdown, root),
        Command::Autostart => power::autostart(root),
        Command::Preload => power::preload(root),
        Command::ShutdownAll(shutdown) => shutdown_all::run(shutdown, root),
        Command::SuspendAll => machine::suspend_all(root),
        Command::ResumeAll => machine::resume_all(root),
        Command::LookForDevices => machine::look_for_devices(root),
        Command::CleanUp => power::clean_up(root),
        Command::Gateway(gateway) => gateway::run(gateway, root),
        Command::History(history) => history::run(history, root),
        Command::Undo(undo) => history::undo(undo, root),
        Command::Log(log) => log::run(log, root),
        Command::Switch(switch) => switch::run(switch, root),
        Command::Policy(policy) => policy::run(policy, root),
        Command::Events(events) => events::run(events, root),
        Command::Methods => methods(),
        Command::Completions { shell } => complete::print_script(shell),
        Command::Man => man::run(Arguments::command()),
    }
}

/// The rows of every call that is a service of its own.
fn rows() -> impl Iterator<Item = &'static Row> {
    let rows = services::FAMILIES.iter().flat_map(|family| family.calls).map(|call| &call.row);
    rows.filter(|row| !row.is_internal())
}

fn methods() -> Result<(), Stop> {
    for family in services::FAMILIES {
        for call in family.calls.iter().filter(|call| !call.row.is_internal()) {
            out::line(&format!("{} {}", call.row.name, family.name))?;
        }
    }
    Ok(())
}
