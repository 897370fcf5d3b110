//! Hears what qubes tell dom0 of themselves.
#![cfg_attr(not(test), no_main)]

common::service!(services::notify::FAMILY);
