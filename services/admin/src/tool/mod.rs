//! The command line: one file per command that is more than a few lines.

mod call;
mod check;
mod content;
mod out;
mod show;
mod table;
mod tree;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use common::failure::Failure;
use common::files;
use common::hypervisor::{Hypervisor, Simulated};
use common::model::{Class, Labels, Pool, Pools, Qube, System, Value};
use common::names::{PoolName, QubeName, QubeUuid};
use common::root::Root;
use common::storage;
use common::store::Store;

use crate::xml;

/// Administer qubes from dom0, without a daemon.
#[derive(Parser)]
#[command(name = "qubes-admin", version)]
struct Arguments {
    /// Directory that stands in front of every absolute path.
    #[arg(long, value_name = "DIR", global = true)]
    root: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a fresh store: labels, pools and dom0.
    Init,
    /// Fill an empty store from a qubes.xml.
    Import {
        /// The file.
        file: PathBuf,
    },
    /// Write the store as qubes.xml.
    Export {
        /// The file; standard output if left out.
        file: Option<PathBuf>,
    },
    /// Tell what is there: root, hypervisor, number of qubes.
    Status,
    /// Verify every object, checksum and reference, and the index.
    Check {
        /// First finish unfinished changes and build the index anew.
        #[arg(long)]
        repair: bool,
    },
    /// Show a qube's properties, features and tags.
    Show(show::Show),
    /// Draw who is connected to whom, or based on whom.
    Tree(tree::Tree),
    /// Make a call as typed and print its answer.
    Call(call::Call),
    /// Print every call with the executable that serves it.
    Methods,
    /// Print completions for a shell.
    Completions {
        /// bash, zsh, fish …
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let root = arguments.root.map_or_else(Root::from_environment, Root::at);
    match run(&arguments.command, &root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            out::error(&text);
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command, root: &Root) -> Result<(), String> {
    match command {
        Command::Init => init(root),
        Command::Import { file } => import(root, file),
        Command::Export { file } => export(root, file.as_deref()),
        Command::Status => status(root),
        Command::Call(call) => call::run(call, root),
        Command::Check { repair } => check::run(root, *repair),
        Command::Show(show) => show::run(show, root),
        Command::Tree(tree) => tree::run(tree, root),
        Command::Methods => methods(),
        Command::Completions { shell } => completions(*shell),
        Command::Man => man(),
    }
}

fn told(failure: Failure) -> String {
    failure.into_text().into_owned()
}

/// A fresh store (spec 10 §7.1): `file-reflink` where the file system can share blocks, else `file`.
fn init(root: &Root) -> Result<(), String> {
    let store = Store::at(root);
    store.prepare().map_err(|error| error.to_string())?;
    let mut txn = store.write().map_err(|error| error.to_string())?;
    if !txn.index().map_err(|error| error.to_string())?.entries().is_empty() {
        return Err("the store is not empty".to_owned());
    }
    let mut dom0 = Qube::new(QubeName::dom0(), Class::AdminVM, 0, QubeUuid::dom0());
    dom0.properties.insert("label".to_owned(), Value::Text("black".to_owned()));
    let mut system = System::default();
    system.properties.insert("default_pool_kernel".to_owned(), Value::Text("linux-kernel".to_owned()));
    txn.put_labels(Labels::built_in());
    txn.put_pools(fresh_pools(root)?);
    txn.put_system(system);
    txn.insert_qube(dom0).and_then(|()| txn.commit()).map_err(|error| error.to_string())
}

fn fresh_pools(root: &Root) -> Result<Pools, String> {
    let driver = if storage::supports_clone(&root.lib()) { "file-reflink" } else { "file" };
    let settings = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let pool = |name: &str, driver: &str, settings| {
        let name = PoolName::parse(name).map_err(|broken| broken.message.to_owned())?;
        Ok::<_, String>(Pool { name, driver: driver.to_owned(), settings })
    };
    let files = settings(&[
        ("dir_path", "/var/lib/qubes"),
        ("revisions_to_keep", "1"),
        ("ephemeral_volatile", "False"),
    ]);
    let kernels = settings(&[("dir_path", "/var/lib/qubes/vm-kernels")]);
    Ok(Pools {
        pools: vec![pool("varlibqubes", driver, files)?, pool("linux-kernel", "linux-kernel", kernels)?],
    })
}

fn import(root: &Root, file: &std::path::Path) -> Result<(), String> {
    let bytes = files::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{}: not UTF-8", file.display()))?;
    let at = |error: xml::ImportError| format!("{}: {error}", file.display());
    let imported = xml::import(&text).map_err(at)?;
    let store = Store::at(root);
    store.prepare().map_err(|error| error.to_string())?;
    let count = imported.store(&store, root).map_err(at)?;
    out::line(&format!("imported {count} qubes"));
    Ok(())
}

fn export(root: &Root, file: Option<&std::path::Path>) -> Result<(), String> {
    let store = Store::at(root);
    let view = store.read().map_err(|error| error.to_string())?;
    let text = xml::export(&view, root).map_err(told)?;
    match file {
        Some(file) => files::replace(file, text.as_bytes(), 0o660).map_err(|error| error.to_string()),
        None => {
            out::bytes(text.as_bytes());
            Ok(())
        }
    }
}

fn status(root: &Root) -> Result<(), String> {
    let store = Store::at(root);
    let view = store.read().map_err(|error| error.to_string())?;
    let index = view.index().map_err(|error| error.to_string())?;
    out::line(&format!("root         {}", root.path("/").display()));
    out::line(&format!("hypervisor   {}", Simulated::at(root).name()));
    out::line(&format!("generation   {}", index.generation));
    out::line(&format!("qubes        {}", index.entries().len()));
    for class in Class::ALL {
        let count = index.entries().iter().filter(|entry| entry.class() == class).count();
        out::line(&format!("  {:<12} {count}", class.as_str()));
    }
    Ok(())
}

/// The shell's own completion script; methods and qubes complete from what is installed when it runs.
fn completions(shell: clap_complete::Shell) -> Result<(), String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "qubes-admin", &mut script);
    out::bytes(&script);
    if shell == clap_complete::Shell::Bash {
        out::bytes(include_bytes!("completions.bash"));
    }
    Ok(())
}

fn man() -> Result<(), String> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Arguments::command()).render(&mut page).map_err(|error| error.to_string())?;
    out::bytes(&page);
    Ok(())
}

fn methods() -> Result<(), String> {
    for family in services::FAMILIES {
        for call in family.calls {
            out::line(&format!("{} {}", call.row.name, family.name));
        }
    }
    Ok(())
}
