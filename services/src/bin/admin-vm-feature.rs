//! Serves `admin.vm.feature.*`.
#![cfg_attr(not(test), no_main)]

common::service!(services::feature::FAMILY);
