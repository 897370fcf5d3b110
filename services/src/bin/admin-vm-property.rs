//! Serves `admin.vm.property.*`.
#![cfg_attr(not(test), no_main)]

common::service!(services::property::VM);
