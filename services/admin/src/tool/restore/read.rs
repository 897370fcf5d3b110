//! Reading through the backup once: each file goes to the qube that it is of.

use std::io::{self, Read};

use backup::{Packed, Reader};

use super::batch::{Batch, Item};
use super::fill::Import;
use crate::tool::source;
use crate::xml;
use common::names::VolumeName;
use common::root::Root;

impl Batch<'_> {
    /// Reads to the end. What is wrong with one file keeps only its qube from being restored.
    ///
    /// # Errors
    /// If the backup cannot be read any further.
    pub(super) fn read<R: Read>(&mut self, reader: &mut Reader<R>) -> backup::Result<()> {
        let mut last = None;
        while let Some(packed) = reader.next()? {
            let name = packed.name().to_owned();
            let place = self.qubes.iter().position(|item| name.starts_with(&item.backed_up.path));
            if last != place {
                self.pass(last);
                last = place;
            }
            let (root, is_trial) = (self.root, self.is_trial);
            if let Some(home) = self.home.as_mut().filter(|home| home.backed_up.path == name) {
                home.take(packed, is_trial);
                continue;
            }
            match place.and_then(|place| self.qubes.get_mut(place)) {
                Some(item) => item.take(root, &name, packed, is_trial),
                None if is_trial => {
                    let damage = source::prove(packed).err().map(|error| format!("{name}: {error}"));
                    self.damages.extend(damage);
                }
                None => {}
            }
        }
        Ok(())
    }

    fn pass(&mut self, place: Option<usize>) {
        if let Some(item) = place.and_then(|place| self.qubes.get_mut(place)) {
            item.is_passed = true;
        }
    }
}

impl Item<'_> {
    /// Takes a file of its own.
    fn take<R: Read>(&mut self, root: &Root, name: &str, packed: Packed<'_, R>, is_trial: bool) {
        self.is_found = true;
        let volume = self.backed_up.volume_in(name);
        let own = name.strip_prefix(&self.backed_up.path).unwrap_or_default();
        let taken = match (volume, own) {
            _ if self.failure.is_some() => return,
            (Some(volume), _) => self.take_volume(root, volume, packed, is_trial),
            (None, "firewall.xml") => self.take_rules(packed),
            (None, "notes.txt") => source::text(packed).map(|text| self.notes = Some(text)).map_err(text_of),
            // Not ours to use; but what is not as it was written is not restored.
            _ => packed.archive(pass_over).map_err(text_of),
        };
        if let Err(why) = taken {
            self.fail(format!("{own}: {why}"));
        }
    }

    fn take_volume<R: Read>(
        &mut self,
        root: &Root,
        volume: VolumeName,
        packed: Packed<'_, R>,
        is_trial: bool,
    ) -> Result<(), String> {
        if is_trial {
            source::prove(packed).map_err(text_of)?;
        } else {
            let mut import = Import::new(root, self.name(), &volume);
            let proven = packed.image(&mut import);
            import.end(proven)?;
        }
        self.awaited.remove(&volume);
        Ok(())
    }

    fn take_rules<R: Read>(&mut self, packed: Packed<'_, R>) -> Result<(), String> {
        let text = source::text(packed).map_err(text_of)?;
        self.firewall = Some(xml::rules(&text).map_err(|error| error.to_string())?);
        Ok(())
    }
}

fn pass_over(input: &mut dyn Read) -> backup::Result<()> {
    io::copy(input, &mut io::sink()).map(drop).map_err(backup::Error::Read)
}

fn text_of(error: backup::Error) -> String {
    error.to_string()
}
