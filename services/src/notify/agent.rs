//! What a qube's system is, and which agents it has (spec 10 §8.2).

use common::event::Event;
use common::failure::Failure;

use super::boot_modes;
use super::guest::Guest;

/// A feature, and whether a text can be its value.
type Text = (&'static str, fn(&str) -> bool);

/// What is taken over as it is said, if it can be.
const TEXTS: [Text; 5] = [
    ("os-distribution", |text| !text.is_empty()),
    ("os-distribution-like", |text| !text.is_empty()),
    ("os-version", is_version),
    ("os-eol", is_date),
    ("qubes-agent-version", is_agent_version),
];

/// What is said with `1` or `0`, and whether a feature that is there stays as it is.
const SWITCHES: [(&str, bool); 5] =
    [(QREXEC, true), ("gui", true), ("gui-emulated", true), ("qubes-firewall", false), ("vmexec", false)];
const QREXEC: &str = "qrexec";
const ANON_TIMEZONE: &str = "anon-timezone";

pub(super) fn follow(guest: &mut Guest<'_, '_>) -> Result<(), Failure> {
    let said = guest.said;
    for (name, fits) in TEXTS {
        if let Some(text) = said.value(name).filter(|text| fits(text)) {
            guest.set(name, text)?;
        }
    }
    let had_qrexec = has_qrexec(guest)?;
    for (name, stays) in SWITCHES {
        let Some(value) = said.value(name).and_then(switch) else { continue };
        if !stays || guest.qube()?.feature(name).is_none() {
            guest.set(name, value)?;
        }
    }
    if said.value(ANON_TIMEZONE) == Some("1") {
        guest.set(ANON_TIMEZONE, "1")?;
    }
    boot_modes::follow(guest)?;
    if !had_qrexec && has_qrexec(guest)? {
        guest.txn.event(Event::on(guest.name, "template-postinstall"));
    }
    Ok(())
}

/// The value of a feature for what is said of a switch.
fn switch(said: &str) -> Option<&'static str> {
    match said {
        "1" => Some("1"),
        "0" => Some(""),
        _ => None,
    }
}

fn has_qrexec(guest: &Guest<'_, '_>) -> Result<bool, Failure> {
    Ok(guest.qube()?.feature(QREXEC).is_some_and(|value| !value.is_empty()))
}

fn is_version(text: &str) -> bool {
    let is_part = |character: char| character.is_ascii_digit() || matches!(character, '.' | '-');
    text.starts_with(|first: char| first.is_ascii_digit()) && text.chars().all(is_part)
}

fn is_agent_version(text: &str) -> bool {
    let is_number =
        |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('.').is_some_and(|(major, minor)| is_number(major) && is_number(minor))
}

/// Whether a text is a day as `YYYY-MM-DD`.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts.as_slice() else { return false };
    let number = |text: &str, digits: usize| {
        let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u16>().ok()).flatten()
    };
    match (number(year, 4), number(month, 2), number(day, 2)) {
        (Some(year @ 1..), Some(month), Some(day @ 1..)) => day <= days_of(year, month),
        _ => false,
    }
}

const fn days_of(year: u16, month: u16) -> u16 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => 0,
    }
}
