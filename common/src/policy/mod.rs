//! qrexec policy: which calls, lists and events it allows (spec 50 §13, §14).
