//! Serves `admin.pool.volume.*`.
#![cfg_attr(not(test), no_main)]

common::service!(services::volume::BY_POOL);
