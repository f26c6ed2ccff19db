//! Tests that concern the whole process: one replaces the allocator and sets the global metrics
//! recorder, the other reads all memory. They may share a process, because allocations are counted
//! by thread and no other test holds the texts that are looked for.

// What a request costs the heap.
mod allocations;
// Nothing of a token or a secret is left in memory.
#[cfg(target_os = "linux")]
mod wiped;
