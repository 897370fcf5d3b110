//! `policy.List`, `Get` and `GetFiles`, and what of them there is for files to include.

use std::path::Path;

use common::call::{Call, Content, Granted, Presence, Received, Row, Values, World};
use common::failure::{Exception, Failure, Refusal};
use common::files;
use common::names::{PolicyName, ServiceName};
use common::policy::{DIRECTORY, Policy};
use common::root::Root;

use super::file::{self, Kind};
use super::journal::noted;
use crate::input;

/// Declares a call that lists files.
macro_rules! list {
    ($call:ident, $name:literal, $kind:expr, $help:literal) => {
        pub(super) struct $call;

        impl Call for $call {
            const ROW: Row = Row::read_one($name, $help).on_policy();
            common::no_input!();

            fn act(_: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
                list($kind, world.root())
            }
        }
    };
}

list!(List, "policy.List", Kind::Main, "Names of policy files, one per line.");
list!(IncludeList, "policy.include.List", Kind::Included, "Names of files to include, one per line.");

/// What a killed change left behind is hidden, as are other programs' own files.
fn list(kind: Kind, root: &Root) -> Result<Content, Failure> {
    let directory = kind.directory(root);
    let names = files::list(&directory).map_err(|error| file::unusable(&error))?;
    let name = |file: &String| {
        let name = file.strip_suffix(kind.ending())?;
        let is_hidden = kind == Kind::Included && name.starts_with('.');
        (!is_hidden && directory.join(file).is_file()).then(|| format!("{name}\n"))
    };
    let mut names: Vec<String> = names.iter().filter_map(name).collect();
    names.sort();
    Ok(names.concat().into_bytes())
}

/// Declares a call that reads a file.
macro_rules! get {
    ($call:ident, $name:literal, $kind:expr, $help:literal) => {
        pub(super) struct $call;

        impl Call for $call {
            const ROW: Row = Row::read_one($name, $help).on_policy().argument(Presence::Optional);
            type Input = PolicyName;

            fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
                input::argument(received)
            }

            fn facts(name: &Self::Input) -> Values {
                Values::argument(name.as_str())
            }

            fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
                let name = granted.input();
                noted(world, &granted, name.as_str(), get($kind, world.root(), name))
            }
        }
    };
}

get!(Get, "policy.Get", Kind::Main, "A policy file: a line with its token, then its content.");
get!(
    IncludeGet,
    "policy.include.Get",
    Kind::Included,
    "A file to include: a line with its token, then its content."
);

fn get(kind: Kind, root: &Root, name: &PolicyName) -> Result<Content, Failure> {
    let content = file::read(&kind.path(root, name)?)?.ok_or_else(file::not_found)?;
    Ok([file::token(&content).as_bytes(), b"\n", &content].concat())
}

pub(super) struct GetFiles;

impl Call for GetFiles {
    const ROW: Row =
        Row::read_one("policy.GetFiles", "Files that have rules for a service, in the order of the rules.")
            .on_policy()
            .argument(Presence::Optional);
    type Input = ServiceName;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        input::argument(received)
    }

    fn facts(service: &Self::Input) -> Values {
        Values::argument(service.as_str())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let policy = loaded(world.root())?;
        let service = granted.input().as_str();
        let mut files: Vec<&str> = Vec::new();
        let about = policy.rules().iter().filter(|rule| rule.service().is_none_or(|own| own == service));
        for file in about.map(|rule| rule.origin().file()) {
            if !files.contains(&file) {
                files.push(file);
            }
        }
        Ok(files.iter().map(|file| format!("{}\n", shown(file))).collect::<String>().into_bytes())
    }
}

/// The policy that is there.
pub(super) fn loaded(root: &Root) -> Result<Policy, Failure> {
    Policy::load(root).map_err(|error| {
        let text = format!("The policy cannot be read: {error}");
        Failure::new(Exception::PolicyAdminSyntaxException, text)
    })
}

/// A file of the policy's directory by its bare name, any other by its path.
fn shown(file: &str) -> &str {
    let path = Path::new(file);
    let bare = path.file_stem().and_then(|stem| stem.to_str());
    bare.filter(|_| path.parent() == Some(Path::new(DIRECTORY))).unwrap_or(file)
}
