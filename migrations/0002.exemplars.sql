-- Embeddings of known regions, untouched and edited: what a picture's region is nearest to is shown to
-- people beside the cue. Vectors only; no picture is kept.
-- depends: 0001.corpus

CREATE TABLE exemplars (
    exemplar_id text PRIMARY KEY,
    encoder text NOT NULL,
    region text NOT NULL,
    cue_id text,
    edited boolean NOT NULL,
    vector halfvec(512) NOT NULL
);
CREATE INDEX exemplars_nearest ON exemplars USING hnsw (vector halfvec_cosine_ops) WITH (m = 16);
