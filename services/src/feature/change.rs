//! Setting and removing features, with what follows from some of them.

use std::time::Duration;

use common::call::{Call, Content, Granted, Presence, Received, Row, Values, World, no_such_domain};
use common::event::Event;
use common::failure::{Exception, Failure, Refusal};
use common::model::{Class, Value};
use common::names::{Ascii, FeatureName, FeatureValue, QubeName};
use common::store::Txn;

use super::{checks, dom0, not_set};
use crate::companion::live;
use crate::property::{self, Context};
use crate::{input, preload};

/// Stores a feature and fires its events, without the checks of the API (spec 10 appendix D).
///
/// # Errors
/// What the store says.
pub fn store(txn: &mut Txn<'_>, qube: &QubeName, name: &str, value: &str) -> Result<(), Failure> {
    let (name, value) = (FeatureName::parse(name)?, FeatureValue::parse(value)?);
    let change = Change::new(txn, qube, name, value)?;
    txn.event(change.event("domain-feature-pre-set"));
    change.store(txn)?;
    announce_resets(txn, qube, change.name.as_str(), false)?;
    txn.event(change.event("domain-feature-set"));
    Ok(())
}

/// Removes a feature, if it is there, and fires its events.
///
/// # Errors
/// What the store says.
pub fn delete(txn: &mut Txn<'_>, qube: &QubeName, name: &str) -> Result<(), Failure> {
    if txn.qube(qube)?.is_none_or(|found| found.feature(name).is_none()) {
        return Ok(());
    }
    txn.event(removal(qube, "domain-feature-pre-delete", name));
    txn.edit_qube(qube, |qube| {
        qube.remove_feature(name);
    })?;
    txn.event(removal(qube, "domain-feature-delete", name));
    Ok(())
}

fn removal(qube: &QubeName, event: &str, feature: &str) -> Event {
    Event::on(qube, format!("{event}:{feature}")).with("feature", feature)
}

/// One feature's change from its old to its new value.
struct Change<'a> {
    qube: &'a QubeName,
    name: FeatureName,
    value: FeatureValue,
    old: Option<String>,
}

impl<'a> Change<'a> {
    fn new(
        txn: &Txn<'_>,
        qube: &'a QubeName,
        name: FeatureName,
        value: FeatureValue,
    ) -> Result<Self, Failure> {
        let found = txn.qube(qube)?.ok_or_else(|| no_such_domain(qube.as_str()))?;
        let old = found.feature(name.as_str()).map(str::to_owned);
        Ok(Self { qube, name, value, old })
    }

    fn event(&self, event: &str) -> Event {
        Event::on(self.qube, format!("{event}:{}", self.name))
            .with("feature", self.name.as_str())
            .with("value", self.value.as_str())
            .with_some("oldvalue", self.old.clone())
    }

    fn store(&self, txn: &mut Txn<'_>) -> Result<(), Failure> {
        let (name, value) = (self.name.clone(), self.value.clone());
        Ok(txn.edit_qube(self.qube, |qube| qube.set_feature(name, value))?)
    }
}

/// What is reset for listeners when a feature changes: feature, whether also on removal, properties (spec 10 B12).
const RESETS: [(&str, bool, &[&str]); 5] = [
    ("boot-mode.active", false, &["bootmode"]),
    ("net.fake-ip", true, &["visible_ip"]),
    ("net.fake-gateway", true, &["visible_gateway"]),
    ("net.fake-netmask", true, &["visible_netmask"]),
    ("ipv6", true, &["visible_ip6", "visible_gateway6"]),
];

fn announce_resets(txn: &mut Txn<'_>, qube: &QubeName, feature: &str, removing: bool) -> Result<(), Failure> {
    if !txn.qube(qube)?.is_some_and(|found| found.class.is_qubes_vm()) {
        return Ok(());
    }
    let rows = RESETS.iter().filter(|(name, on_removal, _)| *name == feature && (*on_removal || !removing));
    for property in rows.flat_map(|(_, _, properties)| properties.iter()) {
        txn.event(Event::on(qube, format!("property-reset:{property}")).with("name", *property));
    }
    Ok(())
}

const MEMINFO_WRITER: &str = "service.meminfo-writer";

pub(super) struct Set;

pub(super) struct Assignment {
    name: FeatureName,
    value: FeatureValue,
}

impl Call for Set {
    const ROW: Row = Row::write("admin.vm.feature.Set", "Sets a feature.")
        .argument(Presence::Required)
        .payload(Presence::Optional);
    type Input = Assignment;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        let value = received.payload.sanitise::<Ascii>();
        let value = value.map_err(|_| Refusal::protocol("Feature value contains non-ASCII characters"))?;
        let name: FeatureName = input::argument(received)?;
        if !name.is_settable() {
            return Err(Refusal::protocol("feature name contains illegal characters"));
        }
        let illegal = |_| Refusal::protocol(format!("{name} value contains illegal characters"));
        let value = FeatureValue::parse(value.as_str()).map_err(illegal)?;
        Ok(Assignment { name, value })
    }

    fn facts(input: &Self::Input) -> Values {
        Values::argument(input.name.as_str()).with("value", input.value.as_str())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let context = Context::of(world);
        let Assignment { name, value } = granted.input();
        let qube = granted.destination();
        let seen = live::before_feature(world, name.as_str())?;
        let mut preloading = None;
        let refused = world.change(&granted, |txn| {
            let is_new =
                txn.qube(qube)?.is_some_and(|found| found.feature(name.as_str()) != Some(value.as_str()));
            if granted.quota().is_limited() && name.as_str() == preload::MAX {
                check_wish(txn, qube, value)?;
            }
            let refused = assign(txn, &context, qube, name, value)?;
            if is_new && name.as_str() == preload::MAX {
                preloading = preload::wish_changed(txn, qube, Some(value.as_str()))?;
            }
            Ok(refused)
        })?;
        follow_service(world, qube, name);
        follow_wish(world, preloading.as_ref());
        seen.follow(world);
        refused.map_or(Ok(Content::new()), Err)
    }
}

/// Disposables made in advance are nobody's to count, so whoever has a quota may only wish for fewer of them.
fn check_wish(txn: &Txn<'_>, qube: &QubeName, value: &FeatureValue) -> Result<(), Failure> {
    let number = |text: &str| text.parse::<u64>().unwrap_or_default();
    let before = txn.qube(qube)?.and_then(|found| found.feature(preload::MAX).map(number));
    if number(value.as_str()) <= before.unwrap_or_default() {
        return Ok(());
    }
    Err(Refusal::denied("under a quota no more disposables are made in advance").into())
}

/// The whole sequence of `feature.Set`. A failure that comes back inside `Ok` leaves the feature stored.
fn assign(
    txn: &mut Txn<'_>,
    context: &Context<'_>,
    qube: &QubeName,
    name: &FeatureName,
    value: &FeatureValue,
) -> Result<Option<Failure>, Failure> {
    let change = Change::new(txn, qube, name.clone(), value.clone())?;
    txn.event(change.event("domain-feature-pre-set"));
    checks::check(txn, qube, name.as_str(), value.as_str(), change.old.as_deref())?;
    change.store(txn)?;
    announce_resets(txn, qube, name.as_str(), false)?;
    if name.as_str() == MEMINFO_WRITER
        && let Some(refused) = follow_meminfo_writer(txn, context, qube, value)?
    {
        return Ok(Some(refused));
    }
    txn.event(change.event("domain-feature-set"));
    Ok(None)
}

/// `service.meminfo-writer` is an old name for balancing: true resets `maxmem`, false makes it 0, and the feature
/// goes away again. On dom0, whose `maxmem` is read-only, the refusal leaves the feature behind (spec 10 §8.5).
fn follow_meminfo_writer(
    txn: &mut Txn<'_>,
    context: &Context<'_>,
    qube: &QubeName,
    value: &FeatureValue,
) -> Result<Option<Failure>, Failure> {
    let class = txn.qube(qube)?.map(|found| found.class);
    match (class, value.as_str().is_empty()) {
        (None | Some(Class::RemoteVM), _) => return Ok(None),
        (Some(Class::AdminVM), true) => {
            let text = "property 'maxmem' on AdminVM instance cannot be set";
            return Ok(Some(Failure::new(Exception::QubesPropertyValueError, text)));
        }
        (_, true) => property::set(txn, context, qube, "maxmem", Value::Int(0))?,
        (_, false) => property::reset(txn, context, qube, "maxmem")?,
    }
    delete(txn, qube, MEMINFO_WRITER)?;
    Ok(None)
}

pub(super) struct Remove;

impl Call for Remove {
    const ROW: Row = Row::write("admin.vm.feature.Remove", "Removes a feature.").argument(Presence::Required);
    type Input = FeatureName;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        input::argument(received)
    }

    fn facts(input: &Self::Input) -> Values {
        Values::argument(input.as_str())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (qube, feature) = (granted.destination(), granted.input());
        let seen = live::before_feature(world, feature.as_str())?;
        let mut preloading = None;
        world.change(&granted, |txn| {
            remove(txn, qube, feature)?;
            if feature.as_str() == preload::MAX {
                preloading = preload::wish_changed(txn, qube, None)?;
            }
            Ok(())
        })?;
        follow_service(world, qube, feature);
        follow_wish(world, preloading.as_ref());
        seen.follow(world);
        Ok(Content::new())
    }
}

/// The pre-event is fired even if the feature is absent (spec 10 B22).
fn remove(txn: &mut Txn<'_>, qube: &QubeName, feature: &FeatureName) -> Result<(), Failure> {
    txn.event(removal(qube, "domain-feature-pre-delete", feature.as_str()));
    let mut removed = false;
    txn.edit_qube(qube, |qube| removed = qube.remove_feature(feature.as_str()))?;
    if !removed {
        return Err(not_set(qube, feature));
    }
    announce_resets(txn, qube, feature.as_str(), true)?;
    txn.event(removal(qube, "domain-feature-delete", feature.as_str()));
    Ok(())
}

fn follow_service(world: &World<'_>, qube: &QubeName, feature: &FeatureName) {
    if qube.is_dom0() {
        dom0::follow_service(world, feature.as_str());
    }
}

/// Disposables are made in advance, or no longer, without us.
fn follow_wish(world: &World<'_>, template: Option<&QubeName>) {
    if let Some(template) = template {
        preload::start(world.root(), template, Duration::ZERO);
    }
}
