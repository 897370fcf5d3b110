//! What the `qubes.xml` of a backup says that the backup has (spec 40 §16.3).

use std::collections::BTreeMap;

use common::model::{Class, Labels, Qube};
use common::names::{Rule, VolumeName};

use super::import::{Domains, is_true, labels, qube};
use super::tree::{Element, parse};
use super::{ImportError, firewall};

/// What of dom0 there can be.
const HOMES: &str = "dom0-home/";
/// What the names of files end with that have volumes.
const IMAGE: &str = ".img";

/// The contents of a backup.
pub struct Contents {
    /// The labels of the system that it was made of.
    pub labels: Labels,
    /// The netvm that qubes had there which named none; nothing where they had no network.
    pub default_netvm: Option<String>,
    /// The qubes whose data is there.
    pub qubes: Vec<BackedUp>,
}

/// A qube whose data is in a backup.
pub struct BackedUp {
    /// Its name, as it stands there.
    pub name: String,
    /// What the names of its files begin with.
    pub path: String,
    /// How many bytes they are said to have.
    pub size: Option<u64>,
    /// The volumes that must be there.
    pub volumes: Vec<VolumeName>,
    /// How its volumes were set.
    pub settings: Vec<Setting>,
    /// What was stored of it, or why it cannot be restored.
    pub qube: Result<Qube, String>,
    /// What of it cannot be read and is left out.
    pub faults: Vec<String>,
}

/// What is set of a volume, in the words of the calls that set it.
pub struct Setting {
    /// The volume.
    pub volume: VolumeName,
    /// What is set.
    pub name: &'static str,
    /// Its value.
    pub value: String,
}

impl Contents {
    /// Reads the file's text. A qube that cannot be read does not keep others from being restored.
    ///
    /// # Errors
    /// If it is none, and if it does not tell where the data of a qube is.
    pub fn parse(text: &str) -> Result<Self, ImportError> {
        let root = parse(text)?;
        if root.name != "qubes" {
            return Err(root.invalid("the root element is not <qubes>"));
        }
        let labels = labels(&root)?;
        let domains = Domains::of(&root);
        let included = root
            .nested("domains", "domain")
            .filter(|domain| feature(domain, "backup-content").is_some_and(|content| !content.is_empty()));
        let qubes = included.map(|domain| BackedUp::read(domain, &labels, &domains));
        let qubes = qubes.collect::<Result<_, _>>()?;
        let default_netvm = value(&root, "properties", "property", "default_netvm");
        let default_netvm = default_netvm.filter(|name| !name.is_empty()).map(str::to_owned);
        let mut contents = Self { labels, default_netvm, qubes };
        contents.refuse_doubles();
        Ok(contents)
    }

    /// Of qubes that share a name or a place it is not known what belongs to which.
    fn refuse_doubles(&mut self) {
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for qube in &self.qubes {
            for key in [&qube.name, &qube.path] {
                counts.entry(key.clone()).and_modify(|count| *count = count.saturating_add(1)).or_insert(1);
            }
        }
        let is_double = |key: &String| counts.get(key).is_some_and(|count| *count > 1);
        for qube in self.qubes.iter_mut().filter(|qube| is_double(&qube.name) || is_double(&qube.path)) {
            qube.qube = Err("its name or the place of its data stands twice".to_owned());
        }
    }
}

impl BackedUp {
    fn read(domain: &Element, labels: &Labels, domains: &Domains) -> Result<Self, ImportError> {
        let path = feature(domain, "backup-path");
        let path = path.ok_or_else(|| domain.invalid("a backed up qube without the path of its data"))?;
        let mut faults = Vec::new();
        let mut judge = |error: ImportError| {
            faults.push(error.to_string());
            Ok(())
        };
        let qube = qube(domain, labels, domains, &mut judge).and_then(|qube| {
            let is_right = if qube.class == Class::AdminVM { is_home(path) } else { is_folder(path) };
            if is_right { Ok(qube) } else { Err(domain.invalid("its data is in no place where any can be")) }
        });
        let qube = qube.map_err(|error| error.to_string());
        let volumes = kept(domain);
        let qube = qube.and_then(|qube| volumes.as_ref().map(|_| qube).map_err(Clone::clone));
        // dom0's is not written.
        let name = value(domain, "properties", "property", "name").unwrap_or("dom0");
        Ok(Self {
            name: name.to_owned(),
            path: path.to_owned(),
            size: feature(domain, "backup-size").and_then(|size| size.parse().ok()),
            volumes: volumes.unwrap_or_default(),
            settings: settings(domain),
            qube,
            faults,
        })
    }

    /// The name of the file that has a volume.
    pub fn file_of(&self, volume: &VolumeName) -> String {
        format!("{}{volume}{IMAGE}", self.path)
    }

    /// The volume that a file of the qube has; nothing for other files.
    pub fn volume_in(&self, file: &str) -> Option<VolumeName> {
        VolumeName::parse(file.strip_prefix(&self.path)?.strip_suffix(IMAGE)?).ok()
    }
}

/// Volumes whose content outlives a run, which therefore are in the backup.
fn kept(domain: &Element) -> Result<Vec<VolumeName>, String> {
    let volumes = domain.nested("volume-config", "volume");
    let kept = volumes.filter(|volume| volume.attribute("save_on_stop").is_some_and(is_true));
    let name = |volume: &Element| {
        VolumeName::parse(volume.required("name")?).map_err(|broken| volume.invalid(broken.message))
    };
    kept.map(|volume| name(volume).map_err(|error| error.to_string())).collect()
}

/// What is said of the settings of volumes, as far as it can be understood.
fn settings(domain: &Element) -> Vec<Setting> {
    let mut settings = Vec::new();
    for element in domain.nested("volume-config", "volume") {
        let Some(volume) = element.attribute("name").and_then(|name| VolumeName::parse(name).ok()) else {
            continue;
        };
        let number = element.attribute("revisions_to_keep").and_then(|number| number.parse::<i64>().ok());
        let switch = |name: &str| {
            let value = element.attribute(name).map(is_true);
            value.map(|is_on| if is_on { "True" } else { "False" }.to_owned())
        };
        let values = [
            ("revisions_to_keep", number.map(|number| number.to_string())),
            ("rw", switch("rw")),
            ("ephemeral", switch("ephemeral")),
        ];
        let said = values.into_iter().filter_map(|(name, value)| Some((name, value?)));
        settings.extend(said.map(|(name, value)| Setting { volume: volume.clone(), name, value }));
    }
    settings
}

/// The rules in a backup's `firewall.xml`.
///
/// # Errors
/// If it is none.
pub fn rules(text: &str) -> Result<Vec<Rule>, ImportError> {
    parse(text).and_then(|element| firewall::read(&element))
}

/// Whether this is where the data of a qube can be: `vm3/`.
fn is_folder(path: &str) -> bool {
    let number = path.strip_prefix("vm").and_then(|rest| rest.strip_suffix('/')).unwrap_or_default();
    !number.is_empty() && number.len() <= 5 && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// The same of dom0: `dom0-home/user`.
fn is_home(path: &str) -> bool {
    let user = path.strip_prefix(HOMES).unwrap_or_default();
    !matches!(user, "" | "." | "..") && !user.contains('/')
}

fn feature<'a>(domain: &'a Element, name: &'a str) -> Option<&'a str> {
    value(domain, "features", "feature", name)
}

fn value<'a>(element: &'a Element, outer: &'a str, inner: &'a str, name: &'a str) -> Option<&'a str> {
    element
        .nested(outer, inner)
        .find(|element| element.attribute("name") == Some(name))
        .map(|element| element.text.as_str())
}
