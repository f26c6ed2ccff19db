//! Whole apps as processes that are killed while users log out.

// One process is killed many times, and started again on its journal.
mod crash;
// Three processes share a Redis that is killed, stopped, emptied and cut off.
mod replicas;
