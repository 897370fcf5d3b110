//! `qubes-admin man`: the manual page, from the command line's own definition.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::out::{self, Stop};

/// Sections that the command line's definition does not hold: heading, and term with text.
const SECTIONS: [(&str, &[(&str, &str)]); 4] = [
    (
        "ENVIRONMENT",
        &[(
            "QUBES_ADMIN_ROOT",
            "Directory that stands in front of every absolute path, as --root. Ignored after sudo and in a process \
             with raised privileges.",
        )],
    ),
    (
        "FILES",
        &[
            ("/var/lib/qubes/admin", "The store: one JSON file per qube, and system, labels and pools."),
            ("/run/qubes/admin", "What does not survive a boot: events, index, locks, states of domains."),
            ("/etc/qubes-rpc", "The calls, links to the executables in /usr/lib/qubes/admin."),
            ("/etc/qubes/policy.d", "Who may call: add rules to the files in include."),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            ("0", "Done. Also when whoever read the output went away."),
            ("1", "Refused, or something is wrong; standard error tells what."),
            ("2", "The command line is wrong."),
        ],
    ),
    (
        "EXAMPLES",
        &[
            ("qubes-admin call dom0 admin.vm.List", "All qubes."),
            ("printf green | qubes-admin call work admin.vm.property.Set+label", "A call with a payload."),
            (
                "qubes-admin call --as mgmt work admin.vm.tag.List",
                "The same call as another qube would be answered.",
            ),
            ("qubes-admin import-volume disk.img work private", "A volume from a file."),
            (
                "xz -dc disk.img.xz | qubes-admin import-volume --size 10737418240 - work private",
                "The same from a pipe, which does not tell how much will come.",
            ),
            ("qubes-admin restore /mnt/backup --qubes work", "A qube of a backup, with its data."),
            ("qubes-admin tree --net --dot | dot -Tsvg", "A picture of the network."),
        ],
    ),
];

/// Prints the page.
pub(super) fn run(mut command: Command) -> Result<(), Stop> {
    command.build();
    let page = render(&command).map_err(|error| error.to_string())?;
    out::bytes(&page)
}

fn render(command: &Command) -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    commands(command).to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    for (heading, entries) in SECTIONS {
        let mut section = Roff::new();
        section.control("SH", [heading]);
        for (term, text) in entries {
            section.control("TP", []).text([bold(*term)]).text([roman(*text)]);
        }
        section.to_writer(&mut page)?;
    }
    Ok(page)
}

fn commands(command: &Command) -> Roff {
    let mut section = Roff::new();
    section.control("SH", ["COMMANDS"]);
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        let usage = command.clone().render_usage().to_string();
        section.control("SS", [usage.trim_start_matches("Usage: ")]);
        section.text([roman(text_of(command.get_long_about().or(command.get_about())))]);
        for argument in command.get_arguments().filter(|argument| !is_everywhere(argument)) {
            section.control("TP", []).text([italic(argument.to_string())]);
            section.text([roman(text_of(argument.get_help()))]);
        }
    }
    section
}

/// Options of every command are told once, in a section of their own.
fn is_everywhere(argument: &clap::Arg) -> bool {
    argument.is_global_set() || argument.get_id() == "help"
}

fn text_of(help: Option<&clap::builder::StyledStr>) -> String {
    help.map(ToString::to_string).unwrap_or_default()
}
