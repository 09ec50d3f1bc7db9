//! The names of cursors: one name is one cursor, wherever in the transaction it was declared.

use futures_util::future::join_all;
use wire::quote::literal;

use super::Ties;
use crate::exec::ask::ask;
use crate::pool::Lease;
use crate::session::Session;
use crate::session::attach::Stopped;
use crate::session::cursors::already_exists;
use crate::session::extended::Portal;

impl Session {
    /// Refuses a name that a cursor has on a backend other than the present one, or that the router
    /// keeps one under: what is declared under it there would be a second one.
    pub(in crate::session) async fn must_be_a_new_cursor(
        &mut self,
        name: &str,
    ) -> Result<(), Stopped> {
        if let Some(Portal::Scattered(_)) = self.portals.get(name.as_bytes()) {
            return Err(already_exists(name).into());
        }
        let Some(company) = &mut self.company else {
            return Ok(());
        };
        for parked in &mut company.others {
            let attachment = &mut parked.attachment;
            if is_open(&mut attachment.lease, &mut attachment.ties, name).await {
                return Err(already_exists(name).into());
            }
        }
        Ok(())
    }

    /// The same for a cursor that the router is to keep: no backend may have one of the name.
    pub(in crate::session) async fn must_be_no_cursor(
        &mut self,
        name: &str,
    ) -> Result<(), Stopped> {
        if self.portals.contains_key(name.as_bytes()) {
            return Err(already_exists(name).into());
        }
        let knows = |ties: &Ties| ties.cursors.iter().any(|known| **known == *name);
        if self.attachment.as_ref().is_some_and(|it| knows(&it.ties)) {
            self.settle_current(false).await?;
            if let Some(attachment) = &mut self.attachment
                && is_open(&mut attachment.lease, &mut attachment.ties, name).await
            {
                return Err(already_exists(name).into());
            }
        }
        self.must_be_a_new_cursor(name).await
    }

    /// CLOSE ALL, on the backends that the session does not work with now.
    pub(super) async fn close_parked_cursors(&mut self) {
        let Some(company) = &mut self.company else {
            return;
        };
        let attachments = company.others.iter_mut().map(|it| &mut it.attachment);
        let having = attachments.filter(|attachment| !attachment.ties.cursors.is_empty());
        let closing = having.map(async |attachment| {
            attachment.ties.cursors.clear();
            // What fails here fails the next statement there, too.
            drop(ask(&mut attachment.lease, "CLOSE ALL").await);
        });
        join_all(closing).await;
    }
}

/// Whether a cursor that was declared on a backend is still there: it may have been closed, or gone
/// with a savepoint.
async fn is_open(lease: &mut Lease, ties: &mut Ties, name: &str) -> bool {
    if !ties.cursors.iter().any(|known| **known == *name) {
        return false;
    }
    let sql = format!(
        "SELECT name FROM pg_catalog.pg_cursors WHERE name = {}",
        literal(name)
    );
    let open = match ask(lease, &sql).await {
        Ok(reply) => !reply.rows.is_empty(),
        Err(_) => false,
    };
    if !open {
        ties.cursors.retain(|known| **known != *name);
    }
    open
}
