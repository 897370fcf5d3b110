//! `admin.Events` and `admin.vm.Stats`.
#![cfg_attr(not(test), no_main)]

common::service!(services::events::FAMILY);
