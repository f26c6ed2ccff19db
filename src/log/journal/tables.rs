//! The tables of a journal, and how events change them.

use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::entry::Entry;
use crate::log::Event;
use crate::token::TokenHash;

/// Says that a redb file is a journal, and of which format. Future formats must keep this table: it
/// distinguishes a newer journal from the redb file of another program.
const META: TableDefinition<&str, &str> = TableDefinition::new("meta");
const KIND: (&str, &str) = ("kind", "tower-polar-logout journal");
const FORMAT: (&str, u32) = ("format", 1);

const REVOKED: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("revoked");

/// The entries that are not pending, by expiry (milliseconds since 1970) and hash. Pending entries
/// are left out, so that a million expired ones do not slow down the removal of others.
const BY_EXPIRY: TableDefinition<(u64, &[u8; 32]), ()> = TableDefinition::new("by_expiry");

/// What a redb file holds.
pub(super) enum Format {
    Ours,
    Newer(u32),
    NotOurs,
}

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(META)?;
    meta.insert(KIND.0, KIND.1)?;
    meta.insert(FORMAT.0, &*FORMAT.1.to_string())?;
    Tables::open(transaction)?;
    Ok(())
}

pub(super) fn format(transaction: &ReadTransaction) -> Result<Format, redb::Error> {
    let meta = transaction.open_table(META)?;
    if meta.get(KIND.0)?.is_none_or(|kind| kind.value() != KIND.1) {
        return Ok(Format::NotOurs);
    }
    let format = meta.get(FORMAT.0)?.and_then(|format| format.value().parse().ok());
    match format {
        Some(format) if format == FORMAT.1 => Ok(Format::Ours),
        Some(format) if format > FORMAT.1 => Ok(Format::Newer(format)),
        _ => Err(damaged("the format is unknown")),
    }
}

/// Calls `visit` with every entry.
pub(super) fn for_each(
    transaction: &ReadTransaction,
    mut visit: impl FnMut(TokenHash, Entry),
) -> Result<(), redb::Error> {
    for item in transaction.open_table(REVOKED)?.iter()? {
        let (hash, bytes) = item?;
        let entry = decode(hash.value(), bytes.value())?;
        visit(TokenHash::from_bytes(*hash.value()), entry);
    }
    Ok(())
}

pub(super) fn has_spent(transaction: &ReadTransaction, now: u64) -> Result<bool, redb::Error> {
    let by_expiry = transaction.open_table(BY_EXPIRY)?;
    let first = by_expiry.first()?;
    Ok(first.is_some_and(|(key, _)| key.value().0 <= now))
}

pub(super) struct Tables<'t> {
    revoked: Table<'t, &'static [u8; 32], &'static [u8]>,
    by_expiry: Table<'t, (u64, &'static [u8; 32]), ()>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            revoked: transaction.open_table(REVOKED)?,
            by_expiry: transaction.open_table(BY_EXPIRY)?,
        })
    }

    pub(super) fn record(&mut self, event: &Event) -> Result<(), redb::Error> {
        let (Event::Revoked { hash, .. } | Event::Delivered { hash } | Event::Claimed { hash, .. }) =
            event;
        let hash = hash.as_bytes();
        let before = self.get(hash)?;
        let after = Entry::after(before.clone(), event);
        if before == after {
            return Ok(());
        }
        if let Some(before) = before {
            self.by_expiry.remove((before.expires_at, hash))?;
        }
        if let Some(after) = after {
            self.revoked.insert(hash, &*after.encode(hash))?;
            if after.sealed.is_none() {
                self.by_expiry.insert((after.expires_at, hash), ())?;
            }
        }
        Ok(())
    }

    /// Removes at most `limit` spent entries, those that expired first.
    pub(super) fn purge(&mut self, now: u64, limit: usize) -> Result<(), redb::Error> {
        for _ in 0..limit {
            let Some((expires_at, hash)) = self.first()? else { break };
            if expires_at > now {
                break;
            }
            self.by_expiry.remove((expires_at, &hash))?;
            // The entry itself decides: a wrong order must not end a revocation too early.
            if self.get(&hash)?.is_some_and(|entry| entry.is_spent(now)) {
                self.revoked.remove(&hash)?;
            }
        }
        Ok(())
    }

    fn first(&self) -> Result<Option<(u64, [u8; 32])>, redb::Error> {
        let first = self.by_expiry.first()?;
        Ok(first.map(|(key, _)| {
            let (expires_at, hash) = key.value();
            (expires_at, *hash)
        }))
    }

    fn get(&self, hash: &[u8; 32]) -> Result<Option<Entry>, redb::Error> {
        let Some(bytes) = self.revoked.get(hash)? else { return Ok(None) };
        decode(hash, bytes.value()).map(Some)
    }
}

fn decode(hash: &[u8; 32], bytes: &[u8]) -> Result<Entry, redb::Error> {
    Entry::decode(hash, bytes)
        .ok_or_else(|| damaged(&format!("the entry of {:?}", TokenHash::from_bytes(*hash))))
}

fn damaged(what: &str) -> redb::Error {
    redb::Error::Corrupted(what.to_owned())
}
