//! Sends all qubes to sleep and wakes them, with the machine.
#![cfg_attr(not(test), no_main)]

common::service!(services::sleep::FAMILY);
