//! The live view: reads metrics again and again, and draws a picture of each interval.

use std::io::{IsTerminal as _, Write as _};

use tokio::time::{Instant, sleep};

use super::doctor::read_all;
use super::{Outcome, Session};
use crate::args::{Output, Top as Flags};
use crate::error::Error;
use crate::report;
use crate::top::between;

/// From the upper left corner on, over what was there.
const REDRAW: &str = "\x1b[H\x1b[2J";

/// Routers that came meanwhile are found after so many pictures.
const LOOK_AGAIN: u32 = 10;

impl Session {
    pub(super) async fn top(&self, flags: Flags) -> Result<Outcome, Error> {
        let count = if flags.once { Some(1) } else { flags.count };
        let is_live = std::io::stdout().is_terminal() && self.output == Output::Table;
        let mut addresses = self.programs().await?;
        let mut before = read_all(&self.scraper, addresses.clone()).await;
        let mut at = Instant::now();
        let mut drawn: u32 = 0;
        loop {
            sleep(flags.interval).await;
            let after = read_all(&self.scraper, addresses.clone()).await;
            let seconds = at.elapsed().as_secs_f64();
            at = Instant::now();
            let text = report::render(&between(&before, &after, seconds), self.output);
            before = after;
            drawn = drawn.saturating_add(1);
            if count.is_some_and(|count| drawn >= count) {
                let text = if is_live && drawn > 1 {
                    format!("{REDRAW}{text}")
                } else {
                    text
                };
                return Ok(Outcome {
                    text,
                    failure: None,
                });
            }
            let start = if is_live { REDRAW } else { "" };
            let gap = if self.output == Output::Table && !is_live {
                "\n"
            } else {
                ""
            };
            let mut stdout = std::io::stdout().lock();
            let written = stdout.write_all(format!("{start}{text}{gap}").as_bytes());
            if written.and_then(|()| stdout.flush()).is_err() {
                // Nobody reads any more.
                return Ok(Outcome {
                    text: String::new(),
                    failure: None,
                });
            }
            drop(stdout);
            if drawn.is_multiple_of(LOOK_AGAIN)
                && let Ok(now) = self.programs().await
            {
                addresses = now;
            }
        }
    }

    /// No manager is needed where the addresses are named.
    async fn programs(&self) -> Result<Vec<String>, Error> {
        if !self.metrics.is_empty() {
            return Ok(self.metrics.clone());
        }
        let routers = self.live_routers().await?;
        Ok(self.metrics_addresses(Some(&routers)))
    }
}
