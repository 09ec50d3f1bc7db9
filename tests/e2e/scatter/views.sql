-- Views over the tables of the other corpus, one a line, marked "+"; then statements, marked as there.
+ CREATE VIEW v_orders AS SELECT * FROM sc_orders
+ CREATE VIEW v_paid AS SELECT id, customer_id, total, status FROM sc_orders WHERE status = 'paid'
+ CREATE VIEW v_named (number, customer, amount) AS SELECT id, customer_id, total FROM sc_orders
+ CREATE VIEW v_lines AS SELECT o.customer_id, o.id, o.status, i.sku, i.qty FROM sc_orders o JOIN sc_items i ON i.customer_id = o.customer_id
+ CREATE VIEW v_left AS SELECT o.id, o.customer_id, i.id AS item, i.sku FROM sc_orders o LEFT JOIN sc_items i USING (customer_id)
+ CREATE VIEW v_sums AS SELECT customer_id, count(*) AS orders, sum(total) AS total, max(day) AS last FROM sc_orders GROUP BY customer_id
+ CREATE VIEW v_statuses AS SELECT status, count(*) AS orders, sum(total) AS total, avg(price) AS price FROM sc_orders GROUP BY status
+ CREATE VIEW v_first AS SELECT id, total FROM sc_orders ORDER BY id LIMIT 5
+ CREATE VIEW v_land AS SELECT o.id, o.customer_id, c.name FROM sc_orders o JOIN sc_countries c ON c.code = o.country
+ CREATE VIEW v_countries AS SELECT code, upper(name) AS name FROM sc_countries
+ CREATE VIEW v_paid_sums AS SELECT p.customer_id, s.total, s.orders, p.id FROM v_paid p JOIN v_sums s ON s.customer_id = p.customer_id
+ CREATE VIEW v_deep AS SELECT number, amount * 2 AS twice, customer FROM v_named WHERE amount > 0
+ CREATE VIEW v_deeper AS SELECT d.number, d.twice FROM v_deep d WHERE d.twice > 10
+ CREATE VIEW v_both AS SELECT customer_id, id FROM sc_orders UNION ALL SELECT customer_id, id FROM sc_items
+ CREATE VIEW v_with AS WITH big AS (SELECT id, customer_id, total FROM sc_orders WHERE total > 10) SELECT * FROM big
+ CREATE VIEW v_dates AS SELECT id, customer_id, day, dur FROM sc_orders WHERE day > '1999-12-01' AND dur IS DISTINCT FROM '1 mon -2 days'
+ CREATE VIEW "V Quoted" AS SELECT id AS "Id", customer_id AS "Customer", 'it''s "x"' AS "no Te" FROM sc_orders
+ CREATE VIEW v_docs AS SELECT n, slug FROM sc_docs WHERE n < 3
+ CREATE VIEW v_apart AS SELECT o.id, d.n FROM sc_orders o JOIN sc_docs d ON d.n = o.id
+ CREATE VIEW v_none AS SELECT 1 AS one, 'x'::text AS two
+ CREATE VIEW v_own AS SELECT id, customer_id, sc_own(id) AS own FROM sc_orders
+ CREATE VIEW v_ranked AS SELECT id, customer_id, row_number() OVER (PARTITION BY customer_id ORDER BY id) AS rank FROM sc_orders
+ CREATE VIEW v_exists AS SELECT id, customer_id FROM sc_orders o WHERE EXISTS (SELECT FROM sc_items i WHERE i.customer_id = o.customer_id AND i.qty > 3)
+ CREATE RECURSIVE VIEW v_numbers (n) AS SELECT 1 UNION ALL SELECT n + 1 FROM v_numbers WHERE n < 5
~ SELECT * FROM v_orders
~ SELECT * FROM v_orders WHERE customer_id = 3
= SELECT * FROM v_orders ORDER BY id
= SELECT id, status FROM v_orders WHERE customer_id = 3 ORDER BY id
= SELECT id FROM v_orders WHERE customer_id IN (1, 2, 3) ORDER BY id DESC LIMIT 4
= SELECT count(*) FROM v_orders
= SELECT count(*), sum(total), min(day), max(at), avg(price) FROM v_orders
= SELECT status, count(*) FROM v_orders GROUP BY status ORDER BY status
= SELECT status, count(*) FROM v_orders GROUP BY 1 HAVING count(*) > 5 ORDER BY 2 DESC, 1
= SELECT DISTINCT status FROM v_orders ORDER BY status
~ SELECT id FROM v_paid
= SELECT id, total FROM v_paid ORDER BY total DESC, id
= SELECT * FROM v_paid WHERE customer_id = 5 ORDER BY id
= SELECT count(*), sum(total) FROM v_paid
= SELECT p.id FROM v_paid AS p ORDER BY p.id
= SELECT p.id FROM v_paid p WHERE p.customer_id = 2 ORDER BY p.id
= SELECT v_paid.id FROM v_paid ORDER BY v_paid.id LIMIT 3
= SELECT v_paid.* FROM v_paid ORDER BY v_paid.id LIMIT 3
= SELECT a, b FROM v_paid AS x(a, b) ORDER BY a
= SELECT number, amount FROM v_named WHERE customer = 4 ORDER BY number
= SELECT number, amount FROM v_named ORDER BY amount DESC NULLS LAST, number LIMIT 10
= SELECT sum(amount) FROM v_named
= SELECT customer, sum(amount) FROM v_named GROUP BY customer ORDER BY customer
= SELECT * FROM v_lines WHERE customer_id = 7 ORDER BY id, sku, qty
= SELECT id, sku, qty FROM v_lines ORDER BY id, sku, qty
= SELECT count(*) FROM v_lines
= SELECT sku, sum(qty) FROM v_lines WHERE status = 'new' GROUP BY sku ORDER BY sku
= SELECT * FROM v_left ORDER BY id, item
= SELECT count(*), count(sku) FROM v_left
= SELECT * FROM v_sums WHERE customer_id = 6
= SELECT * FROM v_sums ORDER BY customer_id
= SELECT count(*) FROM v_sums
= SELECT sum(orders) FROM v_sums
= SELECT max(total) FROM v_sums
= SELECT * FROM v_sums WHERE orders > 3 ORDER BY total DESC, customer_id LIMIT 5
= SELECT * FROM v_statuses ORDER BY status
= SELECT count(*) FROM v_statuses
= SELECT status, total FROM v_statuses WHERE orders > 2 ORDER BY total, status
= SELECT * FROM v_first ORDER BY id
= SELECT sum(total) FROM v_first
= SELECT * FROM v_land ORDER BY id
= SELECT name, count(*) FROM v_land GROUP BY name ORDER BY name
= SELECT name FROM v_land WHERE customer_id = 8 ORDER BY name
= SELECT * FROM v_countries ORDER BY code
= SELECT name FROM v_countries WHERE code = 'de'
= SELECT o.id, c.name FROM sc_orders o JOIN v_countries c ON c.code = o.country ORDER BY o.id
= SELECT o.id, c.name FROM sc_orders o LEFT JOIN v_countries c ON c.code = o.country WHERE o.customer_id = 3 ORDER BY o.id
= SELECT * FROM v_paid_sums ORDER BY id
= SELECT * FROM v_paid_sums WHERE customer_id = 5 ORDER BY id
= SELECT * FROM v_deep WHERE customer = 2 ORDER BY number
= SELECT * FROM v_deeper ORDER BY number
= SELECT count(*), sum(twice) FROM v_deeper
= SELECT customer_id, id FROM v_both WHERE customer_id = 3 ORDER BY 1, 2
? SELECT customer_id, id FROM v_both ORDER BY 1, 2
= SELECT * FROM v_with ORDER BY id
= SELECT * FROM v_with WHERE customer_id = 1 ORDER BY id
= SELECT count(*) FROM v_with
= SELECT id, day, dur FROM v_dates ORDER BY id
= SELECT "Id", "no Te" FROM "V Quoted" ORDER BY "Id"
= SELECT "Id" FROM "V Quoted" WHERE "Customer" = 3 ORDER BY 1
= SELECT "V Quoted"."Id" FROM "V Quoted" WHERE "V Quoted"."Customer" = 3 ORDER BY 1
= SELECT id FROM public.v_paid ORDER BY id
= SELECT q.id FROM public . v_paid /* a comment */ q ORDER BY q.id
= SELECT id FROM "public"."v_paid"ORDER BY id
= SELECT id FROM(SELECT * FROM v_paid)x ORDER BY id
= SELECT * FROM v_docs ORDER BY slug COLLATE "C"
= SELECT n FROM v_docs WHERE slug = 'doc 1 ü'
= SELECT * FROM v_none
= SELECT count(*) FROM v_none
= SELECT * FROM v_numbers ORDER BY n
= SELECT o.id, n.n FROM sc_orders o JOIN v_numbers n ON n.n = o.id WHERE o.customer_id = 2 ORDER BY 1
! SELECT * FROM v_apart
! SELECT o.id FROM v_orders o JOIN v_docs d ON d.n = o.id
= SELECT id, own FROM v_own WHERE customer_id = 3 ORDER BY id
! SELECT id, own FROM v_own ORDER BY id
= SELECT id, rank FROM v_ranked WHERE customer_id = 3 ORDER BY id
? SELECT id, rank FROM v_ranked ORDER BY id
= SELECT * FROM v_exists ORDER BY id
= SELECT * FROM v_exists WHERE customer_id = 4 ORDER BY id
= SELECT o.id, p.id FROM sc_orders o JOIN v_paid p ON p.customer_id = o.customer_id ORDER BY 1, 2
= SELECT o.id, p.id FROM sc_orders o JOIN v_paid p USING (customer_id) WHERE o.customer_id = 5 ORDER BY 1, 2
= SELECT o.id, s.total FROM sc_orders o JOIN v_sums s ON s.customer_id = o.customer_id ORDER BY o.id
= SELECT o.id, s.total FROM sc_orders o LEFT JOIN v_sums s ON s.customer_id = o.customer_id WHERE o.customer_id = 3 ORDER BY 1
= SELECT a.id, b.id FROM v_paid a JOIN v_paid b ON a.customer_id = b.customer_id AND a.id < b.id ORDER BY 1, 2
= SELECT id FROM sc_orders o WHERE EXISTS (SELECT FROM v_paid p WHERE p.customer_id = o.customer_id) ORDER BY id
= SELECT id FROM sc_orders WHERE customer_id IN (SELECT customer_id FROM v_paid) ORDER BY id
= SELECT (SELECT count(*) FROM v_paid p WHERE p.customer_id = o.customer_id), id FROM sc_orders o ORDER BY id
= WITH v_paid AS (SELECT 1 AS id) SELECT id FROM v_paid
= WITH x AS (SELECT * FROM v_paid) SELECT id FROM x ORDER BY id
= SELECT id FROM v_paid WHERE id > (SELECT 3) ORDER BY id
= SELECT id FROM v_paid UNION ALL SELECT id FROM v_with ORDER BY 1
= SELECT x.n FROM (SELECT count(*) AS n FROM v_paid) x
= SELECT EXISTS (SELECT FROM v_paid)
= SELECT to_json(p)::text FROM v_paid p ORDER BY p.id LIMIT 3
= SELECT count(p) FROM v_paid p
= SELECT p::text FROM v_paid p WHERE customer_id = 5 ORDER BY id
! SELECT id FROM ONLY v_paid
! TABLE v_paid
e SELECT nothing FROM v_paid WHERE customer_id = 3
e SELECT nothing FROM v_paid
e SELECT ctid FROM v_paid WHERE customer_id = 3
? SELECT * FROM v_missing
= SELECT id FROM v_paid WHERE customer_id = 5 AND status = 'paid' ORDER BY id FOR UPDATE
