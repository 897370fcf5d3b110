//! Serves `admin.vm.Start`.
#![cfg_attr(not(test), no_main)]

common::service!(services::lifecycle::STARTING);
