WITH named AS (
  SELECT name, pg_catalog.to_regclass(name)::oid AS root FROM pg_catalog.unnest($NAMES) name
), tree AS (
  SELECT name, root AS oid FROM named WHERE root IS NOT NULL
  UNION
  SELECT name, p.relid::oid FROM named, pg_catalog.pg_partition_tree(root) p
  WHERE root IS NOT NULL
), rel AS (
  SELECT tree.name, c.oid, c.oid::pg_catalog.regclass::text AS label, c.relkind, c.relpersistence,
    c.relreplident, c.relrowsecurity, c.relforcerowsecurity, c.relispartition, c.relpartbound
  FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.oid
), lines AS (
  SELECT name, 'table' AS kind, pg_catalog.concat_ws(' ', label, relkind, relpersistence, relreplident,
      relrowsecurity, relforcerowsecurity,
      CASE WHEN relkind = 'p' THEN pg_catalog.pg_get_partkeydef(rel.oid) END,
      CASE WHEN relispartition THEN pg_catalog.pg_get_expr(relpartbound, rel.oid) END) AS line
  FROM rel
  UNION ALL
  SELECT name, 'column', pg_catalog.concat_ws(' ', label,
      pg_catalog.row_number() OVER (PARTITION BY a.attrelid ORDER BY attnum), pg_catalog.quote_ident(attname),
      pg_catalog.format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'not null' END,
      CASE WHEN attcollation <> 0 THEN (SELECT collname FROM pg_catalog.pg_collation WHERE oid = attcollation) END,
      attidentity, attgenerated,
      CASE WHEN attgenerated <> '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END)
  FROM rel JOIN pg_catalog.pg_attribute a ON a.attrelid = rel.oid AND attnum > 0 AND NOT attisdropped
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  UNION ALL
  SELECT DISTINCT name, 'enum', pg_catalog.concat_ws(' ', atttypid::pg_catalog.regtype::text, e.enumsortorder, e.enumlabel)
  FROM rel JOIN pg_catalog.pg_attribute a ON a.attrelid = rel.oid AND attnum > 0 AND NOT attisdropped
  JOIN pg_catalog.pg_enum e ON e.enumtypid = a.atttypid
  UNION ALL
  SELECT name, 'constraint', pg_catalog.concat_ws(' ', label, pg_catalog.quote_ident(conname),
      pg_catalog.pg_get_constraintdef(k.oid))
  FROM rel JOIN pg_catalog.pg_constraint k ON k.conrelid = rel.oid AND contype <> 'n'
  UNION ALL
  SELECT name, 'index', pg_catalog.concat_ws(' ', pg_catalog.pg_get_indexdef(indexrelid),
      CASE WHEN NOT indisvalid THEN 'not valid' END, CASE WHEN indisreplident THEN 'replica identity' END)
  FROM rel JOIN pg_catalog.pg_index i ON i.indrelid = rel.oid
  UNION ALL
  SELECT name, 'trigger', pg_catalog.concat_ws(' ', pg_catalog.pg_get_triggerdef(t.oid), tgenabled)
  FROM rel JOIN pg_catalog.pg_trigger t ON t.tgrelid = rel.oid
    AND NOT tgisinternal AND NOT pg_catalog.starts_with(tgname::text, '~vg_')
  UNION ALL
  SELECT name, 'policy', pg_catalog.concat_ws(' ', label, pg_catalog.quote_ident(polname), polcmd, polpermissive,
      pg_catalog.pg_get_expr(polqual, polrelid), pg_catalog.pg_get_expr(polwithcheck, polrelid))
  FROM rel JOIN pg_catalog.pg_policy p ON p.polrelid = rel.oid
  UNION ALL
  SELECT name, 'rule', pg_catalog.pg_get_ruledef(w.oid)
  FROM rel JOIN pg_catalog.pg_rewrite w ON w.ev_class = rel.oid
)
SELECT name, kind, line FROM lines
