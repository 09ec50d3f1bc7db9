<?php
/**
 * PHP's PDO, with prepared statements of the server and with emulated ones.
 *
 * Prints a line for each step. Against a router and against a plain server the lines must be the
 * same. Reads libpq's variables from the environment.
 */

const KEYS = 20;

function step(string $name, mixed ...$facts): void
{
    echo "$name: ", implode(' ', array_map(fn ($fact) => json_encode($fact), $facts)), "\n";
}

function connect(array $options = []): PDO
{
    $dsn = sprintf('pgsql:host=%s;port=%s;dbname=%s', getenv('PGHOST'), getenv('PGPORT'), getenv('PGDATABASE'));
    $options += [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION, PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_ASSOC];
    return new PDO($dsn, getenv('PGUSER'), getenv('PGPASSWORD') ?: null, $options);
}

function sqlstate(callable $run): string
{
    try {
        $run();
    } catch (PDOException $error) {
        return $error->errorInfo[0];
    }
    return 'no error';
}

function shown(array|false $row): array|false
{
    if ($row && is_resource($row['b'] ?? null)) {
        $row['b'] = bin2hex(stream_get_contents($row['b']));
    }
    return $row;
}

function uuid(int $key): string
{
    return sprintf('00000000-0000-0000-0000-%012d', $key);
}

function write(PDO $db): void
{
    $insert = $db->prepare(
        'INSERT INTO php_items (k, v, n, j, a, ts, b, u, f, d, r)
         VALUES (:k, :v, :n, :j, :a, :ts, :b, :u, :f, :d, :r) RETURNING k, v'
    );
    for ($key = 1; $key <= KEYS; $key++) {
        $insert->bindValue('k', $key, PDO::PARAM_INT);
        $insert->bindValue('v', "it's $key");
        $insert->bindValue('n', (string) ($key / 8));
        $insert->bindValue('j', json_encode(['key' => $key]));
        $insert->bindValue('a', "{{$key},NULL}");
        $insert->bindValue('ts', '2024-02-29 12:00:00+00');
        $insert->bindValue('b', "\0\xff" . chr($key), PDO::PARAM_LOB);
        $insert->bindValue('u', uuid($key));
        $insert->bindValue('f', $key % 2 === 0, PDO::PARAM_BOOL);
        $insert->bindValue('d', '2024-02-29');
        $insert->bindValue('r', (string) ($key / 3));
        $insert->execute();
        step('insert', $insert->fetchAll(), $insert->rowCount());
    }
    $db->exec('INSERT INTO php_items (k) VALUES (100)');
    $update = $db->prepare('UPDATE php_items SET v = ? WHERE k = ?');
    for ($key = 1; $key <= KEYS; $key++) {
        $update->execute(['new', $key]);
        step('update', $update->rowCount());
    }
    step('delete', $db->exec('DELETE FROM php_items WHERE k = 20'));
    $name = $db->prepare('INSERT INTO php_names (k, v) VALUES (?, ?) RETURNING v');
    foreach (['one', "it's", 'été'] as $key) {
        $name->execute([$key, "value of $key"]);
        step('text key', $name->fetchColumn());
    }
    $token = $db->prepare('INSERT INTO php_tokens (k, v) VALUES (?, ?)');
    $found = $db->prepare('SELECT v FROM php_tokens WHERE k = ?');
    for ($key = 1; $key <= KEYS; $key++) {
        $token->execute([uuid($key), $key]);
        $found->execute([uuid($key)]);
        step('uuid key', $found->fetchColumn());
    }
}

function read(PDO $db): void
{
    $select = $db->prepare('SELECT * FROM php_items WHERE k = ?');
    foreach ([...range(1, KEYS), 100] as $key) {
        $select->execute([$key]);
        step('read', shown($select->fetch()));
    }
    for ($column = 0; $column < $select->columnCount(); $column++) {
        $meta = $select->getColumnMeta($column);
        step('column', $meta['name'], $meta['native_type'] ?? null);
    }
    step('query', $db->query('SELECT k, v FROM php_items WHERE k = 3')->fetch(PDO::FETCH_OBJ));
}

function transactions(PDO $db): void
{
    $update = $db->prepare('UPDATE php_items SET v = ? WHERE k = ?');
    $select = $db->prepare('SELECT v FROM php_items WHERE k = ?');
    for ($key = 1; $key <= KEYS; $key++) {
        foreach (['commit' => 'kept', 'rollBack' => 'lost'] as $end => $value) {
            $db->beginTransaction();
            $update->execute([$value, $key]);
            step('in transaction', $db->inTransaction());
            $db->$end();
        }
        $select->execute([$key]);
        step('transaction', $select->fetchColumn());
    }
    try {
        $db->exec('INSERT INTO php_items (k) VALUES (1)');
    } catch (PDOException $error) {
        step('duplicate', $error->errorInfo);
    }
    step('syntax', sqlstate(fn () => $db->query('SELEC 1')));
    step('no column', sqlstate(fn () => $db->query('SELECT x FROM php_items WHERE k = 1')));
    step('still there', $db->query('SELECT 1')->fetchColumn());
}

function settings(PDO $db): void
{
    step('server', $db->getAttribute(PDO::ATTR_SERVER_VERSION));
    $db->exec("SET statement_timeout = '200ms'");
    step('timeout', sqlstate(fn () => $db->query('SELECT pg_sleep(30)')));
    $db->exec('RESET ALL');
    $db->exec('DISCARD ALL');
    step('discarded', $db->query('SHOW statement_timeout')->fetchColumn());
}

function scenario(): void
{
    $db = connect();
    step('select', $db->query("SELECT 1 AS a, 'a' AS b, NULL AS c")->fetch());
    write($db);
    read($db);
    transactions($db);
    settings($db);
    $db = connect([PDO::ATTR_EMULATE_PREPARES => true]);
    read($db);
    $db = connect([PDO::PGSQL_ATTR_DISABLE_PREPARES => true]);
    read($db);
    $db = connect([PDO::ATTR_PERSISTENT => true]);
    read($db);
}

function refused(): void
{
    $db = connect();
    step('all shards', sqlstate(fn () => $db->query('SELECT count(*) FROM php_items a, php_items b')));
    step('after', $db->query('SELECT 1')->fetchColumn());
}

['scenario' => 'scenario', 'refused' => 'refused'][$argv[1]]();
step('end');
