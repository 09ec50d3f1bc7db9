-- One statement a line. Before it: "=" the same rows in the same order, "~" the same rows in any
-- order, "?" the same rows or a refusal, "!" a refusal, "e" the same error.
~ SELECT * FROM sc_orders
~ SELECT id, status FROM sc_orders WHERE total > 20
~ SELECT id FROM sc_orders WHERE total > 20 OR status = 'new'
~ SELECT id FROM sc_orders WHERE customer_id IN (1, 2, 3, 4, 5, 6)
= SELECT id, customer_id FROM sc_orders WHERE customer_id IN (1, 2, 3, 4, 5, 6, 7) ORDER BY id
= SELECT id FROM sc_orders WHERE customer_id = ANY ('{1,5,9,13}') ORDER BY id
= SELECT id FROM sc_orders WHERE customer_id = 4 OR customer_id = 11 ORDER BY id
= SELECT id FROM sc_orders ORDER BY id
= SELECT id FROM sc_orders ORDER BY id DESC
= SELECT id FROM sc_orders ORDER BY id LIMIT 7
= SELECT id FROM sc_orders ORDER BY id LIMIT 7 OFFSET 5
= SELECT id FROM sc_orders ORDER BY id OFFSET 100
= SELECT id FROM sc_orders ORDER BY id LIMIT 0
= SELECT id FROM sc_orders ORDER BY id LIMIT ALL OFFSET 10
= SELECT id FROM sc_orders ORDER BY id LIMIT NULL
= SELECT id FROM sc_orders ORDER BY id FETCH FIRST 3 ROWS ONLY
= SELECT id FROM sc_orders ORDER BY id OFFSET 1000
= SELECT * FROM sc_orders ORDER BY id
= SELECT * FROM sc_orders ORDER BY 1
= SELECT * FROM sc_orders ORDER BY 2, 1
= SELECT *, total + 1 AS more FROM sc_orders ORDER BY more NULLS FIRST, id
= SELECT o.* FROM sc_orders o ORDER BY o.id DESC
= SELECT id AS total, total AS id FROM sc_orders ORDER BY total
= SELECT total FROM sc_orders ORDER BY id
= SELECT status, id FROM sc_orders ORDER BY status, id
= SELECT status, id FROM sc_orders ORDER BY status DESC, id
= SELECT status, id FROM sc_orders ORDER BY status NULLS FIRST, id DESC
= SELECT status, id FROM sc_orders ORDER BY status DESC NULLS LAST, id
= SELECT id, upper(status) AS s FROM sc_orders ORDER BY s, id
= SELECT id FROM sc_orders ORDER BY lower(status) || '-' || total, id
= SELECT id, big FROM sc_orders ORDER BY big, id
= SELECT id, big FROM sc_orders ORDER BY big DESC NULLS LAST, id
= SELECT id, price FROM sc_orders ORDER BY price, id
= SELECT id, price FROM sc_orders ORDER BY price DESC, id
= SELECT id, num FROM sc_orders ORDER BY num, id
= SELECT id, num FROM sc_orders ORDER BY num DESC NULLS LAST, id
= SELECT id, -num FROM sc_orders ORDER BY -num, id
= SELECT id, ratio FROM sc_orders ORDER BY ratio, id
= SELECT id, ratio FROM sc_orders ORDER BY ratio DESC, id
= SELECT id, small FROM sc_orders ORDER BY small, id
= SELECT id, tiny FROM sc_orders ORDER BY tiny, id
= SELECT id, flag FROM sc_orders ORDER BY flag, id
= SELECT id, flag FROM sc_orders ORDER BY flag DESC, id
= SELECT id, day FROM sc_orders ORDER BY day, id
= SELECT id, day FROM sc_orders ORDER BY day DESC NULLS LAST, id
= SELECT id, at FROM sc_orders ORDER BY at, id
= SELECT id, atz FROM sc_orders ORDER BY atz DESC, id
= SELECT id, t FROM sc_orders ORDER BY t, id
= SELECT id, ttz FROM sc_orders ORDER BY ttz, id
= SELECT id, dur FROM sc_orders ORDER BY dur, id
= SELECT id, dur FROM sc_orders ORDER BY dur DESC, id
= SELECT id, uid FROM sc_orders ORDER BY uid, id
= SELECT id, raw FROM sc_orders ORDER BY raw, id
= SELECT id, bits FROM sc_orders ORDER BY bits, id
= SELECT id, addr FROM sc_orders ORDER BY addr, id
= SELECT id, net FROM sc_orders ORDER BY net DESC, id
= SELECT id, mac FROM sc_orders ORDER BY mac, id
= SELECT id, cash FROM sc_orders ORDER BY cash, id
= SELECT id, name FROM sc_orders ORDER BY name, id
= SELECT id, code FROM sc_orders ORDER BY code, id
= SELECT id, ctext FROM sc_orders ORDER BY ctext, id
= SELECT id, ctext FROM sc_orders ORDER BY ctext COLLATE "C" DESC, id
= SELECT id, status FROM sc_orders ORDER BY status COLLATE "en_US", id
= SELECT id, status COLLATE "POSIX" AS s FROM sc_orders ORDER BY s, id
= SELECT id, ident FROM sc_orders ORDER BY ident, id
= SELECT id, mood FROM sc_orders ORDER BY mood, id
= SELECT id, mood FROM sc_orders ORDER BY mood DESC NULLS LAST, id LIMIT 9
= SELECT id, tags FROM sc_orders ORDER BY tags, id
= SELECT id, doc FROM sc_orders ORDER BY doc, id
= SELECT id, doc -> 'a' FROM sc_orders ORDER BY doc -> 'a' DESC, id OFFSET 3 LIMIT 11
! SELECT id, (total, status) FROM sc_orders ORDER BY (total, status), id
! SELECT id FROM sc_orders ORDER BY ROW(total, status), id
= SELECT id, span FROM sc_orders ORDER BY span, id
= SELECT id FROM sc_orders ORDER BY total, status DESC, id LIMIT 20
= SELECT id FROM sc_orders ORDER BY total % 3 DESC, total % 2, id
= SELECT id FROM sc_orders ORDER BY CASE WHEN status = 'new' THEN 0 ELSE 1 END, id
= SELECT id FROM sc_orders ORDER BY coalesce(total, -1), id
= SELECT id FROM sc_orders ORDER BY total IS NULL, id
= SELECT id FROM sc_orders WHERE id < 0 ORDER BY id
~ SELECT count(*) FROM sc_orders
~ SELECT count(*) FROM sc_orders WHERE id < 0
~ SELECT count(total), count(*), count(status), count(1) FROM sc_orders
~ SELECT sum(total) FROM sc_orders
~ SELECT sum(tiny), sum(total), sum(big), sum(price), sum(num), sum(dur), sum(cash) FROM sc_orders
~ SELECT sum(total) FROM sc_orders WHERE id < 0
~ SELECT sum(big) FROM sc_orders WHERE big > 0
~ SELECT pg_typeof(sum(tiny)), pg_typeof(sum(total)), pg_typeof(sum(big)), pg_typeof(sum(price)), pg_typeof(sum(small)), pg_typeof(sum(ratio)) FROM sc_orders
~ SELECT sum(exact), sum(exactf) FROM sc_orders
~ SELECT avg(tiny), avg(total), avg(big) FROM sc_orders
~ SELECT avg(price), avg(num) FROM sc_orders
~ SELECT avg(price) FROM sc_orders WHERE price <> 'NaN'
~ SELECT avg(num) FROM sc_orders WHERE num < 'Infinity' AND num > '-Infinity'
~ SELECT avg(exact), avg(exactf), avg(dur) FROM sc_orders
~ SELECT avg(total) FROM sc_orders WHERE id < 0
~ SELECT avg(total)::numeric(10,2), round(avg(total), 3), avg(total) * 2 FROM sc_orders
~ SELECT avg(exactf), avg(total), avg(price) FILTER (WHERE price < 100) FROM sc_orders
~ SELECT pg_typeof(avg(tiny)), pg_typeof(avg(exactf)), pg_typeof(avg(dur)) FROM sc_orders
~ SELECT min(total), max(total), min(big), max(price), min(num), max(num), min(ratio), max(ratio) FROM sc_orders
~ SELECT min(status), max(status), min(name), max(code), min(ctext), max(ctext) FROM sc_orders
~ SELECT min(day), max(day), min(at), max(atz), min(dur), max(t), min(ttz) FROM sc_orders
~ SELECT min(mood), max(mood), min(addr), max(addr), min(cash), max(tags), min(tags) FROM sc_orders
~ SELECT min(status COLLATE "en_US"), max(status COLLATE "C") FROM sc_orders
~ SELECT pg_typeof(min(name))::text, pg_typeof(max(code))::text, pg_typeof(min(tags))::text, pg_typeof(max(mood))::text FROM sc_orders
~ SELECT bool_and(flag), bool_or(flag), every(flag), every(total > 0) FROM sc_orders
~ SELECT bool_and(flag), bool_or(flag) FROM sc_orders WHERE id < 0
~ SELECT bit_and(total), bit_or(total), bit_xor(total) FROM sc_orders
~ SELECT count(DISTINCT status) FROM sc_orders
~ SELECT count(DISTINCT status), count(DISTINCT total), count(*), sum(total) FROM sc_orders
~ SELECT count(DISTINCT customer_id) FROM sc_orders
~ SELECT sum(DISTINCT total), avg(DISTINCT total), max(DISTINCT total) FROM sc_orders
~ SELECT count(DISTINCT status) FILTER (WHERE total > 10) FROM sc_orders
? SELECT count(DISTINCT (total, status)) FROM sc_orders
~ SELECT count(DISTINCT lower(status)) FROM sc_orders WHERE id < 0
~ SELECT count(*) FILTER (WHERE flag), sum(total) FILTER (WHERE status = 'new') FROM sc_orders
~ SELECT count(*) + 1, sum(total) * 2 - count(*), -count(*) FROM sc_orders
~ SELECT count(*) AS n, 'x' AS label, 1 + 1 FROM sc_orders
~ SELECT coalesce(sum(total), 0), CASE WHEN count(*) > 10 THEN 'many' ELSE 'few' END FROM sc_orders
~ SELECT greatest(max(total), 5), nullif(count(*), 3), max(total)::text || '!' FROM sc_orders
~ SELECT array_agg(total ORDER BY id) FROM sc_orders
~ SELECT string_agg(status, ',' ORDER BY id) FROM sc_orders
~ SELECT string_agg(DISTINCT status, ',' ORDER BY status) FROM sc_orders
~ SELECT json_agg(total ORDER BY id) FROM sc_orders
~ SELECT jsonb_object_agg(id, status ORDER BY id) FROM sc_orders
~ SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY total), percentile_disc(0.25) WITHIN GROUP (ORDER BY total) FROM sc_orders
~ SELECT mode() WITHIN GROUP (ORDER BY total % 4) FROM sc_orders WHERE total IS NOT NULL AND id < 7
~ SELECT stddev(total), variance(total), stddev_pop(total), var_samp(big) FROM sc_orders
~ SELECT stddev(total), count(*), sum(big) FROM sc_orders
~ SELECT status, stddev(total) FROM sc_orders GROUP BY status
~ SELECT status, array_agg(id ORDER BY id) FROM sc_orders GROUP BY status
= SELECT status, count(*) FROM sc_orders GROUP BY status ORDER BY status
= SELECT status, count(*) FROM sc_orders GROUP BY 1 ORDER BY 2 DESC, 1
= SELECT status, count(*) AS n FROM sc_orders GROUP BY status ORDER BY n DESC, status LIMIT 2
= SELECT status, count(*) AS n FROM sc_orders GROUP BY status ORDER BY n, status OFFSET 1
= SELECT status AS s, sum(total) FROM sc_orders GROUP BY s ORDER BY s
= SELECT upper(status) AS s, sum(total) FROM sc_orders GROUP BY s ORDER BY s
= SELECT upper(status) AS status, sum(total) FROM sc_orders GROUP BY upper(status) ORDER BY 1
= SELECT upper(status) AS status, count(*) FROM sc_orders GROUP BY status ORDER BY 1
~ SELECT status, flag, count(*) FROM sc_orders GROUP BY status, flag
~ SELECT flag, status, count(*) FROM sc_orders GROUP BY 2, 1
~ SELECT count(*) FROM sc_orders GROUP BY status
~ SELECT status FROM sc_orders GROUP BY status
= SELECT status FROM sc_orders GROUP BY status HAVING count(*) > 10 ORDER BY status
= SELECT status, sum(total) FROM sc_orders GROUP BY status HAVING sum(total) > 100 ORDER BY sum(total)
= SELECT status, avg(total) FROM sc_orders GROUP BY status ORDER BY avg(total) DESC
~ SELECT total % 3, count(*) FROM sc_orders GROUP BY total % 3
~ SELECT total % 3 + 1, count(*) FROM sc_orders GROUP BY total % 3
= SELECT date_trunc('month', at) AS m, count(*) FROM sc_orders GROUP BY m ORDER BY m
= SELECT extract(year FROM at) AS y, max(total) FROM sc_orders GROUP BY 1 ORDER BY 1
= SELECT at::date, count(*) FROM sc_orders GROUP BY at::date ORDER BY at::date
~ SELECT mood, count(*) FROM sc_orders GROUP BY mood
= SELECT mood, count(*) FROM sc_orders GROUP BY mood ORDER BY mood
~ SELECT tags, count(*) FROM sc_orders GROUP BY tags
~ SELECT doc, count(*) FROM sc_orders GROUP BY doc
~ SELECT price, count(*) FROM sc_orders GROUP BY price
~ SELECT ratio, count(*) FROM sc_orders GROUP BY ratio
~ SELECT code, count(*), max(name) FROM sc_orders GROUP BY code
~ SELECT dur, count(*) FROM sc_orders GROUP BY dur
~ SELECT day, count(*) FROM sc_orders GROUP BY day
~ SELECT uid, count(*) FROM sc_orders GROUP BY uid
~ SELECT raw, count(*) FROM sc_orders GROUP BY raw
~ SELECT span, count(*) FROM sc_orders GROUP BY span
~ SELECT addr, bits, count(*) FROM sc_orders GROUP BY addr, bits
~ SELECT (total, status), count(*) FROM sc_orders GROUP BY total, status
~ SELECT status, total IS NULL, count(*) FROM sc_orders GROUP BY status, total IS NULL
= SELECT status, count(*), grouping(status) FROM sc_orders GROUP BY ROLLUP (status) ORDER BY 3, 1
~ SELECT status, flag, count(*), sum(total) FROM sc_orders GROUP BY CUBE (status, flag)
~ SELECT status, flag, count(*) FROM sc_orders GROUP BY GROUPING SETS ((status), (flag), ())
~ SELECT count(*) FROM sc_orders WHERE id < 0 GROUP BY GROUPING SETS ((status), ())
~ SELECT count(*) FROM sc_orders GROUP BY ()
~ SELECT count(*) FROM sc_orders HAVING count(*) > 1000000
~ SELECT count(*) FROM sc_orders HAVING count(*) > 0
~ SELECT 1 FROM sc_orders HAVING true
~ SELECT customer_id, count(*) FROM sc_orders GROUP BY customer_id
= SELECT customer_id, count(*) AS n FROM sc_orders GROUP BY customer_id ORDER BY n DESC, customer_id LIMIT 5
= SELECT customer_id, string_agg(status, ',' ORDER BY id) FROM sc_orders GROUP BY customer_id ORDER BY 1
= SELECT customer_id, stddev(total) FROM sc_orders GROUP BY customer_id HAVING count(*) > 2 ORDER BY 1
= SELECT customer_id, status, count(*) FROM sc_orders GROUP BY 1, 2 ORDER BY 1, 2
~ SELECT customer_id % 3, count(*) FROM sc_orders GROUP BY customer_id % 3
~ SELECT customer_id, id FROM sc_orders GROUP BY customer_id, id
~ SELECT DISTINCT status FROM sc_orders
= SELECT DISTINCT status FROM sc_orders ORDER BY status
= SELECT DISTINCT status FROM sc_orders ORDER BY 1 DESC LIMIT 2
= SELECT DISTINCT status, flag FROM sc_orders ORDER BY flag, status
~ SELECT DISTINCT total % 5 FROM sc_orders
= SELECT DISTINCT total % 5 AS r FROM sc_orders ORDER BY r OFFSET 1
= SELECT DISTINCT total % 5 FROM sc_orders ORDER BY total % 5
~ SELECT DISTINCT mood, tags FROM sc_orders
~ SELECT DISTINCT doc FROM sc_orders
~ SELECT DISTINCT code FROM sc_orders
~ SELECT DISTINCT customer_id FROM sc_orders
= SELECT DISTINCT customer_id, status FROM sc_orders ORDER BY status, customer_id LIMIT 6
~ SELECT DISTINCT * FROM sc_items
~ SELECT DISTINCT count(*) FROM sc_orders GROUP BY customer_id
~ SELECT DISTINCT count(*) FROM sc_orders GROUP BY status
~ SELECT DISTINCT sum(total) > 100 FROM sc_orders GROUP BY status
= SELECT DISTINCT ON (status) status, id FROM sc_orders ORDER BY status, id
= SELECT DISTINCT ON (status) status, id, total FROM sc_orders ORDER BY status DESC, id DESC LIMIT 2
= SELECT id, row_number() OVER (ORDER BY id) FROM sc_orders ORDER BY id
= SELECT id, rank() OVER (PARTITION BY status ORDER BY total NULLS FIRST, id) AS r FROM sc_orders ORDER BY id
= SELECT id, sum(total) OVER (ORDER BY id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) FROM sc_orders ORDER BY id
= SELECT id, lag(id) OVER w, lead(id) OVER w FROM sc_orders WINDOW w AS (ORDER BY id) ORDER BY id
= SELECT status, count(*), sum(count(*)) OVER (ORDER BY status) FROM sc_orders GROUP BY status ORDER BY status
= SELECT status, rank() OVER (ORDER BY count(*) DESC, status) FROM sc_orders GROUP BY status ORDER BY 2
~ SELECT count(*) OVER (), total FROM sc_orders
= SELECT id, count(*) OVER (PARTITION BY customer_id) FROM sc_orders ORDER BY id
~ SELECT o.id, i.sku FROM sc_orders o JOIN sc_items i ON i.customer_id = o.customer_id
~ SELECT o.id, i.sku FROM sc_orders o JOIN sc_items i USING (customer_id)
~ SELECT * FROM sc_orders JOIN sc_items USING (customer_id)
= SELECT o.id, i.id, i.sku FROM sc_orders o, sc_items i WHERE o.customer_id = i.customer_id AND o.total > 10 ORDER BY o.id, i.id
= SELECT o.id, i.id FROM sc_orders o LEFT JOIN sc_items i ON i.customer_id = o.customer_id AND i.qty > 3 ORDER BY 1, 2
= SELECT o.id, i.id FROM sc_orders o RIGHT JOIN sc_items i ON i.customer_id = o.customer_id ORDER BY 2, 1
? SELECT o.id, i.id FROM sc_orders o FULL JOIN sc_items i ON i.customer_id = o.customer_id
! SELECT o.id, i.id FROM sc_orders o JOIN sc_items i ON i.id = o.id
! SELECT o.id, i.id FROM sc_orders o, sc_items i
! SELECT o.id, p.id FROM sc_orders o JOIN sc_orders p ON p.total = o.total
~ SELECT o.id, p.id FROM sc_orders o JOIN sc_orders p ON p.customer_id = o.customer_id AND p.id > o.id
~ SELECT count(*), sum(i.qty) FROM sc_orders o JOIN sc_items i USING (customer_id)
= SELECT o.status, count(DISTINCT i.sku), sum(i.qty) FROM sc_orders o JOIN sc_items i USING (customer_id) GROUP BY o.status ORDER BY 1
~ SELECT o.id, c.name FROM sc_orders o JOIN sc_countries c ON c.code = o.country
~ SELECT o.id, c.name FROM sc_countries c JOIN sc_orders o ON c.code = o.country
= SELECT o.id, c.name FROM sc_orders o LEFT JOIN sc_countries c ON c.code = o.country ORDER BY o.id
! SELECT o.id, c.name FROM sc_countries c LEFT JOIN sc_orders o ON c.code = o.country
! SELECT o.id, c.name FROM sc_orders o FULL JOIN sc_countries c ON c.code = o.country
! SELECT o.id, c.name FROM sc_orders o RIGHT JOIN sc_countries c ON c.code = o.country
= SELECT c.name, count(*) FROM sc_orders o JOIN sc_countries c ON c.code = o.country GROUP BY c.name ORDER BY c.name
= SELECT c.name, count(*) FROM sc_orders o LEFT JOIN sc_countries c ON c.code = o.country GROUP BY c.name ORDER BY 2 DESC, 1
~ SELECT o.id, c.name FROM sc_orders o CROSS JOIN sc_countries c
~ SELECT id FROM sc_orders WHERE country IN (SELECT code FROM sc_countries WHERE name LIKE 'G%')
~ SELECT id FROM sc_orders WHERE country NOT IN (SELECT code FROM sc_countries WHERE name LIKE 'G%')
~ SELECT id FROM sc_orders o WHERE EXISTS (SELECT 1 FROM sc_countries c WHERE c.code = o.country)
! SELECT name FROM sc_countries c WHERE EXISTS (SELECT 1 FROM sc_orders o WHERE c.code = o.country)
! SELECT name, (SELECT count(*) FROM sc_orders o WHERE c.code = o.country) FROM sc_countries c
= SELECT id FROM sc_orders o WHERE EXISTS (SELECT 1 FROM sc_items i WHERE i.customer_id = o.customer_id AND i.qty > 3) ORDER BY id
= SELECT id FROM sc_orders o WHERE NOT EXISTS (SELECT 1 FROM sc_items i WHERE i.customer_id = o.customer_id) ORDER BY id
= SELECT id FROM sc_orders WHERE customer_id IN (SELECT customer_id FROM sc_items WHERE qty > 3) ORDER BY id
! SELECT id FROM sc_orders WHERE customer_id NOT IN (SELECT customer_id FROM sc_items WHERE qty > 3)
! SELECT id FROM sc_orders WHERE total > (SELECT avg(total) FROM sc_orders)
! SELECT id FROM sc_orders WHERE id IN (SELECT id FROM sc_items)
~ SELECT (SELECT max(id) FROM sc_orders)
= SELECT o.id, (SELECT count(*) FROM sc_items i WHERE i.customer_id = o.customer_id) FROM sc_orders o ORDER BY o.id
= SELECT o.id, (SELECT max(i.sku) FROM sc_items i WHERE i.customer_id = o.customer_id) AS m FROM sc_orders o ORDER BY m, o.id
= SELECT o.id, (SELECT name FROM sc_countries c WHERE c.code = o.country) FROM sc_orders o ORDER BY 2, 1
= SELECT id FROM sc_orders o WHERE total > (SELECT avg(total) FROM sc_orders p WHERE p.customer_id = o.customer_id) ORDER BY id
! SELECT (SELECT max(o.total) FROM sc_countries) FROM sc_orders o
~ SELECT x.n FROM (SELECT customer_id, count(*) AS n FROM sc_orders GROUP BY customer_id) x
~ SELECT max(x.n), sum(x.n) FROM (SELECT customer_id, count(*) AS n FROM sc_orders GROUP BY customer_id) x
~ SELECT max(x.n) FROM (SELECT status, count(*) AS n FROM sc_orders GROUP BY status) x
~ SELECT * FROM (SELECT id FROM sc_orders ORDER BY id LIMIT 5) x
~ SELECT * FROM (SELECT DISTINCT status FROM sc_orders) x
~ SELECT count(*) FROM (SELECT DISTINCT total FROM sc_orders) x
~ SELECT count(*) FROM (SELECT DISTINCT customer_id FROM sc_orders) x
~ SELECT DISTINCT * FROM (SELECT status FROM sc_orders) x
~ SELECT count(*) FROM (SELECT id, total FROM sc_orders WHERE total > 5) x WHERE total < 30
= SELECT x.id, i.sku FROM (SELECT * FROM sc_orders WHERE total > 5) x JOIN sc_items i ON i.customer_id = x.customer_id ORDER BY x.id, i.id
= SELECT c.customer_id, c.n, i.q FROM (SELECT customer_id, count(*) AS n FROM sc_orders GROUP BY 1) c JOIN (SELECT customer_id, sum(qty) AS q FROM sc_items GROUP BY 1) i ON i.customer_id = c.customer_id ORDER BY 1
? SELECT c.customer_id, c.n, i.q FROM (SELECT customer_id, count(*) AS n FROM sc_orders GROUP BY customer_id) c JOIN (SELECT customer_id, sum(qty) AS q FROM sc_items GROUP BY customer_id) i ON i.customer_id = c.customer_id ORDER BY 1
= WITH x AS (SELECT id, total FROM sc_orders WHERE total > 10) SELECT id FROM x ORDER BY id
~ WITH x AS (SELECT * FROM sc_orders WHERE total > 10) SELECT count(*), max(total) FROM x
~ WITH x AS (SELECT * FROM sc_orders) SELECT a.id FROM x a JOIN x b ON a.id = b.id
! WITH RECURSIVE r AS (SELECT id FROM sc_orders UNION SELECT id + 1 FROM r WHERE id < 5) SELECT * FROM r
~ WITH c AS (SELECT code FROM sc_countries WHERE name > 'F') SELECT o.id FROM sc_orders o JOIN c ON c.code = o.country
= SELECT o.id, x.sku FROM sc_orders o JOIN LATERAL (SELECT sku FROM sc_items i WHERE i.customer_id = o.customer_id ORDER BY i.id LIMIT 1) x ON true ORDER BY o.id
= SELECT o.id, x.n FROM sc_orders o CROSS JOIN LATERAL (SELECT count(*) AS n FROM sc_items i WHERE i.customer_id = o.customer_id) x ORDER BY o.id
= SELECT o.id, g FROM sc_orders o, generate_series(1, 2) g ORDER BY 1, 2
= SELECT o.id, u FROM sc_orders o, unnest(o.tags) u ORDER BY 1, 2
~ SELECT id, unnest(tags) FROM sc_orders
~ SELECT id FROM sc_orders UNION ALL SELECT id FROM sc_items
= SELECT id, 'o' AS w FROM sc_orders UNION ALL SELECT id, 'i' FROM sc_items ORDER BY 1, 2
= SELECT id, 'o' AS w FROM sc_orders UNION ALL SELECT id, 'i' FROM sc_items ORDER BY w, id LIMIT 10
= SELECT id FROM sc_orders UNION SELECT id FROM sc_items ORDER BY id
~ SELECT status FROM sc_orders UNION SELECT sku FROM sc_items UNION SELECT status FROM sc_orders
~ SELECT status FROM sc_orders UNION ALL (SELECT sku FROM sc_items UNION SELECT sku FROM sc_items)
~ SELECT id FROM sc_orders INTERSECT SELECT id FROM sc_items
~ SELECT id FROM sc_orders EXCEPT SELECT id FROM sc_items
! SELECT id FROM sc_orders UNION ALL SELECT 1
! SELECT id FROM sc_orders UNION ALL SELECT count(*) FROM sc_items
! (SELECT id FROM sc_orders ORDER BY id LIMIT 1) UNION ALL SELECT id FROM sc_items
~ SELECT customer_id, count(*) FROM sc_orders GROUP BY customer_id UNION ALL SELECT customer_id, sum(qty) FROM sc_items GROUP BY customer_id
! SELECT id FROM sc_orders FOR UPDATE
! SELECT id FROM sc_orders ORDER BY random()
! SELECT id FROM sc_orders ORDER BY id FETCH FIRST 2 ROWS WITH TIES
! SELECT o.id FROM sc_orders o JOIN pg_class c ON c.relname = o.status
! SELECT nextval('sc_seq') FROM sc_orders
! SELECT sc_own(id) FROM sc_orders
= SELECT id FROM sc_orders ORDER BY id LIMIT 1 + 1
= SELECT id FROM sc_orders ORDER BY id LIMIT 2 * 3 OFFSET 10 - 3
= SELECT id FROM sc_orders ORDER BY id LIMIT 2.5
= SELECT id FROM sc_orders ORDER BY id LIMIT '4' OFFSET '1'
= SELECT id FROM sc_orders ORDER BY id LIMIT CAST('3' AS bigint)
= SELECT id FROM sc_orders ORDER BY id LIMIT coalesce(NULL, 3)
? SELECT id FROM sc_orders ORDER BY id OFFSET (SELECT 1) + 80
= SELECT id, mood FROM sc_orders ORDER BY mood, id LIMIT length('abcde')
= SELECT DISTINCT status FROM sc_orders ORDER BY 1 LIMIT 1 + 1
= SELECT status, count(*) FROM sc_orders GROUP BY 1 ORDER BY 1 LIMIT 1 + 1 OFFSET 1
e SELECT id FROM sc_orders LIMIT 1 - 3
e SELECT id FROM sc_orders LIMIT 'x'
e SELECT id FROM sc_orders LIMIT true
e SELECT id FROM sc_orders LIMIT 1 / 0
e SELECT id FROM sc_orders LIMIT total
! SELECT id FROM sc_orders LIMIT (SELECT count(*) FROM sc_items)
e SELECT nothing FROM sc_orders
e SELECT id FROM sc_orders ORDER BY nothing
e SELECT count(*) FROM sc_orders GROUP BY nothing
e SELECT id + 'x' FROM sc_orders
e SELECT id / 0 FROM sc_orders
e SELECT sum(status) FROM sc_orders
e SELECT count(*) FROM sc_orders WHERE id
e SELECT 1 / (count(*) - count(*)) FROM sc_orders
e SELECT id FROM sc_orders LIMIT -1
e SELECT id FROM sc_orders ORDER BY id OFFSET -1
e SELECT id FROM sc_orders ORDER BY 99
e SELECT max(big) + 9223372036854775807 FROM sc_orders WHERE big > 0
e SELECT doc2 FROM sc_orders ORDER BY js
e SELECT js FROM sc_orders ORDER BY js
~ SELECT sum(total)::int2 * 3 FROM sc_orders
~ SELECT id, js FROM sc_orders
~ SELECT count(*) FROM sc_orders WHERE at < now()
~ SELECT current_database() IS NOT NULL, count(*) FROM sc_orders
~ SELECT id, 'it''s', E'a\\b', 1e3, .5, true, null, DATE '2020-01-01', INTERVAL '1 day', B'101', X'1F', ARRAY[1,2] FROM sc_orders WHERE id < 4
~ SELECT id FROM sc_orders WHERE status ~ '^n' AND name LIKE '%a%' AND total BETWEEN 1 AND 50
~ SELECT id FROM sc_orders WHERE status IS DISTINCT FROM 'new' AND flag IS NOT TRUE
~ SELECT id, total::text, status::varchar(2), at AT TIME ZONE 'UTC', extract(epoch FROM dur) FROM sc_orders
~ SELECT id, doc->>'a', doc #> '{b}', doc @> '{"a": 1}', tags[1], tags || 5 FROM sc_orders
~ SELECT o FROM sc_items o
~ SELECT row_to_json(o) FROM sc_items o
~ SELECT count(o) FROM sc_items o
~ SELECT (o).sku FROM sc_items o
~ TABLE sc_items
= TABLE sc_items ORDER BY id LIMIT 3
~ SELECT "id" AS "Weird Name", status AS "select" FROM sc_orders
= SELECT id AS "A b" FROM sc_orders ORDER BY "A b" DESC
~ SELECT public.sc_orders.id FROM public.sc_orders WHERE public.sc_orders.total > 20
= SELECT sc_orders.id FROM sc_orders ORDER BY sc_orders.id
~ SELECT id FROM ONLY sc_orders
~ SELECT all_.id FROM (sc_orders all_ JOIN sc_items i USING (customer_id)) WHERE i.qty = 2
? SELECT j.sku FROM (sc_orders o JOIN sc_items i USING (customer_id)) AS j
? SELECT a FROM sc_orders AS o (a, b)
~ SELECT slug, n FROM sc_docs
= SELECT slug FROM sc_docs ORDER BY slug
= SELECT slug, n FROM sc_docs ORDER BY n, slug LIMIT 4
~ SELECT n, count(*) FROM sc_docs GROUP BY n
~ SELECT slug, count(*) FROM sc_docs GROUP BY slug
! SELECT d.slug FROM sc_docs d JOIN sc_orders o ON o.status = d.slug
! SELECT 0x10 FROM sc_orders
! SELECT id FROM sc_orders WHERE total > 1_0
~ SELECT 1e1, 1.5e-3, 10. FROM sc_orders WHERE id < 3
~ SELECT count(*) FROM (SELECT id FROM sc_orders ORDER BY id DESC LIMIT 7 OFFSET 2) x
~ SELECT count(*), min(id), max(total) FROM (SELECT id, total FROM sc_orders ORDER BY total DESC, id LIMIT 9) AS subquery
= SELECT id, total FROM (SELECT id, total FROM sc_orders ORDER BY total DESC NULLS LAST, id LIMIT 9) x ORDER BY id
= SELECT * FROM (SELECT id, total FROM sc_orders ORDER BY id LIMIT 9) x ORDER BY total NULLS FIRST, id LIMIT 3
= SELECT a, b * 2 AS twice FROM (SELECT id, total FROM sc_orders ORDER BY id LIMIT 9) AS x (a, b) WHERE b > 0 ORDER BY twice, a
= SELECT flag, count(*), avg(total) FROM (SELECT * FROM sc_orders ORDER BY id LIMIT 40) x GROUP BY flag ORDER BY flag
~ SELECT count(*) FROM (SELECT DISTINCT ON (status) id, status FROM sc_orders ORDER BY status, id) x WHERE id > 10
= SELECT * FROM (SELECT id, row_number() OVER (PARTITION BY status ORDER BY id) AS n FROM sc_orders) t WHERE n = 1 ORDER BY id
= SELECT s, n FROM (SELECT status AS s, count(*) AS n FROM sc_orders GROUP BY status) x WHERE n > 8 ORDER BY n, s
~ SELECT avg(n), pg_typeof(avg(n)) FROM (SELECT status, count(*) AS n FROM sc_orders GROUP BY status) x
= WITH top AS (SELECT id, total FROM sc_orders ORDER BY total DESC NULLS LAST, id LIMIT 5) SELECT id FROM top ORDER BY id
= WITH m AS (SELECT status, sum(total) AS s FROM sc_orders GROUP BY status) SELECT status, s, sum(s) OVER (ORDER BY status) FROM m ORDER BY status
= WITH m AS (SELECT status, count(*) AS n FROM sc_orders GROUP BY 1) SELECT a.status, b.status FROM m a JOIN m b ON a.n = b.n AND a.status < b.status ORDER BY 1, 2
~ WITH m (a, b) AS (SELECT status, count(*) FROM sc_orders GROUP BY 1) SELECT max(b) FROM m
~ SELECT EXISTS (SELECT 1 FROM sc_orders WHERE total > 40)
~ SELECT EXISTS (SELECT * FROM sc_orders WHERE total > 4000) AS any_of_them
~ SELECT NOT EXISTS (SELECT FROM sc_orders WHERE id = -1), 1 AS one
~ SELECT (SELECT count(*) FROM sc_orders) AS n
~ SELECT (SELECT count(*) FROM sc_orders WHERE total > 5) * 2 + 1 AS n, 'x' AS what
~ SELECT ARRAY(SELECT id FROM sc_orders ORDER BY id LIMIT 5)
~ SELECT 7 IN (SELECT id FROM sc_orders), 1
e SELECT (SELECT id FROM sc_orders)
! SELECT (SELECT count(*) FROM sc_orders), (SELECT count(*) FROM sc_items)
~ SELECT x.a FROM (SELECT y.a FROM (SELECT id AS a FROM sc_orders ORDER BY id LIMIT 20) y ORDER BY a DESC LIMIT 5) x
~ SELECT count(*) FROM (SELECT id FROM sc_orders INTERSECT SELECT id FROM sc_items) x
~ SELECT mood, tags, doc, num, ratio, dur FROM (SELECT * FROM sc_orders ORDER BY id LIMIT 30) x
~ SELECT count(*) FROM (SELECT mood, js FROM sc_orders LIMIT 3) x
! SELECT x.id FROM (SELECT id FROM sc_orders LIMIT 3) x JOIN sc_items i ON i.id = x.id
= SELECT id FROM sc_orders INTERSECT SELECT id FROM sc_items ORDER BY id
= SELECT id, total FROM sc_orders EXCEPT SELECT id, qty FROM sc_items ORDER BY 1, 2 LIMIT 7 OFFSET 1
~ SELECT status FROM sc_orders INTERSECT ALL SELECT status FROM sc_orders WHERE id < 40
~ SELECT status FROM sc_orders EXCEPT ALL SELECT status FROM sc_orders WHERE id < 40
= SELECT status AS s FROM sc_orders UNION SELECT sku FROM sc_items EXCEPT SELECT 'sku3' FROM sc_items ORDER BY s
~ SELECT id FROM sc_orders WHERE id < 5 UNION ALL (SELECT id FROM sc_items EXCEPT SELECT id FROM sc_orders WHERE id < 50)
~ SELECT customer_id, count(*) FROM sc_orders GROUP BY customer_id EXCEPT SELECT customer_id, count(*) FROM sc_items GROUP BY customer_id
~ SELECT total, NULL AS n FROM sc_orders EXCEPT SELECT qty, NULL FROM sc_items
! SELECT * FROM sc_items EXCEPT SELECT * FROM sc_items WHERE id > 5
! SELECT id FROM sc_orders EXCEPT SELECT 1
e SELECT id FROM sc_orders EXCEPT SELECT sku FROM sc_items
= SELECT c.code, c.name, count(*) FROM sc_orders o JOIN sc_countries c ON c.code = o.country GROUP BY c.code ORDER BY c.code
= SELECT c.name, c.code || '!' AS x, sum(o.total) FROM sc_countries c JOIN sc_orders o ON c.code = o.country GROUP BY c.code ORDER BY upper(c.name)
e SELECT status, count(*) FROM sc_orders
e SELECT status, count(*) FROM sc_orders GROUP BY flag
e SELECT o.status, c.name FROM sc_orders o JOIN sc_countries c ON c.code = o.country GROUP BY c.code
~ SELECT count(DISTINCT customer_id), count(DISTINCT customer_id) FILTER (WHERE total > 10) FROM sc_orders
~ SELECT status, count(DISTINCT customer_id) FROM sc_orders GROUP BY status
~ SELECT count(DISTINCT o.customer_id), count(DISTINCT i.customer_id) FROM sc_orders o JOIN sc_items i ON i.customer_id = o.customer_id
~ SELECT count(DISTINCT slug) FROM sc_docs
~ SELECT count(*) FROM (SELECT DISTINCT now() FROM sc_orders) x
~ SELECT count(n) FROM (SELECT now() AS t, count(*) AS n FROM sc_orders GROUP BY now()) x
~ SELECT count(*) FROM sc_orders GROUP BY current_timestamp
~ SELECT count(*) FROM sc_orders GROUP BY age(now(), now())
! SELECT ctid FROM sc_orders
! SELECT count(DISTINCT tableoid) FROM sc_orders
! SELECT id FROM sc_orders WHERE xmin::text <> '1'
~ SELECT DISTINCT tableoid::regclass::text FROM sc_orders
! DELETE FROM sc_orders WHERE ctid = '(4294967294,1)'
! UPDATE sc_orders SET total = 1 WHERE customer_id IN (1, 2, 3) AND ctid = '(4294967294,1)'
! DELETE FROM sc_orders WHERE ctid IN (SELECT ctid FROM sc_orders WHERE id < 0)
! SELECT c.code, c.name, array_agg(o.id ORDER BY o.id) FROM sc_orders o JOIN sc_countries c ON c.code = o.country GROUP BY c.code
~ SELECT c.code, c.name, array_agg(o.id ORDER BY o.id) FROM sc_orders o JOIN sc_countries c ON c.code = o.country GROUP BY c.code, c.name
