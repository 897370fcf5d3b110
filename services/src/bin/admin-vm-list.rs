//! Serves `admin.vmclass.List`, `admin.vm.List` and `admin.vm.CurrentState`.
#![cfg_attr(not(test), no_main)]

common::service!(services::vm::LIST);
