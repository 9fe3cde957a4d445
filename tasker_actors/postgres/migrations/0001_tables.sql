-- The tables of the runtime. The functions of the later migrations are the only writers of tasks and steps.

-- One row for each content of each version; the newest registration of a version is what new tasks use.
CREATE TABLE tasker.templates (
    template_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace     text NOT NULL,
    name          text NOT NULL,
    version       text NOT NULL,
    content_hash  text NOT NULL,
    definition    jsonb NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (namespace, name, version, content_hash)
);

-- The DAG of a template, unfolded once, so that a task's steps are one INSERT ... SELECT and a commit can find
-- successors by primary key.
CREATE TABLE tasker.template_steps (
    template_id  bigint NOT NULL REFERENCES tasker.templates ON DELETE CASCADE,
    position     smallint NOT NULL,
    name         text NOT NULL,
    dependencies smallint[] NOT NULL,
    successors   smallint[] NOT NULL,
    ancestors    smallint[] NOT NULL,
    descendants  smallint[] NOT NULL,
    max_attempts integer NOT NULL,
    PRIMARY KEY (template_id, position)
);

-- open_steps counts the steps that can still run: neither finished nor blocked by a failure before them. The
-- commit that brings it to zero finishes the task.
CREATE TABLE tasker.tasks (
    task_uuid             uuid PRIMARY KEY,
    template_id           bigint NOT NULL,
    namespace             text NOT NULL,
    name                  text NOT NULL,
    version               text NOT NULL,
    status                text NOT NULL DEFAULT 'pending',
    priority              integer NOT NULL DEFAULT 0,
    open_steps            integer NOT NULL,
    failed_steps          integer NOT NULL DEFAULT 0,
    context               jsonb NOT NULL,
    context_bytes         integer NOT NULL,
    initiator             text,
    source_system         text,
    reason                text,
    tags                  text[] NOT NULL DEFAULT '{}',
    correlation_id        uuid NOT NULL,
    parent_correlation_id uuid,
    idempotency_key       text,
    traceparent           text NOT NULL,
    tracestate            text,
    created_at            timestamptz NOT NULL,
    updated_at            timestamptz NOT NULL,
    completed_at          timestamptz
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX tasks_idempotency_key ON tasker.tasks (namespace, name, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX tasks_correlation_id ON tasker.tasks (correlation_id);
CREATE INDEX tasks_completed_at ON tasker.tasks (completed_at) WHERE completed_at IS NOT NULL;

-- The work queue is this table. run_at is the moment from which a step may be claimed and, while it is leased, the
-- moment at which the lease ends. The token names the lease: a result counts only while its token is still there.
-- No foreign key to tasks: both are written by the same functions, and the check would cost each insert a lock.
CREATE TABLE tasker.steps (
    task_uuid         uuid NOT NULL,
    position          smallint NOT NULL,
    step_uuid         uuid NOT NULL,
    namespace         text NOT NULL,
    name              text NOT NULL,
    state             text NOT NULL,
    open_dependencies smallint NOT NULL,
    attempts          integer NOT NULL DEFAULT 0,
    max_attempts      integer NOT NULL,
    blocked           boolean NOT NULL DEFAULT false,
    suspect           boolean NOT NULL DEFAULT false,
    run_at            timestamptz,
    token             bigint,
    worker_id         bigint,
    result_bytes      integer NOT NULL DEFAULT 0,
    updated_at        timestamptz NOT NULL,
    result            jsonb,
    error             jsonb,
    PRIMARY KEY (task_uuid, position)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
-- A step is in one of these two at most, so a state change writes one index entry beside the primary key's.
CREATE INDEX steps_claimable ON tasker.steps (namespace, run_at)
    WHERE state IN ('enqueued', 'waiting_for_retry');
CREATE INDEX steps_leased ON tasker.steps (worker_id, run_at) WHERE state = 'in_progress';

CREATE SEQUENCE tasker.lease_token;

-- One row for each attempt that has a result or was lost. The key is the lease's token: an attempt that was lost
-- beside others is not charged, so the same number can come twice.
CREATE TABLE tasker.step_attempts (
    task_uuid    uuid NOT NULL,
    position     smallint NOT NULL,
    token        bigint NOT NULL,
    attempt      integer NOT NULL,
    outcome      text NOT NULL,
    worker_id    bigint NOT NULL,
    error        jsonb,
    duration_ms  double precision,
    finished_at  timestamptz NOT NULL,
    PRIMARY KEY (task_uuid, position, token)
);

CREATE TABLE tasker.workers (
    worker_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    supervisor_id uuid NOT NULL,
    host          text NOT NULL,
    process_space text NOT NULL,
    slot          integer NOT NULL,
    incarnation   integer NOT NULL,
    pid           integer,
    process_start double precision,
    state         text NOT NULL DEFAULT 'starting',
    in_flight     integer NOT NULL DEFAULT 0,
    restarts      integer NOT NULL DEFAULT 0,
    last_reason   text,
    alive         boolean NOT NULL DEFAULT true,
    heartbeat_at  timestamptz NOT NULL DEFAULT now(),
    started_at    timestamptz NOT NULL DEFAULT now(),
    ended_at      timestamptz
) WITH (fillfactor = 50);
CREATE INDEX workers_alive ON tasker.workers (supervisor_id, slot) WHERE alive;

-- The number and the reply of a worker's last commit, apart from its heartbeat so that the two never wait for
-- each other. Only that worker's commits write here.
CREATE TABLE tasker.worker_commits (
    worker_id bigint PRIMARY KEY REFERENCES tasker.workers ON DELETE CASCADE,
    seq       bigint NOT NULL DEFAULT 0,
    reply     text NOT NULL DEFAULT '{}'
) WITH (fillfactor = 30);

-- What an incarnation has committed, counted in the commit itself: the truth about a worker that was killed.
CREATE TABLE tasker.worker_counts (
    worker_id     bigint NOT NULL REFERENCES tasker.workers ON DELETE CASCADE,
    namespace     text NOT NULL,
    event_name    text NOT NULL,
    delivery_mode text NOT NULL,
    publisher     text NOT NULL,
    published     bigint NOT NULL DEFAULT 0,
    failed        bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (worker_id, namespace, event_name, delivery_mode, publisher)
) WITH (fillfactor = 50);
