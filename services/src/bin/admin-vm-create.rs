//! Serves `admin.vm.Create.*` and `admin.vm.CreateInPool.*`.
#![cfg_attr(not(test), no_main)]

common::service!(services::vm::LIFETIME);
