//! Makes disposables in advance, for other calls of ours.
#![cfg_attr(not(test), no_main)]

common::service!(services::preload::FAMILY);
