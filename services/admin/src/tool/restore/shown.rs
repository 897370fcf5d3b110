//! What is shown before anything is restored: each qube of the backup and what becomes of it.

use super::plan::{Fate, Planned};
use crate::tool::out::Stop;
use crate::tool::{progress, table};

/// Prints the table.
pub(super) fn print(planned: &[Planned<'_>]) -> Result<(), Stop> {
    let head = ["NAME", "CLASS", "LABEL", "TEMPLATE", "SIZE", "WHAT HAPPENS"].map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = [head].into_iter().chain(planned.iter().map(row)).collect();
    table::print(&rows)
}

fn row(planned: &Planned<'_>) -> Vec<String> {
    let backed_up = planned.backed_up;
    let qube = backed_up.qube.as_ref().ok();
    let property = |name: &str| {
        let value = qube.and_then(|qube| qube.properties.get(name));
        value.map_or_else(|| "-".to_owned(), |value| value.to_text())
    };
    vec![
        backed_up.name.clone(),
        qube.map_or("-", |qube| qube.class.as_str()).to_owned(),
        property("label"),
        property("template"),
        backed_up.size.map_or_else(|| "-".to_owned(), |size| progress::bytes(size as f64)),
        fate(&planned.fate),
    ]
}

fn fate(fate: &Fate) -> String {
    match fate {
        Fate::Restored(restored) => {
            let remarks = restored.remarks.iter().map(|remark| format!("; {remark}")).collect::<String>();
            format!("restored as {}{remarks}", restored.name)
        }
        Fate::Home(path) => format!("its files are restored into {}", path.display()),
        Fate::Skipped(why) => format!("skipped: {why}"),
    }
}
