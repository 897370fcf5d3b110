//! Serves `admin.deviceclass.List` and `admin.vm.device.*`.
#![cfg_attr(not(test), no_main)]

common::service!(services::device::FAMILY);
