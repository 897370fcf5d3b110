//! `internal.GetSystemInfo`: all that qrexec's policy asks of qubes, in one reply (spec 30 §18.1, 50 §12).
//!
//! Every qrexec call of the machine asks for it. So the reply is kept together with what it follows from: the generation
//! of the store, and the states of the domains.

use std::ffi::c_int;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::rc::Rc;

use common::call::{Call, Destination, Family, Granted, Reply, Row, World, entry};
use common::failure::Failure;
use common::hypervisor::Published;
use common::model::{Class, Labels, Value};
use common::root::Root;
use common::store::{Entry, SYSTEM_INFO, Store};
use common::{files, log, reply, standard};

use crate::power::States;
use crate::property::{self, Context};

/// The family.
pub const FAMILY: Family = Family { name: "admin-system-info", calls: &[entry::<GetSystemInfo>()] };

struct GetSystemInfo;

impl Call for GetSystemInfo {
    const ROW: Row = Row::read("internal.GetSystemInfo", "What policy needs to know of all qubes, as JSON.")
        .internal()
        .on(Destination::Dom0);
    common::no_input!();

    fn act(_: Granted<Self>, world: &mut World<'_>) -> Result<Reply, Failure> {
        let states = States::of(world.hypervisor());
        let kept = Kept::of(world.root(), world.view().generation()?, &states);
        if let Some(mut reply) = kept.reply() {
            return Ok(Reply::Stream(Box::new(move || c_int::from(send(&mut reply).is_err()))));
        }
        let reply = Description::of(world, states)?.to_string().into_bytes();
        // What lacks a qube that cannot be read now is for this caller alone.
        if world.view().index().is_ok() {
            kept.keep(&reply);
        }
        Ok(reply.into())
    }
}

/// The kept reply as it is sent, if it holds and that can be told without waiting: for the gateway, which waits for nobody.
pub fn kept(root: &Root) -> Option<File> {
    let generation = Store::at(root).generation_at_rest().ok().flatten()?;
    Kept::of(root, generation, &States::of(&Published::at(root))).reply()
}

/// The last reply, in a file: a line that tells what it follows from, then the reply as it is sent.
struct Kept {
    file: PathBuf,
    key: String,
}

impl Kept {
    fn of(root: &Root, generation: u64, states: &States) -> Self {
        Self { file: root.run().join(SYSTEM_INFO), key: format!("{generation} {states}\n") }
    }

    /// The reply, if it still holds: what is left to read of the file.
    fn reply(&self) -> Option<File> {
        let mut kept = files::open(&self.file).ok()?;
        let mut key = vec![0; self.key.len()];
        kept.read_exact(&mut key).ok()?;
        (key == self.key.as_bytes() && is_whole(&kept)?).then_some(kept)
    }

    /// Keeps a reply for the next who asks. That it cannot be kept costs only time.
    fn keep(&self, reply: &[u8]) {
        let content = [self.key.as_bytes(), &reply::ok(reply)].concat();
        if let Err(error) = files::replace_plainly(&self.file, &content, 0o660) {
            log::line(&format!("{}: {error}", self.file.display()));
        }
    }
}

/// What every reply ends with.
const WHOLE: &[u8; 3] = b"}}}";

fn is_whole(file: &File) -> Option<bool> {
    let mut end = [0; WHOLE.len()];
    let last = file.metadata().ok()?.len().checked_sub(3)?;
    file.read_exact_at(&mut end, last).ok()?;
    Some(end == *WHOLE)
}

/// Sends what is left of a file. The system moves it by itself: read into memory it would cost as much as all the rest.
fn send(file: &mut File) -> io::Result<u64> {
    io::copy(file, &mut *standard::output())
}

/// All qubes, as they are described to policy.
struct Description {
    index: Rc<common::store::Index>,
    labels: Rc<Labels>,
    states: States,
    guivm: Option<String>,
    dispvm: Option<String>,
}

impl Description {
    fn of(world: &World<'_>, states: States) -> Result<Self, Failure> {
        let (view, context) = (world.view(), Context::of(world));
        let default = |name: &str| {
            let value = property::effective_global(view, context.hypervisor, context.root, name)?;
            Ok::<_, Failure>(value.as_ref().and_then(Value::as_text).map(str::to_owned))
        };
        let (guivm, dispvm) = (default("default_guivm")?, default("default_dispvm")?);
        Ok(Self { index: view.listed()?, labels: view.labels()?, states, guivm, dispvm })
    }

    /// What is told of a qube, in the order of the specification: keys, and values as JSON.
    fn pairs(&self, qube: &Entry) -> [(&'static str, String); 12] {
        let (class, label) = (qube.class(), qube.label());
        let color = self.labels.find(label).map(|label| label.color.as_str());
        let tags: Vec<String> = qube.tags().map(json).collect();
        [
            ("internal", or_null(qube.internal().as_deref())),
            ("tags", format!("[{}]", tags.join(", "))),
            ("type", json(class.as_str())),
            ("template_for_dispvms", qube.is_template_for_dispvms().to_string()),
            ("default_dispvm", or_null(self.default_dispvm(qube))),
            ("icon", json(&format!("appvm-{label}"))),
            ("label", json(color.unwrap_or_default())),
            ("guivm", or_null(self.guivm(qube))),
            ("relayvm", or_null(qube.reference("relayvm").filter(|name| !name.is_empty()))),
            ("transport_rpc", or_null(qube.transport_rpc().as_deref())),
            ("power_state", json(&self.states.state(class, qube.name()).to_string())),
            ("uuid", json(qube.uuid())),
        ]
    }

    /// A disposable's own template counts before the system's default.
    fn default_dispvm<'a>(&'a self, qube: &'a Entry) -> Option<&'a str> {
        let default = match qube.class() {
            Class::RemoteVM => None,
            Class::DispVM => qube.reference("template"),
            _ => self.dispvm.as_deref(),
        };
        qube.reference("default_dispvm").or(default).filter(|name| !name.is_empty())
    }

    fn guivm<'a>(&'a self, qube: &'a Entry) -> Option<&'a str> {
        let default = if qube.class().is_qubes_vm() { self.guivm.as_deref() } else { None };
        qube.reference("guivm").or(default).filter(|name| !name.is_empty())
    }
}

/// With the spaces that the reader's own language puts into its JSON.
impl std::fmt::Display for Description {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("{\"domains\": {")?;
        for (number, qube) in self.index.entries().iter().enumerate() {
            let before = if number == 0 { "" } else { ", " };
            let pairs = self.pairs(qube).map(|(key, value)| format!("\"{key}\": {value}"));
            write!(out, "{before}{}: {{{}}}", json(qube.name()), pairs.join(", "))?;
        }
        out.write_str("}}")
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn or_null(text: Option<&str>) -> String {
    text.map_or_else(|| "null".to_owned(), json)
}
