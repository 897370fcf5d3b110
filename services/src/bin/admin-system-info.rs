//! Tells policy about all qubes.
#![cfg_attr(not(test), no_main)]

common::service!(services::system_info::FAMILY);
