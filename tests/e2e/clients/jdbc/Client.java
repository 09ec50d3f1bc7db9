import java.math.BigDecimal;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.UUID;

/**
 * JDBC: statements prepared by name after some uses, batches, cursors by portal, metadata.
 *
 * <p>Prints a line for each step. Against a router and against a plain server the lines must be the
 * same. Reads libpq's variables from the environment.
 */
public final class Client {
    private static final int KEYS = 20;
    private static final String SELECT = "SELECT * FROM jdbc_items WHERE k = ?";

    private Client() {}

    private interface Action {
        void run() throws SQLException;
    }

    public static void main(String[] arguments) throws SQLException {
        if (arguments[0].equals("scenario")) {
            scenario();
        } else {
            refused();
        }
        step("end");
    }

    private static void step(String name, Object... facts) {
        StringBuilder line = new StringBuilder(name).append(':');
        for (Object fact : facts) {
            line.append(' ').append(fact instanceof byte[] raw ? HexFormat.of().formatHex(raw) : fact);
        }
        System.out.println(line);
    }

    private static Connection connect(String options) throws SQLException {
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/"
                + System.getenv("PGDATABASE") + "?" + options;
        return DriverManager.getConnection(url, System.getenv("PGUSER"), System.getenv("PGPASSWORD"));
    }

    private static String sqlstate(Action action) {
        try {
            action.run();
            return "no error";
        } catch (SQLException error) {
            return error.getSQLState();
        }
    }

    private static List<List<Object>> rows(ResultSet result) throws SQLException {
        List<List<Object>> rows = new ArrayList<>();
        int columns = result.getMetaData().getColumnCount();
        while (result.next()) {
            List<Object> row = new ArrayList<>();
            for (int column = 1; column <= columns; column++) {
                Object value = result.getObject(column);
                row.add(value instanceof byte[] raw ? HexFormat.of().formatHex(raw) : value);
            }
            rows.add(row);
        }
        return rows;
    }

    private static void scenario() throws SQLException {
        try (Connection db = connect("ApplicationName=jdbc")) {
            step("valid", db.isValid(2), rows(db.createStatement().executeQuery("SELECT 1, 'a', NULL")));
            write(db);
            read(db);
            transactions(db);
            batches(db);
            failures(db);
            portals(db);
            settings(db);
            metadata(db);
        }
        // Prepared by name at once, with values in binary; never prepared; and simple queries.
        for (String options : List.of("prepareThreshold=-1", "prepareThreshold=1&binaryTransfer=true",
                "prepareThreshold=0", "preferQueryMode=simple", "preferQueryMode=extendedForPrepared",
                "preparedStatementCacheQueries=0", "autosave=always&reWriteBatchedInserts=true")) {
            try (Connection db = connect(options)) {
                step("options", options);
                read(db);
                transactions(db);
            }
        }
    }

    private static void write(Connection db) throws SQLException {
        String insert = "INSERT INTO jdbc_items (k, v, n, j, a, ts, b, u, f, d, r) "
                + "VALUES (?, ?, ?, ?::jsonb, ?, ?, ?, ?, ?, ?, ?)";
        try (PreparedStatement statement = db.prepareStatement(insert, Statement.RETURN_GENERATED_KEYS)) {
            for (int key = 1; key <= KEYS; key++) {
                statement.setLong(1, key);
                statement.setString(2, "it's " + key);
                statement.setBigDecimal(3, new BigDecimal(key).divide(new BigDecimal(8)));
                statement.setString(4, "{\"key\": " + key + "}");
                statement.setArray(5, db.createArrayOf("integer", new Object[] {key, null}));
                statement.setObject(6, OffsetDateTime.of(2024, 2, 29, 12, 0, 0, 0, ZoneOffset.UTC));
                statement.setBytes(7, new byte[] {0, -1, (byte) key});
                statement.setObject(8, new UUID(0, key));
                statement.setBoolean(9, key % 2 == 0);
                statement.setObject(10, LocalDate.of(2024, 2, 29));
                statement.setDouble(11, key / 3.0);
                int count = statement.executeUpdate();
                step("insert", count, rows(statement.getGeneratedKeys()));
            }
        }
        try (Statement statement = db.createStatement()) {
            step("null", statement.executeUpdate("INSERT INTO jdbc_items (k) VALUES (100)"));
            step("delete", statement.executeUpdate("DELETE FROM jdbc_items WHERE k = 20"));
        }
        for (String key : List.of("one", "it's", "\u00e9t\u00e9")) {
            update(db, "INSERT INTO jdbc_names (k, v) VALUES (?, ?)", key, key.toUpperCase());
            step("text key", select(db, "SELECT v FROM jdbc_names WHERE k = ?", key));
        }
        for (int key = 1; key <= KEYS; key++) {
            update(db, "INSERT INTO jdbc_tokens (k, v) VALUES (?, ?)", new UUID(0, key), "" + key);
            step("uuid key", select(db, "SELECT * FROM jdbc_tokens WHERE k = ?", new UUID(0, key)));
        }
    }

    private static int update(Connection db, String sql, Object... parameters) throws SQLException {
        try (PreparedStatement statement = db.prepareStatement(sql)) {
            for (int index = 0; index < parameters.length; index++) {
                statement.setObject(index + 1, parameters[index]);
            }
            return statement.executeUpdate();
        }
    }

    private static List<List<Object>> select(Connection db, String sql, Object... parameters) throws SQLException {
        try (PreparedStatement statement = db.prepareStatement(sql)) {
            for (int index = 0; index < parameters.length; index++) {
                statement.setObject(index + 1, parameters[index]);
            }
            return rows(statement.executeQuery());
        }
    }

    private static void read(Connection db) throws SQLException {
        try (PreparedStatement statement = db.prepareStatement(SELECT)) {
            for (int round = 0; round < 2; round++) {
                for (int key = 1; key <= KEYS; key++) {
                    statement.setLong(1, key);
                    step("read", rows(statement.executeQuery()));
                }
            }
        }
        step("null", select(db, SELECT, 100L));
        try (Statement statement = db.createStatement()) {
            step("has result", statement.execute("SELECT 1; SELECT 2"), statement.getMoreResults());
        }
    }

    private static void transactions(Connection db) throws SQLException {
        db.setAutoCommit(false);
        for (long key = 1; key <= KEYS; key++) {
            step("update", update(db, "UPDATE jdbc_items SET v = ? WHERE k = ?", "kept", key));
            db.commit();
            update(db, "UPDATE jdbc_items SET v = ? WHERE k = ?", "lost", key);
            db.rollback();
            step("then", select(db, "SELECT v FROM jdbc_items WHERE k = ?", key));
            db.commit();
        }
        update(db, "UPDATE jdbc_items SET n = ? WHERE k = ?", new BigDecimal("2"), 2L);
        Savepoint savepoint = db.setSavepoint("one");
        step("duplicate", sqlstate(() -> update(db, "INSERT INTO jdbc_items (k) VALUES (?)", 2L)));
        db.rollback(savepoint);
        update(db, "UPDATE jdbc_items SET n = n + 1 WHERE k = ?", 2L);
        db.commit();
        step("after savepoint", select(db, "SELECT n FROM jdbc_items WHERE k = ?", 2L));
        db.commit();
        db.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        step("isolation", db.getTransactionIsolation());
        db.setReadOnly(true);
        step("read only", sqlstate(() -> update(db, "DELETE FROM jdbc_items WHERE k = ?", 2L)));
        db.rollback();
        db.setReadOnly(false);
        db.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        db.setAutoCommit(true);
    }

    /** A batch in autocommit is a transaction of its own: its rows have one key. */
    private static void batches(Connection db) throws SQLException {
        for (long key = 1; key <= 5; key++) {
            try (PreparedStatement statement = db.prepareStatement("INSERT INTO jdbc_rows (k, v) VALUES (?, ?)")) {
                for (int row = 0; row < 300; row++) {
                    statement.setLong(1, key);
                    statement.setString(2, "row " + row);
                    statement.addBatch();
                }
                step("batch", Arrays.stream(statement.executeBatch()).sum());
            }
            step("count", select(db, "SELECT count(*) FROM jdbc_rows WHERE k = ?", key));
        }
        try (PreparedStatement statement = db.prepareStatement("INSERT INTO jdbc_items (k) VALUES (?)")) {
            for (long key : new long[] {400, 400}) {
                statement.setLong(1, key);
                statement.addBatch();
            }
            statement.executeBatch();
        } catch (BatchUpdateException error) {
            step("batch error", error.getSQLState(), Arrays.toString(error.getUpdateCounts()));
        }
        step("rolled back", select(db, "SELECT k FROM jdbc_items WHERE k = ?", 400L));
    }

    private static void failures(Connection db) throws SQLException {
        try (Statement statement = db.createStatement()) {
            step("syntax", sqlstate(() -> statement.execute("SELEC 1")));
            step("no column", sqlstate(() -> statement.execute("SELECT x FROM jdbc_items WHERE k = 1")));
            statement.setQueryTimeout(1);
            step("query timeout", sqlstate(() -> statement.execute("SELECT pg_sleep(30)")));
            statement.setQueryTimeout(0);
            step("still there", rows(statement.executeQuery("SELECT 1")));
        }
    }

    /** With a fetch size the rows of a portal come piece by piece. */
    private static void portals(Connection db) throws SQLException {
        db.setAutoCommit(false);
        String sql = "SELECT k, i FROM jdbc_items, generate_series(1, 105) i WHERE k = ?";
        for (long key = 1; key <= 6; key++) {
            try (PreparedStatement statement = db.prepareStatement(sql)) {
                statement.setFetchSize(20);
                statement.setLong(1, key);
                step("fetched", rows(statement.executeQuery()).size());
            }
            db.commit();
        }
        db.setAutoCommit(true);
    }

    private static void settings(Connection db) throws SQLException {
        db.setSchema("pg_catalog");
        step("schema", db.getSchema());
        db.setSchema("public");
        db.setClientInfo("ApplicationName", "changed");
        try (Statement statement = db.createStatement()) {
            step("application", rows(statement.executeQuery("SHOW application_name")));
            statement.execute("DISCARD ALL");
            statement.execute("SET TimeZone = 'UTC'");
            step("zone", rows(statement.executeQuery("SHOW TimeZone")));
        }
        step("discarded", select(db, "SELECT v FROM jdbc_items WHERE k = ?", 3L));
    }

    private static void metadata(Connection db) throws SQLException {
        DatabaseMetaData metadata = db.getMetaData();
        step("product", metadata.getDatabaseProductName(), metadata.getDatabaseProductVersion());
        List<String> columns = new ArrayList<>();
        try (ResultSet result = metadata.getColumns(null, "public", "jdbc_items", "%")) {
            while (result.next()) {
                columns.add(result.getString("COLUMN_NAME") + " " + result.getString("TYPE_NAME"));
            }
        }
        step("columns", columns);
        try (ResultSet result = metadata.getPrimaryKeys(null, "public", "jdbc_items")) {
            while (result.next()) {
                step("primary key", result.getString("COLUMN_NAME"));
            }
        }
        try (ResultSet result = metadata.getTables(null, "public", "jdbc_items", new String[] {"TABLE"})) {
            while (result.next()) {
                step("table", result.getString("TABLE_NAME"));
            }
        }
        try (PreparedStatement statement = db.prepareStatement(SELECT)) {
            ResultSetMetaData described = statement.getMetaData();
            step("described", described.getColumnCount(), described.getColumnTypeName(1), described.isNullable(1));
            step("parameter", statement.getParameterMetaData().getParameterTypeName(1));
        }
    }

    private static void refused() throws SQLException {
        try (Connection db = connect("")) {
            step("all shards", sqlstate(() -> select(db, "SELECT count(*) FROM jdbc_items a, jdbc_items b")));
            step("after", select(db, "SELECT 1"));
        }
    }
}
