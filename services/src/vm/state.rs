//! `admin.vm.CurrentState`: memory, CPU time and power state of one qube (spec 10 §2.9).

use common::call::{Call, Content, Granted, Row, World, no_such_domain};
use common::failure::Failure;
use common::hypervisor::{Domain, PowerState};
use common::model::{Class, Qube, Value};

use crate::property;

pub(super) struct CurrentState;

impl Call for CurrentState {
    const ROW: Row = Row::read_one("admin.vm.CurrentState", "Memory, CPU time and power state.");
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let name = granted.destination();
        let qube = world.view().qube(name)?.ok_or_else(|| no_such_domain(name.as_str()))?;
        let state = match qube.class {
            Class::AdminVM => running(world, &qube, &world.hypervisor().dom0())?,
            Class::RemoteVM => State::idle(PowerState::Running),
            _ => match world.hypervisor().domain_now(name) {
                Some(domain) => running(world, &qube, &domain)?,
                None => State::idle(PowerState::Halted),
            },
        };
        Ok(state.to_string().into_bytes())
    }
}

struct State {
    memory_kib: u64,
    static_max_kib: u64,
    cpu_time_ns: u64,
    power: PowerState,
}

impl State {
    fn idle(power: PowerState) -> Self {
        Self { memory_kib: 0, static_max_kib: 0, cpu_time_ns: 0, power }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { memory_kib, static_max_kib, cpu_time_ns, power } = self;
        write!(
            out,
            "mem={memory_kib} mem_static_max={static_max_kib} cputime={cpu_time_ns} power_state={power}"
        )
    }
}

/// `maxmem` in KiB; 0 if balancing is off.
fn static_max_kib(world: &World<'_>, qube: &Qube) -> Result<u64, Failure> {
    let maxmem = property::effective(world.view(), world.hypervisor(), world.root(), qube, "maxmem")?;
    let mib = maxmem.as_ref().and_then(Value::as_int).unwrap_or_default();
    Ok(u64::try_from(mib).unwrap_or_default().saturating_mul(1024))
}

fn running(world: &World<'_>, qube: &Qube, domain: &Domain) -> Result<State, Failure> {
    Ok(State {
        memory_kib: domain.memory_kib,
        static_max_kib: static_max_kib(world, qube)?,
        cpu_time_ns: domain.cpu_time_ns,
        power: domain.state,
    })
}
