-- What is asked for every page, chunk or decision must not cost more in a large space than in a small one.
CREATE INDEX ON work.inventory (task, epoch, container, kind) WHERE container IS NOT NULL;
CREATE INDEX ON work.inventory (task, epoch, parent) WHERE kind = 'page';
CREATE INDEX ON work.outcome (task, id) WHERE reason = 'title_clash';
CREATE INDEX ON work.chunk (task) WHERE state <> 'ended';
CREATE INDEX ON work.chunk (task) WHERE fatal IS NOT NULL;
