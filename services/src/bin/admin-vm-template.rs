//! Serves `admin.vm.CreateTemplate`.
#![cfg_attr(not(test), no_main)]

common::service!(services::vm::TEMPLATE);
