//! `admin.vm.Stats`: memory and CPU time of running qubes, again and again (spec 10 §2.9, 30 §15).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::call::{Call, Granted, Row, World};
use common::event::Event;
use common::failure::{Exception, Failure};
use common::hypervisor::{Domain, Hypervisor, Published, Stubdom};
use common::model::Value;
use common::names::QubeName;
use common::quote::quote;
use common::root::Root;
use common::store::Store;
use common::stream::{Ended, Source};

use crate::property::{self, Context};
use crate::visible::Visible;

pub(super) struct Stats;

impl Call for Stats {
    const ROW: Row = Row::read_one(
        "admin.vm.Stats",
        "Memory and CPU time of running qubes, every stats_interval seconds.",
    )
    .global();
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Rounds, Failure> {
        let name = granted.destination();
        if !name.is_dom0() && world.hypervisor().domain(name).is_none() {
            let text = format!("Domain not running (either powered off or paused): {}", quote(name.as_str()));
            return Err(Failure::new(Exception::QubesVMNotRunningError, text));
        }
        Ok(Rounds {
            root: world.root().clone(),
            caller: granted.caller().clone(),
            destination: name.clone(),
            before: BTreeMap::new(),
            due: Instant::now(),
        })
    }
}

/// CPU times of one domain at one moment.
struct Sample {
    taken: Instant,
    cpu_time_ns: u64,
    stubdom_cpu_time_ns: u64,
}

/// One round of samples after another.
pub(super) struct Rounds {
    root: Root,
    caller: QubeName,
    destination: QubeName,
    /// The last round, by name and domain number: a restarted qube begins anew.
    before: BTreeMap<(QubeName, u32), Sample>,
    due: Instant,
}

impl Source for Rounds {
    fn due(&self) -> Option<Instant> {
        Some(self.due)
    }

    fn events(&mut self) -> Result<Vec<Event>, Ended> {
        let failed = |_| Ended("the store cannot be read".to_owned());
        let hypervisor = Published::at(&self.root);
        let store = Store::at(&self.root);
        let view = store.glance();
        let interval =
            property::effective_global(&view, &hypervisor, &self.root, "stats_interval").map_err(failed)?;
        let context = Context { hypervisor: &hypervisor, root: &self.root };
        let visible = Visible::to(&self.caller, Stats::ROW.name, &context, &view).map_err(failed)?;
        let mut domains = self.domains(&hypervisor)?;
        domains.retain(|(name, _)| visible.shows(name.as_str()));
        self.due = Instant::now().checked_add(seconds(interval.as_ref())).unwrap_or(self.due);
        let mut samples = BTreeMap::new();
        let mut events = Vec::new();
        for (name, domain) in domains {
            let key = (name, domain.domid.0);
            let now = Sample::of(&domain);
            events.push(event(&key.0, &domain, &now, self.before.get(&key)));
            samples.insert(key, now);
        }
        self.before = samples;
        Ok(events)
    }
}

/// The property's value as time.
fn seconds(interval: Option<&Value>) -> Duration {
    let seconds = interval.and_then(Value::as_int).and_then(|seconds| u64::try_from(seconds).ok());
    Duration::from_secs(seconds.unwrap_or(1).max(1))
}

impl Rounds {
    /// The destination's domain, or dom0 and all others by their numbers.
    fn domains(&self, hypervisor: &dyn Hypervisor) -> Result<Vec<(QubeName, Domain)>, Ended> {
        let name = &self.destination;
        if !name.is_dom0() {
            let domain = hypervisor.domain_now(name).ok_or_else(|| Ended(format!("{name} stopped")))?;
            return Ok(vec![(name.clone(), domain)]);
        }
        let running = hypervisor.running().into_iter().filter_map(|name| QubeName::parse(&name).ok());
        let mut domains: Vec<_> =
            running.filter_map(|name| hypervisor.domain_now(&name).map(|domain| (name, domain))).collect();
        domains.sort_by_key(|(_, domain)| domain.domid.0);
        domains.insert(0, (name.clone(), hypervisor.dom0()));
        Ok(domains)
    }
}

impl Sample {
    fn of(domain: &Domain) -> Self {
        let stubdom = domain.stubdom.as_ref();
        Self {
            taken: Instant::now(),
            cpu_time_ns: domain.cpu_time_ns,
            stubdom_cpu_time_ns: stubdom.map(|stubdom| stubdom.cpu_time_ns).unwrap_or_default(),
        }
    }
}

/// Whole percents of one processor used between two rounds; 0 in a first round.
fn percent(grown: Option<(u64, Duration)>) -> u64 {
    let Some((cpu_ns, time)) = grown else { return 0 };
    let time_ns = time.as_nanos().max(1);
    let half = time_ns.wrapping_div(2);
    let rounded = u128::from(cpu_ns).saturating_mul(100).saturating_add(half).checked_div(time_ns);
    rounded.and_then(|percent| u64::try_from(percent).ok()).unwrap_or_default()
}

/// The share of each of some processors.
fn shared(percent: u64, vcpus: u32) -> u64 {
    percent.checked_div(u64::from(vcpus.max(1))).unwrap_or_default()
}

fn grown(now: &Sample, before: Option<&Sample>, time: fn(&Sample) -> u64) -> Option<(u64, Duration)> {
    let before = before?;
    Some((time(now).saturating_sub(time(before)), now.taken.saturating_duration_since(before.taken)))
}

const NS_PER_MS: u64 = 1_000_000;

fn event(name: &QubeName, domain: &Domain, now: &Sample, before: Option<&Sample>) -> Event {
    let guest = domain.guest_memory;
    let usable = domain.memory_kib;
    let used = guest.map_or(usable, |guest| guest.used_kib);
    let busy = shared(percent(grown(now, before, |sample| sample.cpu_time_ns)), domain.vcpus);
    let swap = guest.and_then(|guest| guest.swap_used_kib);
    let event = Event::on(name, "vm-stats")
        .with("memory_kb", usable.to_string())
        .with("memory_assigned_total", domain.memory_max_kib.unwrap_or(usable).to_string())
        .with("memory_assigned_usable", usable.to_string())
        .with("memory_with_swap_used", used.to_string())
        .with("cpu_time", milliseconds(domain.cpu_time_ns))
        .with("cpu_usage", busy.to_string())
        .with("online_vcpus", domain.vcpus.to_string())
        .with_some("swap_used", swap.map(|kib| kib.to_string()));
    match &domain.stubdom {
        Some(stubdom) => {
            with_stubdom(event, stubdom, grown(now, before, |sample| sample.stubdom_cpu_time_ns))
        }
        None => event,
    }
}

fn with_stubdom(event: Event, stubdom: &Stubdom, grown: Option<(u64, Duration)>) -> Event {
    let tenths = shared(percent(grown).saturating_mul(10), stubdom.vcpus);
    let usage = format!("{}.{}", tenths.wrapping_div(10), tenths.wrapping_rem(10));
    event
        .with("cpu_time_internal", milliseconds(stubdom.cpu_time_ns))
        .with("cpu_usage_internal", usage)
        .with("online_vcpus_internal", stubdom.vcpus.to_string())
}

/// Whole milliseconds.
fn milliseconds(nanoseconds: u64) -> String {
    nanoseconds.checked_div(NS_PER_MS).unwrap_or_default().to_string()
}
