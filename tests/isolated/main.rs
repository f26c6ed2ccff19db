//! Tests that concern the whole process: one replaces the allocator and sets the global metrics
//! recorder, the other reads all memory. They may share a process, because allocations are counted
//! by thread and no other test holds the texts that it searches for.

// A request that the layer passes on costs no allocation.
mod allocations;
// No part of a token or secret is left in memory.
#[cfg(target_os = "linux")]
mod wiped;
