//! The end: whole qubes get what refers to others and lose the tag, all others are removed again.

use common::model::{Device, Value};
use common::names::ANY;
use common::root::Root;
use services::tag::RESTORING;

use super::batch::{Batch, Item};
use super::call;
use super::make::{AT_LAST, PRELOADED, is_set};
use super::plan::is_rather_none;
use crate::tool::history::{rules_calls, wish};

impl Batch<'_> {
    /// Finishes all qubes, after the backup was read to its end, or as far as it could be.
    pub(super) fn finish(&mut self, is_whole: bool) {
        for item in &mut self.qubes {
            item.check(is_whole);
        }
        for place in 0..self.qubes.len() {
            self.check_template(place);
        }
        if self.is_trial {
            return;
        }
        for place in 0..self.qubes.len() {
            // Some template may only now have failed.
            self.check_template(place);
            self.finish_one(place);
        }
        // What is based on a template goes before it.
        let root = self.root;
        for item in self.qubes.iter_mut().rev().filter(|item| item.is_made && item.failure.is_some()) {
            item.remove(root);
        }
    }

    fn check_template(&mut self, place: usize) {
        let template = self.qubes.get(place).and_then(|item| item.restored.template.clone());
        let lost = template.filter(|template| self.has_failed(template));
        if let (Some(template), Some(item)) = (lost, self.qubes.get_mut(place)) {
            item.fail(format!("its template {template} could not be restored"));
        }
    }

    fn finish_one(&mut self, place: usize) {
        let Some(item) = self.qubes.get(place).filter(|item| item.failure.is_none()) else { return };
        let root = self.root;
        let lost = |value: &Value| value.as_text().is_some_and(|name| self.has_failed(name));
        let references: Vec<(String, Value, bool)> = item
            .restored
            .references
            .iter()
            .map(|(property, value)| (property.clone(), value.clone(), lost(value)))
            .collect();
        let devices: Vec<Device> = item.stored.devices.iter().map(|device| self.here(device)).collect();
        let Some(item) = self.qubes.get_mut(place) else { return };
        let finished = item
            .refer(root, &references)
            .and_then(|()| item.protect(root))
            .map(|()| item.describe(root, &devices))
            .and_then(|()| item.release(root));
        if let Err(why) = finished {
            item.fail(why);
        }
    }

    /// A device with its backend's name as it is here.
    fn here(&self, device: &Device) -> Device {
        let renamed = self.qubes.iter().find(|item| item.backed_up.name == device.backend);
        let backend = renamed.map_or_else(|| device.backend.clone(), |item| item.name().to_string());
        Device { backend: if device.backend == ANY { ANY.to_owned() } else { backend }, ..device.clone() }
    }
}

impl Item<'_> {
    /// Gives it up unless everything is there. Of a backup that breaks off, what came last may not be all.
    fn check(&mut self, is_whole: bool) {
        if !self.is_found {
            return self.fail("the backup has nothing of it".to_owned());
        }
        let missing: Vec<String> = self.awaited.iter().map(ToString::to_string).collect();
        if !missing.is_empty() {
            self.fail(format!("the backup does not have all of it: {}", missing.join(", ")));
        } else if !is_whole && !self.is_passed {
            self.fail("the backup breaks off".to_owned());
        }
    }

    /// Sets what names other qubes. A qube that named its network never gets another one.
    fn refer(&mut self, root: &Root, references: &[(String, Value, bool)]) -> Result<(), String> {
        let name = self.name().as_str();
        for (property, value, is_lost) in references {
            let set = |value: &str| call(root, name, &format!("admin.vm.property.Set+{property}"), value);
            let done = match is_lost {
                true => Err(format!("{} could not be restored", value.to_text())),
                false => set(&value.to_text()),
            };
            if done.is_err() && is_rather_none(property) {
                set("").map_err(|why| format!("property {property}: {why}"))?;
                self.warn(&format!("property {property} is none now"), done);
            } else {
                self.warn(&format!("property {property}"), done);
            }
        }
        Ok(())
    }

    fn protect(&mut self, root: &Root) -> Result<(), String> {
        let Some(rules) = self.firewall.as_ref().filter(|_| self.stored.class.is_qubes_vm()) else {
            return Ok(());
        };
        let set = |(method, payload): (String, String)| call(root, self.name().as_str(), &method, &payload);
        rules_calls(rules).into_iter().try_for_each(set).map_err(|why| format!("firewall: {why}"))
    }

    fn describe(&mut self, root: &Root, devices: &[Device]) {
        let name = self.name().as_str();
        for device in devices {
            let assign = format!("admin.vm.device.{}.Assign+{}", device.class, device.name().to_argument());
            let done = call(root, name, &assign, &wish(device));
            self.warn(&format!("device {} of class {}", device.name(), device.class), done);
        }
        if let Some(notes) = self.notes.clone().filter(|notes| !notes.is_empty()) {
            let done = call(root, name, "admin.vm.notes.Set", &notes);
            self.warn("notes", done);
        }
    }

    /// Lets it be started, and what follows from that.
    fn release(&mut self, root: &Root) -> Result<(), String> {
        let name = self.name().as_str();
        call(root, name, &format!("admin.vm.tag.Remove+{RESTORING}"), "")?;
        for property in AT_LAST.into_iter().filter(|property| is_set(self.stored.class, property)) {
            if let Some(value) = self.stored.properties.get(property) {
                let done = call(root, name, &format!("admin.vm.property.Set+{property}"), &value.to_text());
                self.warn(&format!("property {property}"), done);
            }
        }
        if let Some(value) = self.stored.feature(PRELOADED) {
            let done = call(root, name, &format!("admin.vm.feature.Set+{PRELOADED}"), value);
            self.warn(&format!("feature {PRELOADED}"), done);
        }
        Ok(())
    }

    fn remove(&mut self, root: &Root) {
        let name = self.name().as_str();
        if let (Err(why), Some(failure)) = (call(root, name, "admin.vm.Remove", ""), self.failure.as_mut()) {
            failure.push_str(&format!("; what is there of it could not be removed: {why}"));
        }
    }
}
