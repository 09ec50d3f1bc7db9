// node-postgres: a client, a pool, statements with and without a name.
//
// Prints a line for each step. Against a router and against a plain server the lines must be the
// same. Reads libpq's variables from the environment.

'use strict';

const { Client, Pool } = require('pg');

const KEYS = Array.from({ length: 20 }, (_, index) => index + 1);
const SELECT = 'SELECT * FROM node_items WHERE k = $1';

function step(name, ...facts) {
  console.log(`${name}:`, facts.map((fact) => JSON.stringify(fact)).join(' '));
}

function uuid(key) {
  return `00000000-0000-0000-0000-${String(key).padStart(12, '0')}`;
}

async function sqlstate(run) {
  try {
    await run();
    return 'no error';
  } catch (error) {
    return error.code;
  }
}

async function write(client) {
  const insert =
    'INSERT INTO node_items (k, v, n, j, a, ts, b, u, f, d, r) ' +
    'VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING k, v';
  for (const key of KEYS) {
    const at = new Date('2024-02-29T12:00:00Z');
    const raw = Buffer.from([0, 255, key]);
    const row = [key, `it's ${key}`, key / 8, { key }, [key, null], at, raw, uuid(key), key % 2 === 0,
      '2024-02-29', key / 3];
    const result = await client.query(insert, row);
    step('insert', result.rows, result.rowCount, result.command);
  }
  await client.query('INSERT INTO node_items (k) VALUES (100)');
  for (const key of KEYS) {
    step('update', (await client.query('UPDATE node_items SET v = $1 WHERE k = $2', ['new', key])).rowCount);
  }
  step('delete', (await client.query('DELETE FROM node_items WHERE k = 20')).rowCount);
  for (const key of ['one', "it's", 'été']) {
    await client.query('INSERT INTO node_names (k, v) VALUES ($1, $2)', [key, key.toUpperCase()]);
    step('text key', (await client.query('SELECT v FROM node_names WHERE k = $1', [key])).rows);
  }
  for (const key of KEYS) {
    await client.query('INSERT INTO node_tokens (k, v) VALUES ($1, $2)', [uuid(key), key]);
    step('uuid key', (await client.query('SELECT v FROM node_tokens WHERE k = $1', [uuid(key)])).rows);
  }
}

async function read(client) {
  for (const key of [...KEYS, 100]) {
    step('read', (await client.query(SELECT, [key])).rows);
  }
  for (const key of KEYS) {
    const named = { name: 'by-key', text: SELECT, values: [key], rowMode: 'array' };
    step('named', (await client.query(named)).rows);
  }
  for (const key of KEYS) {
    const text = 'SELECT v, n, b FROM node_items WHERE k = $1';
    step('binary', (await client.query({ text, values: [key], binary: true })).rows);
  }
  const { fields } = await client.query(SELECT, [1]);
  step('fields', fields.map((field) => [field.name, field.dataTypeID]));
  // Queued on one connection, each answered before the next is sent.
  const all = await Promise.all(KEYS.map((key) => client.query(SELECT, [key])));
  step('queued', all.map((result) => result.rows.length));
  const several = await client.query('SELECT 1 AS a; SELECT 2 AS b');
  step('several', several.map((result) => result.rows));
}

async function transactions(client) {
  for (const key of KEYS) {
    for (const [end, value] of [['COMMIT', 'kept'], ['ROLLBACK', 'lost']]) {
      await client.query('BEGIN');
      await client.query('UPDATE node_items SET v = $1 WHERE k = $2', [value, key]);
      await client.query(end);
    }
    step('transaction', (await client.query('SELECT v FROM node_items WHERE k = $1', [key])).rows);
  }
  try {
    await client.query('INSERT INTO node_items (k) VALUES ($1)', [1]);
  } catch (error) {
    step('duplicate', error.code, error.constraint, error.detail, error.message);
  }
  step('syntax', await sqlstate(() => client.query('SELEC 1')));
  step('no column', await sqlstate(() => client.query('SELECT x FROM node_items WHERE k = $1', [1])));
  step('division', await sqlstate(() => client.query('SELECT 1 / $1::int', [0])));
  step('still there', (await client.query('SELECT 1 AS a')).rows);
}

async function pooled() {
  const pool = new Pool({ max: 3, statement_timeout: 300, application_name: 'node client' });
  const values = await Promise.all(
    KEYS.map((key) => pool.query('SELECT v FROM node_items WHERE k = $1', [key])),
  );
  step('pooled', values.map((result) => result.rows));
  step('timeout', await sqlstate(() => pool.query('SELECT pg_sleep(30)')));
  step('settings', (await pool.query('SHOW application_name')).rows);
  const client = await pool.connect();
  await client.query('SET work_mem = 1024');
  await client.query('DISCARD ALL');
  step('discarded', (await client.query('SHOW work_mem')).rows);
  step('after', (await client.query(SELECT, [3])).rows.length);
  client.release();
  await pool.end();
}

async function scenario() {
  const client = new Client();
  await client.connect();
  step('select', (await client.query("SELECT 1 AS a, 'a' AS b, NULL AS c")).rows);
  await write(client);
  await read(client);
  await transactions(client);
  await client.query('BEGIN');
  for (const key of KEYS) {
    step('two shards', (await client.query(SELECT, [key])).rows);
  }
  await client.query('COMMIT');
  await client.end();
  await pooled();
}

async function refused() {
  const client = new Client();
  await client.connect();
  step('all shards', await sqlstate(() => client.query('SELECT count(*) FROM node_items a, node_items b')));
  step('after', (await client.query('SELECT 1 AS a')).rows);
  await client.end();
}

({ scenario, refused })[process.argv[2]]()
  .then(() => step('end'))
  .catch((error) => {
    console.error(error);
    process.exitCode = 1;
  });
