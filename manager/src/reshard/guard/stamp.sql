-- Which versions of which rows of the catalog describe some tables. Every change of their
-- definition makes another stamp, and so may a change that the fingerprint does not know; but
-- nothing is put into words, so that it is had in a fraction of the fingerprint's time.
CREATE OR REPLACE FUNCTION vg.schema_stamp(names text[]) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = '' SET plan_cache_mode = force_generic_plan AS $vg$
BEGIN
  RETURN (
    WITH tree AS (
      SELECT p.relid::oid AS oid
      FROM pg_catalog.unnest(names) name
      CROSS JOIN LATERAL (SELECT pg_catalog.to_regclass(name) AS root) named
      CROSS JOIN LATERAL pg_catalog.pg_partition_tree(root) p
      UNION
      SELECT pg_catalog.to_regclass(name)::oid FROM pg_catalog.unnest(names) name
      WHERE pg_catalog.to_regclass(name) IS NOT NULL
    ), lines AS (
      SELECT pg_catalog.format('table %s %s', c.oid, c.xmin) AS line
      FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.oid
      UNION ALL
      SELECT pg_catalog.format('column %s %s %s', a.attrelid, a.attnum, a.xmin)
      FROM tree JOIN pg_catalog.pg_attribute a ON a.attrelid = tree.oid AND a.attnum > 0
      UNION ALL
      SELECT pg_catalog.format('default %s %s', d.oid, d.xmin)
      FROM tree JOIN pg_catalog.pg_attrdef d ON d.adrelid = tree.oid
      UNION ALL
      SELECT pg_catalog.format('label %s %s', e.oid, e.xmin)
      FROM tree JOIN pg_catalog.pg_attribute a ON a.attrelid = tree.oid AND a.attnum > 0
      JOIN pg_catalog.pg_enum e ON e.enumtypid = a.atttypid
      UNION ALL
      SELECT pg_catalog.format('constraint %s %s', k.oid, k.xmin)
      FROM tree JOIN pg_catalog.pg_constraint k ON k.conrelid = tree.oid
      UNION ALL
      SELECT pg_catalog.format('index %s %s', i.indexrelid, i.xmin)
      FROM tree JOIN pg_catalog.pg_index i ON i.indrelid = tree.oid
      UNION ALL
      SELECT pg_catalog.format('trigger %s %s', t.oid, t.xmin)
      FROM tree JOIN pg_catalog.pg_trigger t ON t.tgrelid = tree.oid
      UNION ALL
      SELECT pg_catalog.format('policy %s %s', p.oid, p.xmin)
      FROM tree JOIN pg_catalog.pg_policy p ON p.polrelid = tree.oid
      UNION ALL
      SELECT pg_catalog.format('rule %s %s', w.oid, w.xmin)
      FROM tree JOIN pg_catalog.pg_rewrite w ON w.ev_class = tree.oid
    )
    SELECT pg_catalog.md5(coalesce(
      pg_catalog.string_agg(line, ',' ORDER BY line COLLATE "C"), '')) FROM lines
  );
END $vg$;
