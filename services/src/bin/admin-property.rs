//! Serves `admin.property.*`.
#![cfg_attr(not(test), no_main)]

common::service!(services::property::GLOBAL);
