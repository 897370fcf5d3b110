//! Serves `admin.vm.device.*.Attach` and `.Detach`.
#![cfg_attr(not(test), no_main)]

common::service!(services::device::HOT);
