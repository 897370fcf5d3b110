//! Qubes that a table declares, in the place of those of the store.

use common::model::Class;
use common::policy::SystemInfo;

/// One qube.
#[derive(Debug)]
struct Qube {
    name: String,
    class: Class,
    values: Vec<(String, String)>,
    words: Vec<String>,
}

impl Qube {
    fn value(&self, key: &str) -> Option<String> {
        self.values.iter().find(|(own, _)| own == key).map(|(_, value)| value.clone())
    }

    fn is(&self, word: &str) -> bool {
        self.words.iter().any(|own| own == word)
    }
}

/// The qubes of a table. dom0 is always among them.
#[derive(Debug)]
pub(super) struct Declared(Vec<Qube>);

const KEYS: [&str; 6] = ["tags", "uuid", "dispvm", "guivm", "relay", "transport"];
const WORDS: [&str; 3] = ["base", "running", "internal"];

impl Declared {
    pub(super) fn new() -> Self {
        let dom0 =
            Qube { name: "dom0".to_owned(), class: Class::AdminVM, values: Vec::new(), words: Vec::new() };
        Self(vec![dom0])
    }

    /// Takes the words of a line behind `!qube`.
    pub(super) fn add(&mut self, words: &[&str]) -> Result<(), String> {
        let [name, class, about @ ..] = words else {
            return Err("!qube needs a name and a class".to_owned());
        };
        let class = Class::parse(class).ok_or_else(|| format!("there is no class {class}"))?;
        let mut qube = Qube { name: (*name).to_owned(), class, values: Vec::new(), words: Vec::new() };
        for word in about {
            match word.split_once('=') {
                Some((key, value)) if KEYS.contains(&key) => {
                    qube.values.push((key.to_owned(), value.to_owned()))
                }
                None if WORDS.contains(word) => qube.words.push((*word).to_owned()),
                _ => return Err(format!("{word} says nothing of a qube")),
            }
        }
        self.0.retain(|known| known.name != qube.name);
        self.0.push(qube);
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&Qube> {
        self.0.iter().find(|qube| qube.name == name)
    }
}

impl SystemInfo for Declared {
    fn names(&self) -> Vec<String> {
        self.0.iter().map(|qube| qube.name.clone()).collect()
    }

    fn class(&self, name: &str) -> Option<Class> {
        self.find(name).map(|qube| qube.class)
    }

    fn has_tag(&self, name: &str, tag: &str) -> bool {
        let tags = self.find(name).and_then(|qube| qube.value("tags")).unwrap_or_default();
        tags.split(',').any(|own| own == tag)
    }

    fn is_template_for_dispvms(&self, name: &str) -> bool {
        self.find(name).is_some_and(|qube| qube.is("base"))
    }

    fn default_dispvm(&self, name: &str) -> Option<String> {
        self.find(name)?.value("dispvm")
    }

    fn name_of_uuid(&self, uuid: &str) -> Option<String> {
        let found = self.0.iter().find(|qube| qube.value("uuid").is_some_and(|own| own == uuid));
        found.map(|qube| qube.name.clone())
    }

    fn is_running(&self, name: &str) -> bool {
        self.find(name).is_some_and(|qube| !qube.class.is_qubes_vm() || qube.is("running"))
    }

    fn is_internal(&self, name: &str) -> bool {
        self.find(name).is_some_and(|qube| qube.is("internal"))
    }

    fn guivm(&self, name: &str) -> Option<String> {
        let qube = self.find(name)?;
        let default = qube.class.is_qubes_vm().then(|| "dom0".to_owned());
        qube.value("guivm").or(default).filter(|guivm| !guivm.is_empty())
    }

    fn relayvm(&self, name: &str) -> Option<String> {
        self.find(name)?.value("relay")
    }

    fn transport_rpc(&self, name: &str) -> Option<String> {
        self.find(name)?.value("transport")
    }
}
