//! Serves `admin.vm.Shutdown`, `.Kill`, `.Pause` and the other calls on a qube's runs.
#![cfg_attr(not(test), no_main)]

common::service!(services::lifecycle::FAMILY);
