//! Serves the calls of the class of devices that only tests have.
#![cfg_attr(not(test), no_main)]

common::service!(services::device::TEST);
