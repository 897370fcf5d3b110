//! The format of 4.0: included service files, and the old directory of one file for each service (spec 50 §19).

use std::path::Path;

use super::parse::{Columns, Reader, build, implied, syntax};
use super::source::Source;
use super::{Origin, PolicyError, Rule, Token};

/// The directory of the old format, which may be missing.
const DIRECTORY: &str = "/etc/qubes-rpc/policy";

/// What reads the lines of a file for one service and argument.
pub(super) fn lines_of(
    columns: &Columns,
) -> impl Fn(&mut Reader<'_, '_>, &str, &Origin) -> Result<(), PolicyError> {
    |reader, line, at| old_line(columns, reader, line, at)
}

/// `SOURCE TARGET ACTION[,PARAM…]`, or an include for the same service.
fn old_line(
    columns: &Columns,
    reader: &mut Reader<'_, '_>,
    line: &str,
    at: &Origin,
) -> Result<(), PolicyError> {
    let line = line.replace("$include:", "!include ").replace('$', "@").replace(',', " ");
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    match words.as_slice() {
        ["!include", path] => reader.include(path, &lines_of(columns), at),
        [directive, ..] if directive.starts_with('!') => Err(syntax(at, "unknown directive")),
        words => {
            let rule = build(columns, words, at).and_then(|rule| rule.ok_or("a rule needs three words"));
            reader.add(rule.map_err(|text| syntax(at, text))?);
            Ok(())
        }
    }
}

/// Reads a file as one that is included for some service.
pub(super) fn included(source: &mut Source<'_>, base: &Path, path: &Path) -> Result<(), PolicyError> {
    Reader::new(source, base, &mut Vec::new()).read(path, &lines_of(&(None, None)))
}

/// Adds the rules of the old directory.
pub(super) fn compat(source: &mut Source<'_>, rules: &mut Vec<Rule>) -> Result<(), PolicyError> {
    let directory = source.root.path(DIRECTORY);
    let names = source.names(&directory)?.into_iter().filter_map(|name| name.into_string().ok());
    let mut names: Vec<String> =
        names.filter(|name| counts(name) && directory.join(name).is_file()).collect();
    names.sort_by_cached_key(|name| match name.split_once('+') {
        Some((service, argument)) => (service.to_owned(), false, argument.to_owned()),
        None => (name.clone(), true, String::new()),
    });
    for name in names {
        let (service, argument) = match name.split_once('+') {
            Some((service, argument)) => (service, Some(format!("+{argument}"))),
            None => (name.as_str(), None),
        };
        let columns: Columns = (Some(service.to_owned()), argument);
        let path = directory.join(&name);
        Reader::new(source, &directory, rules).read(&path, &lines_of(&columns))?;
        if columns.1.is_some() {
            let file = source.shown(&path);
            rules.extend([Token::AnyVm, Token::AdminVm].map(|target| implied(&file, &columns, target)));
        }
    }
    Ok(())
}

/// Whether a file of that name counts.
fn counts(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._+".contains(&byte);
    let is_kept = [".rpmsave", ".rpmnew", ".swp"].iter().any(|suffix| name.ends_with(suffix));
    !is_kept && !name.starts_with('.') && name.bytes().all(legal)
}
