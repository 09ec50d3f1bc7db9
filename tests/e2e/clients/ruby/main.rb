# ruby-pg: parameters by number, prepared statements, pipelines, and what it sends to be fresh again.
#
# Prints a line for each step. Against a router and against a plain server the lines must be the
# same. Reads libpq's variables from the environment.

require "pg"

KEYS = 1..20
SELECT = "SELECT * FROM ruby_items WHERE k = $1"

def step(name, *facts)
  puts "#{name}: #{facts.map(&:inspect).join(' ')}"
end

def sqlstate
  yield
  "no error"
rescue PG::Error => e
  e.result&.error_field(PG::Result::PG_DIAG_SQLSTATE)
end

def write(connection)
  insert = "INSERT INTO ruby_items (k, v, n, j, a, ts, b, u, f, d, r) " \
           "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING k, v"
  KEYS.each do |key|
    raw = { value: [0, 255, key].pack("C*"), format: 1 }
    uuid = format("00000000-0000-0000-0000-%012d", key)
    result = connection.exec_params(
      insert,
      [key, "it's #{key}", key / 8.0, "{\"key\": #{key}}", "{#{key},NULL}",
       "2024-02-29 12:00:00+00", raw, uuid, key.even?, "2024-02-29", key / 3.0]
    )
    step "insert", result.values, result.cmd_tuples, result.cmd_status
  end
  connection.exec("INSERT INTO ruby_items (k) VALUES (100)")
  KEYS.each do |key|
    result = connection.exec_params("UPDATE ruby_items SET v = $1 WHERE k = $2", ["new", key])
    step "update", result.cmd_tuples
  end
  step "delete", connection.exec("DELETE FROM ruby_items WHERE k = 20").cmd_tuples
  ["one", "it's", "\u00e9t\u00e9"].each do |key|
    connection.exec_params("INSERT INTO ruby_names (k, v) VALUES ($1, $2)", [key, key.upcase])
    step "text key", connection.exec_params("SELECT v FROM ruby_names WHERE k = $1", [key]).values
  end
  KEYS.each do |key|
    uuid = format("00000000-0000-0000-0000-%012d", key)
    connection.exec_params("INSERT INTO ruby_tokens (k, v) VALUES ($1, $2)", [uuid, key])
    step "uuid key", connection.exec_params("SELECT v FROM ruby_tokens WHERE k = $1", [uuid]).values
  end
end

def read(connection)
  [0, 1].each do |format|
    [*KEYS, 100].each do |key|
      step "read", format, connection.exec_params(SELECT, [key], format).values
    end
  end
  connection.prepare("by_key", SELECT)
  description = connection.describe_prepared("by_key")
  step "described", description.fields, description.paramtype(0)
  KEYS.each { |key| step "prepared", connection.exec_prepared("by_key", [key]).values }
  connection.exec("DEALLOCATE by_key")
  step "deallocated", sqlstate { connection.exec_prepared("by_key", [1]) }
  # With types as a type map reads them from the catalog.
  connection.type_map_for_results = PG::BasicTypeMapForResults.new(connection)
  step "typed", connection.exec_params(SELECT, [3]).values
  connection.type_map_for_results = PG::TypeMapAllStrings.new
  connection.send_query_params("SELECT i FROM generate_series(1, 5) i, ruby_items WHERE k = $1", [3])
  connection.set_single_row_mode
  rows = []
  while (result = connection.get_result)
    rows.concat(result.values)
  end
  step "single row mode", rows
end

def transactions(connection)
  KEYS.each do |key|
    connection.transaction do
      connection.exec_params("UPDATE ruby_items SET v = $1 WHERE k = $2", ["kept", key])
    end
    begin
      connection.transaction do
        connection.exec_params("DELETE FROM ruby_items WHERE k = $1", [key])
        raise KeyError
      end
    rescue KeyError
      step "transaction", connection.exec_params(SELECT, [key]).ntuples, connection.transaction_status
    end
  end
  begin
    connection.exec("INSERT INTO ruby_items (k) VALUES (1)")
  rescue PG::UniqueViolation => e
    step "duplicate", e.message, e.result.error_field(PG::Result::PG_DIAG_CONSTRAINT_NAME)
  end
  step "syntax", sqlstate { connection.exec("SELEC 1") }
  step "no column", sqlstate { connection.exec_params("SELECT x FROM ruby_items WHERE k = $1", [1]) }
end

def pipelined(connection)
  connection.enter_pipeline_mode
  KEYS.each do |key|
    connection.send_query_params("SELECT v FROM ruby_items WHERE k = $1", [key])
    connection.pipeline_sync
  end
  KEYS.each do
    step "pipeline", connection.get_result.values
    connection.get_result
    connection.get_result.check
  end
  connection.exit_pipeline_mode
end

def settings(connection)
  step "server", connection.server_version, connection.parameter_status("server_encoding")
  connection.exec("SET statement_timeout = '200ms'")
  step "timeout", sqlstate { connection.exec("SELECT pg_sleep(30)") }
  connection.exec("RESET ALL")
  connection.send_query("SELECT pg_sleep(30)")
  sleep 0.3
  step "cancel", connection.cancel, sqlstate { connection.get_last_result }
  connection.set_client_encoding("UNICODE")
  connection.reset
  step "reset", connection.exec("SHOW client_encoding").values, connection.transaction_status
  connection.exec("DISCARD ALL")
  step "discarded", connection.exec_params(SELECT, [3]).ntuples
end

def scenario
  connection = PG.connect
  step "select", connection.exec("SELECT 1, 'a', NULL").values
  several = connection.exec("SELECT 1; SELECT 2").values
  step "several", several
  write(connection)
  read(connection)
  transactions(connection)
  pipelined(connection)
  settings(connection)
  connection.finish
end

def refused
  connection = PG.connect
  step "all shards", sqlstate { connection.exec("SELECT count(*) FROM ruby_items a, ruby_items b") }
  step "after", connection.exec("SELECT 1").values
end

send(ARGV.fetch(0))
step "end"
