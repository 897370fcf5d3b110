//! Serves `admin.pool.*`.
#![cfg_attr(not(test), no_main)]

common::service!(services::pool::FAMILY);
