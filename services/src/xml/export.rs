//! Writing `qubes.xml` as existing systems read it, byte for byte (spec 10 §7.2).

use std::collections::BTreeMap;

use common::failure::Failure;
use common::hypervisor::Published;
use common::model::{Class, Qube, Value, Volume};
use common::names::{FeatureName, FeatureValue, VolumeName};
use common::root::Root;
use common::store::View;

use super::{KEPT, Writer, firewall};
use crate::property::{self, Context};

/// The whole store as a file's text.
///
/// # Errors
/// What the store says; also if one qube cannot be read, as the file would be no copy.
pub fn export(view: &View<'_>, root: &Root) -> Result<String, Failure> {
    export_with(view, root, &Qube::clone)
}

/// The same with each qube as it shall be there.
///
/// # Errors
/// As [`export`].
pub fn export_with(view: &View<'_>, root: &Root, changed: &dyn Fn(&Qube) -> Qube) -> Result<String, Failure> {
    let hypervisor = Published::at(root);
    let context = Context { hypervisor: &hypervisor, root };
    view.index()?;
    let mut out = Writer::default();
    out.open("qubes", &[]);
    labels(&mut out, view)?;
    pools(&mut out, view)?;
    let system = view.system()?;
    let globals = property::global_rows().iter().map(|row| row.name);
    let globals = globals.filter_map(|name| Some((name, system.properties.get(name)?.clone())));
    properties(&mut out, globals, |name, value| stands(view, &context, None, name, value));
    out.open("domains", &[]);
    for name in view.names()? {
        if let Some(qube) = view.qube(&name)? {
            let qube = changed(&qube);
            let stands = |name: &str, value: &Value| stands(view, &context, Some(&qube), name, value);
            domain(&mut out, &qube, &kernel_volumes(view, &context, &qube)?, stands);
        }
    }
    out.close("domains");
    out.close("qubes");
    Ok(out.into_text())
}

fn labels(out: &mut Writer, view: &View<'_>) -> Result<(), Failure> {
    let mut labels = view.labels()?.labels.clone();
    labels.sort_by_key(|label| label.index);
    out.section("labels", &[], !labels.is_empty(), |out| {
        for label in &labels {
            let id = format!("label-{}", label.index);
            out.leaf("label", &[("id", &id), ("color", &label.color)], label.name.as_str());
        }
    });
    Ok(())
}

/// Attributes in the order of today's writer: settings before the driver, the others after it.
fn pools(out: &mut Writer, view: &View<'_>) -> Result<(), Failure> {
    const BEFORE_DRIVER: [&str; 4] = ["dir_path", "volume_group", "thin_pool", "container"];
    let pools = view.pools()?;
    out.section("pools", &[], !pools.pools.is_empty(), |out| {
        for pool in &pools.pools {
            let before = pool.settings.iter().filter(|(key, _)| BEFORE_DRIVER.contains(&key.as_str()));
            let after = pool.settings.iter().filter(|(key, _)| !BEFORE_DRIVER.contains(&key.as_str()));
            let pair = |(key, value): &'_ (String, String)| (key.clone(), value.clone());
            let mut attributes = vec![("name".to_owned(), pool.name.as_str().to_owned())];
            attributes.extend(before.map(pair));
            attributes.push(("driver".to_owned(), pool.driver.clone()));
            attributes.extend(after.map(pair));
            let attributes: Vec<(&str, &str)> =
                attributes.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            out.empty("pool", &attributes);
        }
    });
    Ok(())
}

/// Whether Set would still take a stored value: a Reset may since have changed the qube that it names.
fn stands(
    view: &View<'_>,
    context: &Context<'_>,
    qube: Option<&Qube>,
    property: &str,
    value: &Value,
) -> bool {
    let is_identity = matches!(property, "name" | "qid" | "uuid");
    // Devices are read after properties, and some checks look at them.
    let bare = qube.map(|qube| Qube { devices: Vec::new(), ..qube.clone() });
    is_identity || property::check_stored(view, context, bare.as_ref(), property, value.clone()).is_ok()
}

/// Values that no longer stand are marked, so that import keeps them; those who read the file today pass over it.
fn properties<'a>(
    out: &mut Writer,
    set: impl Iterator<Item = (&'a str, Value)>,
    stands: impl Fn(&str, &Value) -> bool,
) {
    let set: Vec<_> = set.collect();
    out.section("properties", &[], !set.is_empty(), |out| {
        for (name, value) in &set {
            let kept = if stands(name, value) { None } else { Some((KEPT, "True")) };
            let attributes: Vec<_> = [("name", *name)].into_iter().chain(kept).collect();
            out.leaf("property", &attributes, &value.to_text());
        }
    });
}

/// Identifiers of a qube's kernel volumes, which follow its `kernel` property: by the volume's name.
fn kernel_volumes(
    view: &View<'_>,
    context: &Context<'_>,
    qube: &Qube,
) -> Result<BTreeMap<VolumeName, String>, Failure> {
    let pools = view.pools()?;
    let of_kernel =
        |volume: &&Volume| pools.find(volume.pool.as_str()).is_some_and(|pool| pool.driver == "linux-kernel");
    let kernel = property::effective(view, context.hypervisor, context.root, qube, "kernel")?;
    let kernel = kernel.map(|kernel| kernel.to_text()).unwrap_or_default();
    Ok(qube.volumes.iter().filter(of_kernel).map(|volume| (volume.name.clone(), kernel.clone())).collect())
}

fn domain(
    out: &mut Writer,
    qube: &Qube,
    kernels: &BTreeMap<VolumeName, String>,
    stands: impl Fn(&str, &Value) -> bool,
) {
    let id = format!("domain-{}", qube.qid);
    out.open("domain", &[("id", &id), ("class", qube.class.as_str())]);
    properties(out, explicit_properties(qube), stands);
    features(out, &qube.features);
    out.section("tags", &[], !qube.tags.is_empty(), |out| {
        for tag in &qube.tags {
            out.empty("tag", &[("name", tag.as_str())]);
        }
    });
    devices(out, qube);
    if qube.class.is_qubes_vm() {
        volumes(out, qube, kernels);
    }
    // Nobody but our import looks for it here.
    if let Some(rules) = &qube.firewall {
        firewall::write(out, rules);
    }
    out.close("domain");
}

fn explicit_properties(qube: &Qube) -> impl Iterator<Item = (&'static str, Value)> {
    let is_dom0 = qube.class == Class::AdminVM;
    property::rows_of(qube.class).filter_map(move |row| {
        let value = match row.name {
            "name" | "qid" | "uuid" if is_dom0 => None,
            "name" => Some(Value::Text(qube.name.as_str().to_owned())),
            "qid" => Some(Value::Int(i64::from(qube.qid))),
            "uuid" => Some(Value::Text(qube.uuid.to_string())),
            name => qube.properties.get(name).cloned(),
        };
        Some((row.name, value?))
    })
}

fn features(out: &mut Writer, features: &[(FeatureName, FeatureValue)]) {
    out.section("features", &[], !features.is_empty(), |out| {
        for (name, value) in features {
            out.leaf("feature", &[("name", name.as_str())], value.as_str());
        }
    });
}

fn devices(out: &mut Writer, qube: &Qube) {
    let mut classes: Vec<&str> = Vec::new();
    for device in &qube.devices {
        if !classes.contains(&device.class.as_str()) {
            classes.push(&device.class);
        }
    }
    for class in classes {
        out.open("devices", &[("class", class)]);
        for device in qube.devices.iter().filter(|device| device.class == class) {
            let attributes = [
                ("backend-domain", device.backend.as_str()),
                ("id", device.id.as_str()),
                ("mode", device.mode.as_str()),
                ("identity", device.identity.as_str()),
            ];
            out.section("device", &attributes, !device.options.is_empty(), |out| {
                for (name, value) in &device.options {
                    out.leaf("option", &[("name", name)], value);
                }
            });
        }
        out.close("devices");
    }
}

fn volumes(out: &mut Writer, qube: &Qube, kernels: &BTreeMap<VolumeName, String>) {
    const fn word(flag: bool) -> &'static str {
        if flag { "True" } else { "False" }
    }
    out.section("volume-config", &[], !qube.volumes.is_empty(), |out| {
        for volume in &qube.volumes {
            let (revisions, size) = (volume.revisions_to_keep.to_string(), volume.size.to_string());
            let vid = kernels.get(&volume.name).unwrap_or(&volume.vid);
            let mut attributes = vec![
                ("name", volume.name.as_str()),
                ("pool", volume.pool.as_str()),
                ("vid", if vid.is_empty() { "None" } else { vid }),
                ("revisions_to_keep", &revisions),
                ("rw", word(volume.rw)),
                ("save_on_stop", word(volume.save_on_stop)),
                ("snap_on_start", word(volume.snap_on_start)),
            ];
            attributes.extend(volume.ephemeral.map(|ephemeral| ("ephemeral", word(ephemeral))));
            // No size is read as the usual one of the volume's kind. Kernels have none.
            if volume.size != 0 || !kernels.contains_key(&volume.name) {
                attributes.push(("size", &size));
            }
            attributes.extend(volume.source.as_deref().map(|source| ("source", source)));
            out.empty("volume", &attributes);
        }
    });
}
