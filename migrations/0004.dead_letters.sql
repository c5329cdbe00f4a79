-- What was done about a dead letter. The letter itself stays on its topic, byte for byte; this is the
-- record of people's decisions, keyed by where the letter lies.
-- depends: 0001.corpus

CREATE TABLE dead_letters (
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    decision text NOT NULL CHECK (decision IN ('redriven', 'dropped')),
    decided_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition, "offset")
);
