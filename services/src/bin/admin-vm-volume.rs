//! Serves `admin.vm.volume.*`.
#![cfg_attr(not(test), no_main)]

common::service!(services::volume::FAMILY);
