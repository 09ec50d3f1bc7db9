//! The report as Markdown.

use std::fmt::Write as _;
use std::time::Duration;

use crate::arguments::{Arguments, Part};
use crate::bulk::Bulk;
use crate::idle::Idle;
use crate::machine::Machine;
use crate::many::Many;
use crate::pauses::{Pauses, percentile};
use crate::pgbench::Mode;
use crate::points::Point;
use crate::subject::Subject;

/// Everything that was measured.
pub(crate) struct Report<'a> {
    pub(crate) arguments: &'a Arguments,
    pub(crate) machine: Machine,
    pub(crate) idle: Vec<Idle>,
    pub(crate) points: Vec<Point>,
    pub(crate) bulk: Vec<Bulk>,
    pub(crate) pauses: Option<Pauses>,
    pub(crate) many: Option<Many>,
}

impl<'a> Report<'a> {
    /// Nothing is measured yet.
    pub(crate) fn new(arguments: &'a Arguments, machine: Machine) -> Self {
        Self {
            arguments,
            machine,
            idle: Vec::new(),
            points: Vec::new(),
            bulk: Vec::new(),
            pauses: None,
            many: None,
        }
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        self.write(&mut text)
            .expect("writing to a String cannot fail");
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        self.write_machine(out)?;
        if self.arguments.wants(Part::Points) {
            for &mode in &self.arguments.modes {
                self.write_points(out, mode)?;
            }
        }
        if self.arguments.wants(Part::Memory) {
            self.write_idle(out)?;
        }
        if self.arguments.wants(Part::Bulk) {
            self.write_bulk(out)?;
        }
        if let Some(pauses) = &self.pauses {
            write_pauses(out, pauses)?;
        }
        match &self.many {
            Some(many) => write_many(out, many),
            None => Ok(()),
        }
    }

    fn write_machine(&self, out: &mut String) -> std::fmt::Result {
        let machine = &self.machine;
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
        for idle in &self.idle {
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
        for bulk in &self.bulk {
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

fn write_pauses(out: &mut String, pauses: &Pauses) -> std::fmt::Result {
    writeln!(
        out,
        "\n### {} cutovers, {} tried, {} writes told to be tried again\n",
        pauses.recorded.len(),
        pauses.attempts,
        pauses.repetitions,
    )?;
    writeln!(out, "| ms | of | p50 | p99 | longest |")?;
    writeln!(out, "|---|---:|---:|---:|---:|")?;
    let rows = [
        ("pause, from hold to flip", &pauses.recorded),
        ("longest write on a moving key, by job", &pauses.longest),
        ("writes on moving keys, no job", &pauses.movers_quiet),
        ("writes on other keys, no job", &pauses.others_quiet),
        ("writes on other keys, during jobs", &pauses.others_moving),
    ];
    for (what, values) in rows {
        let at = |percent| number(percentile(values, percent).map(millis), 2);
        let (p50, p99, longest) = (at(50), at(99), at(100));
        writeln!(
            out,
            "| {what} | {} | {p50} | {p99} | {longest} |",
            values.len()
        )?;
    }
    Ok(())
}

fn write_many(out: &mut String, many: &Many) -> std::fmt::Result {
    writeln!(out, "\n### Several shards, medians in ms\n")?;
    writeln!(
        out,
        "| query | shards | through the router | slowest shard alone |"
    )?;
    writeln!(out, "|---|---:|---:|---:|")?;
    for query in &many.queries {
        let (routed, slowest) = (query.routed, query.slowest);
        let (what, shards) = (query.what, query.shards);
        writeln!(out, "| {what} | {shards} | {routed:.2} | {slowest:.2} |")?;
    }
    let (together, apart) = (many.commits.together, many.commits.apart);
    writeln!(
        out,
        "\nBEGIN, UPDATEs on two shards, COMMIT: {together:.2}. Two of BEGIN, UPDATE, COMMIT, each on \
         one shard: {apart:.2}."
    )
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn number(value: Option<f64>, places: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.places$}"))
}

/// A quotient with one decimal.
fn tenths(amount: u64, unit: u64) -> String {
    let tenths = amount * 10 / unit.max(1);
    format!("{}.{}", tenths / 10, tenths % 10)
}
