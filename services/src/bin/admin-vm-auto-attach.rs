//! Sees to devices that come, go and are assigned: what nobody calls from outside.
#![cfg_attr(not(test), no_main)]

common::service!(services::device::AUTO);
