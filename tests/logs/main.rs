//! The revocation logs: memory, journal and Redis, and the layers that write and follow them.

// Layers that follow one log, in simulated time.
mod following;
// What the journal keeps if the process, the disk or the file fails.
mod journal;
// What every log does, wherever it keeps its events: one set of cases for all of them.
mod log_contract;
// An app is started again with the log of the process before.
mod recovery;
// A Redis whose clock is wrong or jumps.
mod redis_clock;
// `RedisLog` while all goes well.
mod redis_log;
// A Redis that refuses: passwords, permissions, versions, certificates.
mod redis_refusals;
// A Redis that is slow, frozen, full, killed or emptied.
mod redis_trouble;
