//! Looking at every object for what is wrong, and mending what can be mended without guessing.

use std::collections::BTreeSet;

use super::journal::DAMAGED;
use super::{Key, Problem, Remedy, Store, StoreError, lock};
use crate::model::{Labels, Pools, Qube, System, Value};

/// Properties that name other objects, of qubes and of the system.
const REFERENCES: [&str; 19] = [
    "audiovm",
    "clockvm",
    "default_audiovm",
    "default_dispvm",
    "default_guivm",
    "default_netvm",
    "default_template",
    "guivm",
    "management_dispvm",
    "netvm",
    "relayvm",
    "template",
    "updatevm",
    "default_pool",
    "default_pool_kernel",
    "default_pool_private",
    "default_pool_root",
    "default_pool_volatile",
    "label",
];

impl Store {
    /// Everything that is wrong: unfinished changes, damaged objects, references that lead nowhere,
    /// an index that disagrees with the objects.
    ///
    /// # Errors
    /// What the file system says about the directories themselves.
    pub fn check(&self) -> Result<Vec<Problem>, StoreError> {
        let _guard = lock::shared(&self.state)?;
        let mut problems = Vec::new();
        if self.has_unfinished_change()? {
            problems.push(Problem::new("a change waits to be finished", Remedy::Finish));
        }
        let system = self.sound::<System>(&Key::System, &mut problems);
        let labels = self.sound::<Labels>(&Key::Labels, &mut problems);
        let pools = self.sound::<Pools>(&Key::Pools, &mut problems);
        let qubes = self.sound_qubes(&mut problems)?;
        let known = Known::of(&qubes, labels.as_ref(), pools.as_ref());
        if let Some(system) = system {
            known.check_properties("the system", &system.properties, &mut problems);
        }
        for qube in &qubes {
            known.check_qube(qube, &mut problems);
        }
        check_unique(&qubes, &mut problems);
        self.check_journal(&mut problems)?;
        self.check_index(&mut problems)?;
        Ok(problems)
    }

    /// Finishes unfinished changes and builds the index anew.
    ///
    /// # Errors
    /// What the file system says.
    pub fn repair(&self) -> Result<(), StoreError> {
        let _guard = lock::exclusive(&self.state)?;
        self.recover()?;
        self.drop_index()?;
        self.load_index().map(drop)
    }

    /// An object, or nothing and a problem.
    fn sound<T: serde::de::DeserializeOwned>(&self, key: &Key, problems: &mut Vec<Problem>) -> Option<T> {
        match self.load::<T>(&key.file()) {
            Ok(Some((_, object))) => Some(object),
            Ok(None) => {
                problems.push(Problem::new(format!("{} is missing", key.file()), Remedy::Restore));
                None
            }
            Err(error) => {
                problems.push(Problem::new(error.to_string(), Remedy::Restore));
                None
            }
        }
    }

    fn sound_qubes(&self, problems: &mut Vec<Problem>) -> Result<Vec<Qube>, StoreError> {
        let mut qubes = Vec::new();
        let files = self.vfs.list(&self.state.join("qubes")).map_err(StoreError::io("listing qubes"))?;
        for file in files.iter().filter(|file| !file.starts_with('.')) {
            let Some(key @ Key::Qube(_)) = Key::of_file(&format!("qubes/{file}")) else {
                problems
                    .push(Problem::new(format!("qubes/{file} is no object of the store"), Remedy::Remove));
                continue;
            };
            let qube = self.sound::<Qube>(&key, problems);
            match qube {
                Some(qube) if Key::Qube(qube.name.clone()) == key => qubes.push(qube),
                Some(qube) => {
                    let text = format!("qubes/{file} holds the qube {}", qube.name);
                    problems.push(Problem::new(text, Remedy::Restore));
                }
                None => {}
            }
        }
        Ok(qubes)
    }

    fn check_journal(&self, problems: &mut Vec<Problem>) -> Result<(), StoreError> {
        let files = self.vfs.list(&self.state.join("journal"));
        if files.map_err(StoreError::io("listing the journal"))?.iter().any(|file| file == DAMAGED) {
            let text = format!("journal/{DAMAGED} is a change that could not be finished");
            problems.push(Problem::new(text, Remedy::Remove));
        }
        Ok(())
    }

    fn check_index(&self, problems: &mut Vec<Problem>) -> Result<(), StoreError> {
        let built = self.rebuild_index()?;
        let stored = self.stored_index()?;
        if stored.is_some_and(|stored| stored.entries() != built.entries()) {
            problems.push(Problem::new("the index disagrees with the objects", Remedy::Rebuild));
        }
        Ok(())
    }
}

/// What references may lead to.
struct Known {
    qubes: BTreeSet<String>,
    labels: BTreeSet<String>,
    pools: BTreeSet<String>,
}

impl Known {
    fn of(qubes: &[Qube], labels: Option<&Labels>, pools: Option<&Pools>) -> Self {
        let labels =
            labels.map(|labels| labels.labels.iter().map(|label| label.name.as_str().to_owned()).collect());
        let pools = pools.map(|pools| pools.pools.iter().map(|pool| pool.name.as_str().to_owned()).collect());
        Self {
            qubes: qubes.iter().map(|qube| qube.name.as_str().to_owned()).collect(),
            labels: labels.unwrap_or_default(),
            pools: pools.unwrap_or_default(),
        }
    }

    fn check_qube(&self, qube: &Qube, problems: &mut Vec<Problem>) {
        let holder = qube.name.as_str();
        self.check_properties(holder, &qube.properties, problems);
        for volume in qube.volumes.iter().filter(|volume| !self.pools.contains(volume.pool.as_str())) {
            let text = format!("volume {} of {holder}: no pool {}", volume.name, volume.pool);
            problems.push(Problem::new(text, Remedy::Correct));
        }
        if qube.class.has_template() && !qube.properties.contains_key("template") {
            problems.push(Problem::new(format!("{holder} has no template"), Remedy::Correct));
        }
    }

    fn check_properties(
        &self,
        holder: &str,
        properties: &std::collections::BTreeMap<String, Value>,
        problems: &mut Vec<Problem>,
    ) {
        for (property, value) in properties.iter().filter(|(name, _)| REFERENCES.contains(&name.as_str())) {
            let Some(target) = value.as_text() else { continue };
            let (kind, set) = match property.as_str() {
                "label" => ("label", &self.labels),
                name if name.starts_with("default_pool") => ("pool", &self.pools),
                _ => ("qube", &self.qubes),
            };
            if !set.contains(target) {
                let text = format!("{property} of {holder}: no {kind} {target}");
                problems.push(Problem::new(text, Remedy::Correct));
            }
        }
    }
}

fn check_unique(qubes: &[Qube], problems: &mut Vec<Problem>) {
    let (mut qids, mut uuids) = (BTreeSet::new(), BTreeSet::new());
    for qube in qubes {
        if !qids.insert(qube.qid) {
            let text = format!("{} shares its qid {} with another", qube.name, qube.qid);
            problems.push(Problem::new(text, Remedy::Restore));
        }
        if !uuids.insert(&qube.uuid) {
            let text = format!("{} shares its UUID with another", qube.name);
            problems.push(Problem::new(text, Remedy::Restore));
        }
    }
}
