//! The network interfaces of running qubes follow their netvms: they go when a netvm ends and come back when it starts
//! (spec 40 §3 step 28, §5). Whatever cannot be done is logged and keeps nobody from going on.

use common::failure::Failure;
use common::hypervisor::{Nic, Published, Request};
use common::log;
use common::names::QubeName;
use common::root::Root;
use common::store::Store;

use super::held;
use super::pause::Ask;
use super::start::Start;
use crate::companion::clients::running_clients;
use crate::property::{Case, Context, DEFERRED_NETVM};
use crate::{domain, feature};

/// Running clients, and the interface that each shall have.
type Clients = Vec<(QubeName, Option<Nic>)>;

fn clients(case: &Case<'_>) -> Result<Clients, Failure> {
    let Some(netvm) = case.qube else { return Ok(Clients::new()) };
    let running = running_clients(case, netvm)?.into_iter();
    running.map(|client| Ok((client.name.clone(), domain::nic(&case.at(&client))?))).collect()
}

/// Connects those who waited for a qube that provides network.
pub(super) fn connect_clients(start: &mut Start<'_>) -> Result<(), Failure> {
    for (client, nic) in start.look(|case, _| clients(case))? {
        if let Some(nic) = nic {
            tell(start.context.root, &client, &Request::Connect(Box::new(nic)));
        }
    }
    Ok(())
}

/// Disconnects those whose netvm has ended.
pub(super) fn disconnect_clients(store: &Store, context: Context<'_>, netvm: &QubeName) {
    match clients_of(store, context, netvm) {
        Ok(clients) => {
            clients.iter().for_each(|(client, _)| tell(context.root, client, &Request::Disconnect))
        }
        Err(failure) => log::line(&format!("clients of {netvm} stay connected: {}", failure.into_text())),
    }
}

fn clients_of(store: &Store, context: Context<'_>, netvm: &QubeName) -> Result<Clients, Failure> {
    let view = store.read()?;
    let netvm = view.qube(netvm)?;
    clients(&Case { view: &view, context, qube: netvm.as_deref() })
}

/// Moves the interface of a qube that was paused when its netvm became another one. It is remembered until that is done.
pub(super) fn follow_deferred(store: &Store, root: &Root, name: &QubeName, mut ask: impl Ask) {
    let moved = deferred(store, root, name).and_then(|request| {
        let Some(request) = request else { return Ok(()) };
        ask(&request)?;
        let mut txn = store.write()?;
        feature::delete(&mut txn, name, DEFERRED_NETVM)?;
        Ok(txn.commit()?)
    });
    if let Err(failure) = moved {
        log::line(&format!("network of {name}: {}", failure.into_text()));
    }
}

fn deferred(store: &Store, root: &Root, name: &QubeName) -> Result<Option<Request>, Failure> {
    // Nearly always there is nothing, which is seen without a lock.
    if store.read_one()?.qube(name)?.is_none_or(|qube| qube.feature(DEFERRED_NETVM).is_none()) {
        return Ok(None);
    }
    let view = store.read()?;
    let Some(qube) = view.qube(name)? else { return Ok(None) };
    let context = Context { hypervisor: &Published::at(root), root };
    let nic = domain::nic(&Case { view: &view, context, qube: Some(&qube) })?;
    Ok(Some(nic.map_or(Request::Disconnect, |nic| Request::Connect(Box::new(nic)))))
}

/// The client may end at any moment, and nobody waits for a lock of its while holding the netvm's.
fn tell(root: &Root, client: &QubeName, request: &Request) {
    if let Err(failure) = held::ask(root, client, request) {
        log::line(&format!("network of {client}: {}", failure.into_text()));
    }
}
