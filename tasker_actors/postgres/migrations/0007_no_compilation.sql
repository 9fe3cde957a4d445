-- The hot functions turn plan types off, which up to PostgreSQL 17 adds 10^10 to the estimated cost of a plan that must
-- use one all the same. To a server with just-in-time compilation (the default of most packages) each call then looks
-- worth compiling: a claim of a step took 1,700 ms instead of 2 ms. Functions of later files say SET jit = off themselves.
DO $$
DECLARE
    v_function regprocedure;
BEGIN
    FOR v_function IN
        SELECT oid::regprocedure FROM pg_proc
        WHERE pronamespace = 'tasker'::regnamespace AND proconfig::text LIKE '%enable_%'
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET jit = off', v_function);
    END LOOP;
END
$$;
