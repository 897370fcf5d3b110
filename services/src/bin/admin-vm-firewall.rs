//! Serves `admin.vm.firewall.*`.
#![cfg_attr(not(test), no_main)]

common::service!(services::firewall::FAMILY);
