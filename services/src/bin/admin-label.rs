//! Serves `admin.label.*`.
#![cfg_attr(not(test), no_main)]

common::service!(services::label::FAMILY);
