-- A replay's verdicts can be made the live ones. Which verdict on an image holds was told by the absence
-- of a replay id, which a promoted verdict keeps. Now each says whether it was recorded from a replay's own
-- topics; what is not in the shadow is live, and the latest of those on an image is the one that holds.
-- depends: 0005.neighbours

ALTER TABLE verdicts ADD COLUMN shadow boolean NOT NULL DEFAULT false;
UPDATE verdicts SET shadow = true WHERE replay_id IS NOT NULL;

DROP INDEX verdicts_by_upload;
CREATE INDEX verdicts_by_upload ON verdicts (uploaded_at DESC) WHERE phash IS NOT NULL AND NOT shadow;
