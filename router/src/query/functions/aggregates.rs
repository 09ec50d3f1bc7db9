//! PostgreSQL's own aggregates.

use pg_query::protobuf::FuncCall;

use crate::query::names;

/// Those of PostgreSQL 16. Window functions of the same name have an OVER, those for hypothetical
/// rows a WITHIN GROUP.
const AGGREGATES: [&str; 43] = [
    "any_value",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "every",
    "json_agg",
    "json_agg_strict",
    "json_object_agg",
    "json_object_agg_unique",
    "jsonb_agg",
    "jsonb_agg_strict",
    "jsonb_object_agg",
    "max",
    "min",
    "mode",
    "percentile_cont",
    "percentile_disc",
    "range_agg",
    "range_intersect_agg",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "string_agg",
    "sum",
    "variance",
    "xmlagg",
];

/// Whether a call makes one value of several rows.
#[must_use]
pub fn is_aggregate(call: &FuncCall) -> bool {
    if call.over.is_some() {
        return false;
    }
    let name = call.funcname.last().and_then(names::text).unwrap_or("");
    call.agg_star
        || call.agg_distinct
        || call.agg_within_group
        || call.agg_filter.is_some()
        || !call.agg_order.is_empty()
        || AGGREGATES.contains(&name)
        || name.starts_with("var_")
}
