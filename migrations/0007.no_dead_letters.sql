-- Decisions about dead letters are noted in the dead topic itself, where everybody who looks sees the
-- same and a server less is needed to look. Nothing has ever written this table.
-- depends: 0006.shadow_verdicts

DROP TABLE dead_letters;
