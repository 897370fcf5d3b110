//! One thing that a change made another, and how it is told.

use common::names::QubeName;
use common::store::Key;
use serde_json::{Value, json};

/// What something is part of.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// An object of the store.
    Stored(Key),
    /// A policy file, by its name.
    Policy(String),
    /// A file for others to include.
    Included(String),
    /// A qube's notes.
    Notes(QubeName),
}

impl Place {
    fn in_words(&self) -> String {
        match self {
            Self::Stored(Key::Qube(name)) => format!("{name}: "),
            Self::Stored(Key::System) => "system: ".to_owned(),
            Self::Stored(Key::Labels | Key::Pools) => String::new(),
            Self::Policy(name) => format!("policy {name}: "),
            Self::Included(name) => format!("policy include/{name}: "),
            Self::Notes(name) => format!("{name}: notes "),
        }
    }

    /// What people name a file's change by, of that number.
    pub(super) fn id(&self, number: u64) -> String {
        match self {
            Self::Stored(_) => number.to_string(),
            Self::Policy(name) => format!("policy/{name}/{number}"),
            Self::Included(name) => format!("policy/include/{name}/{number}"),
            Self::Notes(name) => format!("notes/{name}/{number}"),
        }
    }

    /// The file that it is, before a word for what of it.
    fn file(&self) -> String {
        match self {
            Self::Stored(_) => String::new(),
            Self::Notes(_) => "notes ".to_owned(),
            Self::Policy(_) | Self::Included(_) => self.in_words().replace(':', ""),
        }
    }
}

/// A part of an object that is set by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Object,
    Property(String),
    Feature(String),
    Tag(String),
    Device(String),
    Firewall,
    Label(String),
    Pool(String),
    /// A setting of a pool.
    PoolSetting(String, String),
    /// A setting of a volume.
    VolumeSetting(String, String),
    /// All of a file.
    Content,
}

impl Part {
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Object => "the qube".to_owned(),
            Self::Property(name) => format!("property {name}"),
            Self::Feature(name) => format!("feature {name}"),
            Self::Tag(name) => format!("tag {name}"),
            Self::Device(name) => format!("device {name}"),
            Self::Firewall => "firewall".to_owned(),
            Self::Label(name) => format!("label {name}"),
            Self::Pool(name) => format!("pool {name}"),
            Self::PoolSetting(name, setting) => format!("pool {name} {setting}"),
            Self::VolumeSetting(name, setting) => format!("volume {name} {setting}"),
            Self::Content => "content".to_owned(),
        }
    }
}

/// One part that a change made another.
pub(super) struct Item {
    pub(super) place: Place,
    pub(super) part: Part,
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
    /// Whether somebody changed it since by no call.
    pub(super) is_edited: bool,
}

impl Item {
    /// The qube that it is part of, as calls are told it.
    pub(super) fn destination(&self) -> &str {
        match &self.place {
            Place::Stored(Key::Qube(name)) | Place::Notes(name) => name.as_str(),
            _ => "dom0",
        }
    }

    pub(super) fn in_words(&self) -> String {
        let place = self.place.in_words();
        let values =
            [&self.before, &self.after].map(|value| value.as_ref().map_or("nothing".to_owned(), shown));
        let [before, after] = values;
        match (&self.part, &self.before, &self.after) {
            (Part::Content, ..) => format!("{place}{}", self.lines()),
            (Part::Object, None, _) => format!("{place}made"),
            (Part::Object, Some(_), Some(_)) => format!("{place}removed and made anew"),
            (Part::Object, Some(_), None) => format!("{place}removed"),
            (Part::Tag(name), None, _) => format!("{place}tag {name} added"),
            (Part::Tag(name), Some(_), _) => format!("{place}tag {name} removed"),
            _ => format!("{place}{} {before} -> {after}", self.part.in_words()),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "destination": self.destination(),
            "part": format!("{}{}", self.place.file(), self.part.in_words()),
            "before": self.before,
            "after": self.after,
        })
    }

    /// How a file's content changed.
    fn lines(&self) -> String {
        let lines = |content: &Option<Value>| {
            let content = content.as_ref().and_then(Value::as_str).unwrap_or_default();
            content.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let (before, after) = (lines(&self.before), lines(&self.after));
        let counted =
            |some: &[String], other: &[String]| some.iter().filter(|line| !other.contains(line)).count();
        let done = match (&self.before, &self.after) {
            (None, _) => "made",
            (_, None) => "removed",
            _ => "changed",
        };
        let (more, less) = (counted(&after, &before), counted(&before, &after));
        let edited = if self.is_edited { ", and edited since" } else { "" };
        format!("{done}, {more} lines more and {less} less{edited}")
    }
}

/// A value as payloads have it.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value for people.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => format!("'{text}'"),
        other => plain(other),
    }
}
