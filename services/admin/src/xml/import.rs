//! Reading `qubes.xml`: both the form written today and the published schema's (spec 10 §7.3, §7.4).

use std::collections::{BTreeMap, BTreeSet};

use common::log;
use common::model::{Class, Device, Label, Labels, Pool, Pools, Qube, System, Value};
use common::names::{ANY, FeatureName, FeatureValue, LabelName, Mode, PoolName, QubeName, QubeUuid, TagName};
use common::root::Root;
use common::storage::options;
use common::store::Store;
use services::property::{self, Access, Kind};
use services::xml::FIREWALL;

use super::complete::{self, Places};
use super::tree::{Element, parse};
use super::{ImportError, firewall, migrate};

/// Everything a file holds.
#[derive(Debug)]
pub struct Imported {
    labels: Labels,
    pools: Pools,
    system: System,
    qubes: Vec<Qube>,
    places: Places,
}

/// Reads a file's text.
///
/// # Errors
/// [`ImportError`] with the place of what is wrong.
pub fn import(text: &str) -> Result<Imported, ImportError> {
    let root = parse(text)?;
    if root.name != "qubes" {
        return Err(root.invalid("the root element is not <qubes>"));
    }
    let labels = labels(&root)?;
    let domains = Domains::of(&root);
    let (mut qubes, mut places) = (Vec::new(), Places::default());
    places.note(None, &root);
    for element in root.nested("domains", "domain") {
        let qube = qube(element, &labels, &domains, &mut Err)?;
        places.note(Some(&qube.name), element);
        qubes.push(qube);
    }
    if !qubes.iter().any(|qube| qube.class == Class::AdminVM) {
        qubes.push(Qube::new(QubeName::dom0(), Class::AdminVM, 0, QubeUuid::dom0()));
    }
    domains.check_unique(&qubes)?;
    let (mut system, fw_netvm) = system(&root, &domains)?;
    migrate::provider_netvm(&system, fw_netvm.as_deref(), &mut qubes);
    migrate::disposable_templates(&mut system, &mut qubes, &places);
    drop_unknown_qubes(&mut system, &mut qubes, &domains)?;
    migrate::loops_of_netvms(&system, &mut qubes);
    for qube in &mut qubes {
        add_mirror_tags(&system, qube).map_err(|text| domains.invalid(&qube.name, text))?;
    }
    Ok(Imported { labels, pools: pools(&root), system, qubes, places })
}

impl Imported {
    /// How many qubes there are.
    pub fn count(&self) -> usize {
        self.qubes.len()
    }

    /// Has firewall rules of the qubes' home directories come before those of the file: qubesd, which changes the ones, keeps
    /// the others as they were.
    ///
    /// # Errors
    /// What is wrong with a file of rules.
    pub fn prefer_homes(mut self, root: &Root) -> Result<Self, ImportError> {
        for qube in &mut self.qubes {
            if let Some(rules) = firewall::of_home(root, qube)? {
                qube.firewall = Some(rules);
            }
        }
        Ok(self)
    }

    /// Fills an empty store, in one change.
    ///
    /// # Errors
    /// [`ImportError::NotEmpty`], what is wrong with a value or a volume, or what the store says.
    pub fn store(mut self, store: &Store, root: &Root) -> Result<usize, ImportError> {
        let mut txn = store.write()?;
        if !txn.index()?.entries().is_empty() {
            return Err(ImportError::NotEmpty);
        }
        let count = self.count();
        txn.put_labels(self.labels);
        txn.put_pools(self.pools);
        txn.put_system(self.system);
        for qube in self.qubes.iter_mut().filter(|qube| qube.firewall.is_none()) {
            qube.firewall = firewall::of_home(root, qube)?;
        }
        for qube in self.qubes {
            txn.insert_qube(migrate::pci_devices(root, qube))?;
        }
        complete::complete(&mut txn, root, &self.places)?;
        txn.commit()?;
        Ok(count)
    }
}

pub(super) fn labels(root: &Element) -> Result<Labels, ImportError> {
    let mut labels = Vec::new();
    for element in root.nested("labels", "label") {
        let id = element.required("id")?;
        let index = id.strip_prefix("label-").and_then(|index| index.parse().ok());
        let index = index.ok_or_else(|| element.invalid("a label's id is not label-<number>"))?;
        let name = LabelName::parse(&element.text).map_err(|broken| element.invalid(broken.message))?;
        let color = match element.attribute("color").unwrap_or_default() {
            "0x555753" => "0x555555",
            color => color,
        };
        if labels.iter().any(|known: &Label| known.index == index || known.name == name) {
            return Err(element.invalid(format!("the label {name} or its id stands twice")));
        }
        labels.push(Label { index, name, color: color.to_owned() });
    }
    labels.sort_by_key(|label| label.index);
    Ok(Labels { labels })
}

/// A pool that makes no sense is logged and skipped, as its qubes may still be of use.
fn pools(root: &Element) -> Pools {
    let mut pools: Vec<Pool> = Vec::new();
    for element in root.nested("pools", "pool") {
        let driver = element.attribute("driver").filter(|driver| options::find(driver).is_some());
        let name = element.attribute("name").and_then(|name| PoolName::parse(name).ok());
        match (name, driver) {
            (Some(name), Some(driver)) if pools.iter().all(|pool| pool.name != name) => {
                let settings =
                    element.attributes.iter().filter(|(key, _)| !matches!(key.as_str(), "name" | "driver"));
                pools.push(Pool { name, driver: driver.to_owned(), settings: settings.cloned().collect() });
            }
            _ => log::line(&format!("skipped the pool at line {}", element.line)),
        }
    }
    Pools { pools }
}

/// What is known of the qubes before they are read.
pub(super) struct Domains {
    /// Names by `id`, for old files whose properties refer to it.
    names: BTreeMap<String, String>,
    /// Lines by name.
    lines: BTreeMap<String, usize>,
}

impl Domains {
    pub(super) fn of(root: &Element) -> Self {
        let mut domains = Self { names: BTreeMap::new(), lines: BTreeMap::new() };
        for element in root.nested("domains", "domain") {
            let named =
                element.nested("properties", "property").find(|it| it.attribute("name") == Some("name"));
            let name = named.map_or("dom0", |name| name.text.as_str());
            if let Some(id) = element.attribute("id") {
                domains.names.insert(id.to_owned(), name.to_owned());
            }
            domains.lines.insert(name.to_owned(), element.line);
        }
        domains
    }

    /// An error about a qube as a whole.
    fn invalid(&self, name: &QubeName, text: impl Into<String>) -> ImportError {
        let line = self.lines.get(name.as_str()).copied().unwrap_or_default();
        ImportError::Invalid { line, text: text.into() }
    }

    fn check_unique(&self, qubes: &[Qube]) -> Result<(), ImportError> {
        let (mut names, mut qids, mut uuids) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for qube in qubes {
            if !names.insert(&qube.name) || !qids.insert(qube.qid) || !uuids.insert(&qube.uuid) {
                return Err(
                    self.invalid(&qube.name, format!("name, qid or uuid of {} stands twice", qube.name))
                );
            }
        }
        Ok(())
    }

    /// The text of a property: its `ref` first, resolved, else what stands inside.
    fn text_of(&self, element: &Element) -> String {
        match element.attribute("ref").filter(|reference| !reference.is_empty()) {
            Some(reference) => self.names.get(reference).cloned().unwrap_or_else(|| reference.to_owned()),
            None => element.text.clone(),
        }
    }
}

/// Says what becomes of a qube of which a part cannot be read: it is left out, or all of it fails.
pub(super) type Judge<'j> = &'j mut dyn FnMut(ImportError) -> Result<(), ImportError>;

pub(super) fn qube(
    element: &Element,
    labels: &Labels,
    domains: &Domains,
    judge: Judge<'_>,
) -> Result<Qube, ImportError> {
    let class = element.required("class")?;
    let class = Class::parse(class).ok_or_else(|| element.invalid(format!("no such VM class: '{class}'")))?;
    let mut qube = identity(element, class)?;
    for property in element.nested("properties", "property") {
        put_property(&mut qube, property, labels, domains).or_else(&mut *judge)?;
    }
    for feature in element.nested("features", "feature") {
        put_feature(&mut qube, feature).or_else(&mut *judge)?;
    }
    for element in element.nested("tags", "tag") {
        put_tag(&mut qube, element).or_else(&mut *judge)?;
    }
    for devices in element.all("devices") {
        let class = devices.required("class")?;
        for device in devices.all("device") {
            put_device(&mut qube, device, class).or_else(&mut *judge)?;
        }
    }
    if let Some(element) = element.all(FIREWALL).next().filter(|_| class.is_qubes_vm()) {
        qube.firewall = Some(firewall::read(element)?);
    }
    migrate::qube(&mut qube);
    let based = matches!(qube.properties.get("template"), Some(Value::Text(_)));
    if class.has_template() && !based {
        return Err(element.invalid(format!("{} without template", qube.name)));
    }
    Ok(qube)
}

fn put_feature(qube: &mut Qube, element: &Element) -> Result<(), ImportError> {
    let invalid = |broken: common::untrusted::Broken| element.invalid(broken.message);
    let name = FeatureName::parse(element.required("name")?).map_err(invalid)?;
    if !name.is_settable() {
        return Err(element.invalid("feature name contains illegal characters"));
    }
    qube.set_feature(name, FeatureValue::parse(&element.text).map_err(invalid)?);
    Ok(())
}

fn put_tag(qube: &mut Qube, element: &Element) -> Result<(), ImportError> {
    let tag = TagName::parse(element.required("name")?);
    qube.tags.insert(tag.map_err(|broken| element.invalid(broken.message))?);
    Ok(())
}

fn put_device(qube: &mut Qube, element: &Element, class: &str) -> Result<(), ImportError> {
    qube.devices.extend(device(element, class)?);
    Ok(())
}

/// Name, number and UUID; dom0 needs none of them, and a missing UUID is made.
fn identity(element: &Element, class: Class) -> Result<Qube, ImportError> {
    let text = |wanted: &str| {
        let mut properties = element.nested("properties", "property");
        properties
            .find(|property| property.attribute("name") == Some(wanted))
            .map(|property| property.text.as_str())
    };
    if class == Class::AdminVM {
        return Ok(Qube::new(QubeName::dom0(), class, 0, QubeUuid::dom0()));
    }
    let name = text("name").ok_or_else(|| element.invalid("a domain without name"))?;
    let name = QubeName::parse(name).map_err(|broken| element.invalid(broken.message))?;
    let qid = text("qid").and_then(|qid| qid.parse::<u16>().ok()).filter(|qid| (1..=10_000).contains(qid));
    let qid = qid.ok_or_else(|| element.invalid(format!("{name} without valid qid")))?;
    let uuid = match text("uuid") {
        Some(uuid) => {
            QubeUuid::parse_lenient(uuid).ok_or_else(|| element.invalid(format!("UUID of {name}")))?
        }
        None => QubeUuid::random(),
    };
    Ok(Qube::new(name, class, qid, uuid))
}

fn put_property(
    qube: &mut Qube,
    element: &Element,
    labels: &Labels,
    domains: &Domains,
) -> Result<(), ImportError> {
    let name = element.required("name")?;
    if matches!(name, "name" | "qid" | "uuid") {
        return Ok(());
    }
    let class = qube.class.as_str();
    let text = domains.text_of(element);
    let value = match property::row(qube.class, name) {
        None if migrate::is_old_property(qube.class, name) => property::parse_stored(Kind::Bool, &text),
        None => return Err(element.invalid(format!("property '{name}' not applicable to '{class}'"))),
        Some(row) if row.access_in(Some(qube.class)) == Access::ReadOnly => {
            return Err(element.invalid(format!("property '{name}' on {class} instance cannot be set")));
        }
        Some(row) if row.kind == Kind::Label => Ok(Value::Text(label_name(labels, &text, element)?)),
        Some(row) => property::parse_stored(row.kind, &text),
    };
    let value = value.map_err(|why| element.invalid(format!("property '{name}': {why}")))?;
    qube.properties.insert(name.to_owned(), value);
    Ok(())
}

fn label_name(labels: &Labels, text: &str, element: &Element) -> Result<String, ImportError> {
    let found = labels.find(text.strip_prefix("label-").unwrap_or(text)).or_else(|| labels.find(text));
    found
        .map(|label| label.name.as_str().to_owned())
        .ok_or_else(|| element.invalid(format!("Label does not exist: {text}")))
}

fn device(element: &Element, class: &str) -> Result<Option<Device>, ImportError> {
    let mode = match (element.attribute("mode"), element.attribute("required")) {
        (_, Some(required)) if is_true(required) => Some(Mode::Required),
        (_, Some(_)) => Some(Mode::AutoAttach),
        (Some(mode), None) => Mode::parse(mode),
        (None, None) => Some(Mode::Required),
    };
    let Some(mode) = mode else {
        log::line(&format!("dropped the device at line {}: unknown mode", element.line));
        return Ok(None);
    };
    let mut options: Vec<(String, String)> = Vec::new();
    for option in element.all("option") {
        options.push((option.required("name")?.to_owned(), option.text.clone()));
    }
    let identity = element.attribute("identity").map(str::to_owned);
    let of_option = options.iter().find(|(name, _)| name == "identity").map(|(_, value)| value.clone());
    options.retain(|(name, _)| name != "identity");
    let backend = match element.attribute("backend-domain").unwrap_or(ANY) {
        ANY => ANY.to_owned(),
        name => {
            let parsed = QubeName::parse(name).map_err(|broken| element.invalid(broken.message))?;
            String::from(parsed)
        }
    };
    let id = element.attribute("id").unwrap_or(ANY);
    if !is_word(class) || !is_word(id) {
        return Err(element.invalid("a device whose class or id has white space, commas or other signs"));
    }
    Ok(Some(Device {
        class: class.to_owned(),
        backend,
        id: id.to_owned(),
        mode,
        identity: identity.or(of_option).unwrap_or_else(|| "*".to_owned()),
        options,
    }))
}

/// Printable ASCII without white space and commas, which lists are made with.
fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

pub(super) fn is_true(text: &str) -> bool {
    text.eq_ignore_ascii_case("true") || text == "1" || text.eq_ignore_ascii_case("yes")
}

fn system(root: &Element, domains: &Domains) -> Result<(System, Option<String>), ImportError> {
    let mut system = System::default();
    let mut fw_netvm = None;
    for element in root.nested("properties", "property") {
        let name = element.required("name")?;
        let text = domains.text_of(element);
        if name == "default_fw_netvm" {
            fw_netvm = Some(text);
            continue;
        }
        let Some(row) = property::global_row(name).filter(|row| row.access_in(None) == Access::Free) else {
            log::line(&format!("ignored the unknown global property at line {}", element.line));
            continue;
        };
        let value = property::parse_stored(row.kind, &text);
        let value = value.map_err(|why| element.invalid(format!("property '{name}': {why}")))?;
        system.properties.insert(name.to_owned(), value);
    }
    Ok((system, fw_netvm))
}

/// Drops properties that name no qube, with a warning; a template must be there.
fn drop_unknown_qubes(system: &mut System, qubes: &mut [Qube], domains: &Domains) -> Result<(), ImportError> {
    let known: BTreeSet<String> = qubes.iter().map(|qube| qube.name.as_str().to_owned()).collect();
    let names_nobody = |kind: Kind, value: &Value| matches!((kind, value), (Kind::Qube { .. }, Value::Text(name)) if !known.contains(name));
    system.properties.retain(|name, value| {
        let keep = !property::global_row(name).is_some_and(|row| names_nobody(row.kind, value));
        keep || dropped("the system", name)
    });
    for qube in qubes {
        let (class, holder) = (qube.class, qube.name.clone());
        qube.properties.retain(|name, value| {
            let keep = !property::row(class, name).is_some_and(|row| names_nobody(row.kind, value));
            keep || dropped(holder.as_str(), name)
        });
        if class.has_template() && !qube.properties.contains_key("template") {
            return Err(domains.invalid(&holder, format!("the template of {holder} does not exist")));
        }
    }
    Ok(())
}

fn dropped(holder: &str, property: &str) -> bool {
    log::line(&format!("dropped {property} of {holder}: it names no qube"));
    false
}

/// Tags that mirror the GUI and audio qube are added where they are missing, as loading always did.
fn add_mirror_tags(system: &System, qube: &mut Qube) -> Result<(), &'static str> {
    if !qube.class.is_qubes_vm() {
        return Ok(());
    }
    for (own, global) in [("guivm", "default_guivm"), ("audiovm", "default_audiovm")] {
        let of_system =
            || system.properties.get(global).cloned().unwrap_or_else(|| Value::Text("dom0".to_owned()));
        if let Value::Text(name) = qube.properties.get(own).cloned().unwrap_or_else(of_system) {
            let tag = TagName::parse(&format!("{own}-{name}"));
            qube.tags.insert(tag.map_err(|broken| broken.message)?);
        }
    }
    Ok(())
}
