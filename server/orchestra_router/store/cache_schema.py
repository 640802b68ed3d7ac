"""The tables of the cache, as steps of `migrations.py`; released, they are never edited."""

SEMANTIC_CACHE = (
    # Keys are made of more than before, so nothing kept until now would be found again.
    "DROP TABLE cache",
    "UPDATE cache_size SET entries = 0",
    "ALTER TABLE cache_size ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0 CHECK (bytes >= 0)",
    # The long columns come last: what is read to find and to choose lies before them.
    """
    CREATE TABLE cache (
        key TEXT NOT NULL PRIMARY KEY,
        entry_id TEXT NOT NULL UNIQUE,
        who TEXT NOT NULL DEFAULT '',
        shelf TEXT NOT NULL DEFAULT '',
        words TEXT NOT NULL DEFAULT '',
        guard TEXT NOT NULL DEFAULT '',
        embedder TEXT NOT NULL DEFAULT '',
        access_key TEXT NOT NULL,
        user TEXT NOT NULL,
        session TEXT NOT NULL,
        task TEXT NOT NULL DEFAULT '',
        provider TEXT NOT NULL DEFAULT '',
        model TEXT NOT NULL DEFAULT '',
        cost_nusd INTEGER NOT NULL CHECK (cost_nusd >= 0),
        hits INTEGER NOT NULL DEFAULT 0 CHECK (hits >= 0),
        bytes INTEGER NOT NULL DEFAULT 0 CHECK (bytes >= 0),
        created_ms INTEGER NOT NULL CHECK (created_ms >= 0),
        expires_ms INTEGER NOT NULL CHECK (expires_ms >= 0),
        used_ms INTEGER NOT NULL DEFAULT 0 CHECK (used_ms >= 0),
        prompt TEXT NOT NULL DEFAULT '',
        body TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX cache_by_age ON cache (created_ms)",
    "CREATE INDEX cache_by_expiry ON cache (expires_ms)",
    "CREATE INDEX cache_by_use ON cache (used_ms)",
    "CREATE INDEX cache_of_scope_by_use ON cache (who, used_ms)",
    "CREATE INDEX cache_by_words ON cache (shelf, words) WHERE shelf <> ''",
    "CREATE INDEX cache_by_embedder ON cache (shelf, embedder) WHERE shelf <> ''",
    """
    CREATE TABLE cache_scopes (
        who TEXT NOT NULL PRIMARY KEY,
        entries INTEGER NOT NULL CHECK (entries >= 0)
    ) STRICT, WITHOUT ROWID
    """,
    # A vector's number is never given twice, so whoever knows the last one knows what is new.
    """
    CREATE TABLE cache_vectors (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        entry_id TEXT NOT NULL UNIQUE,
        shelf TEXT NOT NULL,
        embedder TEXT NOT NULL,
        expires_ms INTEGER NOT NULL,
        vector BLOB NOT NULL
    ) STRICT
    """,
    "CREATE INDEX cache_vectors_by_shelf ON cache_vectors (shelf, embedder, number)",
    """
    CREATE TRIGGER cache_grew AFTER INSERT ON cache BEGIN
        UPDATE cache_size SET entries = entries + 1, bytes = bytes + NEW.bytes;
        INSERT INTO cache_scopes (who, entries) VALUES (NEW.who, 1)
            ON CONFLICT (who) DO UPDATE SET entries = entries + 1;
    END
    """,
    """
    CREATE TRIGGER cache_shrank AFTER DELETE ON cache BEGIN
        UPDATE cache_size SET entries = entries - 1, bytes = bytes - OLD.bytes;
        UPDATE cache_scopes SET entries = entries - 1 WHERE who = OLD.who;
        DELETE FROM cache_scopes WHERE who = OLD.who AND entries = 0;
        DELETE FROM cache_vectors WHERE entry_id = OLD.entry_id;
    END
    """,
    """
    CREATE TRIGGER cache_weighed AFTER UPDATE OF bytes ON cache BEGIN
        UPDATE cache_size SET bytes = bytes + NEW.bytes - OLD.bytes;
    END
    """,
    """
    CREATE TRIGGER cache_replaced AFTER UPDATE OF entry_id ON cache BEGIN
        DELETE FROM cache_vectors WHERE entry_id = OLD.entry_id;
    END
    """,
    """
    CREATE TRIGGER cache_vectors_grew AFTER INSERT ON cache_vectors BEGIN
        UPDATE cache SET embedder = NEW.embedder, bytes = bytes + length(NEW.vector)
        WHERE entry_id = NEW.entry_id;
    END
    """,
    """
    CREATE TRIGGER cache_vectors_shrank AFTER DELETE ON cache_vectors BEGIN
        UPDATE cache SET embedder = '', bytes = bytes - length(OLD.vector) WHERE entry_id = OLD.entry_id;
    END
    """,
    # Who was, or would have been, answered with what another prompt was answered.
    """
    CREATE TABLE cache_matches (
        number INTEGER PRIMARY KEY,
        entry_id TEXT NOT NULL,
        who TEXT NOT NULL,
        similarity REAL,
        refusal TEXT NOT NULL,
        served INTEGER NOT NULL CHECK (served IN (0, 1)),
        at_ms INTEGER NOT NULL CHECK (at_ms >= 0),
        expires_ms INTEGER NOT NULL CHECK (expires_ms >= 0),
        earlier TEXT NOT NULL,
        asked TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX cache_matches_by_entry ON cache_matches (entry_id)",
    "CREATE INDEX cache_matches_by_expiry ON cache_matches (expires_ms)",
    # Each pair stands here in both orders.
    """
    CREATE TABLE cache_wrong (
        who TEXT NOT NULL,
        asked_hash TEXT NOT NULL,
        earlier_hash TEXT NOT NULL,
        at_ms INTEGER NOT NULL CHECK (at_ms >= 0),
        asked TEXT NOT NULL,
        earlier TEXT NOT NULL,
        PRIMARY KEY (who, asked_hash, earlier_hash)
    ) STRICT, WITHOUT ROWID
    """,
    "ALTER TABLE requests ADD COLUMN cache_reason TEXT NOT NULL DEFAULT ''",
)

# What was kept until now has keys of another make, and goes when its time is up.
ROUGH_PARTITION = (
    "ALTER TABLE cache ADD COLUMN rough TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE cache ADD COLUMN figures TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX cache_by_figures ON cache (rough, figures, expires_ms) WHERE rough <> ''",
    "CREATE INDEX cache_unread ON cache (rough, figures) WHERE rough <> '' AND shelf = ''",
)
