//! Tables of expectations: an error names a line that there is, and what stands around a line does not matter to it.

use std::collections::BTreeSet;

use common::policy::Policy;
use common::root::Root;
use qubes_admin::tool::Table;

use super::policy::{FILES, Three, new_folder};

/// A line that declares a qube, so that no other qubes are asked for.
const QUBE: &str = "!qube work AppVM tags=t uuid=u running";
const RULES: &str =
    "svc +a work @anyvm allow\nsvc * @tag:t @default ask default_target=work\n* * * @adminvm deny\n";

thread_local! {
    static POLICY: Policy = policy();
}

fn policy() -> Policy {
    let folder = new_folder();
    std::fs::write(folder.path().join(FILES[0]), RULES).unwrap();
    Policy::load(&Root::at(folder.path())).unwrap()
}

pub(super) fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let alone = differing(&format!("{QUBE}\n{text}"));
    let among = differing(&format!("# qubes\n{QUBE}\n\n{text}\n  # the end"));
    match (alone, among) {
        (Ok(alone), Ok(among)) => {
            assert!(
                among
                    .iter()
                    .map(|(line, told)| (line - 2, told))
                    .eq(alone.iter().map(|(line, told)| (*line, told)))
            );
            let lines: BTreeSet<usize> = alone.iter().map(|(line, _)| *line).collect();
            assert_eq!(lines.len(), alone.len());
            assert!(lines.last().is_none_or(|last| *last <= text.lines().count() + 1));
        }
        (Err(alone), Err(among)) => {
            assert_eq!(line_of(&alone).1, line_of(&among).1);
            assert_eq!(line_of(&alone).0 + 2, line_of(&among).0);
            assert!((1..=text.lines().count() + 1).contains(&line_of(&alone).0));
        }
        other => panic!("{other:?}"),
    }
}

fn differing(table: &str) -> Result<Vec<(usize, String)>, String> {
    let table = Table::parse(table)?;
    assert!(table.has_qubes());
    let differing = POLICY.with(|policy| table.differing(policy, &Three));
    assert!(differing.len() <= table.len());
    Ok(differing)
}

fn line_of(told: &str) -> (usize, &str) {
    let (line, text) = told.split_once(": ").unwrap();
    (line.parse().unwrap(), text)
}
