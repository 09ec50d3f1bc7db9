//! What is looked at right before a cutover.

use super::Trouble;
use super::hands::Hands;

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
        Ok(())
    }
}
