//! Devices as they are found, and the lines that lists tell of them (spec 30 §3.3, §3.4).

use common::model::Device;
use common::names::{DeviceName, Interface, Pairs, QubeName, UNKNOWN_IDENTITY};

/// One device that a qube has for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exposed {
    /// Its class.
    pub(super) class: &'static str,
    /// The qube that has it.
    pub(super) backend: QubeName,
    /// Where it is plugged in.
    pub(super) port: String,
    /// What it is.
    pub(super) identity: String,
    /// Who made it and what it is called, as far as that is known.
    pub(super) labels: Labels,
    /// The qube that uses it now.
    pub(super) attachment: Option<QubeName>,
    /// What it can do.
    pub(super) interfaces: Vec<Interface>,
    /// Class and port of the device that it is a part of.
    pub(super) parent: Option<(&'static str, String)>,
    /// What its class tells besides.
    pub(super) extra: Vec<(&'static str, String)>,
    /// Whether it can only be read.
    pub(super) is_read_only: bool,
}

/// The texts about a device that people read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the labels are the specification's own words")]
pub(super) struct Labels {
    pub(super) vendor: Option<String>,
    pub(super) product: Option<String>,
    pub(super) manufacturer: Option<String>,
    pub(super) name: Option<String>,
    pub(super) serial: Option<String>,
}

/// What a label says that says nothing.
const UNKNOWN: &str = "unknown";

impl Exposed {
    /// A device of which nothing more is known.
    pub(super) fn new(class: &'static str, backend: &QubeName, port: &str, identity: String) -> Self {
        Self {
            class,
            backend: backend.clone(),
            port: port.to_owned(),
            identity,
            labels: Labels::default(),
            attachment: None,
            interfaces: Vec::new(),
            parent: None,
            extra: Vec::new(),
            is_read_only: false,
        }
    }

    /// Its full name.
    pub(super) fn name(&self) -> DeviceName {
        let backend = self.backend.as_str().to_owned();
        DeviceName { backend, port: self.port.clone(), identity: self.identity.clone() }
    }

    /// By what it stands in a list.
    pub(super) fn key(&self) -> String {
        format!("{}:{}", self.port, self.identity)
    }

    /// All that is told of it.
    pub(super) fn pairs(&self) -> Pairs {
        let mut pairs = basic(self.class, &self.name());
        let Labels { vendor, product, manufacturer, name, serial } = &self.labels;
        let labels = [
            ("vendor", vendor),
            ("product", product),
            ("manufacturer", manufacturer),
            ("name", name),
            ("serial", serial),
        ];
        for (key, label) in labels {
            if let Some(label) = label.as_deref().filter(|label| !matches!(*label, "" | UNKNOWN)) {
                pairs.tell(key, label);
            }
        }
        if let Some(frontend) = &self.attachment {
            pairs.tell("attachment", frontend.as_str());
        }
        let codes: String = self.interfaces.iter().map(Interface::as_str).collect();
        pairs.tell("interfaces", if codes.is_empty() { "?******" } else { &codes });
        if let Some((class, port)) = &self.parent {
            pairs.tell("parent_port_id", port);
            pairs.tell("parent_devclass", class);
        }
        self.extra.iter().for_each(|(key, value)| pairs.tell(&format!("_{key}"), value));
        pairs
    }
}

/// One device that a qube uses now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attached {
    /// The device.
    pub(super) device: DeviceName,
    /// In what way it is used.
    pub(super) options: Vec<(String, String)>,
}

impl Attached {
    /// The one at a port; nothing is known of it where the backend shows nothing there (any more).
    pub(super) fn at(
        backend: &QubeName,
        port: String,
        found: Option<&Exposed>,
        options: Vec<(String, String)>,
    ) -> Self {
        let identity = found.map_or_else(|| UNKNOWN_IDENTITY.to_owned(), |device| device.identity.clone());
        Self { device: DeviceName { backend: backend.as_str().to_owned(), port, identity }, options }
    }
}

fn basic(class: &str, device: &DeviceName) -> Pairs {
    let mut pairs = Pairs::default();
    pairs.tell("device_id", &device.identity);
    pairs.tell("port_id", &device.port);
    pairs.tell("devclass", class);
    pairs.tell("backend_domain", &device.backend);
    pairs
}

/// All that is told of an assignment, or of an attachment where a frontend is told.
pub(super) fn assignment(device: &Device, frontend: Option<&QubeName>) -> Pairs {
    let mut pairs = basic(&device.class, &device.name());
    pairs.tell("mode", device.mode.as_str());
    if let Some(frontend) = frontend {
        pairs.tell("frontend_domain", frontend.as_str());
    }
    device.options.iter().for_each(|(key, value)| pairs.tell(&format!("_{key}"), value));
    pairs
}

/// Options as events show them.
pub(super) fn shown(options: &[(String, String)]) -> String {
    use common::quote::quote;
    let shown: Vec<String> =
        options.iter().map(|(key, value)| format!("{}: {}", quote(key), quote(value))).collect();
    format!("{{{}}}", shown.join(", "))
}
