//! Storage pools: the driver trait and the drivers (spec 20).
