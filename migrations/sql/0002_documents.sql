-- The search index: the texts of artifacts, cut into passages.

CREATE TABLE documents (
    tenant text NOT NULL,
    sha256 text COLLATE "C" NOT NULL,
    -- whether it was read as an archive: the same bytes can be one under one filename and a plain file under another
    unpacked boolean NOT NULL,
    files integer NOT NULL CHECK (files >= 0),
    passages integer NOT NULL CHECK (passages >= 0),
    -- [{file, reason}] of files that are not text
    skipped jsonb NOT NULL DEFAULT '[]',
    indexed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, sha256, unpacked),
    FOREIGN KEY (tenant, sha256) REFERENCES artifacts (tenant, sha256) ON DELETE CASCADE
);

CREATE TABLE passages (
    tenant text NOT NULL,
    sha256 text COLLATE "C" NOT NULL,
    unpacked boolean NOT NULL,
    number integer NOT NULL CHECK (number >= 0),
    -- the path inside an archive; empty for a plain file, which has its artifact's name
    file text NOT NULL,
    line integer NOT NULL CHECK (line >= 1),
    end_line integer NOT NULL,
    first_byte integer NOT NULL CHECK (first_byte >= 0),
    content text NOT NULL,
    words tsvector NOT NULL GENERATED ALWAYS AS (to_tsvector('english', content)) STORED,
    PRIMARY KEY (tenant, sha256, unpacked, number),
    FOREIGN KEY (tenant, sha256, unpacked) REFERENCES documents (tenant, sha256, unpacked) ON DELETE CASCADE,
    CONSTRAINT passages_ends_after_it_starts CHECK (end_line >= line)
);
CREATE INDEX passages_words ON passages USING gin (words);
