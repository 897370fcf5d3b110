//! What a check of the store finds, and what to do about it.

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong with what.
    pub text: String,
    /// What to do.
    pub remedy: Remedy,
}

/// What to do about a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The next call finishes a change that was left behind.
    Finish,
    /// A repair finishes it.
    Settle,
    /// A repair builds it anew.
    Rebuild,
    /// A file must come back from a backup.
    Restore,
    /// A property or volume must be given another value.
    Correct,
    /// It may go.
    Remove,
    /// The administrator's own file must be written otherwise.
    Mend,
}

impl Remedy {
    /// The advice in words.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Finish => "any call finishes it, or: qubes-admin check --repair",
            Self::Settle => "finish it: qubes-admin check --repair",
            Self::Rebuild => "build it anew: qubes-admin check --repair",
            Self::Restore => "put the file back from a backup, or remove it and make the object again",
            Self::Correct => "set another value, or make what it names",
            Self::Remove => "remove it if nothing in it is needed",
            Self::Mend => "mend the file",
        }
    }
}

impl Problem {
    /// A problem with what to do about it.
    pub fn new(text: impl Into<String>, remedy: Remedy) -> Self {
        Self { text: text.into(), remedy }
    }

    /// Whether this is a change that was left behind, which is no damage.
    pub fn is_unfinished_change(&self) -> bool {
        self.remedy == Remedy::Finish
    }
}
