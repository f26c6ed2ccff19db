//! The rows of the token table, and the freeze if two calls touch one row at the same time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::pair::PairId;

/// The statement timeout of Polar's database.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Rows(watch::Sender<Table>);

struct Table {
    /// The rows that a call holds.
    held: HashSet<PairId>,
    is_frozen: bool,
    statement_timeout: Duration,
}

/// A row that a call holds until this is dropped.
pub(super) struct Row {
    rows: Arc<Rows>,
    pair: PairId,
}

enum Touch {
    Taken,
    /// Another call has frozen the server.
    Frozen,
    /// Another call holds the row, so this call has frozen the server for this duration.
    Freezes(Duration),
}

impl Rows {
    pub(super) fn new() -> Self {
        let (held, statement_timeout) = (HashSet::new(), STATEMENT_TIMEOUT);
        Self(watch::Sender::new(Table { held, is_frozen: false, statement_timeout }))
    }

    pub(super) fn set_statement_timeout(&self, timeout: Duration) {
        self.0.send_modify(|table| table.statement_timeout = timeout);
    }

    /// Resolves once the server is not frozen.
    pub(super) async fn not_frozen(&self) {
        // The channel cannot be closed: the sender is in `self`.
        let _ = self.0.subscribe().wait_for(|table| !table.is_frozen).await;
    }

    /// Takes a row for a call that writes. If another call holds it, the server freezes until the
    /// statement timeout has passed, and `None` is returned.
    pub(super) async fn touch(
        self: &Arc<Self>,
        pair: PairId,
        on_freeze: impl FnOnce(),
    ) -> Option<Row> {
        let timeout = loop {
            self.not_frozen().await;
            match self.try_touch(pair) {
                Touch::Taken => return Some(Row { rows: Arc::clone(self), pair }),
                Touch::Frozen => {}
                Touch::Freezes(timeout) => break timeout,
            }
        };
        on_freeze();
        sleep(timeout).await;
        self.0.send_modify(|table| table.is_frozen = false);
        None
    }

    fn try_touch(&self, pair: PairId) -> Touch {
        let mut touch = Touch::Taken;
        self.0.send_if_modified(|table| {
            if table.is_frozen {
                touch = Touch::Frozen;
            } else if !table.held.insert(pair) {
                table.is_frozen = true;
                touch = Touch::Freezes(table.statement_timeout);
            }
            // No receiver is notified: calls wait only for the end of a freeze.
            false
        });
        touch
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        self.rows.0.send_if_modified(|table| {
            table.held.remove(&self.pair);
            false
        });
    }
}
