//! Serves `admin.vm.CreateTemplate`, and makes disposables in advance.
#![cfg_attr(not(test), no_main)]

common::service!(services::vm::TEMPLATE);
