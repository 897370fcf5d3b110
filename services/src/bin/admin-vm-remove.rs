//! Serves `admin.vm.Remove`.
#![cfg_attr(not(test), no_main)]

common::service!(services::vm::REMOVAL);
