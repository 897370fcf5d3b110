//! Serves `admin.policy.*`.
#![cfg_attr(not(test), no_main)]

common::service!(services::policy::FAMILY, common::plain::serve);
