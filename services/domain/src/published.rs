//! What is published of a run: a file that is locked while its watcher lives.

use std::io;
use std::path::Path;

use common::hypervisor::{Domain, PowerState, Run};
use common::log;
use common::store::LiveFile;

pub(crate) struct Published {
    file: LiveFile,
    domain: Domain,
    /// Whether the file tells it: a full disk may have kept that from being written.
    is_told: bool,
}

impl Published {
    pub(crate) fn new(path: &Path, domain: Domain) -> io::Result<Self> {
        let file = LiveFile::write(path, &serde_json::to_vec(&domain)?)?;
        Ok(Self { file, domain, is_told: true })
    }

    pub(crate) fn domain(&self) -> &Domain {
        &self.domain
    }

    pub(crate) fn has_domain(&self) -> bool {
        self.domain.state != PowerState::Halted
    }

    pub(crate) fn is_told(&self) -> bool {
        self.is_told
    }

    /// Takes note of what is known now, and tells it where that is news: figures of the moment are told to those who ask.
    pub(crate) fn update(&mut self, known: Domain) {
        if !self.is_told || !known.is_same_but_for_figures(&self.domain) {
            let told = self.write(&known);
            self.is_told = told.is_ok();
            if let Err(error) = told {
                log::line(&format!("publishing a domain's state: {error}"));
            }
        }
        self.domain = known;
    }

    /// Makes something so by telling it: where that fails, all is as it was.
    pub(crate) fn publish(&mut self, known: Domain) -> io::Result<()> {
        self.write(&known)?;
        self.is_told = true;
        self.domain = known;
        Ok(())
    }

    pub(crate) fn publish_run(&mut self, change: impl FnOnce(&mut Run)) -> io::Result<()> {
        let mut known = self.domain.clone();
        change(&mut known.run);
        self.publish(known)
    }

    fn write(&mut self, known: &Domain) -> io::Result<()> {
        self.file.replace(&serde_json::to_vec(known)?)
    }
}
