//! What is looked at right before a cutover.

use super::Trouble;
use super::hands::Hands;
use crate::reshard::guard::fence;
use crate::reshard::machine::Side;

impl Hands {
    /// Makes sure that the cutover is worth being begun, and opens what it needs.
    pub(super) async fn verify(&mut self) -> Result<(), Trouble> {
        self.still_fits()?;
        self.await_long_transactions().await?;
        self.ready.clear();
        for shard in self.everywhere() {
            let session = self.session(&shard, "cutover").await?;
            self.ready.push(session);
        }
        self.hashes.clear();
        for owner in self.owners() {
            let session = self.ready(&owner).await?;
            let hash = fence::schema_hash(&session, &self.guarded(&owner)).await?;
            self.ready.push(session);
            let is_first = self.leg.phase.owner() == Side::From;
            let prepared = self.leg.schema_hash.as_ref().filter(|_| is_first);
            if prepared.is_some_and(|prepared| *prepared != hash) {
                let text = format!("shard {owner}: tables are no longer as they were prepared");
                return Err(Trouble::lasting(text));
            }
            self.hashes.insert(owner, hash);
        }
        Ok(())
    }
}
