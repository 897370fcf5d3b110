//! Serves `admin.vm.notes.*`.
#![cfg_attr(not(test), no_main)]

common::service!(services::notes::FAMILY);
