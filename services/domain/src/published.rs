//! What is published of a run: a file that is locked while its watcher lives.

use std::io;
use std::path::Path;

use common::hypervisor::{Domain, PowerState, Run};
use common::log;
use common::store::LiveFile;

pub(crate) struct Published {
    file: LiveFile,
    domain: Domain,
}

impl Published {
    pub(crate) fn new(path: &Path, domain: Domain) -> io::Result<Self> {
        let file = LiveFile::write(path, &serde_json::to_vec(&domain)?)?;
        Ok(Self { file, domain })
    }

    pub(crate) fn domain(&self) -> &Domain {
        &self.domain
    }

    pub(crate) fn has_domain(&self) -> bool {
        self.domain.state != PowerState::Halted
    }

    /// Tells what is known now, where that is news.
    pub(crate) fn update(&mut self, known: Domain) {
        if known == self.domain {
            return;
        }
        let told = serde_json::to_vec(&known)
            .map_err(io::Error::from)
            .and_then(|content| self.file.replace(&content));
        if let Err(error) = told {
            log::line(&format!("publishing a domain's state: {error}"));
        }
        self.domain = known;
    }

    pub(crate) fn update_run(&mut self, change: impl FnOnce(&mut Run)) {
        let mut known = self.domain.clone();
        change(&mut known.run);
        self.update(known);
    }
}
