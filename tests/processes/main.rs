//! Whole apps as processes that are killed while people log out.

// One process, killed again and again, and started on its journal.
mod crash;
// Three processes on one Redis that fails in every way.
mod replicas;
