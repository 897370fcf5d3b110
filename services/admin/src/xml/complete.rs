//! What can be said only once everything is read: values by the rules of Set, and volumes, which have what the file says
//! and for the rest what their class gives them (spec 10 §7.4, 20 §6.3, §10).

use std::collections::{BTreeMap, BTreeSet};

use common::failure::Failure;
use common::hypervisor::Published;
use common::log;
use common::model::{Class, Qube, Value, Volume};
use common::names::{PoolName, QubeName, VolumeName};
use common::root::Root;
use common::storage::Layout;
use common::store::{Txn, View};
use services::property::{self, Context};

use super::import::is_true;
use super::tree::Element;
use super::{ImportError, KEPT};

/// Elements that are looked at once everything is read, by the holder; the system's is none.
#[derive(Debug, Default)]
pub(super) struct Places {
    properties: BTreeMap<(Option<QubeName>, String), Element>,
    volumes: BTreeMap<QubeName, Vec<Element>>,
}

impl Places {
    /// Keeps the properties and volumes of a holder.
    pub(super) fn note(&mut self, holder: Option<&QubeName>, element: &Element) {
        for property in element.nested("properties", "property") {
            let name = property.attribute("name").unwrap_or_default().to_owned();
            self.properties.insert((holder.cloned(), name), property.clone());
        }
        if let Some(holder) = holder {
            let volumes = element.nested("volume-config", "volume").cloned().collect();
            self.volumes.insert(holder.clone(), volumes);
        }
    }

    /// Whether the file says that a value is to be taken as it is.
    pub(super) fn is_kept(&self, holder: Option<&QubeName>, property: &str) -> bool {
        let element = self.properties.get(&(holder.cloned(), property.to_owned()));
        element.and_then(|element| element.attribute(KEPT)).is_some_and(is_true)
    }

    /// An error at a property. One that no element gave came from an older name and is known to be good.
    fn refused(&self, holder: Option<&QubeName>, property: &str, failure: Failure) -> ImportError {
        let text = format!("property '{property}': {}", failure.into_text());
        match self.properties.get(&(holder.cloned(), property.to_owned())) {
            Some(element) => element.invalid(text),
            None => ImportError::Refused(text),
        }
    }

    /// An error at a volume, or at one that no element gave.
    fn refused_volume(&self, holder: &QubeName, volume: &Volume, text: String) -> ImportError {
        let is_it = |element: &&Element| element.attribute("name") == Some(volume.name.as_str());
        match self.volumes.get(holder).and_then(|elements| elements.iter().find(is_it)) {
            Some(element) => element.invalid(text),
            None => ImportError::Refused(text),
        }
    }
}

/// Checks all values and completes all volumes of a store about to be filled.
pub(super) fn complete(txn: &mut Txn<'_>, root: &Root, places: &Places) -> Result<(), ImportError> {
    let hypervisor = Published::at(root);
    let context = Context { hypervisor: &hypervisor, root };
    check_values(txn, &context, places)?;
    let mut names = txn.names()?;
    // Templates come before what is based on them.
    let rank = |view: &View<'_>, name: &QubeName| view.qube(name).ok().flatten().map(|qube| rank(qube.class));
    names.sort_by_key(|name| rank(txn, name));
    for name in &names {
        complete_volumes(txn, &context, name, places)?;
    }
    check_volumes(txn, &names, places)
}

const fn rank(class: Class) -> u8 {
    match class {
        Class::DispVM => 2,
        Class::AppVM => 1,
        _ => 0,
    }
}

fn check_values(txn: &mut Txn<'_>, context: &Context<'_>, places: &Places) -> Result<(), ImportError> {
    for (property, value) in &txn.system()?.properties {
        if places.is_kept(None, property) {
            continue;
        }
        let checked = property::check_stored(txn, context, None, property, value.clone());
        let checked = checked.map_err(|failure| places.refused(None, property, failure))?;
        txn.edit_system(|system| put(&mut system.properties, property, checked))?;
    }
    for name in txn.names()? {
        let Some(qube) = txn.qube(&name)? else { continue };
        // Properties are read before the devices that some checks look at.
        let bare = Qube { devices: Vec::new(), ..(*qube).clone() };
        for (property, value) in &bare.properties {
            if places.is_kept(Some(&name), property) {
                continue;
            }
            let checked = property::check_stored(txn, context, Some(&bare), property, value.clone());
            let checked = checked.map_err(|failure| places.refused(Some(&name), property, failure))?;
            txn.edit_qube(&name, |qube| put(&mut qube.properties, property, checked))?;
        }
    }
    Ok(())
}

fn put(properties: &mut BTreeMap<String, Value>, property: &str, value: Value) {
    properties.insert(property.to_owned(), value);
}

fn complete_volumes(
    txn: &mut Txn<'_>,
    context: &Context<'_>,
    name: &QubeName,
    places: &Places,
) -> Result<(), ImportError> {
    let Some(qube) = txn.qube(name)?.filter(|qube| qube.class.is_qubes_vm()) else { return Ok(()) };
    let pools = txn.pools()?;
    let view: &View<'_> = txn;
    let layout = Layout {
        root: context.root,
        pools: &pools,
        default_pool: &|volume: &str| property::default_pool(view, context, volume),
        template: &|name: &str| Ok(view.qube_named(name)?),
    };
    let mut volumes = layout.volumes_of(&qube).unwrap_or_else(|failure| {
        log::line(&format!("{name} gets no volumes of its class: {}", failure.into_text()));
        Vec::new()
    });
    for element in places.volumes.get(name).into_iter().flatten() {
        let default =
            volumes.iter().position(|volume| Some(volume.name.as_str()) == element.attribute("name"));
        let mut volume = volume(element, default.and_then(|position| volumes.get(position)))?;
        if pools.find(volume.pool.as_str()).is_some_and(|pool| pool.driver == "linux-kernel") {
            volume.vid = String::new();
        } else if !is_plain(&volume.vid) {
            return Err(element.invalid("a volume without usable vid"));
        }
        match default.and_then(|position| volumes.get_mut(position)) {
            Some(default) => *default = volume,
            None => volumes.push(volume),
        }
    }
    Ok(txn.edit_qube(name, |qube| qube.volumes = volumes)?)
}

/// What the file says of a volume, and for the rest its default.
fn volume(element: &Element, default: Option<&Volume>) -> Result<Volume, ImportError> {
    let invalid = |broken: common::untrusted::Broken| element.invalid(broken.message);
    let number = |name: &str| element.attribute(name).map(str::parse::<i64>).transpose();
    let bad = |_| element.invalid("a number of the volume cannot be read");
    let flag = |name: &str, default: bool| element.attribute(name).map_or(default, is_true);
    let text = |name: &str| element.attribute(name).map(str::to_owned);
    let pool = match element.attribute("pool") {
        Some(pool) => PoolName::parse(pool).map_err(invalid)?,
        None => default
            .map(|default| default.pool.clone())
            .ok_or_else(|| element.invalid("a volume without pool"))?,
    };
    let size = number("size").map_err(bad)?.map(|size| u64::try_from(size).unwrap_or_default());
    let revisions = number("revisions_to_keep").map_err(bad)?.filter(|revisions| *revisions >= -1);
    Ok(Volume {
        name: VolumeName::parse(element.required("name")?).map_err(invalid)?,
        pool,
        vid: text("vid").or(default.map(|default| default.vid.clone())).unwrap_or_default(),
        size: size.or(default.map(|default| default.size)).unwrap_or_default(),
        rw: flag("rw", default.is_some_and(|default| default.rw)),
        save_on_stop: flag("save_on_stop", default.is_some_and(|default| default.save_on_stop)),
        snap_on_start: flag("snap_on_start", default.is_some_and(|default| default.snap_on_start)),
        source: text("source").or(default.and_then(|default| default.source.clone())),
        revisions_to_keep: revisions.or(default.map(|it| it.revisions_to_keep)).unwrap_or_default(),
        ephemeral: element.attribute("ephemeral").map(is_true).or(default.and_then(|it| it.ephemeral)),
        import: None,
    })
}

/// Whether an identifier stays below its pool: letters, digits and `-_.:@` between single slashes, no `..`.
fn is_plain(vid: &str) -> bool {
    let is_part = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte);
        !matches!(part, "" | "." | "..") && part.bytes().all(plain)
    };
    vid.split('/').all(is_part)
}

/// No two volumes may be the same, and a source is a volume of its pool.
fn check_volumes(txn: &Txn<'_>, names: &[QubeName], places: &Places) -> Result<(), ImportError> {
    let mut known = BTreeSet::new();
    for name in names {
        let Some(qube) = txn.qube(name)? else { continue };
        for volume in &qube.volumes {
            let refused = |text| places.refused_volume(name, volume, text);
            let place = (volume.pool.clone(), volume.vid.clone());
            if !volume.vid.is_empty() && !known.insert(place) {
                return Err(refused(format!("the volume {} of {name} stands twice", volume.vid)));
            }
            if let Some(source) = &volume.source
                && !known.contains(&(volume.pool.clone(), source.clone()))
            {
                return Err(refused(format!("{} of {name} has no source {source} in its pool", volume.name)));
            }
        }
    }
    Ok(())
}
