//! The report as Markdown.

use std::fmt::Write as _;

use crate::arguments::Arguments;
use crate::bulk::Bulk;
use crate::idle::Idle;
use crate::machine::Machine;
use crate::pgbench::Mode;
use crate::points::Point;
use crate::subject::Subject;

/// Everything that was measured.
pub(crate) struct Report<'a> {
    pub(crate) arguments: &'a Arguments,
    pub(crate) machine: &'a Machine,
    pub(crate) idle: &'a [Idle],
    pub(crate) points: &'a [Point],
    pub(crate) bulk: &'a [Bulk],
}

impl Report<'_> {
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        self.write(&mut text)
            .expect("writing to a String cannot fail");
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        self.write_machine(out)?;
        for &mode in &self.arguments.modes {
            self.write_points(out, mode)?;
        }
        self.write_idle(out)?;
        self.write_bulk(out)
    }

    fn write_machine(&self, out: &mut String) -> std::fmt::Result {
        let machine = self.machine;
        writeln!(
            out,
            "{} on {} ({} cores, {} GiB), Linux {}. Load average before the run: {}. \
             Medians of {} rounds of {} s.",
            machine.versions.join(", "),
            machine.processor,
            machine.cores,
            machine.memory_gib,
            machine.kernel,
            machine.load_before,
            self.arguments.rounds,
            self.arguments.seconds,
        )
    }

    fn write_points(&self, out: &mut String, mode: Mode) -> std::fmt::Result {
        writeln!(out, "\n### Point reads, `-M {}`\n", mode.name())?;
        writeln!(
            out,
            "| clients | through | queries/s | of PgBouncer | latency ms | proxy CPU µs/query | of PgBouncer |"
        )?;
        writeln!(out, "|---:|---|---:|---:|---:|---:|---:|")?;
        for point in self.points.iter().filter(|point| point.mode == mode) {
            let bouncer = self.points.iter().find(|other| {
                (other.mode, other.clients, other.subject)
                    == (mode, point.clients, Subject::Bouncer)
            });
            let speed = bouncer.map(|other| point.queries_per_second / other.queries_per_second);
            let cost = bouncer
                .and_then(|other| other.cpu_us)
                .zip(point.cpu_us)
                .map(|(other, own)| own / other);
            writeln!(
                out,
                "| {} | {} | {:.0} | {} | {:.3} | {} | {} |",
                point.clients,
                point.subject.name(),
                point.queries_per_second,
                number(speed, 2),
                point.latency_ms,
                number(point.cpu_us, 1),
                number(cost, 2),
            )?;
        }
        Ok(())
    }

    fn write_idle(&self, out: &mut String) -> std::fmt::Result {
        let clients = self.arguments.idle_clients;
        writeln!(out, "\n### Memory\n")?;
        writeln!(
            out,
            "| proxy | RSS at rest MiB | PSS at rest MiB | RSS with {clients} idle clients MiB | KiB for each client |"
        )?;
        writeln!(out, "|---|---:|---:|---:|---:|")?;
        for idle in self.idle {
            let grown = idle
                .with_clients
                .resident_kib
                .saturating_sub(idle.at_rest.resident_kib);
            writeln!(
                out,
                "| {} | {} | {} | {} | {} |",
                idle.subject.name(),
                tenths(idle.at_rest.resident_kib, 1024),
                tenths(idle.at_rest.proportional_kib, 1024),
                tenths(idle.with_clients.resident_kib, 1024),
                tenths(grown, u64::try_from(clients).unwrap_or(1)),
            )?;
        }
        Ok(())
    }

    fn write_bulk(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "\n### A result of {} MiB, rows of 1 KiB\n",
            self.arguments.bulk_mib
        )?;
        writeln!(
            out,
            "| through | seconds | proxy CPU s | proxy's peak RSS MiB |"
        )?;
        writeln!(out, "|---|---:|---:|---:|")?;
        for bulk in self.bulk {
            let peak = bulk
                .peak_kib
                .map_or_else(|| "-".to_owned(), |peak| tenths(peak, 1024));
            writeln!(
                out,
                "| {} | {:.2} | {} | {peak} |",
                bulk.subject.name(),
                bulk.seconds,
                number(bulk.cpu_seconds, 2),
            )?;
        }
        Ok(())
    }
}

fn number(value: Option<f64>, places: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.places$}"))
}

/// A quotient with one decimal.
fn tenths(amount: u64, unit: u64) -> String {
    let tenths = amount * 10 / unit.max(1);
    format!("{}.{}", tenths / 10, tenths % 10)
}
