//! Asking the user which qube shall get a device (spec 30 §5).

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use common::failure::Failure;
use common::log;
use common::model::Class;
use common::names::QubeName;
use common::peer;
use common::store::Store;
use serde_json::json;

use super::class::DeviceClass;
use super::exposed::Exposed;
use super::hwdata;
use crate::property::{Case, Context};

/// The service on dom0's screen that asks.
const SERVICE: &str = "device-agent.GUI";
/// How long an answer is waited for.
const DEADLINE: Duration = Duration::from_secs(300);
/// What stands before the name of the qube that gets the device.
const ALLOW: &str = "allow:";

/// The one of some qubes that the user chooses; none where there is nobody to ask or no answer.
pub(super) fn who_gets(
    store: &Store,
    context: Context<'_>,
    class: &dyn DeviceClass,
    device: &Exposed,
    qubes: &[QubeName],
) -> Option<QubeName> {
    let answer = question(store, context, class, device, qubes)
        .map_err(|failure| failure.into_text().into_owned())
        .and_then(|question| asked(context, &question).map_err(|error| error.to_string()));
    let answer = answer.unwrap_or_else(|error| {
        log::line(&format!("nobody says who gets {}: {error}", device.name()));
        Vec::new()
    });
    let answer = String::from_utf8(answer).ok()?;
    let name = answer.strip_prefix(ALLOW)?;
    qubes.iter().find(|qube| qube.as_str() == name).cloned()
}

fn asked(context: Context<'_>, question: &str) -> std::io::Result<Vec<u8>> {
    let socket = context.root.path("/run/qubes").join(SERVICE);
    let mut agent = peer::reach(&socket, DEADLINE)?.ok_or(std::io::ErrorKind::NotFound)?;
    agent.write_all(format!("{SERVICE} dom0\0{question}").as_bytes())?;
    agent.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    agent.take(1024).read_to_end(&mut answer)?;
    Ok(answer)
}

/// What the service is told, as JSON.
fn question(
    store: &Store,
    context: Context<'_>,
    class: &dyn DeviceClass,
    device: &Exposed,
    qubes: &[QubeName],
) -> Result<String, Failure> {
    let mut named = [device.clone()];
    class.describe(context.root, &mut named);
    let [named] = named;
    let description = hwdata::description(context.root, &named);
    let view = store.read_one()?;
    let mut icons = BTreeMap::new();
    for qube in qubes.iter().filter_map(|name| view.qube(name).ok().flatten()) {
        let case = Case { view: &view, context, qube: Some(&qube) };
        let kind = if qube.class == Class::DispVM { "@dispvm:" } else { "" };
        icons.insert(format!("{kind}{}", qube.name), case.text("icon")?);
    }
    let default = if let [only] = qubes { only.as_str() } else { "" };
    let names: Vec<&str> = qubes.iter().map(QubeName::as_str).collect();
    let question = json!({
        "source": device.backend.as_str(), "device_name": description, "argument": device.port,
        "targets": names, "default_target": default, "icons": icons,
    });
    Ok(question.to_string())
}
