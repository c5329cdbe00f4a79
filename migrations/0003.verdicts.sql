-- Verdicts as people query them, beside the whole event they came in. Rows are keyed by event id, so
-- that a repeat has no effect. An explanation may arrive before its verdict: nothing references.
-- depends: 0001.corpus

CREATE TABLE images (
    sha256 text PRIMARY KEY,
    phash bit(64) NOT NULL,
    width_px integer NOT NULL,
    height_px integer NOT NULL,
    media_type text NOT NULL,
    size_bytes bigint NOT NULL,
    first_uploaded_at timestamptz NOT NULL
);

CREATE TABLE verdicts (
    verdict_id uuid PRIMARY KEY,
    image_id text NOT NULL,
    upload_id uuid NOT NULL,
    sha256 text,
    phash bit(64),
    replay_id text,
    verdict text NOT NULL,
    probability double precision,
    reliability double precision,
    action text NOT NULL,
    profile text NOT NULL,
    policy text NOT NULL,
    uploaded_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    event jsonb NOT NULL
);
CREATE INDEX verdicts_by_image ON verdicts (image_id, recorded_at DESC);
CREATE INDEX verdicts_by_time ON verdicts (recorded_at DESC);
CREATE INDEX verdicts_by_content ON verdicts (sha256);
-- Near duplicates are looked for among the most recent uploads; see stores/verdicts.py.
CREATE INDEX verdicts_by_upload ON verdicts (uploaded_at DESC) WHERE phash IS NOT NULL AND replay_id IS NULL;

CREATE TABLE claims (
    verdict_id uuid NOT NULL,
    claim_id text NOT NULL,
    cue_id text NOT NULL,
    region_id text NOT NULL,
    polarity text NOT NULL,
    status text NOT NULL,
    probability double precision NOT NULL,
    z double precision,
    PRIMARY KEY (verdict_id, claim_id, polarity)
);
CREATE INDEX claims_by_cue ON claims (cue_id, status);

CREATE TABLE explanations (
    explanation_id uuid PRIMARY KEY,
    verdict_id uuid NOT NULL,
    image_id text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    event jsonb NOT NULL
);
CREATE INDEX explanations_by_verdict ON explanations (verdict_id);
