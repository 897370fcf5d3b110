//! What a file of a backup is inside: an archive of one file, or of a whole tree.

use std::ops::ControlFlow;
use std::path::Path;

use crate::block::{About, BLOCK};
use crate::content::{Content, Source};
use crate::image::Image;
use crate::tree::Tree;
use crate::{Error, Result};

/// Where what is made goes.
pub(crate) type Put<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;

/// An archive that can be written.
pub(crate) enum Archive<'a> {
    Image(Image<'a>),
    Tree { name: String, directory: &'a Path },
}

impl<'a> Archive<'a> {
    pub(crate) fn new(
        name: &str,
        content: Content<'a>,
        time: u64,
        watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Self> {
        let source = match content {
            Content::Tree(directory) => return Ok(Self::Tree { name: name.to_owned(), directory }),
            Content::Bytes(bytes) => Source::Bytes(bytes),
            Content::File(file) => Source::File(file, common::files::length(file).map_err(Error::Content)?),
        };
        Image::new(name.as_bytes(), source, About::file(0, time), watch).map(Self::Image)
    }

    /// Its length, where that is known beforehand.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Image(image) => Some(image.length()),
            Self::Tree { .. } => None,
        }
    }

    pub(crate) fn write(&self, put: Put<'_>, watch: &mut dyn FnMut(u64) -> ControlFlow<()>) -> Result<()> {
        match self {
            Self::Image(image) => {
                image.write(put, watch)?;
                zeros(put, 2 * BLOCK)
            }
            Self::Tree { name, directory } => Tree { put, watch }.write(name.as_bytes(), directory),
        }
    }
}

/// So many zeros.
pub(crate) fn zeros(put: Put<'_>, length: u64) -> Result<()> {
    put(&vec![0; usize::try_from(length).unwrap_or_default()])
}
