//! Serves `admin.backup.*`.
#![cfg_attr(not(test), no_main)]

common::service!(services::backup::FAMILY);
