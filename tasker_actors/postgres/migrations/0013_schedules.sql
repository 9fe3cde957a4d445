-- Schedules, which create tasks by the clock.

-- Tasks to be created by the clock. `next_fire_at` is when the next one is due, null for a schedule that is paused or
-- never fires again; it moves in the transaction that creates the task. `last_fired_at` is when the last one was due.
CREATE TABLE tasker.schedules (
    name              text PRIMARY KEY,
    namespace         text NOT NULL,
    template          text NOT NULL,
    version           text,
    cron              text NOT NULL,
    timezone          text NOT NULL,
    context           jsonb NOT NULL,
    scheduled_for_key text,
    priority          integer NOT NULL,
    tags              text[] NOT NULL,
    catch_up          text NOT NULL,
    enabled           boolean NOT NULL,
    next_fire_at      timestamptz,
    last_fired_at     timestamptz,
    last_task_uuid    uuid,
    last_error        jsonb,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    CHECK (enabled OR next_fire_at IS NULL)
);
CREATE INDEX schedules_due ON tasker.schedules (next_fire_at) WHERE next_fire_at IS NOT NULL;
