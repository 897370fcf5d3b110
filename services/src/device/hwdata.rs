//! The machine's lists of names of vendors and products, `pci.ids` and `usb.ids`: four digits and a name, what belongs to
//! a vendor indented behind it.

use common::files;
use common::root::Root;

/// One list.
pub(super) struct Names(String);

impl Names {
    /// The list of that name; empty where there is none.
    pub(super) fn of(root: &Root, file: &str) -> Self {
        let bytes = files::read(&root.path("/usr/share/hwdata").join(file)).unwrap_or_default();
        Self(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// What a vendor is called.
    pub(super) fn vendor(&self, id: &str) -> Option<String> {
        named(self.0.lines(), id)
    }

    /// What a vendor's product is called.
    pub(super) fn product(&self, vendor: &str, id: &str) -> Option<String> {
        named(self.below(vendor)?, &format!("\t{id}"))
    }

    /// The lines that are indented behind one.
    fn below<'a>(&'a self, head: &str) -> Option<impl Iterator<Item = &'a str>> {
        let mut lines = self.0.lines();
        lines.find(|line| name_of(line, head).is_some())?;
        Some(lines.take_while(|line| line.starts_with(['\t', '#']) || line.is_empty()))
    }
}

fn named<'a>(mut lines: impl Iterator<Item = &'a str>, id: &str) -> Option<String> {
    lines.find_map(|line| name_of(line, id)).map(str::to_owned)
}

/// The name on a line that is about an identifier.
fn name_of<'a>(line: &'a str, id: &str) -> Option<&'a str> {
    line.strip_prefix(id)?.strip_prefix("  ").map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_tell_vendors_products_and_classes() {
        let list = "# comment\n8086  Intel Corporation\n\t8cb1  9 Series xHCI\n\t\t1043 1  Board\n\
            8087  Other\n\t8cb2  Else\nC 0c  Serial bus controller\n\t03  USB controller\n\t\t30  XHCI\n";
        let names = Names(list.to_owned());
        assert_eq!(names.vendor("8086").as_deref(), Some("Intel Corporation"));
        assert_eq!(names.product("8086", "8cb1").as_deref(), Some("9 Series xHCI"));
        assert_eq!(names.product("8086", "8cb2"), None);
    }
}
