//! A call made by starting the installed executable.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use common::root::Root;
use common::run::{self, Process, Stream};

use super::out::Stop;
use super::reply;

/// A call without its payload.
pub(super) struct Service<'a> {
    root: &'a Root,
    program: PathBuf,
    method: &'a str,
    argument: &'a str,
    caller: &'a str,
    destination: &'a str,
}

impl<'a> Service<'a> {
    /// The call `method+argument` that one qube makes on another, if its executable is there.
    pub(super) fn find(
        root: &'a Root,
        caller: &'a str,
        destination: &'a str,
        call: &'a str,
    ) -> Result<Self, Stop> {
        let (method, argument) = call.split_once('+').unwrap_or((call, ""));
        let program = root.path("/etc/qubes-rpc").join(method);
        if method.contains('/') || !program.is_file() {
            return Err(format!("no such method: {method}").into());
        }
        if let Some(spaced) = [method, argument, caller].iter().find(|word| word.contains(' ')) {
            return Err(format!("a space cannot be sent in this place: '{spaced}'").into());
        }
        Ok(Self { root, program, method, argument, caller, destination })
    }

    pub(super) fn method(&self) -> &str {
        self.method
    }

    /// Starts it with a payload, and with the path of a pipe to tell progress to.
    pub(super) fn start(
        &self,
        payload: Option<impl Read + Send + 'static>,
        progress: Option<&Path>,
    ) -> Result<Process, Stop> {
        let Self { method, argument, caller, destination, .. } = self;
        let header = format!("{method}+{argument} {caller} name {destination}\0").into_bytes();
        self.told(run::service(&self.program, self.root, header, payload, progress))
    }

    /// Starts one whose payload is a stream.
    pub(super) fn start_streamed(&self, input: Stream) -> Result<Process, Stop> {
        let Self { argument, caller, destination, .. } = self;
        self.told(run::streamed_service(&self.program, self.root, argument, caller, destination, input))
    }

    fn told(&self, started: io::Result<Process>) -> Result<Process, Stop> {
        started.map_err(|error| format!("{}: {error}", self.program.display()).into())
    }

    /// Makes the call and gives the content of its answer.
    pub(super) fn content(&self, payload: &str, progress: Option<&Path>) -> Result<Vec<u8>, Stop> {
        finish(self.start(Some(io::Cursor::new(payload.to_owned())), progress)?)
    }
}

/// The content of the answer of a call that was started.
pub(super) fn finish(mut child: Process) -> Result<Vec<u8>, Stop> {
    let reply = child.output().map(BufReader::<File>::new);
    let content = reply.map_or_else(|| Err(reply::dropped()), reply::content);
    let _ = child.wait();
    content
}
