-- What a plan does about the one it follows.
ALTER TABLE work.plan ADD COLUMN predecessor text, ADD COLUMN follow text;
CREATE INDEX ON work.plan (predecessor) WHERE predecessor IS NOT NULL;
ALTER TABLE read.plan ADD COLUMN follow text;

-- A following plan takes a part of what the source holds. The whole listing stands under the negative epoch; what it takes,
-- under the epoch itself. ``gone``: it moved before and is not at the source any more.
ALTER TABLE work.inventory ADD COLUMN gone boolean NOT NULL DEFAULT false;
CREATE INDEX ON work.outcome (id) WHERE kind = 'link';
-- Who made an object of the site is the task that first named it.
CREATE INDEX ON work.outcome (target) WHERE target IS NOT NULL;
-- Whether a group or membership was there before: an undo removes what a plan made. NULL: it was not recorded.
ALTER TABLE work.outcome ADD COLUMN merged boolean;
