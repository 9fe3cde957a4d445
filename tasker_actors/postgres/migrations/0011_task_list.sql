-- What a list of tasks is filtered by. Namespace, name and version are those of the template, so one index serves all
-- three. Ids are UUIDv7: each index ends with the order of creation, and a page is the end of one of its ranges.
--
-- Expressions, which only the list uses: on bare columns the planner would take these indexes for the commit path too,
-- as soon as its statistics are old, and read every task of a status to find one by its key.
--
-- No column here changes with each commit of a running task, so those updates stay within their page (HOT): a template
-- and tags never change, the status does with the first commit of a task and with the last one.
--
-- Building them locks out commits, which workers of the last release repeat until it is done: seconds, with some
-- million tasks.
CREATE INDEX tasks_template ON tasker.tasks ((template_id + 0), task_uuid);
CREATE INDEX tasks_status ON tasker.tasks ((status || ''), task_uuid);
CREATE INDEX tasks_tags ON tasker.tasks USING gin (tags) WHERE tags <> '{}';
