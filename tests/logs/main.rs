//! The revocation logs: memory, journal and Redis, and the layers that write and follow them.

// Layers that follow one log, in simulated time.
mod following;
// The journal keeps its events if the process, the disk or the file fails.
mod journal;
// The contract of every log: one set of cases, run over each log.
mod log_contract;
// An app is started again with the log of the previous process.
mod recovery;
// A Redis whose clock is wrong or jumps.
mod redis_clock;
// `RedisLog` while Redis works.
mod redis_log;
// A Redis that refuses: passwords, permissions, versions, certificates.
mod redis_refusals;
// A Redis that is slow, frozen, full, killed or emptied.
mod redis_trouble;
