-- The cue corpus and its embeddings, so that retrieval is a query and every cue leads to its sources.
-- Vectors are halfvec(512): half the memory of float32 at no measurable loss of order; encoders with
-- fewer dimensions are padded with zeros, which changes no cosine. One row an encoder revision, so a
-- new encoder can be loaded beside the old one and a replay under the old one still finds its own.
-- depends:

CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE documents (
    doc_id text PRIMARY KEY,
    content jsonb NOT NULL
);

CREATE TABLE cues (
    cue_id text PRIMARY KEY,
    region text NOT NULL,
    family text NOT NULL,
    verifier text NOT NULL,
    content jsonb NOT NULL
);

CREATE TABLE cue_documents (
    cue_id text NOT NULL REFERENCES cues ON DELETE CASCADE,
    doc_id text NOT NULL REFERENCES documents ON DELETE CASCADE,
    PRIMARY KEY (cue_id, doc_id)
);

CREATE TABLE cue_vectors (
    encoder text NOT NULL,
    cue_id text NOT NULL REFERENCES cues ON DELETE CASCADE,
    side text NOT NULL CHECK (side IN ('artifact', 'natural')),
    region text NOT NULL,
    vector halfvec(512) NOT NULL,
    PRIMARY KEY (encoder, cue_id, side)
);
CREATE INDEX cue_vectors_nearest ON cue_vectors USING hnsw (vector halfvec_cosine_ops) WITH (m = 16);

-- What was loaded for which encoder; loading the same again changes nothing.
CREATE TABLE corpora (
    encoder text PRIMARY KEY,
    revision text NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now()
);
