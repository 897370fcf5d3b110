//! Bytes from another qube, and the one way out of them.

use crate::failure::Exception;

/// Bytes that another qube sent: never printed, compared, logged, stored or cloned.
///
/// They leave only through [`Untrusted::sanitise`], into a type of [`crate::names`].
///
/// ```compile_fail
/// let bytes = common::untrusted::Untrusted::new(vec![1]);
/// println!("{:?}", bytes); // no Debug
/// ```
/// ```compile_fail
/// let bytes = common::untrusted::Untrusted::new(vec![1]);
/// let inside = &bytes.0; // the bytes are private
/// ```
/// ```compile_fail
/// let bytes = common::untrusted::Untrusted::new(vec![1]);
/// let copy = bytes.clone(); // no Clone
/// ```
/// ```compile_fail
/// struct Mine;
/// impl common::untrusted::Sanitise for Mine { // sealed
///     fn sanitise(_: &[u8]) -> Result<Self, common::untrusted::Broken> { Ok(Mine) }
/// }
/// ```
pub struct Untrusted(Vec<u8>);

impl Untrusted {
    /// Wraps what was received.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The same bytes once more, for a call's own use; still untrusted.
    pub fn copy_of(other: &Self) -> Self {
        Self(other.0.clone())
    }

    /// Whether there is nothing: the only thing that may be asked before sanitising, with [`Self::len`].
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes were received.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// What stands before the first space, and what after it if there is one; both still untrusted.
    pub fn cut_at_space(&self) -> (Self, Option<Self>) {
        let mut parts = self.0.splitn(2, |byte| *byte == b' ').map(|part| Self(part.to_vec()));
        (parts.next().unwrap_or_else(|| Self(Vec::new())), parts.next())
    }

    /// Parses the bytes into a trusted type.
    ///
    /// # Errors
    /// The type's own refusal, whose text never holds the bytes.
    pub fn sanitise<T: Sanitise>(&self) -> Result<T, Broken> {
        T::sanitise(&self.0)
    }
}

/// Why bytes were refused: a class and a fixed text, so that it cannot carry input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    /// Class of the exception the client sees; none where the specification wants it to see nothing.
    pub exception: Option<Exception>,
    /// Its text.
    pub message: &'static str,
}

impl Broken {
    /// A refusal of class `exception` with the given text.
    pub const fn new(exception: Exception, message: &'static str) -> Self {
        Self { exception: Some(exception), message }
    }

    /// A refusal that drops the connection; the text is for the log.
    pub const fn dropped(message: &'static str) -> Self {
        Self { exception: None, message }
    }
}

pub(crate) mod sealed {
    /// Keeps `Sanitise` to the types of `common::names`.
    pub trait Sealed {}
}

/// A type that untrusted bytes can become. Sealed: only [`crate::names`] implements it.
pub trait Sanitise: sealed::Sealed + Sized {
    /// Checks the bytes and takes over their meaning.
    ///
    /// # Errors
    /// [`Broken`] with the specification's class and text.
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken>;
}
