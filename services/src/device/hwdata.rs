//! The machine's lists of names of vendors and products, `pci.ids` and `usb.ids`: four digits and a name, what belongs to
//! a vendor indented behind it.

use common::files;
use common::names::Interface;
use common::root::Root;

use super::exposed::Exposed;

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

    fn class(&self, class: &str, subclass: &str) -> Option<String> {
        let head = format!("C {class}");
        let particular = self.below(&head).and_then(|lines| named(lines, &format!("\t{subclass}")));
        particular.or_else(|| named(self.0.lines(), &head))
    }
}

/// What kind of device an interface is, in words.
pub(super) fn interface(root: &Root, interface: &Interface) -> String {
    let code = interface.as_str();
    let file = match code.get(..1) {
        Some("p") => Some("pci.ids"),
        Some("u") => Some("usb.ids"),
        _ => None,
    };
    let parts = (code.get(1..3).unwrap_or_default(), code.get(3..5).unwrap_or_default());
    let known = file.and_then(|file| Names::of(root, file).class(parts.0, parts.1));
    known.unwrap_or_else(|| interface.category().to_owned())
}

/// A device in one line for people.
pub(super) fn description(root: &Root, device: &Exposed) -> String {
    let labels = &device.labels;
    let kind = device.interfaces.first().map_or_else(|| "Other".to_owned(), |code| interface(root, code));
    let known = |labels: [&Option<String>; 3]| labels.into_iter().flatten().next().cloned();
    let product = known([&labels.product, &labels.name, &labels.serial]).or_else(|| {
        let (_, port) = device.parent.as_ref()?;
        Some(format!("sub-device of {}:{port}", device.backend))
    });
    let product = product.unwrap_or_else(|| format!("unknown {} device", device.class));
    let vendor = known([&labels.vendor, &labels.manufacturer, &None]);
    format!("{kind}: {} {product}", vendor.unwrap_or_else(|| "unknown vendor".to_owned()))
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
        assert_eq!(names.class("0c", "03").as_deref(), Some("USB controller"));
        assert_eq!(names.class("0c", "07").as_deref(), Some("Serial bus controller"));
        assert_eq!(names.class("0d", "07"), None);
    }
}
