//! The tables of properties in parts, made from them when this is compiled: an executable links what it needs.

use common::model::Class;

use super::row::{Kind, Row, Written};
use super::{globals, qubes};

/// A property, and whether its value names a qube.
type Named = (&'static str, bool);

static GLOBAL_NAMES: [Named; globals::ROWS.len()] = names(globals::ROWS);
static EARLY_NAMES: [Named; qubes::EARLY.len()] = names(qubes::EARLY);
static LATE_NAMES: [Named; qubes::LATE.len()] = names(qubes::LATE);

/// The rows without their documentation.
pub(super) static GLOBAL: [Row; globals::ROWS.len()] = rows(globals::ROWS);
pub(super) static EARLY: [Row; qubes::EARLY.len()] = rows(qubes::EARLY);
pub(super) static LATE: [Row; qubes::LATE.len()] = rows(qubes::LATE);

const fn names<const N: usize>(mut rows: &[Written]) -> [Named; N] {
    let mut names = [("", false); N];
    let mut free: &mut [Named] = &mut names;
    while let ([row, more @ ..], [name, others @ ..]) = (rows, free) {
        *name = (row.row.name, matches!(row.row.kind, Kind::Qube { .. }));
        (rows, free) = (more, others);
    }
    names
}

const fn rows<const N: usize>(mut rows: &[Written]) -> [Row; N] {
    let mut all = [Row::new("", Kind::Text); N];
    let mut free: &mut [Row] = &mut all;
    while let ([row, more @ ..], [place, others @ ..]) = (rows, free) {
        *place = row.row;
        (rows, free) = (more, others);
    }
    all
}

/// What a property means, of a class or global; empty where upstream has no words.
pub(super) fn help(class: Option<Class>, property: &str) -> &'static str {
    let of_class = class.and_then(|class| {
        let mut rows = qubes::EARLY.iter().chain(qubes::LATE);
        rows.find(|it| it.row.name == property && (it.row.has)(class))
    });
    let row =
        if class.is_some() { of_class } else { globals::ROWS.iter().find(|it| it.row.name == property) };
    row.map_or("", |row| row.help)
}

/// Whether the value of a property of that name names a qube; nothing if no class has such a property.
pub fn names_a_qube(property: &str) -> Option<bool> {
    let mut all = GLOBAL_NAMES.iter().chain(&EARLY_NAMES).chain(&LATE_NAMES);
    all.find(|(name, _)| *name == property).map(|(_, is_qube)| *is_qube)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::property::{global_rows, rows_of};

    #[test]
    fn every_property_is_known_by_its_name() {
        for row in Class::ALL.into_iter().flat_map(rows_of).chain(global_rows()) {
            assert_eq!(names_a_qube(row.name), Some(matches!(row.kind, Kind::Qube { .. })), "{}", row.name);
        }
        assert_eq!(names_a_qube("nosuch"), None);
    }
}
