//! Serves `admin.vm.Create.*`, `admin.vm.CreateInPool.*` and `admin.vm.Remove`.
#![cfg_attr(not(test), no_main)]

common::service!(services::vm::LIFETIME);
