//! Firewall rules: lines of `key=value`, read and written by one table (spec 30 §9).

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::failure::Refusal;

/// Longest rule, as written: QubesDB takes no longer value.
const LONGEST: usize = 3072;

const COMMENT: &str = "comment=";
/// The key that stands for all destinations, and the others.
const DESTINATION: &str = "dsthost";
const OTHER_DESTINATIONS: [&str; 2] = ["dst4", "dst6"];

/// What is wrong with a rule. It repeats only what consists of safe characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRule(Cow<'static, str>);

impl From<BadRule> for Refusal {
    #[track_caller]
    fn from(bad: BadRule) -> Self {
        Self::protocol(bad.0)
    }
}

type Written = Result<String, BadRule>;

/// What a rule may say, in the order in which it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Action,
    Expire,
    Destination,
    Protocol,
    SpecialTarget,
    Ports,
    IcmpType,
    Comment,
}

/// One key of the text form: what it says, and how its value is read and then written.
struct Key {
    name: &'static str,
    part: Part,
    write: fn(&str) -> Written,
}

const fn key(name: &'static str, part: Part, write: fn(&str) -> Written) -> Key {
    Key { name, part, write }
}

/// The comment is no key: it stands behind all of them.
const KEYS: [Key; 10] = [
    key("action", Part::Action, |value| choice("action", &["accept", "drop"], value)),
    key("dst4", Part::Destination, destination),
    key("dst6", Part::Destination, destination),
    key("dsthost", Part::Destination, destination),
    key("dstname", Part::Destination, destination),
    key("dstports", Part::Ports, ports),
    key("expire", Part::Expire, expire),
    key("icmptype", Part::IcmpType, icmp_type),
    key("proto", Part::Protocol, |value| choice("proto", &["tcp", "udp", "icmp"], value)),
    key("specialtarget", Part::SpecialTarget, |value| choice("specialtarget", &["dns"], value)),
];

/// One rule, as it is told and stored: options in order, then the comment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rule(String);

/// The options of a rule that is being read, each as it is written.
struct Parts(Vec<(Part, String)>);

/// The two families of addresses, each with rules of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ip4,
    /// IPv6.
    Ip6,
}

impl Rule {
    /// The rule that lets everything through.
    pub fn accept() -> Self {
        Self("action=accept".to_owned())
    }

    /// Reads one line.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(line: &str) -> Result<Self, BadRule> {
        let (options, comment) = line.split_once(COMMENT).unwrap_or((line, ""));
        let mut parts = Parts(Vec::new());
        options.trim_ascii().split(' ').try_for_each(|option| parts.read(option))?;
        if !comment.is_empty() {
            parts.0.push((Part::Comment, self::comment(comment)?));
        }
        parts.into_rule().map_err(bad)
    }

    /// Reads lines, the last of which need not be ended.
    ///
    /// # Errors
    /// What is wrong with the first bad one.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, BadRule> {
        text.strip_suffix('\n').unwrap_or(text).split('\n').map(Self::parse).collect()
    }

    /// Its options and then the comment, each with its key.
    fn parts(&self) -> impl Iterator<Item = (&str, &str)> {
        let end = self.0.find(COMMENT).unwrap_or(self.0.len());
        let (options, comment) = self.0.split_at_checked(end).unwrap_or_default();
        options.split_ascii_whitespace().chain([comment]).filter_map(|part| part.split_once('='))
    }

    /// The value of an option, or the comment, by its key; `dsthost` is the one of every destination.
    pub fn option(&self, wanted: &str) -> Option<&str> {
        let is_wanted =
            |key: &str| key == wanted || (wanted == DESTINATION && OTHER_DESTINATIONS.contains(&key));
        self.parts().find(|(key, _)| is_wanted(key)).map(|(_, value)| value)
    }

    /// Whether it lets through what it is about.
    pub fn accepts(&self) -> bool {
        self.option("action") == Some("accept")
    }

    /// Whether it is about everything: an action and nothing else.
    pub fn is_catch_all(&self) -> bool {
        !self.0.contains(' ')
    }

    /// The first moment at which it holds no more.
    pub fn ends(&self) -> Option<SystemTime> {
        let seconds = self.option("expire")?.parse().ok()?;
        UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?.checked_add(Duration::from_nanos(1))
    }

    /// Whether it still holds.
    pub fn holds_at(&self, now: SystemTime) -> bool {
        self.ends().is_none_or(|end| now < end)
    }

    /// As a netvm reads it in its QubesDB, unless it is about addresses of the other family alone.
    pub fn for_netvm(&self, family: Family) -> Option<String> {
        let other = if family == Family::Ip4 { "dst6" } else { "dst4" };
        if self.parts().any(|(key, _)| key == other) {
            return None;
        }
        let told = self.parts().filter(|(key, _)| !matches!(*key, "expire" | "comment"));
        Some(told.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" "))
    }
}

impl Parts {
    fn read(&mut self, option: &str) -> Result<(), BadRule> {
        let (key, value) = option.split_once('=').ok_or_else(|| bad("Invalid firewall option"))?;
        let known = KEYS.iter().find(|known| known.name == key);
        let Key { part, write, .. } = known.ok_or_else(|| bad("Unknown firewall option"))?;
        if self.has(*part) {
            return Err(BadRule(format!("Option '{}' already set", part.name()).into()));
        }
        self.0.push((*part, write(safe(value)?)?));
        Ok(())
    }

    fn has(&self, wanted: Part) -> bool {
        self.0.iter().any(|(part, _)| *part == wanted)
    }

    fn protocol(&self) -> Option<&str> {
        let written = self.0.iter().find(|(part, _)| *part == Part::Protocol);
        written.and_then(|(_, written)| written.strip_prefix("proto="))
    }

    /// The rule, if nothing is wrong with what it says together.
    fn into_rule(mut self) -> Result<Rule, &'static str> {
        let protocol = self.protocol();
        if self.has(Part::Ports) && !matches!(protocol, Some("tcp" | "udp")) {
            return Err("dstports valid only for 'tcp' and 'udp' protocols");
        }
        if self.has(Part::IcmpType) && protocol != Some("icmp") {
            return Err("icmptype valid only for 'icmp' protocol");
        }
        if !self.has(Part::Action) {
            return Err("Missing firewall action");
        }
        self.0.sort_by_key(|(part, _)| *part);
        let written: Vec<String> = self.0.into_iter().map(|(_, written)| written).collect();
        let rule = Rule(written.join(" "));
        if rule.0.len() > LONGEST { Err("Firewall rule too long") } else { Ok(rule) }
    }
}

/// As it is told and stored; reading that gives the same rule.
impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        rule.0
    }
}

/// From the store, where nothing is but what was written by [`fmt::Display`]: only the calls that take rules in have the
/// whole grammar in them.
impl TryFrom<String> for Rule {
    type Error = BadRule;

    fn try_from(line: String) -> Result<Self, BadRule> {
        let is_text = line.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if is_text && line.starts_with("action=") {
            Ok(Self(line))
        } else {
            Err(bad("Invalid firewall option"))
        }
    }
}

impl Part {
    /// The key that stands for all that say the same.
    const fn name(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Expire => "expire",
            Self::Destination => DESTINATION,
            Self::Protocol => "proto",
            Self::SpecialTarget => "specialtarget",
            Self::Ports => "dstports",
            Self::IcmpType => "icmptype",
            Self::Comment => "comment",
        }
    }
}

const fn bad(text: &'static str) -> BadRule {
    BadRule(Cow::Borrowed(text))
}

fn is_safe(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":;,./-_[]".contains(&byte)
}

/// A value that nothing is wrong with so far.
fn safe(value: &str) -> Result<&str, BadRule> {
    match value {
        "" => Err(bad("Invalid firewall option")),
        _ if value.bytes().all(is_safe) => Ok(value),
        _ => Err(bad("strange characters in rule")),
    }
}

fn comment(text: &str) -> Written {
    let is_kept = text.bytes().all(|byte| byte == b' ' || is_safe(byte));
    if is_kept { Ok(format!("{COMMENT}{text}")) } else { Err(bad("strange characters comment")) }
}

fn choice(key: &str, choices: &[&str], value: &str) -> Written {
    if choices.contains(&value) {
        Ok(format!("{key}={value}"))
    } else {
        Err(BadRule(value.to_owned().into()))
    }
}

/// An address, a network or a host's name; the value decides, not the key.
fn destination(value: &str) -> Written {
    if let Some((host, prefix)) = value.split_once('/') {
        return network(value, host, prefix);
    }
    if value.parse::<Ipv6Addr>().is_ok() {
        return Ok(format!("dst6={value}/128"));
    }
    if value.parse::<Ipv4Addr>().is_ok() {
        return Ok(format!("dst4={value}/32"));
    }
    let is_name_byte =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    if value.bytes().all(is_name_byte) {
        Ok(format!("dsthost={value}"))
    } else {
        Err(bad("Invalid hostname"))
    }
}

fn network(value: &str, host: &str, prefix: &str) -> Written {
    if prefix.contains('/') {
        return Err(BadRule(format!("Too many /: {value}").into()));
    }
    let bits = number(prefix).ok_or_else(|| bad("bad prefix length"))?;
    match (host.parse::<Ipv6Addr>().is_ok(), host.parse::<Ipv4Addr>().is_ok()) {
        (true, _) if bits > 128 => Err(bad("netmask for IPv6 must be <= 128")),
        (true, _) => Ok(format!("dst6={value}")),
        (_, true) if bits > 32 => Err(bad("netmask for IPv4 must be <= 32")),
        (_, true) => Ok(format!("dst4={value}")),
        _ => Err(BadRule(format!("Invalid IP address: {host}").into())),
    }
}

fn ports(value: &str) -> Written {
    let (first, last) = value.split_once('-').unwrap_or((value, value));
    if last.contains('-') {
        return Err(BadRule(value.to_owned().into()));
    }
    let port = |digits| number(digits).ok_or_else(|| bad("Invalid port"));
    let (first, last) = (port(first)?, port(last)?);
    match first.max(last) {
        65_536.. => Err(bad("Ports out of range")),
        _ if first > last => Err(bad("Invalid port range")),
        _ => Ok(format!("dstports={first}-{last}")),
    }
}

fn icmp_type(value: &str) -> Written {
    let number = number(value).filter(|_| value.len() <= 3).ok_or_else(|| bad("bad ICMP type"))?;
    if number > 255 { Err(bad("ICMP type out of range")) } else { Ok(format!("icmptype={number}")) }
}

fn expire(value: &str) -> Written {
    let seconds = number(value).filter(|seconds| i64::try_from(*seconds).is_ok());
    seconds.map(|seconds| format!("expire={seconds}")).ok_or_else(|| bad("bad expiration time"))
}

/// A number in digits alone; the largest where it is larger.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}
