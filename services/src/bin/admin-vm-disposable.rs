//! Serves `admin.vm.CreateDisposable`.
#![cfg_attr(not(test), no_main)]

common::service!(services::vm::DISPOSABLE);
