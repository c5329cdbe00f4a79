-- What was wrong with the first shape: a cue dropped from the corpus took its vectors from under every
-- other encoder, whose corpus then was no longer the one it was recorded as; and an exemplar known to one
-- encoder could not be kept for a second. Vectors now stand by themselves, exemplars are keyed by encoder.
-- The index by place serves look-ups among few rows, where walking the HNSW graph would pass over
-- thousands of other regions; verdicts are also asked for by what they say.
-- depends: 0004.dead_letters

ALTER TABLE cue_vectors DROP CONSTRAINT cue_vectors_cue_id_fkey;

ALTER TABLE exemplars DROP CONSTRAINT exemplars_pkey;
ALTER TABLE exemplars ADD PRIMARY KEY (encoder, exemplar_id);
CREATE INDEX exemplars_by_place ON exemplars (encoder, region);

CREATE INDEX verdicts_by_answer ON verdicts (verdict, recorded_at DESC);
