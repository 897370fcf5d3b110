//! Making the qubes: empty, with a tag that keeps them from being started, and with all that names no other qube.

use common::model::{Class, Labels, OWN_FEATURES, Volume};
use common::root::Root;
use common::storage::options::{REVISIONS_TO_KEEP, text_of};
use common::store::Store;
use services::property::{self, Access};
use services::tag::RESTORING;

use super::batch::{Batch, Item};
use super::call;
use super::plan::is_reference;
use crate::xml::Setting;

/// Properties that are given when a qube is made, or that follow from how it is.
const NOT_SET: [&str; 4] = ["label", "template", "dispid", "installed_by_rpm"];
/// What would have an effect before the qube is whole.
pub(super) const AT_LAST: [&str; 1] = ["autostart"];
/// The feature that has disposables made in advance.
pub(super) const PRELOADED: &str = "preload-dispvm-max";
/// Features that tell of the backup.
const OF_BACKUP: [&str; 3] = ["backup-content", "backup-path", "backup-size"];
/// The beginning of features that tell of disposables which were made in advance.
const OF_PRELOADED: &str = "preload-dispvm";
/// Beginnings of tags that follow from properties.
const NO_TAGS: [&str; 3] = ["guivm-", "audiovm-", "relayvm-"];
/// The label of a qube that has none of its own.
const LABEL: &str = "red";

impl Batch<'_> {
    /// Makes all qubes.
    pub(super) fn make(&mut self) {
        if self.is_trial {
            return;
        }
        for place in 0..self.qubes.len() {
            let template = self.qubes.get(place).and_then(|item| item.restored.template.clone());
            let lost = template.filter(|template| self.has_failed(template));
            let (root, labels) = (self.root, self.labels);
            let Some(item) = self.qubes.get_mut(place) else { continue };
            let label = item.label().to_owned();
            let made = match lost {
                Some(template) => Err(format!("its template {template} could not be restored")),
                None => make_label(root, labels, &label).and_then(|()| item.make(root, &label)),
            };
            match made {
                Ok(()) => item.configure(root),
                Err(why) => item.fail(why),
            }
        }
    }
}

/// Makes a label that is not here.
fn make_label(root: &Root, labels: &Labels, label: &str) -> Result<(), String> {
    let here = Store::at(root).read().and_then(|view| view.labels());
    let here = here.map_err(|error| error.to_string())?;
    if here.labels.iter().any(|known| known.name.as_str() == label) {
        return Ok(());
    }
    let color = labels.labels.iter().find(|known| known.name.as_str() == label);
    let color = color.map(|known| known.color.as_str()).unwrap_or_default();
    call(root, "dom0", &format!("admin.label.Create+{label}"), color)
}

impl Item<'_> {
    fn label(&self) -> &str {
        self.stored.properties.get("label").and_then(|label| label.as_text()).unwrap_or(LABEL)
    }

    fn make(&mut self, root: &Root, label: &str) -> Result<(), String> {
        let template = self.restored.template.as_deref().unwrap_or_default();
        let create = format!("admin.vm.Create.{}+{template}", self.stored.class.as_str());
        call(root, "dom0", &create, &format!("name={} label={label}", self.name()))?;
        self.is_made = true;
        call(root, self.name().as_str(), &format!("admin.vm.tag.Set+{RESTORING}"), "")
    }

    fn configure(&mut self, root: &Root) {
        self.set_properties(root);
        self.set_volumes(root);
        let name = self.name().as_str();
        for (feature, value) in &self.stored.features {
            if is_own_feature(feature.as_str()) {
                continue;
            }
            let set = call(root, name, &format!("admin.vm.feature.Set+{feature}"), value.as_str());
            self.warn(&format!("feature {feature}"), set);
        }
        for tag in self.stored.tags.iter().map(|tag| tag.as_str()) {
            if tag == RESTORING || NO_TAGS.iter().any(|own| tag.starts_with(own)) {
                continue;
            }
            let set = call(root, name, &format!("admin.vm.tag.Set+{tag}"), "");
            self.warn(&format!("tag {tag}"), set);
        }
    }

    /// Sets what volumes had that is other than what new ones have.
    fn set_volumes(&mut self, root: &Root) {
        let made = Store::at(root).read().and_then(|view| view.qube(self.name()));
        let Ok(Some(made)) = made else { return };
        for Setting { volume, name, value } in &self.backed_up.settings {
            let Some(volume) = made.volume(volume).filter(|volume| value_of(volume, name) != *value) else {
                continue;
            };
            let call_name = format!("admin.vm.volume.Set.{name}+{}", volume.name);
            let set = call(root, self.name().as_str(), &call_name, value);
            self.warn(&format!("{name} of volume {}", volume.name), set);
        }
    }

    /// Sets all that can be; what is refused is tried once more, as it may depend on what came after it.
    fn set_properties(&mut self, root: &Root) {
        let class = self.stored.class;
        let properties = self.stored.properties.iter().filter(|(name, _)| {
            is_set(class, name) && !is_reference(class, name) && !AT_LAST.contains(&name.as_str())
        });
        let name = self.name().as_str();
        let set = |property: &str, value: &str| {
            call(root, name, &format!("admin.vm.property.Set+{property}"), value)
        };
        let mut refused: Vec<_> = Vec::new();
        for (property, value) in properties {
            if set(property, &value.to_text()).is_err() {
                refused.push((property, value));
            }
        }
        for (property, value) in refused {
            self.warn(&format!("property {property}"), set(property, &value.to_text()));
        }
    }
}

/// What a volume has of a setting, in the same words.
fn value_of(volume: &Volume, setting: &str) -> String {
    match setting {
        REVISIONS_TO_KEEP => volume.revisions_to_keep.to_string(),
        "rw" => text_of(volume.rw),
        _ => volume.ephemeral.map(text_of).unwrap_or_default(),
    }
}

/// Whether a property can be set on a qube that is there.
pub(super) fn is_set(class: Class, name: &str) -> bool {
    let is_free = property::row(class, name).is_some_and(|row| row.access_in(Some(class)) == Access::Free);
    is_free && !NOT_SET.contains(&name)
}

fn is_own_feature(name: &str) -> bool {
    OWN_FEATURES.contains(&name) || OF_BACKUP.contains(&name) || name.starts_with(OF_PRELOADED)
}
