//! Firewall rules as XML: the `firewall.xml` of existing systems, in both its versions, which our `qubes.xml` holds
//! inside its domains (spec 30 §10).

use std::io;
use std::net::IpAddr;

use common::failure::{Exception, Failure};
use common::files;
use common::model::Qube;
use common::names::Rule;
use common::root::Root;
use common::store::View;

use services::xml::{FIREWALL, firewall_text};

use super::ImportError;
use super::tree::{Element, parse};

/// Where existing systems keep it, in the home directory of a qube.
const FILE: &str = "firewall.xml";

/// The rules in the home directory of a qube, if there are some.
pub(super) fn of_home(root: &Root, qube: &Qube) -> Result<Option<Vec<Rule>>, ImportError> {
    let Some(home) = qube.home() else { return Ok(None) };
    let path = root.lib().join(home).join(FILE);
    let refused = |text: String| ImportError::Refused(format!("{}: {text}", path.display()));
    let bytes = files::read_if_present(&path).map_err(|error| refused(error.to_string()))?;
    let Some(bytes) = bytes else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|_| refused("not UTF-8".to_owned()))?;
    let rules = parse(&text).and_then(|element| read(&element));
    rules.map(Some).map_err(|error| refused(error.to_string()))
}

/// Writes the rules of all qubes into their home directories, where they differ from what is there.
///
/// # Errors
/// What the store or the file system says.
pub fn to_homes(view: &View<'_>, root: &Root) -> Result<(), Failure> {
    for name in view.names()? {
        if let Some(qube) = view.qube(&name)? {
            to_home(root, &qube).map_err(|error| {
                Failure::new(Exception::QubesException, format!("firewall of {name}: {error}"))
            })?;
        }
    }
    Ok(())
}

fn to_home(root: &Root, qube: &Qube) -> io::Result<()> {
    let (Some(rules), Some(home)) = (&qube.firewall, qube.home()) else { return Ok(()) };
    let folder = root.lib().join(home);
    let before = of_home(root, qube);
    if !folder.is_dir() || before.is_ok_and(|before| before.as_ref() == Some(rules)) {
        return Ok(());
    }
    files::replace_for_group(&folder.join(FILE), firewall_text(rules).as_bytes(), 0o660)
}

/// The rules of a root element.
pub(super) fn read(element: &Element) -> Result<Vec<Rule>, ImportError> {
    match element.attribute("version").unwrap_or("1") {
        _ if element.name != FIREWALL => Err(element.invalid("the root element is not <firewall>")),
        "1" => version_1(element),
        "2" => element.nested("rules", "rule").map(rule).collect(),
        other => Err(element.invalid(format!("Unsupported firewall.xml version: {other}"))),
    }
}

/// One rule from properties with the names and values of its text form.
fn rule(element: &Element) -> Result<Rule, ImportError> {
    let (mut options, mut comment) = (Vec::new(), String::new());
    for property in element.nested("properties", "property") {
        match property.required("name")? {
            "comment" => comment = format!(" comment={}", property.text),
            name => options.push((name, property.text.clone())),
        }
    }
    from_text(element, &options, &comment)
}

fn from_text(element: &Element, options: &[(&str, String)], comment: &str) -> Result<Rule, ImportError> {
    if options.iter().any(|(_, value)| value.contains([' ', '='])) {
        return Err(element.invalid("strange characters in rule"));
    }
    let options: Vec<String> = options.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Rule::parse(&format!("{}{comment}", options.join(" "))).map_err(|bad| element.invalid(bad.to_string()))
}

/// Rules against a policy, with DNS and ICMP apart.
fn version_1(element: &Element) -> Result<Vec<Rule>, ImportError> {
    let policy = element.required("policy")?;
    let action = |allowed: bool| ("action", if allowed { "accept" } else { "drop" }.to_owned());
    let apart = |name| action(element.attribute(name).unwrap_or(policy) == "allow");
    let is_allowed = match policy {
        "allow" => true,
        "deny" => false,
        _ => return Err(element.invalid("policy is neither allow nor deny")),
    };
    let special = ("specialtarget", "dns".to_owned());
    let mut rules = vec![
        from_text(element, &[apart("dns"), special], "")?,
        from_text(element, &[apart("icmp"), ("proto", "icmp".to_owned())], "")?,
    ];
    for rule in element.all("rule") {
        let mut options = vec![action(!is_allowed)];
        options.extend(version_1_options(rule));
        rules.push(from_text(rule, &options, "")?);
    }
    rules.extend(is_allowed.then(Rule::accept));
    Ok(rules)
}

fn version_1_options(rule: &Element) -> Vec<(&'static str, String)> {
    let given = |name| rule.attribute(name).filter(|value| !value.is_empty());
    let address = given("address").map(|address| match address.parse::<IpAddr>() {
        Ok(_) => format!("{address}/{}", given("netmask").unwrap_or("32")),
        Err(_) => address.to_owned(),
    });
    let ports = given("port").map(|port| match given("toport") {
        Some(last) => format!("{port}-{last}"),
        None => port.to_owned(),
    });
    let protocol = given("proto").or(ports.as_ref().map(|_| "tcp")).filter(|protocol| *protocol != "any");
    let options = [
        ("dsthost", address),
        ("proto", protocol.map(str::to_owned)),
        ("dstports", ports),
        ("expire", given("expire").map(str::to_owned)),
    ];
    options.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
