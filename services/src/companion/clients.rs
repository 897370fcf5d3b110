//! What a netvm's QubesDB has of its clients: their addresses, what they take them for, and their firewall
//! (spec 30 §11).

use std::rc::Rc;
use std::time::SystemTime;

use common::failure::Failure;
use common::model::Qube;
use common::names::{Family, Rule};
use common::qubesdb::Entry;

use crate::property::{self, Case};

/// Clients older than the firewall of today find theirs in the words of iptables, after this.
const IPTABLES_HEADER: &str = "*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i vif+ -p udp -m udp --dport 68 -j DROP
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p icmp -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -j REJECT --reject-with icmp-host-prohibited
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i vif+ -o vif+ -j DROP
COMMIT
";

/// The clients, running or not.
fn clients(case: &Case<'_>, netvm: &Qube) -> Result<Vec<Rc<Qube>>, Failure> {
    let mut clients = Vec::new();
    for name in property::clients(case, netvm)? {
        clients.extend(case.view.qube_named(&name)?);
    }
    Ok(clients)
}

/// The addresses of all clients, as they see them.
pub(super) fn addresses(case: &Case<'_>, property: &str) -> Result<Option<String>, Failure> {
    let Some(netvm) = case.qube else { return Ok(None) };
    let mut addresses = Vec::new();
    for client in clients(case, netvm)? {
        addresses.extend(address(&case.at(&client), property)?);
    }
    Ok(Some(addresses.join(" ")))
}

/// An address of a qube, if it has one.
fn address(case: &Case<'_>, property: &str) -> Result<Option<String>, Failure> {
    Ok(Some(case.text(property)?).filter(|address| !address.is_empty()))
}

/// What the netvm of a starting or newly connected qube is told.
///
/// # Errors
/// What the store says.
pub fn of_new_client(netvm: &Case<'_>, client: &Case<'_>) -> Result<Vec<Entry>, Failure> {
    let mut entries = Vec::new();
    for (key, property) in [("/connected-ips", "visible_ip"), ("/connected-ips6", "visible_ip6")] {
        entries.push(Entry { key: key.to_owned(), value: addresses(netvm, property)? });
    }
    entries.extend(of_client(client)?);
    if let Some(qube) = netvm.qube {
        entries.extend(iptables(netvm, qube)?);
    }
    Ok(entries)
}

/// What a netvm finds of all its clients when it starts; a qube that is none has the header of iptables alone.
pub(super) fn of_provider(case: &Case<'_>, qube: &Qube) -> Result<Vec<Entry>, Failure> {
    let mut entries = Vec::new();
    if case.is_on("provides_network")? {
        for client in running_clients(case, qube)? {
            entries.extend(of_client(&case.at(&client))?);
        }
    }
    entries.extend(iptables(case, qube)?);
    Ok(entries)
}

/// The clients that have a domain.
///
/// # Errors
/// What the store says.
pub fn running_clients(case: &Case<'_>, netvm: &Qube) -> Result<Vec<Rc<Qube>>, Failure> {
    let mut clients = clients(case, netvm)?;
    clients.retain(|client| case.context.hypervisor.domain(&client.name).is_some());
    Ok(clients)
}

fn of_client(client: &Case<'_>) -> Result<Vec<Entry>, Failure> {
    let mut entries = Vec::new();
    if let Some(ip) = address(client, "ip")? {
        for (key, property) in [("visible-ip", "visible_ip"), ("visible-gateway", "visible_gateway")] {
            let value = address(client, property)?;
            entries.push(Entry { key: format!("/mapped-ip/{ip}/{key}"), value });
        }
    }
    entries.extend(all_rules(client)?);
    Ok(entries)
}

/// What the netvm of a client is told again when the client's rules change.
pub(super) fn rules_of(netvm: &Case<'_>, client: &Case<'_>) -> Result<Vec<Entry>, Failure> {
    let mut entries = all_rules(client)?;
    if let Some(qube) = netvm.qube {
        entries.extend(iptables(netvm, qube)?);
    }
    Ok(entries)
}

/// The rules for each of a client's addresses.
fn all_rules(client: &Case<'_>) -> Result<Vec<Entry>, Failure> {
    let mut entries = Vec::new();
    for (property, family) in [("ip", Family::Ip4), ("ip6", Family::Ip6)] {
        if let Some(ip) = address(client, property)? {
            entries.extend(firewall(client, &ip, family));
        }
    }
    Ok(entries)
}

/// The rules for one address, in the order in which the netvm reads them; the last entry tells it that they are whole.
/// A rule keeps its number where others are left out.
fn firewall(client: &Case<'_>, ip: &str, family: Family) -> Vec<Entry> {
    let base = format!("/qubes-firewall/{ip}");
    let mut entries = vec![Entry::none(format!("{base}/")), Entry::new(format!("{base}/policy"), "drop")];
    let now = SystemTime::now();
    for (number, rule) in client.qube.map(Qube::rules).unwrap_or_default().iter().enumerate() {
        if let Some(text) = rule.for_netvm(family).filter(|_| rule.holds_at(now)) {
            entries.push(Entry::new(format!("{base}/{number:04}"), text));
        }
    }
    entries.push(Entry::new(base, ""));
    entries
}

/// Whether all of a client's traffic is let through.
fn accepts(client: &Case<'_>) -> bool {
    client.qube.is_some_and(|qube| qube.rules() == [Rule::accept()])
}

/// The same for netvms that do not know the firewall of today, which cut off a client that has other rules than the usual
/// one.
fn iptables(case: &Case<'_>, netvm: &Qube) -> Result<Vec<Entry>, Failure> {
    const RULES: &str = "/qubes-iptables-domainrules";
    if case.feature("qubes-firewall")?.is_some() {
        return Ok(Vec::new());
    }
    let header = Entry::new("/qubes-iptables-header", IPTABLES_HEADER);
    let mut entries = vec![Entry::none(format!("{RULES}/")), header];
    for client in running_clients(case, netvm)? {
        let there = case.at(&client);
        let domain = case.context.hypervisor.domain(&client.name);
        if let (Some(domain), Some(ip)) = (domain, address(&there, "ip")?) {
            entries.push(Entry::new(format!("{RULES}/{}", domain.domid.0), iptables_rules(&there, &ip)));
        }
    }
    entries.push(Entry::new("/qubes-iptables", "reload"));
    Ok(entries)
}

fn iptables_rules(client: &Case<'_>, ip: &str) -> String {
    let all = if accepts(client) { format!("-A FORWARD -s {ip} -j ACCEPT\n") } else { String::new() };
    format!("*filter\n{all}-A FORWARD -s {ip} -j DROP\nCOMMIT\n")
}
