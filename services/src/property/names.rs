//! The names of all properties, apart from their rows: whoever needs no more links no more.

use super::row::{Kind, Row};
use super::{globals, qubes};

/// A property, and whether its value names a qube.
type Named = (&'static str, bool);

static GLOBAL: [Named; globals::ROWS.len()] = names(&globals::ROWS);
static EARLY: [Named; qubes::EARLY.len()] = names(qubes::EARLY);
static LATE: [Named; qubes::LATE.len()] = names(qubes::LATE);

const fn names<const N: usize>(mut rows: &[Row]) -> [Named; N] {
    let mut names = [("", false); N];
    let mut free: &mut [Named] = &mut names;
    while let ([row, more @ ..], [name, others @ ..]) = (rows, free) {
        *name = (row.name, matches!(row.kind, Kind::Qube { .. }));
        (rows, free) = (more, others);
    }
    names
}

/// Whether the value of a property of that name names a qube; nothing if no class has such a property.
pub fn names_a_qube(property: &str) -> Option<bool> {
    let mut all = GLOBAL.iter().chain(&EARLY).chain(&LATE);
    all.find(|(name, _)| *name == property).map(|(_, is_qube)| *is_qube)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::property::{global_rows, rows_of};
    use common::model::Class;

    #[test]
    fn every_property_is_known_by_its_name() {
        for row in Class::ALL.into_iter().flat_map(rows_of).chain(global_rows()) {
            assert_eq!(names_a_qube(row.name), Some(matches!(row.kind, Kind::Qube { .. })), "{}", row.name);
        }
        assert_eq!(names_a_qube("nosuch"), None);
    }
}
