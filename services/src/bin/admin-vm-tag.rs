//! Serves `admin.vm.tag.*`.
#![cfg_attr(not(test), no_main)]

common::service!(services::tag::FAMILY);
